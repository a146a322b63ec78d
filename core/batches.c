/* batches.c - units, their order, and micro-batches of them. */
#include "core/batches.h"

#include <stdlib.h>

#include "core/permutation.h"

/* ---- units ----------------------------------------------------------------------------------- */

static vw_status too_long(const vw_batches *b, const char *name, int64_t document, vw_error *err)
{
    const vw_dataset *d = b->data;
    return vw_fail(err, VW_E_FORMAT,
                   "%s: document %lld has %lld tokens, the context is %lld; set "
                   "data.long_documents = split or truncate, data.packing = crossing, or a longer "
                   "data.max_length",
                   name, (long long)document + 1,
                   (long long)(d->starts[document + 1] - d->starts[document]),
                   (long long)b->options.context);
}

/* Cut the documents; with units NULL only count. */
static vw_status cut(vw_batches *b, const char *name, vw_unit *units, vw_error *err)
{
    const vw_dataset *d = b->data;
    int64_t context = b->options.context;
    b->n_units = b->n_left_out = 0;
    for (int64_t i = 0; i < d->n_documents; i++) {
        int64_t from = d->starts[i], inputs = d->starts[i + 1] - from - 1;
        if (inputs < 1 || inputs + 1 < b->options.least) {
            b->n_left_out++;
            continue;
        }
        if (inputs > context && b->options.longer == VW_LONG_ERROR)
            return too_long(b, name, i, err);
        if (inputs > context && b->options.longer == VW_LONG_TRUNCATE)
            inputs = context;
        for (; inputs > 0; from += context, inputs -= context) {
            if (units)
                units[b->n_units] = (vw_unit){from, inputs < context ? inputs : context};
            b->n_units++;
        }
    }
    return VW_OK;
}

static vw_status open_packed(vw_batches *b, const char *name, vw_error *err)
{
    vw_status st = cut(b, name, NULL, err);
    if (st)
        return st;
    if (b->n_units == 0)
        return vw_fail(err, VW_E_CONFIG,
                       "%s: none of its %lld documents has data.min_length = %lld "
                       "tokens",
                       name, (long long)b->data->n_documents, (long long)b->options.least);
    b->units = malloc((size_t)b->n_units * sizeof *b->units);
    if (!b->units)
        return vw_fail(err, VW_E_NOMEM, "no memory for %lld documents", (long long)b->n_units);
    return cut(b, name, b->units, err);
}

vw_status vw_batches_open(const vw_dataset *data, const vw_batches_options *o, const char *name,
                          vw_batches *batches, vw_error *err)
{
    vw_batches b = {.data = data, .options = *o};
    if (o->is_packed) {
        vw_status st = open_packed(&b, name, err);
        if (st)
            return st;
    } else if (data->n < 2) {
        return vw_fail(err, VW_E_CONFIG, "%s: a single token: there is nothing to predict", name);
    } else if (data->n - 1 < o->context && !o->may_be_short) {
        return vw_fail(err, VW_E_CONFIG,
                       "%s: %lld tokens are fewer than one window of data.max_length = "
                       "%lld and the token after it; lower that, or give more to learn from",
                       name, (long long)data->n, (long long)o->context);
    }
    *batches = b;
    return VW_OK;
}

void vw_batches_close(vw_batches *b)
{
    free(b->units);
    *b = (vw_batches){0};
}

/* Where the windows of an epoch begin. */
static int64_t offset(const vw_batches *b, uint64_t epoch)
{
    int64_t most = b->data->n - 1 - b->options.context;
    if (!b->options.is_shuffled || b->options.is_still || most <= 0)
        return 0;
    if (most > b->options.context - 1)
        most = b->options.context - 1;
    return (int64_t)(vw_mix(b->options.seed + vw_mix(epoch)) % (uint64_t)(most + 1));
}

int64_t vw_batches_count(const vw_batches *b, uint64_t epoch)
{
    if (b->units)
        return b->n_units;
    return (b->data->n - 1 - offset(b, epoch)) / b->options.context;
}

vw_unit vw_batches_unit(const vw_batches *b, vw_position at)
{
    int64_t i = at.index;
    if (b->options.is_shuffled)
        i = (int64_t)vw_permute(vw_mix(b->options.seed ^ vw_mix(~at.epoch)),
                                (uint64_t)vw_batches_count(b, at.epoch), (uint64_t)i);
    if (b->units)
        return b->units[i];
    return (vw_unit){offset(b, at.epoch) + i * b->options.context, b->options.context};
}

/* ---- micro-batches --------------------------------------------------------------------------- */

static void add(const vw_dataset *d, vw_unit u, vw_batch *batch)
{
    for (int64_t i = u.from; i < u.from + u.n; i++) {
        bool is_scored = !d->is_scored || d->is_scored[i + 1];
        batch->ids[batch->n_tokens] = vw_dataset_id(d, i);
        batch->labels[batch->n_tokens++] = is_scored ? vw_dataset_id(d, i + 1) : -1;
        batch->n_scored += is_scored;
    }
    batch->from[batch->n_documents] = u.from;
    batch->starts[++batch->n_documents] = (int32_t)batch->n_tokens;
}

static void begin(vw_batch *batch)
{
    batch->n_tokens = batch->n_scored = 0;
    batch->n_documents = 0;
    batch->starts[0] = 0;
}

void vw_batches_next(const vw_batches *b, vw_position *at, int64_t max_units, vw_batch *batch)
{
    begin(batch);
    for (int64_t i = 0; i < max_units; i++) {
        vw_unit u = vw_batches_unit(b, *at);
        if (u.n > batch->max_tokens - batch->n_tokens)
            break;
        add(b->data, u, batch);
        if (++at->index >= vw_batches_count(b, at->epoch))
            *at = (vw_position){at->epoch + 1, 0};
    }
}

int64_t vw_batches_walk_count(const vw_batches *b)
{
    int64_t context = b->options.context;
    return b->units ? b->n_units : (b->data->n - 1 + context - 1) / context;
}

int64_t vw_batches_walk(const vw_batches *b, int64_t *index, int64_t stride, int64_t max_units,
                        vw_batch *batch)
{
    int64_t context = b->options.context, inputs = b->data->n - 1, count = vw_batches_walk_count(b);
    begin(batch);
    for (; batch->n_documents < max_units && *index < count; *index += stride) {
        int64_t from = *index * context;
        vw_unit window = {from, inputs - from < context ? inputs - from : context};
        vw_unit u = b->units ? b->units[*index] : window;
        if (u.n > batch->max_tokens - batch->n_tokens)
            break;
        add(b->data, u, batch);
    }
    return batch->n_documents;
}

vw_status vw_batch_new(int64_t max_tokens, vw_batch *batch, vw_error *err)
{
    size_t n = (size_t)max_tokens;
    vw_batch b = {.max_tokens = max_tokens,
                  .ids = malloc(n * sizeof *b.ids),
                  .labels = malloc(n * sizeof *b.labels),
                  .starts = malloc((n + 1) * sizeof *b.starts),
                  .from = malloc(n * sizeof *b.from)};
    if (!b.ids || !b.labels || !b.starts || !b.from) {
        vw_batch_free(&b);
        return vw_fail(err, VW_E_NOMEM, "no memory for batches of %zu tokens", n);
    }
    *batch = b;
    return VW_OK;
}

void vw_batch_free(vw_batch *b)
{
    free(b->ids);
    free(b->labels);
    free(b->starts);
    free(b->from);
    *b = (vw_batch){0};
}
