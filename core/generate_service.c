/* generate_service.c - texts in, texts out: the service "generate" for ways of reasoning.
 *
 * A vw_generator is an engine.  Requests run one after another; a prompt that begins as the one
 * before it keeps that much of the cache, so the branches of a search pay for their trunk once.
 */
#include "core/generate_service.h"

#include <stdlib.h>
#include <string.h>

#include "core/engine.h"

typedef struct ids { /* of a text */
    int32_t *at;
    size_t n;
} ids;

static vw_status encode(vw_engine *e, const char *text, int with_bos, ids *out, vw_error *err)
{
    size_t bytes = strlen(text), room = bytes + 2; /* a token is a byte at least, and BOS */
    out->at = vw_core_alloc(e->core, room * sizeof *out->at);
    if (!out->at)
        return vw_fail(err, VW_E_NOMEM, "no memory for a text of %zu bytes", bytes);
    vw_status st = vw_engine_encode(e, text, bytes, with_bos, out->at, room, &out->n, err);
    if (!st && out->n > room)
        st = vw_fail(err, VW_E_INVALID, "the tokenizer made %zu tokens of %zu bytes", out->n, bytes);
    return st;
}

/* Cut the sequence to what it shares with the prompt, but leave one token to feed. */
static vw_status keep_shared(vw_sequence *s, const ids *prompt, vw_error *err)
{
    int64_t shared = 0;
    while (shared < s->length && shared + 1 < (int64_t)prompt->n &&
           s->tokens[shared] == prompt->at[shared])
        shared++;
    return vw_sequence_truncate(s, shared, err);
}

/* Only shown text counts: nothing of a stop string, whole characters, and the blank between words. */
static int keep_piece(void *arg, const vw_piece *piece)
{
    return fwrite(piece->text, 1, piece->text_bytes, (FILE *)arg) != piece->text_bytes;
}

/* The continuation of `prompt`, whose first tokens the sequence has already, as malloc()ed text. */
static vw_status continue_text(vw_engine *e, vw_sequence *s, const ids *prompt,
                               const vw_generate_request *r, const vw_sampling *sampling,
                               char **text, vw_generate_stats *stats, vw_error *err)
{
    char *made = NULL;
    size_t bytes, n_kept = (size_t)vw_sequence_length(s);
    FILE *to = open_memstream(&made, &bytes);
    if (!to)
        return vw_fail(err, VW_E_NOMEM, "no memory for a text of %d tokens", r->max_tokens);
    vw_generate_options o = {.size = sizeof o, .prompt = prompt->at + n_kept,
                             .n_prompt = prompt->n - n_kept,
                             .max_tokens = r->max_tokens > 0 ? r->max_tokens : 0,
                             .sampling = sampling, .stop = r->stop, .on_piece = keep_piece,
                             .arg = to};
    vw_status st = vw_generate(e, s, &o, NULL, 0, stats, err);
    bool is_cut = !st && stats->finish == VW_FINISH_CALLBACK;
    if ((fclose(to) != 0 || is_cut) && !st)
        st = vw_fail(err, VW_E_NOMEM, "no memory for a text of %d tokens", r->max_tokens);
    if (!st && stats->finish == VW_FINISH_INTERRUPTED)
        st = vw_fail(err, VW_E_INTERRUPTED, "interrupted");
    if (st)
        free(made);
    else
        *text = made;
    return st;
}

static vw_status answer(vw_engine *e, vw_sequence *s, const vw_generate_request *r,
                        vw_generate_result *out, vw_error *err)
{
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sampling sampling;
    ids prompt = {0};
    vw_status st = vw_sampling_from_settings(vw_core_settings(e->core), &sampling, err);
    if (!st)
        st = encode(e, r->prompt, -1, &prompt, err);
    if (!st)
        st = keep_shared(s, &prompt, err);
    if (!st && atomic_exchange(&e->is_interrupted, 0)) /* between two requests */
        st = vw_fail(err, VW_E_INTERRUPTED, "interrupted");
    if (!st) {
        if (r->temperature >= 0)
            sampling.temperature = r->temperature;
        sampling.seed = (int64_t)(r->seed & INT64_MAX);
        st = continue_text(e, s, &prompt, r, &sampling, &out->text, &stats, err);
    }
    if (!st) {
        out->n_prompt_tokens = (int32_t)prompt.n;
        out->n_tokens = (int32_t)stats.n_tokens;
        out->logprob = stats.logprob;
        out->is_stopped = stats.finish == VW_FINISH_EOS || stats.finish == VW_FINISH_STOP_STRING;
    }
    vw_core_release(e->core, prompt.at);
    return st;
}

static void free_results(vw_generate_result *results, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(results[i].text);
        results[i].text = NULL;
    }
}

static vw_status generate(vw_generator *g, const vw_generate_request *requests, size_t n,
                          vw_generate_result *results, vw_error *err)
{
    vw_engine *e = (vw_engine *)g;
    vw_sequence *s;
    vw_status st = vw_sequence_new(e, &s, err);
    if (st)
        return st;
    memset(results, 0, n * sizeof *results);
    for (size_t i = 0; i < n && !st; i++)
        st = answer(e, s, &requests[i], &results[i], err);
    vw_sequence_free(s);
    if (st)
        free_results(results, n);
    return st;
}

static vw_status score_one(vw_engine *e, const vw_score_request *r, vw_score_result *out,
                           vw_error *err)
{
    ids prompt = {0}, more = {0};
    size_t n_greedy = 0;
    int32_t *all = NULL;
    vw_status st = encode(e, r->prompt, -1, &prompt, err);
    if (!st)
        st = encode(e, r->continuation, 0, &more, err);
    if (!st && !(all = vw_core_alloc(e->core, (prompt.n + more.n + 1) * sizeof *all)))
        st = vw_fail(err, VW_E_NOMEM, "no memory for %zu tokens", prompt.n + more.n);
    if (!st) {
        memcpy(all, prompt.at, prompt.n * sizeof *all);
        memcpy(all + prompt.n, more.at, more.n * sizeof *all);
        st = vw_score(e, all, prompt.n + more.n, prompt.n, &out->logprob, &n_greedy, err);
    }
    if (!st) {
        out->n_tokens = (int32_t)more.n;
        out->is_greedy = n_greedy == more.n;
    }
    vw_core_release(e->core, all);
    vw_core_release(e->core, more.at);
    vw_core_release(e->core, prompt.at);
    return st;
}

static vw_status score(vw_generator *g, const vw_score_request *requests, size_t n,
                       vw_score_result *results, vw_error *err)
{
    vw_status st = VW_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = score_one((vw_engine *)g, &requests[i], &results[i], err);
    return st;
}

const vw_generate_service vw_generate_table = {
    .size = sizeof vw_generate_table, .generate = generate, .free_results = free_results,
    .score = score,
};
