/* golden-gemma.c - Gemma against the published implementation.
 *
 * t/data/goldens holds random checkpoints of odd sizes with the logits that transformers computes
 * from them (etc/goldens/README.md).  Every pair of gemm and attention plugins, and the device's own
 * where there is one, must come within 2e-4 of the logits' standard deviation, all at once and token
 * by token, and write the same greedy text.
 */
#include <string.h>

#include "t/golden.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

static const char *const models[] = {"gemma-odd-f32", "gemma-odd-bf16", "gemma-mqa-f16",
                                     "gemma-mha", "gemma-resaved",
                                     "gemma2-odd-f32", "gemma2-defaults", "gemma2-resaved",
                                     "gemma3-text-f32", "gemma3-resaved", "gemma3-wrapped",
                                     "gemma3-rewrapped"};

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

static void test_model(const char *model, const char *device, const char *gemm,
                       const char *attention)
{
    static const char *const prompts[] = {"short", "long"};
    char folder[4096], settings[160], what[256];
    with_engine w;
    snprintf(folder, sizeof folder, "%s/%s", source_file("t/data/goldens"), model);
    snprintf(settings, sizeof settings,
             "device.plugin=%s gemm.plugin=%s attention.plugin=%s engine.batch_tokens=96", device,
             gemm, attention);
    bool is_open = engine_open(&w, folder, settings);
    ok(is_open, "%s opens with %s and %s: %s", model, gemm, attention, is_open ? "ok" : w.err.text);
    for (int p = 0; p < 2 && is_open; p++) {
        golden g;
        golden_open(&w, model, prompts[p], &g);
        snprintf(what, sizeof what, "%s, %s, %s, %s prompt", model, gemm, attention, prompts[p]);
        golden_compare(&w, &g, 0, what);
        golden_compare(&w, &g, 1, what);
        golden_compare(&w, &g, 7, what);
        compare_greedy(&w, &g, what);
        golden_close(&w, &g);
    }
    engine_close(&w);
}

/* Layers with a window share a block table and give back what they cannot see any more: of 150 tokens
 * the global layers of this model keep 38 pages of 4, those with a window of 9 at most 4. */
static void test_window(void)
{
    with_engine w;
    golden g;
    char folder[4096];
    int32_t id;
    vw_sequence *s;
    vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .ignore_eos = 1};
    snprintf(folder, sizeof folder, "%s/gemma3-text-f32", source_file("t/data/goldens"));
    if (!engine_open(&w, folder, "kv.page_tokens=4 engine.batch_tokens=16"))
        bail_out("%s", w.err.text);
    golden_open(&w, "gemma3-text-f32", "long", &g);
    if (vw_sequence_new(w.engine, &s, &w.err))
        bail_out("%s", w.err.text);
    vw_generate_options o = {.size = sizeof o, .prompt = g.tokens, .n_prompt = g.n, .max_tokens = 1,
                             .sampling = &greedy};
    ok(!vw_generate(w.engine, s, &o, &id, 1, NULL, &w.err) && id == g.greedy[0],
       "a prompt of many windows");
    vw_engine_get_info(w.engine, &w.info);
    int64_t used = w.info.kv_pages - w.info.kv_pages_free, global = ((int64_t)g.n + 3) / 4;
    ok(used > global && used <= global + 1 + 4, "it keeps %lld pages, %lld of them global",
       (long long)used, (long long)global);
    vw_sequence_free(s);
    vw_engine_get_info(w.engine, &w.info);
    is_int(w.info.kv_pages_free, w.info.kv_pages, "and loses none");
    golden_close(&w, &g);
    engine_close(&w);
}

static void test_all_models(const char *device, const char *gemm, const char *attention)
{
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        test_model(models[m], device, gemm, attention);
}

static void test_device(const char *model)
{
    if (!has_plugin(VW_KIND_DEVICE, "cuda"))
        skip_unless_required("cuda", 1, "no NVIDIA device");
    else if (model)
        test_model(model, "cuda", "cuda_ref", "cuda_ref");
    else
        test_all_models("cuda", "cuda_ref", "cuda_ref");
}

static void test_processor(void)
{
    static const char *const gemms[] = {"ref", "cpu", "blas", "onednn"};
    static const char *const attentions[] = {"ref", "flash"};
    for (size_t g = 0; g < sizeof gemms / sizeof *gemms; g++) {
        if (!has_plugin(VW_KIND_GEMM, gemms[g])) {
            skip_unless_required(gemms[g], 1, "gemm/%s is not built", gemms[g]);
            continue;
        }
        for (size_t a = 0; a < sizeof attentions / sizeof *attentions; a++)
            test_all_models("cpu", gemms[g], attentions[a]);
    }
}

/* golden-gemma.t [cuda [MODEL]]: on that device alone, with one model alone.  golden-gemma.t quick: one
 * pair of plugins, which is what a check of mutations runs. */
int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "quick")) {
        test_all_models("cpu", "cpu", "flash");
        return done_testing();
    }
    if (argc < 2) {
        test_window();
        test_processor();
    }
    test_device(argc > 2 ? argv[2] : NULL);
    return done_testing();
}
