/* draft.c - see draft.h.
 *
 * The rule of acceptance needs nothing here: a guess is one token, so the model's own draw at its place
 * either is that token, and the guess was right, or is drawn from what the rule leaves (Leviathan et
 * al. 2023, arXiv 2211.17192, with a draft distribution of one point).  generate.c draws as ever, and a
 * text is the same with drafts or without.
 */
#include "core/draft.h"

#include <string.h>

#include "core/forward.h"

vw_status vw_drafts_open(vw_engine *e, vw_error *err)
{
    size_t bytes = (size_t)e->batch_tokens * (size_t)e->info->width * sizeof(float);
    if (!e->info->n_drafts || e->is_plan)
        return VW_OK;
    vw_status st = e->dev->alloc(e->device->self, bytes, &e->hidden, err);
    return st ? st : e->dev->alloc(e->device->self, bytes, &e->draft_hidden, err);
}

/* ---- one forward of the drafting layer ------------------------------------------------------- */

/* The largest logit of the one row that was wanted. */
static vw_status keep_best(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    static const vw_sample_desc greedy = {.top_p = 1};
    drafter *d = arg;
    vw_engine *e = d->engine;
    void *dev = e->device->self;
    int32_t *space = e->sample_space.data;
    (void)first;
    vw_status st = e->dev->sample(dev, e->stream, logits, &greedy, space, NULL,
                                  (char *)e->sample_space.data + SAMPLE_RESULT_BYTES, err);
    return st ? st
              : e->dev->download(dev, e->stream, e->staging_host, space, sizeof *space, err);
}

/* Fill places [from, from + n) of the layer's cache: `ids` are the tokens after them, `hidden` the
 * states.  guess: what the last one says, or NULL. */
static vw_status run(drafter *d, int64_t from, int64_t n, const int32_t *ids, void *hidden,
                     int32_t *guess, vw_error *err)
{
    vw_engine *e = d->engine;
    void *dev = e->device->self;
    int32_t *host = e->staging_host, *device = e->staging.data;
    int64_t at = 2 * n + 4; /* ids, positions; wanted, two starts, the number of keys */
    batch b = {.n_tokens = n, .n_wanted = guess != NULL, .n_sequences = 1, .max_keys = from + n,
               .max_queries_one = n, .ids = device, .positions = device + n,
               .wanted = device + 2 * n, .query_start = device + 2 * n + 1,
               .n_keys = device + 2 * n + 3, .ends = device + 2 * n + 3};
    for (int64_t i = 0; i < n; i++) {
        host[i] = ids[i];
        host[n + i] = (int32_t)(from + i);
    }
    host[2 * n] = (int32_t)(n - 1);
    host[2 * n + 1] = 0;
    host[2 * n + 2] = (int32_t)n;
    host[2 * n + 3] = (int32_t)(from + n);
    for (int g = 0; g < e->n_groups; g++) {
        int32_t width = e->groups[g].table_width;
        memcpy(host + at, d->sequence->table[g], (size_t)width * sizeof *host);
        b.tables[g] = device + at;
        at += width;
    }
    vw_status st = e->dev->upload(dev, e->stream, device, host, (size_t)at * sizeof *host, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    if (!st)
        st = vw_forward_draft(e, &b, hidden, guess ? keep_best : NULL, d, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    if (!st && guess)
        *guess = host[0];
    return st;
}

/* The rows that wait, now that the token after them is known. */
static vw_status catch_up(drafter *d, int32_t next, int32_t *guess, vw_error *err)
{
    vw_sequence *s = d->sequence;
    int64_t from = s->length - d->n_waiting;
    s->tokens[s->length] = next; /* there is room: it is about to be fed */
    vw_status st = run(d, from, d->n_waiting, s->tokens + from + 1, d->engine->hidden.data, guess,
                       err);
    if (!st) {
        s->n_drafted = s->length;
        d->n_waiting = 0;
    }
    return st;
}

/* ---- feeding and guessing -------------------------------------------------------------------- */

/* What one forward of the model takes. */
static vw_status feed_piece(drafter *d, const int32_t *tokens, int64_t n, vw_want want,
                            device_row_fn on_row, void *arg, vw_error *err)
{
    vw_feed feed = {d->sequence, tokens, n, want};
    vw_status st = d->n_waiting ? catch_up(d, tokens[0], NULL, err) : VW_OK;
    if (!st)
        st = vw_feed_device(d->engine, &feed, 1, on_row, arg, err);
    if (!st)
        d->n_waiting = n;
    return st;
}

static vw_status feed_pieces(drafter *d, const int32_t *tokens, int64_t n, vw_want want,
                             device_row_fn on_row, void *arg, vw_error *err)
{
    vw_status st = VW_OK;
    for (int64_t done = 0; done < n && !st;) {
        int64_t left = n - done, piece = left < d->engine->batch_tokens ? left : d->engine->batch_tokens;
        bool is_wanted = want == VW_WANT_ALL || piece == left;
        st = feed_piece(d, tokens + done, piece, is_wanted ? want : VW_WANT_NOTHING, on_row, arg, err);
        done += piece;
    }
    return st;
}

/* The tokens behind the first `seen` again, now that the drafting layer is to follow.  They were in the
 * sequence before, so an interrupt must not take them away: they are then fed without it. */
static vw_status feed_again(drafter *d, int64_t seen, int64_t n, vw_error *err)
{
    vw_sequence *s = d->sequence;
    int64_t length = seen + n;
    vw_status st = vw_sequence_truncate(s, seen, err); /* which keeps the list of tokens */
    if (!st)
        st = feed_pieces(d, s->tokens + seen, n, VW_WANT_NOTHING, NULL, NULL, err);
    if (st != VW_E_INTERRUPTED)
        return st;
    vw_feed rest = {s, s->tokens + s->length, length - s->length, VW_WANT_NOTHING};
    d->n_waiting = 0;
    vw_feed_device(d->engine, &rest, 1, NULL, NULL, NULL);
    return st;
}

vw_status vw_draft_feed(drafter *d, const int32_t *tokens, int64_t n, vw_want want,
                        device_row_fn on_row, void *arg, vw_error *err)
{
    vw_sequence *s = d->sequence;
    int64_t seen = s->n_drafted, unseen = s->length - d->n_waiting - seen;
    vw_status st = VW_OK;
    if (s->length + n > d->engine->context) /* the feed says so before anything is cut */
        return vw_feed_device(d->engine, &(vw_feed){s, tokens, n, want}, 1, on_row, arg, err);
    if (unseen > 0)
        st = feed_again(d, seen, unseen, err);
    return st ? st : feed_pieces(d, tokens, n, want, on_row, arg, err);
}

vw_status vw_draft_propose(drafter *d, int32_t next, int64_t room, int32_t *guesses, int64_t *n,
                           vw_error *err)
{
    vw_engine *e = d->engine;
    vw_sequence *s = d->sequence;
    int64_t length = s->length, most = e->context - length - 1;
    most = most < e->draft_tokens ? most : e->draft_tokens;
    most = most < room ? most : room;
    most = most < e->batch_tokens - 1 ? most : e->batch_tokens - 1;
    *n = 0;
    if (most < 1 || !d->n_waiting || vw_kv_reserve(s, most, NULL)) /* a full cache: no guesses */
        return VW_OK;
    int64_t last = d->n_waiting - 1;
    vw_status st = catch_up(d, next, &guesses[0], err);
    for (*n = 1; !st && *n < most; ++*n) { /* the layer's own state instead of the model's */
        float *hidden = (float *)e->draft_hidden.data + last * e->info->width;
        last = 0;
        st = run(d, length - 1 + *n, 1, &guesses[*n - 1], hidden, &guesses[*n], err);
    }
    d->n_proposed += st ? 0 : *n;
    return st;
}

vw_status vw_draft_cut(drafter *d, int64_t length, vw_error *err)
{
    int64_t gone = d->sequence->length - length;
    vw_status st = vw_sequence_truncate(d->sequence, length, err);
    if (!st)
        d->n_waiting -= gone < d->n_waiting ? gone : d->n_waiting;
    return st;
}
