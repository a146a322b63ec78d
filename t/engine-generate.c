/* engine-generate.c - generation with the bundled model: text is whole and ends where it should, seeds
 * and scores are kept, a decoded token allocates nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "core/generate_service.h"
#include "t/engine-case.h"
#include "t/tap/tap.h"

static const vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1};

typedef struct shown {
    char text[4096];
    size_t n;
    bool is_valid;
    int n_pieces;
    double logprob;
} shown;

static bool is_utf8(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < n; ) {
        size_t more = p[i] < 0x80 ? 0 : p[i] >= 0xF0 ? 3 : p[i] >= 0xE0 ? 2 : p[i] >= 0xC2 ? 1 : 9;
        if (more == 9 || i + more >= n)
            return false;
        for (size_t j = 1; j <= more; j++)
            if ((p[i + j] & 0xC0) != 0x80)
                return false;
        i += more + 1;
    }
    return true;
}

static int show(void *arg, const vw_piece *piece)
{
    shown *s = arg;
    s->is_valid = s->is_valid && is_utf8(piece->text, piece->text_bytes);
    if (s->n + piece->text_bytes < sizeof s->text) {
        memcpy(s->text + s->n, piece->text, piece->text_bytes);
        s->n += piece->text_bytes;
        s->text[s->n] = '\0';
    }
    s->n_pieces += piece->token >= 0;
    s->logprob += piece->logprob;
    return 0;
}

static vw_generate_stats generate(with_engine *w, const char *prompt, const vw_sampling *sampling,
                                  const char *const *stop, int64_t max_tokens, shown *out,
                                  int32_t *ids, size_t room)
{
    int32_t prompt_ids[256];
    size_t n;
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sequence *s = sequence(w);
    memset(out, 0, sizeof *out);
    out->is_valid = true;
    if (vw_engine_encode(w->engine, prompt, strlen(prompt), -1, prompt_ids, 256, &n, &w->err))
        bail_out("%s", w->err.text);
    vw_generate_options o = {.size = sizeof o, .prompt = prompt_ids, .n_prompt = n,
                             .max_tokens = max_tokens, .sampling = sampling, .stop = stop,
                             .on_piece = show, .arg = out};
    vw_status st = vw_generate(w->engine, s, &o, ids, room, &stats, &w->err);
    ok(st == VW_OK, "generates: %s", st ? w->err.text : "ok");
    vw_sequence_free(s);
    return stats;
}

/* As a signal would, at the moment when the first token is shown. */
static int interrupt_at_first(void *arg, const vw_piece *piece)
{
    with_engine *w = arg;
    if (piece->token >= 0)
        vw_engine_interrupt(w->engine);
    return 0;
}

static void test_interrupt(with_engine *w)
{
    int32_t prompt[20], ids[8];
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sequence *s = sequence(w);
    random_ids(prompt, 20, w->info.vocab_size, 40);
    vw_generate_options o = {.size = sizeof o, .prompt = prompt, .n_prompt = 20, .max_tokens = 8,
                             .sampling = &greedy, .on_piece = interrupt_at_first, .arg = w};
    vw_status st = vw_generate(w->engine, s, &o, ids, 8, &stats, &w->err);
    ok(st == VW_OK, "an interrupted generation is no error: %s", st ? w->err.text : "ok");
    is_int(stats.finish, VW_FINISH_INTERRUPTED, "its end is told");
    is_int(stats.n_tokens, 1, "what came is kept");
    is_int(vw_sequence_length(s), 20, "the sequence holds the prompt");
    vw_sequence_truncate(s, 0, &w->err);
    vw_engine_interrupt(w->engine);
    o.on_piece = NULL;
    st = vw_generate(w->engine, s, &o, ids, 8, &stats, &w->err);
    ok(st == VW_OK, "an interrupt from before does not end a generation: %s",
       st ? w->err.text : "ok");
    is_int(stats.n_tokens, 8, "it goes to its end");
    vw_sequence_free(s);
}

typedef struct watched {
    int n_calls, ends_at; /* the call that says to end, 0: none */
    uint64_t done[8], total;
} watched;

static int watch(void *arg, const char *what, uint64_t done, uint64_t total, const char *unit)
{
    watched *seen = arg;
    (void)what, (void)unit;
    if (seen->n_calls < 8)
        seen->done[seen->n_calls] = done;
    seen->total = total;
    return ++seen->n_calls == seen->ends_at;
}

/* A prompt of three batches is seen to go on, and can be ended between two of them. */
static void test_progress(void)
{
    int32_t prompt[20];
    with_engine w;
    open_or_die(&w, NULL, "engine.batch_tokens=8");
    is_int(w.info.batch_tokens, 8, "the engine tells the tokens of a batch");
    random_ids(prompt, 20, w.info.vocab_size, 40);
    watched seen = {0, 0, {0}, 0};
    vw_generate_options o = {.size = sizeof o, .prompt = prompt, .n_prompt = 20, .max_tokens = 2,
                             .sampling = &greedy, .progress = watch, .progress_arg = &seen};
    vw_sequence *s = sequence(&w);
    vw_status st = vw_generate(w.engine, s, &o, NULL, 0, NULL, &w.err);
    ok(st == VW_OK, "generates: %s", st ? w.err.text : "ok");
    is_int(seen.n_calls, 3, "progress after each batch of the prompt alone");
    ok(seen.done[0] == 8 && seen.done[1] == 16 && seen.done[2] == 20 && seen.total == 20,
       "8, 16 and 20 of 20");
    seen = (watched){0, 2, {0}, 0};
    vw_sequence_truncate(s, 0, &w.err);
    is_int(vw_generate(w.engine, s, &o, NULL, 0, NULL, &w.err), VW_E_INTERRUPTED, "ended by it");
    is_int(seen.n_calls, 2, "before the next batch");
    is_int(vw_sequence_length(s), 0, "the sequence is as it was");
    seen = (watched){0, 0, {0}, 0};
    o.size = offsetof(vw_generate_options, progress);
    st = vw_generate(w.engine, s, &o, NULL, 0, NULL, &w.err);
    ok(st == VW_OK && !seen.n_calls, "a program that did not know of it yet gets none");
    vw_sequence_free(s);
    engine_close(&w);
}

static void test_stop_strings(with_engine *w)
{
    static const char *const stops[][3] = {{"crown", NULL}, {"not bear", "xyz", NULL},
                                           {"ear the cr", "the crowd", NULL}, {"zzz", NULL}};
    shown all, cut;
    generate(w, "ROMEO:\n", &greedy, NULL, 40, &all, NULL, 0);
    for (size_t i = 0; i < 4; i++) {
        vw_generate_stats stats = generate(w, "ROMEO:\n", &greedy, stops[i], 40, &cut, NULL, 0);
        const char *at = strstr(all.text, stops[i][0]);
        is_int(stats.finish, at ? VW_FINISH_STOP_STRING : VW_FINISH_LENGTH, "\"%s\" stops or not",
               stops[i][0]);
        is_int(cut.n, at ? at - all.text : (long)all.n, "all before \"%s\" and nothing of it",
               stops[i][0]);
        ok(memcmp(cut.text, all.text, cut.n) == 0, "and it is the same text");
    }
}

static void test_seeds(with_engine *w)
{
    vw_sampling warm = {.temperature = 1.2, .top_p = 1, .repeat_penalty = 1, .seed = 7};
    shown a, b;
    generate(w, "ROMEO:\n", &warm, NULL, 60, &a, NULL, 0);
    generate(w, "ROMEO:\n", &warm, NULL, 60, &b, NULL, 0);
    is_str(a.text, b.text, "the same seed, the same text");
    ok(a.is_valid, "every piece is whole UTF-8");
    warm.seed = 8;
    generate(w, "ROMEO:\n", &warm, NULL, 60, &b, NULL, 0);
    ok(strcmp(a.text, b.text) != 0, "another seed, another text");
    warm.top_k = 1;
    generate(w, "ROMEO:\n", &warm, NULL, 60, &a, NULL, 0);
    generate(w, "ROMEO:\n", &greedy, NULL, 60, &b, NULL, 0);
    is_str(a.text, b.text, "top-k 1 is greedy");
}

static void test_penalties(with_engine *w)
{
    vw_sampling s = greedy;
    int32_t plain[100] = {0}, penalised[100] = {0};
    shown out;
    generate(w, "ROMEO:\n", &greedy, NULL, 100, &out, plain, 100);
    s.frequency_penalty = 100; /* no token twice in a row of this length */
    s.repeat_last_n = -1;
    s.ignore_eos = 1;
    vw_generate_stats stats = generate(w, "ROMEO:\n", &s, NULL, 100, &out, penalised, 100);
    int repeats = 0;
    for (int i = 0; i < stats.n_tokens; i++)
        for (int j = 0; j < i; j++)
            repeats += penalised[i] == penalised[j];
    is_int(repeats, 0, "a large frequency penalty lets no token come twice");
    s.frequency_penalty = 0;
    s.repeat_penalty = 1.3;
    generate(w, "ROMEO:\n", &s, NULL, 100, &out, penalised, 100);
    ok(memcmp(plain, penalised, sizeof plain) != 0, "a repeat penalty changes the text");
}

/* Whatever the sampling, a log-probability is of what the model computed. */
static void test_scores(with_engine *w, const vw_sampling *sampling, const char *what)
{
    int32_t ids[70];
    size_t n, n_greedy;
    double logprob;
    shown out;
    if (vw_engine_encode(w->engine, "ROMEO:\n", 7, -1, ids, 70, &n, &w->err))
        bail_out("%s", w->err.text);
    vw_generate_stats stats = generate(w, "ROMEO:\n", sampling, NULL, 40, &out, ids + n, 40);
    vw_status st = vw_score(w->engine, ids, n + (size_t)stats.n_tokens, n, &logprob, &n_greedy,
                            &w->err);
    ok(st == VW_OK, "%s, scores: %s", what, st ? w->err.text : "ok");
    near(logprob, stats.logprob, 1e-3, "a score is the sum of the log-probabilities");
    near(out.logprob, stats.logprob, 1e-3, "and so are the pieces'");
    ok((n_greedy == (size_t)stats.n_tokens) == (sampling == &greedy),
       "every greedy token is the most likely one, and no other way's");
}

/* What ways of reasoning get: the text that vw_generate shows, and its scores. */
static void test_service(with_engine *w)
{
    static const char *const stop[] = {"crown", NULL};
    const vw_generate_service *service = &vw_generate_table;
    vw_generator *g = (vw_generator *)w->engine;
    vw_generate_request requests[] = {{"ROMEO:\nI", 12, 0, 1, NULL}, {"ROMEO:\n", 40, 0, 1, stop}};
    vw_generate_result results[2];
    shown all, cut;
    generate(w, requests[0].prompt, &greedy, NULL, 12, &all, NULL, 0);
    generate(w, requests[1].prompt, &greedy, stop, 40, &cut, NULL, 0);
    vw_status st = service->generate(g, requests, 2, results, &w->err);
    ok(st == VW_OK, "the service generates: %s", st ? w->err.text : "ok");
    if (st)
        return;
    is_str(results[0].text, all.text, "the text that is shown, its first blank too");
    is_int(results[0].is_stopped, 0, "ended by length");
    is_str(results[1].text, cut.text, "nothing of a stop string");
    is_int(results[1].is_stopped, 1, "ended by it");
    vw_score_request asked = {requests[0].prompt, results[0].text};
    vw_score_result score;
    st = service->score(g, &asked, 1, &score, &w->err);
    ok(st == VW_OK, "the service scores: %s", st ? w->err.text : "ok");
    if (!st && score.n_tokens == results[0].n_tokens)
        near(score.logprob, results[0].logprob, 1e-3, "as it generated");
    service->free_results(results, 2);
    vw_engine_interrupt(w->engine);
    is_int(service->generate(g, requests, 2, results, &w->err), VW_E_INTERRUPTED, "interrupted");
}

/* Random ids, byte pieces among them: each piece valid, the whole equal to decoding at once. */
static void test_decode(with_engine *w)
{
    int32_t ids[400];
    char *text;
    size_t bytes;
    random_ids(ids, 400, w->info.vocab_size, 50);
    if (vw_engine_decode_dup(w->engine, ids, 400, &text, &bytes, &w->err))
        bail_out("%s", w->err.text);
    ok(is_utf8(text, bytes), "400 random ids decode to UTF-8");
    ok(bytes > 400, "and to some text");
    free(text);
}

/* A program around the library has no options of a command line. */
static void test_without_tokenizer(void)
{
    int32_t ids[8];
    size_t n;
    with_engine w;
    open_or_die(&w, source_file("t/data/goldens/gemma2-odd-f32"), "");
    is_int(vw_engine_encode(w.engine, "a", 1, -1, ids, 8, &n, &w.err), VW_E_NOTFOUND,
           "without a tokenizer there is no text");
    like(w.err.text, "gemma2-odd-f32 has no tokenizer, without which there is no text; token "
         "ids can be given in its place", "and its sentence");
    engine_close(&w);
}

static int count_allocations(void *arg, const vw_piece *piece)
{
    uint64_t **at = arg;
    (void)piece;
    vw_core *core = (vw_core *)(void *)at[1];
    if (*at[0] == 0)
        *at[0] = vw_core_allocations(core);
    return 0;
}

static void test_allocations(const char *settings)
{
    int32_t prompt[] = {2, 681, 978, 966};
    uint64_t before = 0;
    with_engine w;
    open_or_die(&w, NULL, settings);
    uint64_t *arg[2] = {&before, (uint64_t *)(void *)w.core};
    vw_sampling warm = {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05,
                        .repeat_penalty = 1.1, .repeat_last_n = 64, .seed = 1, .ignore_eos = 1};
    vw_generate_options o = {.size = sizeof o, .prompt = prompt, .n_prompt = 4, .max_tokens = 200,
                             .sampling = &warm, .on_piece = count_allocations, .arg = arg};
    vw_generate_stats stats = {.size = sizeof stats};
    vw_sequence *s = sequence(&w);
    vw_status st = vw_generate(w.engine, s, &o, NULL, 0, &stats, &w.err);
    ok(st == VW_OK && stats.n_tokens == 200, "200 tokens: %s", st ? w.err.text : "ok");
    ok(before > 0, "allocations are counted");
    is_int(vw_core_allocations(w.core) - before, 0, "none for a decoded token (%s)", settings);
    vw_sequence_free(s);
    engine_close(&w);
}

int main(void)
{
    with_engine w;
    setenv("VW_MODEL", source_file("etc/models/tiny-gemma"), 1);
    open_or_die(&w, NULL, "");
    test_interrupt(&w);
    test_progress();
    if (w.info.has_tokenizer) {
        test_stop_strings(&w);
        test_seeds(&w);
        test_penalties(&w);
        vw_sampling penalised = {.top_p = 1, .repeat_penalty = 1.5, .repeat_last_n = -1,
                                 .presence_penalty = 0.5, .frequency_penalty = 0.25};
        vw_sampling warm = {.temperature = 1.5, .top_k = 20, .top_p = 0.9, .repeat_penalty = 0.8,
                            .repeat_last_n = 16, .seed = 3};
        test_scores(&w, &greedy, "greedy");
        test_scores(&w, &penalised, "penalised");
        test_scores(&w, &warm, "penalised and drawn");
        test_service(&w);
        test_decode(&w);
    } else {
        skip_unless_required("tokenizer/sentencepiece", 6, "tokenizer/sentencepiece is not built");
    }
    engine_close(&w);
    test_without_tokenizer();
    test_allocations("vishwamai.threads=2");
    test_allocations("vishwamai.threads=1 gemm.plugin=ref attention.plugin=ref");
    return done_testing();
}
