/* trainer_cache.c - a teacher that was asked beforehand: what it said of the training data, written
 * once into a store (teacher_store.h), and learnt from without it.
 *
 * Row r of the store is the r-th position of the training data whose next token is scored.  What a
 * teacher says there depends on where its window begins, so with a store the windows lie still: they
 * are the same in every epoch, whatever their order.
 */
#include "core/trainer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checksum.h"

enum { N_FACTS = 9, MARK = 4096 };

/* ---- positions and rows ---------------------------------------------------------------------- */

static bool has_row(const vw_dataset *d, int64_t position)
{
    return !d->is_scored || d->is_scored[position + 1];
}

/* How many rows there are, and how many lie before every MARK-th position. */
static vw_status count_rows(vw_trainer *t, vw_error *err)
{
    const vw_dataset *d = &t->train_set;
    t->n_rows = d->n - 1;
    if (!d->is_scored)
        return VW_OK;
    t->row_marks = malloc(((size_t)d->n / MARK + 1) * sizeof *t->row_marks);
    if (!t->row_marks)
        return vw_fail(err, VW_E_NOMEM, "no memory to count %lld tokens", (long long)d->n);
    t->n_rows = 0;
    for (int64_t i = 0; i + 1 < d->n; i++) {
        if (i % MARK == 0)
            t->row_marks[i / MARK] = t->n_rows;
        t->n_rows += has_row(d, i);
    }
    return VW_OK;
}

static int64_t row_of(const vw_trainer *t, int64_t position)
{
    if (!t->row_marks)
        return position;
    int64_t row = t->row_marks[position / MARK];
    for (int64_t i = position / MARK * MARK; i < position; i++)
        row += has_row(&t->train_set, i);
    return row;
}

/* What would make a row mean something else. */
static void list_facts(const vw_trainer *t, vw_fact facts[N_FACTS])
{
    const vw_config_data *d = &t->data;
    bool is_packed = d->packing == 1;
    int n = 0;
#define FACT(key, ...)   \
    facts[n].name = key; \
    snprintf(facts[n++].text, sizeof facts->text, __VA_ARGS__)
    FACT("the tokenizer's checksum", "%016" PRIx64, t->tokenizer_sum);
    FACT("tokens of the vocabulary", "%d", t->info.model->vocab_size);
    FACT("the training data's checksum", "%016" PRIx64, vw_trainer_sum_data(&t->train_set));
    FACT("scored tokens of the training data", "%lld", (long long)t->n_rows);
    FACT("data.max_length", "%lld", (long long)d->max_length);
    FACT("data.packing", "%d", d->packing);
    FACT("data.long_documents", "%d", is_packed ? d->long_documents : 0);
    FACT("data.min_length", "%lld", (long long)(is_packed ? d->min_length : 0));
    FACT("distill.temperature", "%.9g", t->distill.temperature);
#undef FACT
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Of a micro-batch: ids [T, k], logits [T, k], lse [T], and two more of T to work with. */
static vw_status open_rows(vw_trainer *t, int32_t k, vw_error *err)
{
    size_t tokens = (size_t)t->trainee_options.max_tokens;
    size_t words = tokens * (2 * (size_t)k + 3);
    t->cached_k = k;
    t->cached_host = malloc(words * sizeof *t->cached_host);
    if (!t->cached_host)
        return vw_fail(err, VW_E_NOMEM, "no memory for a teacher's %d best of %zu tokens", k,
                       tokens);
    return t->dev->alloc(t->device, words * sizeof *t->cached_host, &t->cached, err);
}

typedef struct rows {
    int32_t *ids;
    float *logits, *lse, *best;
    int32_t *best_id;
} rows;

static rows rows_in(const vw_trainer *t, void *memory)
{
    int64_t n = t->trainee_options.max_tokens, k = t->cached_k;
    int32_t *ids = memory;
    float *logits = (float *)(ids + n * k), *lse = logits + n * k;
    return (rows){ids, logits, lse, lse + n, (int32_t *)(lse + 2 * n)};
}

void vw_trainer_close_cache(vw_trainer *t)
{
    if (t->dev)
        t->dev->free(t->device, &t->cached);
    vw_store_close(t->store);
    free(t->cached_host);
    free(t->row_marks);
}

/* ---- learning from a store ------------------------------------------------------------------- */

vw_status vw_trainer_open_cache(vw_trainer *t, vw_error *err)
{
    char path[VW_CHECKPOINT_PATH];
    vw_fact facts[N_FACTS];
    uint64_t bytes;
    if (!*t->distill.teacher_cache)
        return VW_OK;
    vw_status st = count_rows(t, err);
    if (st)
        return st;
    list_facts(t, facts);
    if ((st = vw_store_open(t->core, t->weights, t->distill.teacher_cache, facts, N_FACTS,
                            &t->store, err)))
        return st;
    vw_store_shape shape = vw_store_get_shape(t->store);
    if (shape.rows != t->n_rows || shape.vocab_size != t->info.model->vocab_size)
        return vw_fail(err, VW_E_FORMAT, "%s: its size is not that of what it was made of",
                       t->distill.teacher_cache);
    snprintf(path, sizeof path, "%.3800s/checksums", t->distill.teacher_cache);
    st = vw_checksum_file(path, &t->store_sum, &bytes, err);
    return st ? st : open_rows(t, shape.k, err);
}

static vw_status upload(vw_trainer *t, void *to, const void *from, size_t bytes, vw_error *err)
{
    return t->dev->upload(t->device, vw_trainee_stream(t->trainee), to, from, bytes, err);
}

vw_status vw_trainer_ask_cache(vw_trainer *t, vw_micro_batch *m, vw_error *err)
{
    const vw_batch *b = &t->micro;
    rows host = rows_in(t, t->cached_host), device = rows_in(t, t->cached.data);
    size_t n = 0, k = (size_t)t->cached_k;
    vw_status st = VW_OK;
    for (int32_t d = 0; d < b->n_documents; d++) {
        int64_t row = row_of(t, b->from[d]);
        for (int32_t i = b->starts[d]; i < b->starts[d + 1] && !st; i++)
            if (b->labels[i] >= 0) {
                st = vw_store_read(t->store, row++, host.ids + n * k, host.logits + n * k,
                                   host.lse + n, err);
                n++;
            }
    }
    if (st || n == 0)
        return st;
    if ((st = upload(t, device.ids, host.ids, n * k * sizeof *host.ids, err)) ||
        (st = upload(t, device.logits, host.logits, n * k * sizeof *host.logits, err)) ||
        (st = upload(t, device.lse, host.lse, n * sizeof *host.lse, err)))
        return st;
    m->distil = (vw_distillation){.alpha = t->distill.alpha,
                                  .temperature = t->distill.temperature,
                                  .k = t->cached_k,
                                  .ids = device.ids,
                                  .logits = device.logits,
                                  .lse = device.lse};
    return VW_OK;
}

/* ---- writing one ----------------------------------------------------------------------------- */

/* The k best of some rows of logits, and log sum exp(logit / temperature) less best / temperature,
 * which is the loss of the best token when all logits are divided.  The logits are used up. */
static vw_status take_best(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    vw_trainer *t = arg;
    vw_stream *stream = vw_trainee_stream(t->trainee);
    rows r = rows_in(t, t->cached.data);
    int64_t n = logits.shape[0], k = t->cached_k;
    const vw_loss_desc loss = {.size = sizeof loss};
    vw_status st = t->dev->top_k(t->device, stream, logits, (int32_t)k,
                                 vw_tensor_2d(r.logits + first * k, VW_F32, n, k),
                                 vw_tensor_2d(r.ids + first * k, VW_I32, n, k), err);
    if (!st)
        st = t->dev->top_k(t->device, stream, logits, 1, vw_tensor_2d(r.best, VW_F32, n, 1),
                           vw_tensor_2d(r.best_id, VW_I32, n, 1), err);
    if (!st)
        st = t->dev->axpby(t->device, stream, (float)(1 / t->distill.temperature), logits, 0,
                           logits, err);
    return st ? st
              : t->dev->cross_entropy(t->device, stream, &loss, logits, r.best_id, r.lse + first,
                                      NULL, err);
}

static vw_status keep_best(vw_trainer *t, vw_store_writer *writer, vw_error *err)
{
    const vw_batch *b = &t->micro;
    const vw_micro_batch m = {.n_tokens = b->n_tokens,
                              .ids = b->ids,
                              .labels = b->labels,
                              .n_documents = b->n_documents,
                              .starts = b->starts,
                              .divisor = 1,
                              .loss_scale = 1};
    rows host = rows_in(t, t->cached_host);
    int64_t at = 0, k = t->cached_k;
    vw_stream *stream = vw_trainee_stream(t->trainee);
    if (b->n_scored == 0)
        return VW_OK;
    vw_status st = vw_trainee_logits(t->trainee, &m, take_best, t, err);
    if (!st)
        st = t->dev->download(t->device, stream, t->cached_host, t->cached.data,
                              (size_t)t->trainee_options.max_tokens * (2 * (size_t)k + 1) * 4, err);
    if (!st)
        st = t->dev->synchronize(t->device, stream, err);
    for (int32_t d = 0; d < b->n_documents && !st; d++) {
        int64_t n = 0;
        for (int32_t i = b->starts[d]; i < b->starts[d + 1]; i++)
            n += b->labels[i] >= 0;
        st = vw_store_add(writer, row_of(t, b->from[d]), n, host.ids + at * k,
                          host.logits + at * k, host.lse + at, err);
        at += n;
    }
    return st;
}

static vw_status write_all(vw_trainer *t, vw_store_writer *writer, vw_error *err)
{
    int64_t units = vw_batches_count(&t->batches, 0), done = 0;
    vw_position at = {0, 0};
    vw_status st = VW_OK;
    while (done < units && !st) {
        int64_t left = units - done, most = t->train.batch_size;
        vw_batches_next(&t->batches, &at, left < most ? left : most, &t->micro);
        done += t->micro.n_documents;
        st = keep_best(t, writer, err);
        if (!st && t->options.progress &&
            t->options.progress(t->options.progress_arg, "asking the teacher", (uint64_t)done,
                                (uint64_t)units, "windows"))
            st = vw_fail(err, VW_E_INTERRUPTED, "interrupted while the teacher was asked");
    }
    return st;
}

vw_status vw_trainer_write_cache(vw_trainer *t, vw_error *err)
{
    char about[VW_CHECKPOINT_PATH];
    vw_fact facts[N_FACTS];
    vw_store_writer *writer = NULL;
    vw_status st = count_rows(t, err);
    if (st)
        return st;
    int64_t k = t->distill.cache_top;
    vw_store_shape shape = {t->n_rows, (int32_t)k, t->info.model->vocab_size,
                            t->distill.temperature, t->distill.cache_values == 1};
    if (k > shape.vocab_size)
        shape.k = shape.vocab_size;
    list_facts(t, facts);
    st = open_rows(t, shape.k, err);
    if (!st)
        st = vw_store_create(t->core, t->weights, t->distill.teacher_cache, &shape, &writer, err);
    if (!st)
        st = write_all(t, writer, err);
    snprintf(about, sizeof about, "%s, %.3800s", t->info.model->description,
             t->info.path ? t->info.path : "");
    if (!st)
        st = vw_store_finish(writer, about, facts, N_FACTS, err);
    vw_store_end(writer);
    if (!st)
        vw_trainer_tell(t, VW_TRAIN_SAVED, t->distill.teacher_cache);
    return st;
}
