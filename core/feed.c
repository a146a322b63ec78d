/* feed.c - tokens in, rows of logits out.
 *
 * A feed may be longer than a batch and there may be several: each round takes what fits, in order,
 * writes ids, positions, lengths and block tables into one staging buffer, copies it to the device
 * in one go, and runs a forward.  Everything that can be wrong is found before the first round; a
 * failure later on cuts every sequence back to where it was.
 */
#include "core/forward.h"

#include <string.h>

typedef struct feeding { /* one call of vw_engine_feed */
    vw_engine *engine;
    const vw_feed *feeds;
    size_t n_feeds;
    device_row_fn on_row;
    void *arg;
} feeding;

/* One int32 each: ids, positions, wanted [T]; starts [B + 1]; keys, their ends [B]; tables
 * [B][width]. */
size_t vw_staging_words(const vw_engine *e)
{
    size_t words = 3 * (size_t)e->batch_tokens + 3 * (size_t)e->max_sequences + 1;
    for (int g = 0; g < e->n_groups; g++)
        words += (size_t)e->max_sequences * (size_t)e->groups[g].table_width;
    return words;
}

/* ---- before anything runs -------------------------------------------------------------------- */

static vw_status check_feed(const vw_engine *e, const vw_feed *feed, vw_error *err)
{
    const vw_sequence *s = feed->sequence;
    if (!s || s->engine != e || feed->n_tokens < 0)
        return vw_fail(err, VW_E_INVALID, "a feed needs a sequence of this engine and tokens");
    if (s->length + feed->n_tokens > e->context)
        return vw_fail(err, VW_E_FULL, "the context is full: %lld tokens and %lld more exceed its "
                       "%lld ([engine] ctx_size)", (long long)s->length,
                       (long long)feed->n_tokens, (long long)e->context);
    for (int64_t i = 0; i < feed->n_tokens; i++)
        if (feed->tokens[i] < 0 || feed->tokens[i] >= e->info->vocab_size)
            return vw_fail(err, VW_E_INVALID, "token %d at position %lld is not in the vocabulary of "
                           "%d", feed->tokens[i], (long long)(s->length + i), e->info->vocab_size);
    return VW_OK;
}

static vw_status check_all(const feeding *f, vw_error *err)
{
    const vw_engine *e = f->engine;
    int64_t pages = 0;
    for (size_t i = 0; i < f->n_feeds; i++) {
        vw_status st = check_feed(e, &f->feeds[i], err);
        if (st)
            return st;
        for (size_t j = 0; j < i; j++)
            if (f->feeds[j].sequence == f->feeds[i].sequence)
                return vw_fail(err, VW_E_INVALID, "feeds %zu and %zu are the same sequence", j, i);
        pages += vw_kv_pages_needed(f->feeds[i].sequence, f->feeds[i].n_tokens);
    }
    return vw_kv_check(e, pages, err);
}

/* ---- one round ------------------------------------------------------------------------------- */

typedef struct feed_round { /* what this forward takes; arrays live in the staging buffer */
    batch b;
    int32_t *ids, *positions, *wanted, *starts, *n_keys, *ends;
} feed_round;

static int64_t left_of(const vw_feed *feed, const int64_t *done, size_t i)
{
    return feed->n_tokens - done[i];
}

static bool is_unseen(const vw_engine *e, int32_t id)
{
    return e->info->hides_pad && id == e->info->pad;
}

/* How many of the next n tokens one forward can take: those that are seen up to one that is not, or
 * that one by itself, since its query sees the keys before it and leaves none. */
static int64_t alike(const vw_engine *e, const int32_t *tokens, int64_t n)
{
    if (is_unseen(e, tokens[0]))
        return 1;
    int64_t i = 1;
    while (i < n && !is_unseen(e, tokens[i]))
        i++;
    return i;
}

/* Append the next tokens of one feed to the round and to its sequence's list of tokens. */
static vw_status add_feed(const feeding *f, feed_round *r, size_t i, vw_error *err)
{
    vw_engine *e = f->engine;
    const vw_feed *feed = &f->feeds[i];
    vw_sequence *s = feed->sequence;
    int64_t done = e->feed_done[i], n = left_of(feed, e->feed_done, i);
    if (n > e->batch_tokens - r->b.n_tokens)
        n = e->batch_tokens - r->b.n_tokens;
    n = alike(e, feed->tokens + done, n);
    vw_status st = vw_kv_reserve(s, n, err);
    if (st)
        return st;
    for (int64_t t = 0; t < n; t++) {
        int64_t row = r->b.n_tokens + t, position = s->length + t;
        bool is_last = done + t == feed->n_tokens - 1;
        r->ids[row] = feed->tokens[done + t];
        r->positions[row] = (int32_t)position;
        s->tokens[position] = feed->tokens[done + t];
        if (feed->want == VW_WANT_ALL || (feed->want == VW_WANT_LAST && is_last)) {
            e->row_feed[r->b.n_wanted] = (int32_t)i;
            e->row_position[r->b.n_wanted] = (int32_t)position;
            r->wanted[r->b.n_wanted++] = (int32_t)row;
        }
    }
    r->b.is_prompt = r->b.is_prompt && s->length == 0 && !e->info->hides_pad;
    r->b.n_tokens += n;
    r->ends[r->b.n_sequences] = (int32_t)(s->n_keys + n);
    s->length += n;
    s->n_keys += is_unseen(e, feed->tokens[done]) ? 0 : n;
    e->feed_done[i] += n;
    r->n_keys[r->b.n_sequences] = (int32_t)s->n_keys;
    r->starts[++r->b.n_sequences] = (int32_t)r->b.n_tokens;
    if (r->ends[r->b.n_sequences - 1] > r->b.max_keys)
        r->b.max_keys = r->ends[r->b.n_sequences - 1];
    if (n > r->b.max_queries_one)
        r->b.max_queries_one = n;
    return VW_OK;
}

/* Lay the arrays out, fill them, and put them on the device. */
static vw_status stage(const feeding *f, feed_round *r, vw_error *err)
{
    vw_engine *e = f->engine;
    int32_t *host = e->staging_host, *dev = e->staging.data;
    size_t tokens = (size_t)e->batch_tokens, sequences = (size_t)e->max_sequences;
    size_t at = 3 * tokens + 3 * sequences + 1;
    vw_status st = VW_OK;
    r->ids = host;
    r->positions = host + tokens;
    r->wanted = host + 2 * tokens;
    r->starts = host + 3 * tokens;
    r->n_keys = r->starts + sequences + 1;
    r->ends = r->n_keys + sequences;
    r->starts[0] = 0;
    r->b.is_prompt = true;
    for (size_t i = 0; i < f->n_feeds && !st; i++) {
        if (left_of(&f->feeds[i], e->feed_done, i) == 0)
            continue;
        if (r->b.n_tokens == e->batch_tokens || r->b.n_sequences == e->max_sequences)
            break;
        e->round_feed[r->b.n_sequences] = (int32_t)i;
        st = add_feed(f, r, i, err);
    }
    if (st)
        return st;
    for (int g = 0; g < e->n_groups; g++) {
        size_t width = (size_t)e->groups[g].table_width;
        for (int32_t b = 0; b < r->b.n_sequences; b++)
            memcpy(host + at + (size_t)b * width,
                   f->feeds[e->round_feed[b]].sequence->table[g], width * sizeof *host);
        r->b.tables[g] = dev + at;
        at += (size_t)r->b.n_sequences * width;
    }
    r->b.ids = dev;
    r->b.positions = dev + tokens;
    r->b.wanted = dev + 2 * tokens;
    r->b.query_start = dev + 3 * tokens;
    r->b.n_keys = dev + 3 * tokens + sequences + 1;
    r->b.ends = r->b.n_keys + sequences;
    return e->dev->upload(e->device->self, e->stream, dev, host, at * sizeof *host, err);
}

static vw_status on_logits(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    const feeding *f = arg;
    const vw_engine *e = f->engine;
    vw_status st = VW_OK;
    for (int64_t i = 0; f->on_row && i < logits.shape[0] && !st; i++)
        st = f->on_row(f->arg, (size_t)e->row_feed[first + i], e->row_position[first + i],
                       vw_tensor_rows(logits, i, 1), err);
    return st;
}

/* A drafting layer may want tokens again that were in before; those are in no total. */
static void show_progress(vw_engine *e, int64_t n)
{
    int64_t total = e->prompt.total, done = e->prompt.done += n;
    if (done > total)
        done = total;
    if (e->prompt.show && e->prompt.show(e->prompt.arg, "computing the prompt", (uint64_t)done,
                                         (uint64_t)total, "tokens"))
        vw_engine_interrupt(e);
}

static vw_status run_round(feeding *f, vw_error *err)
{
    vw_engine *e = f->engine;
    feed_round r;
    memset(&r, 0, sizeof r);
    vw_status st = stage(f, &r, err);
    if (!st)
        st = vw_forward_run(e, &r.b, on_logits, f, err);
    if (!st) /* the staging buffer is written again in the next round */
        st = e->dev->synchronize(e->device->self, e->stream, err);
    for (int32_t b = 0; b < r.b.n_sequences && !st; b++)
        vw_kv_slide(f->feeds[e->round_feed[b]].sequence);
    if (!st)
        show_progress(e, r.b.n_tokens);
    return st;
}

/* ---- all rounds ------------------------------------------------------------------------------ */

static bool is_done(const feeding *f)
{
    for (size_t i = 0; i < f->n_feeds; i++)
        if (left_of(&f->feeds[i], f->engine->feed_done, i))
            return false;
    return true;
}

static void cut_back(const feeding *f)
{
    for (size_t i = 0; i < f->n_feeds; i++) {
        vw_sequence *s = f->feeds[i].sequence;
        vw_sequence_truncate(s, s->length - f->engine->feed_done[i], NULL);
    }
}

vw_status vw_feed_device(vw_engine *e, const vw_feed *feeds, size_t n_feeds, device_row_fn on_row,
                         void *arg, vw_error *err)
{
    feeding f = {e, feeds, n_feeds, on_row, arg};
    if (e->is_plan)
        return vw_fail(err, VW_E_INVALID, "the model was opened for its memory plan alone; open it "
                       "without only_plan");
    if (n_feeds > (size_t)e->max_sequences)
        return vw_fail(err, VW_E_INVALID, "%zu feeds in one call; [engine] max_sequences is %d",
                       n_feeds, e->max_sequences);
    vw_status st = check_all(&f, err);
    if (st)
        return st;
    memset(e->feed_done, 0, (size_t)e->max_sequences * sizeof *e->feed_done);
    while (!st && !is_done(&f)) {
        if (e->is_interrupted) {
            e->is_interrupted = 0;
            e->prompt.show = NULL;
            st = vw_fail(err, VW_E_INTERRUPTED, "interrupted");
        } else {
            st = run_round(&f, err);
        }
    }
    if (st)
        cut_back(&f);
    return st;
}

void vw_engine_interrupt(vw_engine *e)
{
    e->is_interrupted = 1;
}

/* ---- with rows on the host ------------------------------------------------------------------- */

typedef struct host_rows {
    vw_engine *engine;
    vw_on_row on_row;
    void *arg;
} host_rows;

vw_status vw_row_to_host(vw_engine *e, vw_tensor row, float **values, vw_error *err)
{
    void *dev = e->device->self;
    vw_status st = VW_OK;
    bool is_visible = e->device_info.flags & VW_DEVICE_HOST_VISIBLE;
    if (!is_visible)
        st = e->dev->download(dev, e->stream, e->host_row, row.data, vw_tensor_bytes(&row), err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    *values = is_visible ? row.data : e->host_row;
    return st;
}

static vw_status to_host_row(void *arg, size_t feed, int64_t position, vw_tensor row, vw_error *err)
{
    const host_rows *h = arg;
    float *values;
    vw_status st = vw_row_to_host(h->engine, row, &values, err);
    return st ? st : h->on_row(h->arg, feed, position, values, err);
}

vw_status vw_engine_feed(vw_engine *e, const vw_feed *feeds, size_t n_feeds, vw_on_row on_row,
                         void *arg, vw_error *err)
{
    host_rows h = {e, on_row, arg};
    return vw_feed_device(e, feeds, n_feeds, on_row ? to_host_row : NULL, &h, err);
}
