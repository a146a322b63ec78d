/* golden-gemma.c - Gemma against the published implementation.
 *
 * t/data/goldens holds random checkpoints of odd sizes with the logits that transformers computes
 * from them (etc/goldens/README.md).  Every pair of gemm and attention plugins, and the device's own
 * where there is one, must come within 2e-4 of the logits' standard deviation, all at once and token
 * by token, and write the same greedy text.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vishwamai/weights.h>

#include "core/json.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

enum { MAX_TOKENS = 256, MAX_GREEDY = 64 };

typedef struct golden {
    int32_t tokens[MAX_TOKENS], greedy[MAX_GREEDY];
    size_t n, n_greedy;
    double std;
    const float *logits; /* [n][vocab], mapped */
} golden;

static const char *const models[] = {"gemma-odd-f32", "gemma-odd-bf16", "gemma-mqa-f16",
                                     "gemma-mha", "gemma-resaved",
                                     "gemma2-odd-f32", "gemma2-defaults", "gemma2-resaved",
                                     "gemma3-text-f32", "gemma3-resaved", "gemma3-wrapped",
                                     "gemma3-rewrapped"};

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

static void read_golden(with_engine *w, const char *folder, const char *prompt, golden *g,
                        vw_weights_reader **reader)
{
    const vw_json *json = vw_json_service();
    const vw_component *weights;
    vw_weights_tensor t;
    vw_json_doc *doc;
    char path[8192], name[64];
    snprintf(path, sizeof path, "%s/golden.json", folder);
    if (json->open_file(path, &doc, &w->err))
        bail_out("%s", w->err.text);
    const vw_json_value *p = json->get(json->get(json->root(doc), "prompts"), prompt);
    g->n = read_ids(json->get(p, "tokens"), g->tokens, MAX_TOKENS);
    g->n_greedy = read_ids(json->get(p, "greedy"), g->greedy, MAX_GREEDY);
    g->std = json->real(json->get(p, "logits_std"));
    json->close(doc);
    snprintf(path, sizeof path, "%s/golden.safetensors", folder);
    snprintf(name, sizeof name, "%s.logits", prompt);
    if (vw_core_plugin(w->core, VW_KIND_WEIGHTS, "safetensors", &weights, &w->err))
        bail_out("%s", w->err.text);
    const vw_weights_ops *ops = weights->ops;
    if (ops->open(weights->self, path, reader, &w->err) ||
        ops->find(weights->self, *reader, name, &t, &w->err))
        bail_out("%s", w->err.text);
    if (t.dtype != VW_F32 || t.shape[0] != (int64_t)g->n || t.shape[1] != w->info.vocab_size)
        bail_out("%s: %s has not the expected shape", path, name);
    g->logits = t.data;
}

static void close_golden(with_engine *w, vw_weights_reader *reader)
{
    const vw_component *weights;
    if (!vw_core_plugin(w->core, VW_KIND_WEIGHTS, "safetensors", &weights, NULL))
        ((const vw_weights_ops *)weights->ops)->close(weights->self, reader);
}

static void compare_logits(with_engine *w, const golden *g, size_t chunk, const char *what)
{
    size_t values = g->n * (size_t)w->info.vocab_size;
    float *got = all_logits(w, g->tokens, g->n, chunk), *want = malloc(values * sizeof *want);
    if (!want)
        bail_out("no memory");
    memcpy(want, g->logits, values * sizeof *want); /* the file need not be aligned */
    if (got)
        near_array(got, want, values, 2e-4 * g->std, "%s, chunks of %zu", what, chunk);
    free(want);
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
        vw_weights_reader *reader = NULL;
        golden g;
        read_golden(&w, folder, prompts[p], &g, &reader);
        snprintf(what, sizeof what, "%s, %s, %s, %s prompt", model, gemm, attention, prompts[p]);
        compare_logits(&w, &g, 0, what);
        compare_logits(&w, &g, 1, what);
        compare_logits(&w, &g, 7, what);
        compare_greedy(&w, &g, what);
        close_golden(&w, reader);
    }
    engine_close(&w);
}

/* Layers with a window share a block table and give back what they cannot see any more: of 150 tokens
 * the global layers of this model keep 38 pages of 4, those with a window of 9 at most 4. */
static void test_window(void)
{
    with_engine w;
    vw_weights_reader *reader = NULL;
    golden g;
    char folder[4096];
    int32_t id;
    vw_sequence *s;
    vw_sampling greedy = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .ignore_eos = 1};
    snprintf(folder, sizeof folder, "%s/gemma3-text-f32", source_file("t/data/goldens"));
    if (!engine_open(&w, folder, "kv.page_tokens=4 engine.batch_tokens=16"))
        bail_out("%s", w.err.text);
    read_golden(&w, folder, "long", &g, &reader);
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
    close_golden(&w, reader);
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

/* golden-gemma.t [cuda [MODEL]]: on that device alone, with one model alone. */
int main(int argc, char **argv)
{
    if (argc < 2) {
        test_window();
        test_processor();
    }
    test_device(argc > 2 ? argv[2] : NULL);
    return done_testing();
}
