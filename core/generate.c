/* generate.c - token after token: feed, draw, show.
 *
 * The loop holds one invariant: the row of logits for the next token is drawn from while it is still
 * on the device, inside the feed's callback, so a decoded token costs one forward and eight bytes
 * back to the host.  Nothing is allocated once the loop runs.
 *
 * With drafts one forward carries a token and the guesses behind it.  Each row is drawn from as it would
 * be anyway; as long as the draw is the guess, the next row counts too.  So several tokens may be drawn
 * at a time, which are shown one by one.
 */
#include "core/draft.h"
#include "core/sampling.h"
#include "core/sized.h"
#include "core/text.h"

#include <math.h>
#include <string.h>
#include <time.h>

typedef struct generation {
    vw_engine *engine;
    vw_sequence *sequence;
    const vw_generate_options *o;
    sampler sampler;
    text_stream text;
    bool has_text;
    int32_t next;   /* drawn, not yet fed */
    float logprob;
    drafter draft;
    int32_t guesses[MAX_DRAFT], drawn[MAX_DRAFT + 1];
    float logprobs[MAX_DRAFT + 1];
    int64_t n_guesses, n_drawn, n_shown; /* of the last forward */
    int64_t first;   /* position of the first row that is drawn from */
    int64_t length;  /* of the sequence without guesses */
} generation;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vw_status draw(void *arg, size_t feed, int64_t position, vw_tensor row, vw_error *err)
{
    generation *g = arg;
    (void)feed;
    return vw_sampler_draw(&g->sampler, g->sequence, position + 1, row, &g->next, &g->logprob, err);
}

/* The same while guesses are right: row i follows guess i - 1. */
static vw_status draw_checked(void *arg, size_t feed, int64_t position, vw_tensor row, vw_error *err)
{
    generation *g = arg;
    int64_t i = position - g->first;
    if (i != g->n_drawn || (i > 0 && g->drawn[i - 1] != g->guesses[i - 1]))
        return VW_OK;
    vw_status st = draw(arg, feed, position, row, err);
    g->drawn[i] = g->next;
    g->logprobs[i] = g->logprob;
    g->n_drawn += !st;
    return st;
}

static bool is_stop_token(const generation *g, int32_t id)
{
    const vw_tokenizer_info *t = &g->engine->tokens;
    if (g->o->sampling->ignore_eos)
        return false;
    for (int32_t i = 0; i < t->n_stop; i++)
        if (t->stop[i] == id)
            return true;
    return false;
}

/* Append tokens and draw the next one. */
static vw_status advance(generation *g, const int32_t *tokens, int64_t n, vw_error *err)
{
    vw_feed feed = {g->sequence, tokens, n, VW_WANT_LAST};
    g->length += n;
    if (g->engine->draft_tokens && !g->o->uncached)
        return vw_draft_feed(&g->draft, tokens, n, VW_WANT_LAST, draw, g, err);
    return vw_feed_device(g->engine, &feed, 1, draw, g, err);
}

/* Append a token and guesses of what follows it; keep those that were right. */
static vw_status advance_drafting(generation *g, int32_t token, int64_t room, vw_error *err)
{
    int32_t fed[MAX_DRAFT + 1] = {token};
    vw_status st = vw_draft_propose(&g->draft, token, room, g->guesses, &g->n_guesses, err);
    if (st)
        return st;
    memcpy(fed + 1, g->guesses, (size_t)g->n_guesses * sizeof *fed);
    g->first = g->sequence->length;
    g->n_drawn = 0;
    st = vw_draft_feed(&g->draft, fed, 1 + g->n_guesses, VW_WANT_ALL, draw_checked, g, err);
    if (st)
        return st;
    g->next = g->drawn[0];
    g->logprob = g->logprobs[0];
    g->n_shown = 1;
    g->length++;
    g->draft.n_accepted += g->n_drawn - 1;
    return vw_draft_cut(&g->draft, g->first + g->n_drawn, err);
}

/* The next token: one that was drawn already, or of another forward. */
static vw_status next_token(generation *g, int32_t token, int64_t room, vw_error *err)
{
    if (g->n_shown < g->n_drawn) {
        g->next = g->drawn[g->n_shown];
        g->logprob = g->logprobs[g->n_shown++];
        g->length++;
        return VW_OK;
    }
    return g->engine->draft_tokens ? advance_drafting(g, token, room, err)
                                   : advance(g, &token, 1, err);
}

/* The same by computing the whole sequence again, for comparison with the cache. */
static vw_status advance_uncached(generation *g, int32_t token, vw_error *err)
{
    vw_sequence *s = g->sequence;
    int64_t n = s->length;
    s->tokens[n] = token; /* truncating keeps the list of tokens, which is fed again */
    vw_status st = vw_sequence_truncate(s, 0, err);
    g->length = 0;
    return st ? st : advance(g, s->tokens, n + 1, err);
}

/* Show one token, or with id -1 what was held back.  *is_over: the callback or a stop string. */
static vw_status show(generation *g, int32_t id, vw_finish *finish, bool *is_over, vw_error *err)
{
    vw_piece piece = {.size = sizeof piece, .token = id, .logprob = id < 0 ? 0 : g->logprob,
                      .text = ""};
    if (g->has_text) {
        vw_status st = id < 0 ? vw_text_flush(&g->text, err) : vw_text_push(&g->text, id, err);
        if (st)
            return st;
        piece.text = g->text.out;
        piece.text_bytes = g->text.n_out;
        if (g->text.is_stopped && id >= 0) {
            *is_over = true;
            *finish = VW_FINISH_STOP_STRING;
        }
    }
    if (g->o->on_piece && g->o->on_piece(g->o->arg, &piece) && id >= 0 && !*is_over) {
        *is_over = true;
        *finish = VW_FINISH_CALLBACK;
    }
    return VW_OK;
}

static vw_status decode(generation *g, int32_t *tokens, size_t room, vw_generate_stats *stats,
                        vw_error *err)
{
    const vw_generate_options *o = g->o;
    vw_status st = VW_OK;
    bool is_over = false;
    while (!st && !is_over) {
        int32_t id = g->next;
        stats->finish = VW_FINISH_LENGTH;
        if (o->max_tokens >= 0 && stats->n_tokens >= o->max_tokens)
            break;
        stats->finish = VW_FINISH_EOS;
        if (is_stop_token(g, id))
            break;
        if (tokens && (size_t)stats->n_tokens < room)
            tokens[stats->n_tokens] = id;
        stats->n_tokens++;
        stats->logprob += g->logprob;
        st = show(g, id, &stats->finish, &is_over, err);
        if (st || is_over)
            break;
        stats->finish = VW_FINISH_LENGTH;
        if (stats->n_tokens == o->max_tokens)
            break;
        stats->finish = VW_FINISH_CONTEXT;
        if (g->length >= g->engine->context)
            break;
        int64_t left = o->max_tokens < 0 ? MAX_DRAFT : o->max_tokens - stats->n_tokens - 1;
        st = o->uncached ? advance_uncached(g, id, err) : next_token(g, id, left, err);
        if (st == VW_E_INTERRUPTED) { /* what came is good */
            st = VW_OK;
            is_over = true;
            stats->finish = VW_FINISH_INTERRUPTED;
        }
    }
    if (!st && g->sequence->length > g->length) /* guesses that nobody asked for any more */
        st = vw_sequence_truncate(g->sequence, g->length, err);
    if (!st)
        st = show(g, -1, &stats->finish, &is_over, err);
    stats->n_drafted = g->draft.n_proposed;
    stats->n_accepted = g->draft.n_accepted;
    return st;
}

static vw_status check(const generation *g, vw_error *err)
{
    const vw_generate_options *o = g->o;
    if (!o->sampling)
        return vw_fail(err, VW_E_INVALID, "the options of a generation lack `sampling`, or their `size`, "
                       "which is sizeof(vw_generate_options)");
    if (o->n_prompt + (size_t)g->sequence->length == 0)
        return vw_fail(err, VW_E_INVALID, "there is nothing to continue: the prompt has no tokens");
    if (!o->n_prompt)
        return vw_fail(err, VW_E_INVALID, "the prompt must bring at least one new token");
    if (o->stop && o->stop[0] && !g->engine->tokenizer)
        return vw_fail(err, VW_E_INVALID, "stop strings need a tokenizer, and %s has none",
                       g->engine->path);
    return VW_OK;
}

static vw_status prepare(generation *g, vw_error *err)
{
    const vw_generate_options *o = g->o;
    vw_status st = check(g, err);
    if (!st)
        st = vw_sampler_open(&g->sampler, g->engine, o->sampling, err);
    if (!st && g->engine->tokenizer && (o->on_piece || o->stop)) {
        st = vw_text_open(&g->text, g->engine, o->stop, true, err);
        g->has_text = !st;
    }
    return st;
}

vw_status vw_generate(vw_engine *e, vw_sequence *sequence, const vw_generate_options *options,
                      int32_t *tokens, size_t room, vw_generate_stats *stats, vw_error *err)
{
    vw_generate_options o;
    vw_sized_take(&o, options, sizeof o);
    generation g = {.engine = e, .sequence = sequence, .o = &o, .draft = {e, sequence, 0, 0, 0},
                    .length = sequence->length};
    vw_generate_stats s = {.size = sizeof s, .n_prompt = (int64_t)o.n_prompt,
                           .n_cached = sequence->length};
    double start = now(), prompted = start;
    e->is_interrupted = 0;
    vw_status st = prepare(&g, err);
    if (!st) {
        e->prompt.show = o.progress;
        e->prompt.arg = o.progress_arg;
        e->prompt.done = 0;
        e->prompt.total = (int64_t)o.n_prompt;
        st = advance(&g, o.prompt, (int64_t)o.n_prompt, err);
        e->prompt.show = NULL;
        prompted = now();
    }
    if (!st)
        st = decode(&g, tokens, room, &s, err);
    s.prompt_seconds = prompted - start;
    s.decode_seconds = now() - prompted;
    vw_text_close(&g.text);
    vw_sampler_close(&g.sampler);
    if (!st && stats)
        vw_sized_give(stats, &s, sizeof s);
    return st;
}

/* ---- scoring --------------------------------------------------------------------------------- */

typedef struct scoring {
    const int32_t *tokens;
    size_t n_greedy;
    int32_t vocab_size;
    double logprob;
} scoring;

static vw_status score_row(void *arg, size_t feed, int64_t position, const float *logits,
                           vw_error *err)
{
    scoring *s = arg;
    int32_t best = 0, next = s->tokens[position + 1];
    double sum = 0;
    (void)feed;
    (void)err;
    for (int32_t i = 1; i < s->vocab_size; i++)
        if (logits[i] > logits[best])
            best = i;
    for (int32_t i = 0; i < s->vocab_size; i++)
        sum += exp((double)logits[i] - logits[best]);
    s->logprob += (double)logits[next] - logits[best] - log(sum);
    s->n_greedy += next == best;
    return VW_OK;
}

vw_status vw_score(vw_engine *e, const int32_t *tokens, size_t n, size_t first, double *logprob,
                   size_t *n_greedy, vw_error *err)
{
    scoring s = {.tokens = tokens, .vocab_size = e->info->vocab_size};
    vw_sequence *sequence;
    if (first < 1 || first > n)
        return vw_fail(err, VW_E_INVALID, "tokens %zu to %zu cannot be scored: each needs one "
                       "before it", first, n);
    vw_status st = vw_sequence_new(e, &sequence, err);
    if (st)
        return st;
    vw_feed trunk = {sequence, tokens, (int64_t)first - 1, VW_WANT_NOTHING};
    vw_feed scored = {sequence, tokens + first - 1, (int64_t)(n - first), VW_WANT_ALL};
    st = vw_engine_feed(e, &trunk, 1, NULL, NULL, err);
    if (!st)
        st = vw_engine_feed(e, &scored, 1, score_row, &s, err);
    vw_sequence_free(sequence);
    if (st)
        return st;
    if (logprob)
        *logprob = s.logprob;
    if (n_greedy)
        *n_greedy = s.n_greedy;
    return VW_OK;
}
