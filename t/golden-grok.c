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

#include "t/golden-config.h"
#include "t/golden.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

static const char *const models[] = {"grok-original", "grok-keyfan", "grok-lmzheng", "grok-hpcai"};
static const char *const prompts[] = {"short", "long", "pad"};

static void compare_greedy(with_engine *w, const golden *g, const char *what)
{
    vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .ignore_eos = 1};
    vw_generate_options o = {.size = sizeof o, .prompt = g->tokens, .n_prompt = g->n,
                             .max_tokens = (int64_t)g->n_greedy, .sampling = &greedy};
    for (int uncached = 0; uncached < 2; uncached++) {
        int32_t ids[GOLDEN_MAX_GREEDY] = {0};
        vw_sequence *s;
        o.uncached = uncached;
        if (vw_sequence_new(w->engine, &s, &w->err))
            bail_out("%s", w->err.text);
        vw_status st = vw_generate(w->engine, s, &o, ids, GOLDEN_MAX_GREEDY, NULL, &w->err);
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
        golden_open(&w, model, prompts[p], &g);
        /* A row of padding is compared too, but for one at the very beginning, which sees nothing at
         * all and of which no program has to agree. */
        g.first = g.tokens[0] == 0;
        snprintf(what, sizeof what, "%s, %s, %s, %s prompt", model, gemm, attention, prompts[p]);
        golden_compare(&w, &g, 0, what);
        golden_compare(&w, &g, 1, what);
        golden_compare(&w, &g, 7, what);
        compare_greedy(&w, &g, what);
        golden_close(&w, &g);
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

static const golden_change changes[] = {
    {"\"hidden_act\": \"gelu\"", "\"hidden_act\": \"silu\"", NULL}, /* says what it likes */
    {"\"hidden_act\": \"gelu\"", "\"final_logit_softcapping\": 50", "\"final_logit_softcapping\" is set; Grok-1 "
     "has none and this plugin would compute something else"},
    {"\"hidden_act\": \"gelu\"", "\"sliding_window\": null", NULL},
    {"\"hidden_act\": \"gelu\"", "\"residual_moe\": true", "residual_moe is true: a dense MLP beside the "
     "experts, which Grok-2 has"},
    {"\"hidden_size\": 16,", "", "\"hidden_size\" is missing"},
    {"\"hidden_size\": 16", "\"hidden_size\": 0", "\"hidden_size\" is 0, expected an integer from 1 to"},
    {"\"hidden_size\": 16", "\"emb_size\": 16", NULL},
    {"\"intermediate_size\": 16,", "", "neither \"intermediate_size\" nor a \"widening_factor\" says"},
    {"\"intermediate_size\": 16", "\"widening_factor\": 1e-9", "says how wide an expert is"},
    {"\"intermediate_size\": 16", "\"widening_factor\": 1e9", "says how wide an expert is"},
    {"\"intermediate_size\": 16", "\"widening_factor\": 1.5", NULL},
    {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "4 query heads are no multiple of 3 KV heads"},
    {"\"head_dim\": 6", "\"head_dim\": 5", "heads of 5 values; rotation needs pairs"},
    {"\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 9", "a token takes 9 experts of 8"},
    {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 2", "rms_norm_eps is 2; expected a small positive"},
    {"\"rope_theta\": 10000.0", "\"rope_theta\": -1", "rope_theta is -1; it must be above 0"},
    {"\"pad_token_id\": 0", "\"pad_token_id\": 64", "\"pad_token_id\" is 64, expected an integer from -1 to 63"},
    {"\"num_hidden_layers\": 11", "\"num_hidden_layers\": 12", "no tensor \"transformer.decoder_layer.11."},
    {"\"num_hidden_layers\": 11", "\"num_hidden_layers\": 10", "is no part of this model"},
};

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
    golden_config_test("grok-keyfan", "model.plugin=grok engine.ctx_size=64", changes,
                       sizeof changes / sizeof *changes);
    test_all();
    return done_testing();
}
