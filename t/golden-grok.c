/* golden-grok.c - Grok-1 against a float64 forward.
 *
 * t/data/goldens/grok-* are random checkpoints with the logits that etc/goldens/grok.py computes from
 * them: one model as xAI would have published it and under the names of two conversions, and one of
 * other sizes under a third one's.  Logits must come within 2e-4 of their standard deviation, all at
 * once, in chunks and token by token, with padding in the middle of a prompt too.
 *
 * golden-grok.t quick: one gemm and one attention; what a search for planted errors runs.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vishwamai/weights.h>

#include "core/json.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

enum { MAX_TOKENS = 128, MAX_GREEDY = 32 };

typedef struct golden {
    int32_t tokens[MAX_TOKENS], greedy[MAX_GREEDY];
    size_t n, n_greedy;
    double std;
    float *logits; /* [n][vocab] */
} golden;

static const char *const models[] = {"grok-original", "grok-keyfan", "grok-lmzheng", "grok-hpcai"};
static const char *const prompts[] = {"short", "long", "pad"};

static size_t read_ids(const vw_json_value *array, int32_t *ids, size_t room)
{
    const vw_json *json = vw_json_service();
    size_t n = json->count(array);
    if (n > room)
        bail_out("a golden has %zu ids; there is room for %zu", n, room);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)json->integer(json->at(array, i));
    return n;
}

static void read_logits(with_engine *w, const char *folder, const char *prompt, golden *g)
{
    const vw_component *weights;
    vw_weights_reader *reader;
    vw_weights_tensor t;
    char path[8192], name[64];
    snprintf(path, sizeof path, "%s/golden.safetensors", folder);
    snprintf(name, sizeof name, "%s.logits", prompt);
    if (vw_core_plugin(w->core, VW_KIND_WEIGHTS, "safetensors", &weights, &w->err))
        bail_out("%s", w->err.text);
    const vw_weights_ops *ops = weights->ops;
    if (ops->open(weights->self, path, &reader, &w->err) ||
        ops->find(weights->self, reader, name, &t, &w->err))
        bail_out("%s", w->err.text);
    if (t.dtype != VW_F32 || t.shape[0] != (int64_t)g->n || t.shape[1] != w->info.vocab_size)
        bail_out("%s: %s has not the expected shape", path, name);
    if (!(g->logits = malloc(t.bytes)))
        bail_out("no memory");
    memcpy(g->logits, t.data, t.bytes);
    ops->close(weights->self, reader);
}

static void read_golden(with_engine *w, const char *folder, const char *prompt, golden *g)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    char path[8192];
    snprintf(path, sizeof path, "%s/golden.json", folder);
    if (json->open_file(path, &doc, &w->err))
        bail_out("%s", w->err.text);
    const vw_json_value *p = json->get(json->get(json->root(doc), "prompts"), prompt);
    g->n = read_ids(json->get(p, "tokens"), g->tokens, MAX_TOKENS);
    g->n_greedy = read_ids(json->get(p, "greedy"), g->greedy, MAX_GREEDY);
    g->std = json->real(json->get(p, "logits_std"));
    json->close(doc);
    read_logits(w, folder, prompt, g);
}

/* A row of padding is compared too, but for one at the very beginning, which sees nothing at all
 * and of which no program has to agree. */
static void compare_logits(with_engine *w, const golden *g, size_t chunk, const char *what)
{
    size_t vocab = (size_t)w->info.vocab_size, first = g->tokens[0] == 0;
    float *got = all_logits(w, g->tokens, g->n, chunk);
    if (got)
        near_array(got + first * vocab, g->logits + first * vocab, (g->n - first) * vocab,
                   2e-4 * g->std, "%s, chunks of %zu", what, chunk);
    free(got);
}

static void compare_greedy(with_engine *w, const golden *g, const char *what)
{
    vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .ignore_eos = 1};
    vw_generate_options o = {.size = sizeof o, .prompt = g->tokens, .n_prompt = g->n,
                             .max_tokens = (int64_t)g->n_greedy, .sampling = &greedy};
    for (int uncached = 0; uncached < 2; uncached++) {
        int32_t ids[MAX_GREEDY] = {0};
        vw_sequence *s;
        o.uncached = uncached;
        if (vw_sequence_new(w->engine, &s, &w->err))
            bail_out("%s", w->err.text);
        vw_status st = vw_generate(w->engine, s, &o, ids, MAX_GREEDY, NULL, &w->err);
        ok(st == VW_OK, "%s generates: %s", what, st ? w->err.text : "ok");
        is_mem(ids, g->greedy, g->n_greedy * sizeof *ids, "%s, greedy ids, %s", what,
               uncached ? "uncached" : "cached");
        vw_sequence_free(s);
    }
}

static void test_model(const char *model, const char *gemm, const char *attention)
{
    char folder[4096], settings[160], what[256];
    with_engine w;
    snprintf(folder, sizeof folder, "%s/%s", source_file("t/data/goldens"), model);
    snprintf(settings, sizeof settings, "gemm.plugin=%s attention.plugin=%s "
             "engine.batch_tokens=50 kv.page_tokens=8", gemm, attention);
    bool is_open = engine_open(&w, folder, settings);
    ok(is_open, "%s opens with %s and %s: %s", model, gemm, attention, is_open ? "ok" : w.err.text);
    for (size_t p = 0; p < sizeof prompts / sizeof *prompts && is_open; p++) {
        golden g;
        read_golden(&w, folder, prompts[p], &g);
        snprintf(what, sizeof what, "%s, %s, %s, %s prompt", model, gemm, attention, prompts[p]);
        compare_logits(&w, &g, 0, what);
        compare_logits(&w, &g, 1, what);
        compare_logits(&w, &g, 7, what);
        compare_greedy(&w, &g, what);
        free(g.logits);
    }
    engine_close(&w);
}

static void test_all(void)
{
    static const char *const gemms[] = {"ref", "cpu"}, *const attentions[] = {"ref", "flash"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (size_t g = 0; g < 2; g++)
            for (size_t a = 0; a < 2; a++)
                if (m % 3 == 0 || g + a == 2) /* the other two differ from the first in names */
                    test_model(models[m], gemms[g], attentions[a]);
}

/* ---- what padding leaves behind -------------------------------------------------------------- */

/* Feeds `tokens` to a sequence and returns the logits of the last, freed by the caller. */
static vw_status keep_row(void *to, size_t feed, int64_t position, const float *logits, vw_error *err)
{
    (void)feed;
    (void)position;
    (void)err;
    memcpy(to, logits, 64 * sizeof *logits);
    return VW_OK;
}

static void feed(with_engine *w, vw_sequence *s, const int32_t *tokens, int64_t n, float logits[64])
{
    vw_feed f = {s, tokens, n, VW_WANT_LAST};
    if (vw_engine_feed(w->engine, &f, 1, keep_row, logits, &w->err))
        bail_out("%s", w->err.text);
}

/* Forks and cuts at and around a token that left no key, on pages of four. */
static void test_sequences(void)
{
    static const int32_t tokens[] = {5, 9, 0, 11, 4, 0, 7, 8}, other[] = {31, 30};
    enum { N = sizeof tokens / sizeof *tokens };
    float want[64], got[64], aside[64];
    with_engine w;
    vw_sequence *whole, *fork, *cut;
    if (!engine_open(&w, source_file("t/data/goldens/grok-keyfan"), "kv.page_tokens=4"))
        bail_out("%s", w.err.text);
    if (vw_sequence_new(w.engine, &whole, &w.err) || vw_sequence_new(w.engine, &cut, &w.err))
        bail_out("%s", w.err.text);
    feed(&w, whole, tokens, N, want);
    feed(&w, cut, tokens, 6, got); /* four keys, and one of padding behind them on a page of its own */
    is_int(vw_sequence_length(cut), 6, "padding counts as a token");
    if (vw_sequence_fork(cut, &fork, &w.err))
        bail_out("%s", w.err.text);
    feed(&w, fork, other, 2, aside);
    feed(&w, cut, tokens + 6, 2, got);
    is_mem(got, want, sizeof want, "a fork that went another way leaves the trunk alone");
    ok(memcmp(aside, want, sizeof want) != 0, "though it went another way");
    for (int64_t n = 1; n < N; n++) {
        vw_sequence_truncate(cut, n, &w.err);
        feed(&w, cut, tokens + n, N - n, got);
        near_array(got, want, 64, 1e-5, "cut to %lld tokens and fed again", (long long)n);
    }
    vw_sequence_free(fork);
    vw_sequence_free(cut);
    vw_sequence_free(whole);
    vw_engine_get_info(w.engine, &w.info);
    is_int(w.info.kv_pages_free, w.info.kv_pages, "no page is lost");
    engine_close(&w);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_options(void)
{
    with_engine w;
    const char *folder = source_file("t/data/goldens/grok-hpcai");
    ok(!engine_open(&w, folder, "model.plugin=grok model.grok.activation_shard=yes"),
       "activations of one process are not divided");
    like(w.err.text, "[model.grok] activation_shard = yes: activations are divided among ranks, and "
         "this process runs alone; leave it at no", "its sentence");
    engine_close(&w);
    static const int32_t padded[] = {5, 0, 9};
    float *hidden = NULL, *seen = NULL;
    if (engine_open(&w, folder, ""))
        hidden = all_logits(&w, padded, 3, 0);
    engine_close(&w);
    if (engine_open(&w, folder, "model.plugin=grok model.grok.hide_pad=no"))
        seen = all_logits(&w, padded, 3, 0);
    if (!hidden || !seen)
        bail_out("%s", w.err.text);
    near_array(hidden, seen, 101, 1e-5, "hide_pad = no: what stands before padding is the same");
    ok(fabsf(hidden[202] - seen[202]) > 1e-3f, "and what follows is not");
    engine_close(&w);
    free(hidden);
    free(seen);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "quick")) {
        for (size_t m = 0; m < sizeof models / sizeof *models; m++)
            test_model(models[m], "cpu", "flash");
        return done_testing();
    }
    test_sequences();
    test_options();
    test_all();
    return done_testing();
}
