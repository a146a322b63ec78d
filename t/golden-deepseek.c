/* golden-deepseek.c - DeepSeek against the published implementation.
 *
 * t/data/goldens holds random checkpoints with the logits that transformers computes from them
 * (etc/goldens/README.md).  Every pair of gemm and attention plugins must come within 2e-4 of the
 * logits' standard deviation in both forms of attention, all at once, in chunks and token by token,
 * and write the same greedy text; drafts likewise, and with them the text may not change.
 */
#include <stdlib.h>
#include <string.h>

#include "t/golden.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

enum { GREEDY_ROOM = GOLDEN_MAX_GREEDY };

static const char *const forms[] = {"naive", "absorbed"};

static void open_model(with_engine *w, const char *model, const char *settings)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/%s", source_file("t/data/goldens"), model);
    bool is_open = engine_open(w, folder, settings);
    ok(is_open, "%s opens with %s: %s", model, settings, is_open ? "ok" : w->err.text);
    if (!is_open)
        bail_out("nothing to compare with");
}

static size_t generate(with_engine *w, const golden *g, int32_t *ids, vw_generate_stats *stats)
{
    vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .ignore_eos = 1};
    vw_generate_options o = {.size = sizeof o, .prompt = g->tokens, .n_prompt = g->n,
                             .max_tokens = (int64_t)g->n_greedy, .sampling = &greedy};
    vw_sequence *s;
    if (vw_sequence_new(w->engine, &s, &w->err) ||
        vw_generate(w->engine, s, &o, ids, GREEDY_ROOM, stats, &w->err))
        bail_out("%s", w->err.text);
    is_int(vw_sequence_length(s), (int64_t)g->n + stats->n_tokens - 1,
           "the sequence holds the prompt and all new tokens but the last");
    vw_sequence_free(s);
    return (size_t)stats->n_tokens;
}

static void test_model(const char *model, const char *plugins, const char *form)
{
    static const char *const prompts[] = {"short", "long"};
    char settings[256], what[256];
    with_engine w;
    snprintf(settings, sizeof settings,
             "%s model.deepseek.attention=%s engine.batch_tokens=64 engine.ctx_size=256", plugins,
             form);
    open_model(&w, model, settings);
    for (int p = 0; p < 2; p++) {
        golden g;
        int32_t ids[GREEDY_ROOM] = {0};
        vw_generate_stats stats;
        golden_open(&w, model, prompts[p], &g);
        snprintf(what, sizeof what, "%s, %s, %s, %s prompt", model, plugins, form, prompts[p]);
        golden_compare(&w, &g, 0, what);
        golden_compare(&w, &g, 1, what);
        golden_compare(&w, &g, 7, what);
        generate(&w, &g, ids, &stats);
        is_mem(ids, g.greedy, g.n_greedy * sizeof *ids, "%s, greedy ids", what);
        golden_close(&w, &g);
    }
    engine_close(&w);
}

static void test_plugins(const char *gemm, const char *attention)
{
    static const char *const models[] = {"deepseek-f32", "deepseek-bf16", "deepseek-plain",
                                         "deepseek-fp8", "deepseek-v2", "deepseek-mtp"};
    char plugins[128];
    snprintf(plugins, sizeof plugins, "gemm.plugin=%s attention.plugin=%s", gemm, attention);
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (size_t f = 0; f < 2; f++)
            test_model(models[m], plugins, forms[f]);
}

/* Per token and layer: kv_rank + rope values, against heads times (nope + rope + dv). */
static void test_cache_size(void)
{
    with_engine w;
    open_model(&w, "deepseek-f32", "model.deepseek.attention=absorbed engine.ctx_size=256 "
                                   "attention.plugin=ref");
    is_int((int64_t)w.info.kv_token_bytes, 3 * (26 + 8) * 4, "the absorbed form caches the latent alone");
    engine_close(&w);
    open_model(&w, "deepseek-f32", "model.deepseek.attention=naive engine.ctx_size=256 "
                                   "attention.plugin=ref");
    is_int((int64_t)w.info.kv_token_bytes, 3 * 3 * (14 + 8 + 10) * 4,
           "the naive form keys and values of every head");
    engine_close(&w);
}

/* quick: one pair of plugins, which is what a check of mutations runs. */
int main(int argc, char **argv)
{
    static const char *const gemms[] = {"ref", "cpu"}, *const attentions[] = {"ref", "flash"};
    bool is_quick = argc > 1 && !strcmp(argv[1], "quick");
    for (size_t g = is_quick; g < 2; g++)
        for (size_t a = is_quick; a < 2; a++)
            test_plugins(gemms[g], attentions[a]);
    if (!is_quick)
        test_cache_size();
    return done_testing();
}
