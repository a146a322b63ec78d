/* golden-deepseek.c - DeepSeek against the published implementation.
 *
 * t/data/goldens holds random checkpoints with the logits that transformers computes from them
 * (etc/goldens/README.md).  Every pair of gemm and attention plugins must come within 2e-4 of the
 * logits' standard deviation in both forms of attention, all at once, in chunks and token by token,
 * and write the same greedy text; drafts likewise, and with them the text may not change.
 */
#include <stdlib.h>
#include <string.h>

#include "core/draft.h"
#include "core/forward.h"
#include "t/golden-config.h"
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
        vw_generate_stats stats = {.size = sizeof stats};
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

/* ---- drafts ---------------------------------------------------------------------------------- */

static vw_status keep_rows(void *arg, int64_t first, vw_tensor logits, vw_error *err)
{
    float *to = (float *)arg + first * logits.shape[1];
    (void)err;
    memcpy(to, logits.data, (size_t)(logits.shape[0] * logits.shape[1]) * sizeof *to);
    return VW_OK;
}

/* The drafting layer's logits of a whole prompt in one forward. */
static void test_draft_logits(const char *model, const char *form, const char *state)
{
    char settings[256], name[64];
    with_engine w;
    golden g;
    vw_sequence *s;
    int32_t positions[GOLDEN_MAX_TOKENS], starts[2] = {0, 0}, n_keys[1];
    snprintf(settings, sizeof settings, "model.deepseek.attention=%s model.deepseek.mtp=on "
             "model.deepseek.mtp_hidden=%s engine.batch_tokens=128 engine.ctx_size=256", form, state);
    open_model(&w, model, settings);
    golden_open(&w, model, "long", &g);
    if (vw_sequence_new(w.engine, &s, &w.err))
        bail_out("%s", w.err.text);
    vw_feed feed = {s, g.tokens, (int64_t)g.n, VW_WANT_NOTHING};
    size_t n = g.n - 1, values = n * (size_t)w.info.vocab_size;
    float *got = malloc(values * sizeof *got), *want = malloc(values * sizeof *want);
    if (!got || !want || vw_engine_feed(w.engine, &feed, 1, NULL, NULL, &w.err))
        bail_out("%s", w.err.text);
    for (int32_t i = 0; i < (int32_t)n; i++)
        positions[i] = i;
    starts[1] = n_keys[0] = (int32_t)n;
    batch b = {.n_tokens = (int64_t)n, .n_wanted = (int64_t)n, .n_sequences = 1,
               .max_keys = (int64_t)n, .max_queries_one = (int64_t)n, .ids = g.tokens + 1,
               .positions = positions, .query_start = starts, .n_keys = n_keys,
               .ends = n_keys, .wanted = positions, .tables = {s->table[0]}};
    if (vw_forward_draft(w.engine, &b, w.engine->hidden.data, keep_rows, got, &w.err))
        bail_out("%s", w.err.text);
    snprintf(name, sizeof name, "long.draft_%s", state);
    memcpy(want, golden_array(&w, &g, name, n), values * sizeof *want);
    near_array(got, want, values, 2e-4 * g.std, "%s, %s: drafts from %s states", model, form, state);
    free(got);
    free(want);
    vw_sequence_free(s);
    golden_close(&w, &g);
    engine_close(&w);
}

enum { N_TURN = 20 };

/* Two turns on one sequence, of which the second goes on behind the first. */
static void two_turns(with_engine *w, const golden *g, const vw_sampling *sampling, int32_t *ids,
                      vw_generate_stats *stats)
{
    vw_sequence *s;
    vw_generate_options o = {.size = sizeof o, .prompt = g->tokens, .n_prompt = g->n,
                             .max_tokens = N_TURN, .sampling = sampling};
    if (vw_sequence_new(w->engine, &s, &w->err) ||
        vw_generate(w->engine, s, &o, ids, N_TURN, stats, &w->err))
        bail_out("%s", w->err.text);
    o.prompt = g->tokens + 3;
    o.n_prompt = 7;
    o.max_tokens = -1; /* until the context is full */
    if (vw_generate(w->engine, s, &o, ids + N_TURN, N_TURN, stats, &w->err))
        bail_out("%s", w->err.text);
    is_int(stats->finish, VW_FINISH_CONTEXT, "the second turn fills the context");
    is_int(vw_sequence_length(s), w->info.context, "exactly");
    vw_sequence_free(s);
}

/* Tokens are the same whatever is drafted, in a cache of one context, which guesses fill first;
 * batch_invariant makes logits of one row and of several the same bits, so that no tie can be broken
 * otherwise. */
static void test_drafting(const char *model, const char *form, double least, double most)
{
    static const int counts[] = {0, 1, 3, 16};
    static const vw_sampling ways[] = {
        {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .ignore_eos = 1},
        {.temperature = 1, .top_p = 0.95, .repeat_penalty = 1.2, .repeat_last_n = 16,
         .presence_penalty = 0.3, .seed = 7, .ignore_eos = 1},
    };
    int32_t plain[2][2 * N_TURN], ids[2 * N_TURN];
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        char settings[320];
        with_engine w;
        golden g;
        snprintf(settings, sizeof settings, "model.deepseek.attention=%s model.deepseek.mtp=%s "
                 "engine.draft_tokens=%d engine.batch_invariant=yes engine.batch_tokens=9 "
                 "engine.ctx_size=60 kv.page_tokens=5 engine.max_sequences=1", form, counts[c] ? "on" : "off", counts[c]);
        open_model(&w, model, settings);
        golden_open(&w, model, "short", &g);
        for (int way = 0; way < 2; way++) {
            vw_generate_stats stats = {.size = sizeof stats};
            two_turns(&w, &g, &ways[way], c ? ids : plain[way], &stats);
            if (!c) {
                is_int(stats.n_drafted, 0, "nothing is drafted");
                continue;
            }
            double share = stats.n_drafted ? (double)stats.n_accepted / (double)stats.n_drafted : -1;
            is_mem(ids, plain[way], sizeof ids, "%s, %s: the same %s tokens with %d drafts at a time",
                   model, form, way ? "drawn" : "greedy", counts[c]);
            if (counts[c] == 1 && !way)
                ok(share >= least && share <= most, "%.0f %% of %lld drafts are right", 100 * share,
                   (long long)stats.n_drafted);
        }
        vw_engine_get_info(w.engine, &w.info);
        is_int(w.info.kv_pages_free, w.info.kv_pages, "no page is lost");
        golden_close(&w, &g);
        engine_close(&w);
    }
}

/* An interrupt while tokens are fed again for the drafting layer takes none of them away. */
static void test_interrupted(void)
{
    with_engine w;
    golden g;
    vw_sequence *s;
    open_model(&w, "deepseek-mtp", "model.deepseek.mtp=on engine.batch_tokens=4 engine.ctx_size=60");
    golden_open(&w, "deepseek-mtp", "short", &g);
    vw_feed feed = {.tokens = g.tokens, .n_tokens = 9};
    if (vw_sequence_new(w.engine, &s, &w.err))
        bail_out("%s", w.err.text);
    feed.sequence = s;
    if (vw_engine_feed(w.engine, &feed, 1, NULL, NULL, &w.err))
        bail_out("%s", w.err.text);
    drafter d = {.engine = w.engine, .sequence = s};
    vw_engine_interrupt(w.engine);
    is_int(vw_draft_feed(&d, g.tokens, 1, VW_WANT_NOTHING, NULL, NULL, &w.err), VW_E_INTERRUPTED,
           "an interrupt");
    is_int(vw_sequence_length(s), 9, "and the sequence has what it had");
    is_int(vw_draft_feed(&d, g.tokens, 1, VW_WANT_NOTHING, NULL, NULL, &w.err), VW_OK, "which goes on");
    is_int(vw_sequence_length(s), 10, "where it was");
    vw_sequence_free(s);
    golden_close(&w, &g);
    engine_close(&w);
}

static void test_drafts(void)
{
    static const char *const states[] = {"normed", "raw"};
    for (int f = 0; f < 2; f++)
        for (int s = 0; s < 2; s++) {
            test_draft_logits("deepseek-mtp", forms[f], states[s]);
            test_draft_logits("deepseek-mtp-right", forms[f], states[s]);
        }
    test_interrupted();
    test_drafting("deepseek-mtp", "naive", 0, 0.5);
    test_drafting("deepseek-mtp-right", "absorbed", 0.75, 1);
}

/* ---- what does not fit ----------------------------------------------------------------------- */

static const golden_change of_plain[] = {
    {"\"silu\"", "\"gelu\"", "hidden_act is \"gelu\"; this plugin knows \"silu\""},
    {"\"sigmoid\"", "\"softmax\"", "scoring_func is \"softmax\"; this plugin knows \"sigmoid\""},
    {"\"noaux_tc\"", "\"greedy\"", "topk_method is \"greedy\"; DeepSeek-V3 uses \"noaux_tc\""},
    {"\"attention_bias\": false", "\"attention_bias\": true", "attention_bias is true"},
    {"\"moe_layer_freq\": 1", "\"moe_layer_freq\": 2", "moe_layer_freq is 2"},
    {"\"kv_lora_rank\": 26,", "", "\"kv_lora_rank\" is missing"},
    {"\"kv_lora_rank\": 26", "\"kv_lora_rank\": 27", "has shape [34, 36]; config.json makes it [35, 36]"},
    {"\"qk_rope_head_dim\": 8", "\"qk_rope_head_dim\": 7", "qk_rope_head_dim 7 is odd"},
    {"\"num_key_value_heads\": 3", "\"num_key_value_heads\": 1", "has a key for every head"},
    {"\"n_group\": 2", "\"n_group\": 3", "n_group must divide the experts"},
    {"\"topk_group\": 1", "\"topk_group\": 3", "and topk_group be no more"},
    {"\"num_experts_per_tok\": 4", "\"num_experts_per_tok\": 17", "num_experts_per_tok is 17"},
    {"\"num_experts_per_tok\": 4", "\"num_experts_per_tok\": 9", "1 groups of 8 experts cannot give 9"},
    {"\"n_routed_experts\": 16,\n  \"n_shared_experts\": 1,\n  \"norm_topk_prob\": true,\n"
     "  \"num_attention_heads\": 3,\n  \"num_experts_per_tok\": 4,\n  \"num_hidden_layers\": 3",
     "\"n_routed_experts\": 2048, \"num_attention_heads\": 3, \"num_hidden_layers\": 1000",
     "1000 layers of 2048 experts are more tensors than the 1048576 that a checkpoint may have"},
    {"\"rope_type\": \"default\"", "\"rope_type\": \"dynamic\"", "rope_type is \"dynamic\""},
    {"\"rope_theta\": 500.0", "\"rope_theta\": 0.5", "rope_theta is 0.5; it must be above 1"},
    {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": -2", "the factor of yarn is -2"},
    {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 2, \"mscale\": -1",
     "mscale -1 and mscale_all_dim 0"},
    {"\"rope_type\": \"default\"", "\"rope_type\": \"yarn\", \"factor\": 2, "
     "\"original_max_position_embeddings\": 1e300", "the original context of yarn is 1e+300"},
    {"\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 0", "rms_norm_eps is 0"},
    {"\"use_cache\": true", "\"quantization_config\": {\"quant_method\": \"awq\"}",
     "quant_method is \"awq\"; this plugin knows \"fp8\", \"blockwise_int8\" and \"compressed-tensors\""},
    {"\"use_cache\": true", "\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128]}",
     "weight_block_size must be two numbers"},
    {"\"use_cache\": true", "\"quantization_config\": {\"quant_method\": \"fp8\", \"scale_fmt\": \"ue8m0\"}",
     NULL},
    {"\"use_cache\": true", "\"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": "
     "[128, 9223372036854775807]}", "weight_block_size must be two numbers from 1 to 1048576"},
    {"\"eos_token_id\": 1", "\"eos_token_id\": [4294967297, 1]",
     "eos_token_id begins with 4294967297, which is no token of 61"},
};

/* Its last layer and the one that drafts are then two that draft, of which none is loaded. */
static const golden_change of_mtp[] = {
    {"\"num_hidden_layers\": 2,\n  \"num_key_value_heads\": 3,\n  \"num_nextn_predict_layers\": 1",
     "\"num_hidden_layers\": 1, \"num_nextn_predict_layers\": 2", NULL},
};

/* What is used a head at a time takes no adapter: in one form of attention it would count, in another it
 * would not. */
static void test_adaptable(const char *form, bool is_expected)
{
    char settings[128];
    with_engine w;
    int n = 0, n_adaptable = 0;
    snprintf(settings, sizeof settings, "model.deepseek.attention=%s engine.ctx_size=64", form);
    open_model(&w, "deepseek-plain", settings);
    for (size_t i = 0; i < w.engine->info->n_params; i++) {
        if (!strstr(w.engine->info->params[i].name, "kv_b_proj"))
            continue;
        n++;
        n_adaptable += vw_adaptable(w.engine, i, ADAPTS_PRODUCT);
    }
    ok(n > 0, "there is a kv_b_proj");
    is_int(n_adaptable, is_expected ? n : 0, "%s: kv_b_proj may%s have an adapter", form,
           is_expected ? "" : " not");
    engine_close(&w);
}

static void test_refusals(void)
{
    with_engine w;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", source_file("t/data/goldens/deepseek-f32"));
    ok(!engine_open(&w, folder, "model.deepseek.mtp=on"), "drafting without a layer for it is refused");
    like(w.err.text, "[model.deepseek] mtp is on, but config.json says num_nextn_predict_layers 0",
         "and the message says so");
    engine_close(&w);
    ok(!engine_open(&w, folder, "gemm.plugin=cpu gemm.cpu.pack=yes"), "packed f32 weights are refused");
    like(w.err.text, "is used a head at a time, in place; [gemm.cpu] pack = no", "with what to do");
    engine_close(&w);
}

/* quick: one pair of plugins, which is what a check of mutations runs. */
int main(int argc, char **argv)
{
    static const char *const gemms[] = {"ref", "cpu"}, *const attentions[] = {"ref", "flash"};
    static const char settings[] = "model.plugin=deepseek engine.ctx_size=64";
    bool is_quick = argc > 1 && !strcmp(argv[1], "quick");
    if (!is_quick) {
        test_cache_size();
        golden_config_test("deepseek-plain", settings, of_plain, sizeof of_plain / sizeof *of_plain);
        golden_config_test("deepseek-mtp", settings, of_mtp, sizeof of_mtp / sizeof *of_mtp);
        test_refusals();
        test_adaptable("naive", true);
        test_adaptable("absorbed", false);
    }
    test_drafts();
    for (size_t g = is_quick; g < 2; g++)
        for (size_t a = is_quick; a < 2; a++)
            test_plugins(gemms[g], attentions[a]);
    return done_testing();
}
