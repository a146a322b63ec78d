/* gemma.c - the Gemma family: how a token's logits come about.
 *
 * The forward below is the whole model.  N(x; w) = x / rms(x) * (1 + w); the embedding is multiplied
 * by sqrt(width), which stays unrounded because activations are f32 (models.md section 4.1).
 *
 *     x += Attn( N(x; input_layernorm) )
 *     x += MLP ( N(x; post_attention_layernorm) )
 *
 * Letters: T tokens, d width, H query heads, K key heads, D head size, F width of the MLP.
 */
#include "gemma.h"

#include <math.h>

#define NORM_OFFSET 1.0f /* norms hold w, and multiply by 1 + w */

static void attention_part(const gemma *g, vw_cx *cx, const gemma_layer *layer,
                           vw_param *const *p, vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = vw_rms_norm(cx, x, p[INPUT_NORM], NORM_OFFSET, (float)g->eps);
    vw_tensor qkv[3]; /* [T, H D], [T, K D], [T, K D] */
    vw_linears(cx, h, 3, &p[Q_PROJ], qkv);
    vw_rope(cx, qkv[0], layer->rope);
    vw_rope(cx, qkv[1], layer->rope);
    vw_tensor a = vw_attention(cx, &layer->attention, qkv[0], qkv[1], qkv[2]); /* [T, H D] */
    vw_linear_add(cx, a, p[O_PROJ], x);
    vw_end(cx, mark);
}

static void mlp_part(const gemma *g, vw_cx *cx, vw_param *const *p, vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = vw_rms_norm(cx, x, p[MLP_NORM], NORM_OFFSET, (float)g->eps);
    vw_tensor f = vw_gated(cx, h, p[GATE_PROJ], p[UP_PROJ], VW_ACT_GELU_TANH); /* [T, F] */
    vw_linear_add(cx, f, p[DOWN_PROJ], x);
    vw_end(cx, mark);
}

static vw_status forward(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last)
{
    const gemma *g = self;
    vw_tensor x = first == 0 ? vw_embed(cx, params[EMBED_TOKENS], sqrtf((float)g->width))
                             : vw_hidden_in(cx); /* [T, d] */
    for (int32_t l = first; l < last; l++) {
        vw_param *const *p = params + FIRST_LAYER + (size_t)l * LAYER_PARAMS;
        attention_part(g, cx, &g->layers[l], p, x);
        mlp_part(g, cx, p, x);
    }
    if (last < g->n_layers) {
        vw_hidden_out(cx, x);
    } else {
        vw_tensor rows = vw_wanted_rows(cx, x);
        rows = vw_rms_norm(cx, rows, params[FINAL_NORM], NORM_OFFSET, (float)g->eps);
        vw_head(cx, rows, params[EMBED_TOKENS], 1.0f, 0.0f);
    }
    return vw_nn_status(cx);
}

static vw_status describe_layers(gemma *g, vw_error *err)
{
    const vw_host *host = g->host;
    const int half = g->head_dim / 2;
    g->layers = host->alloc(host->core, (size_t)g->n_layers * sizeof *g->layers);
    g->caches = host->alloc(host->core, (size_t)g->n_layers * sizeof *g->caches);
    g->inv_freq = host->alloc(host->core, (size_t)half * sizeof *g->inv_freq);
    if (!g->layers || !g->caches || !g->inv_freq)
        return vw_fail(err, VW_E_NOMEM, "no memory to describe %d layers", g->n_layers);
    for (int i = 0; i < half; i++)
        g->inv_freq[i] = (float)pow(g->rope_theta, -2.0 * i / g->head_dim);
    g->rope = (vw_nn_rope){VW_ROPE_HALF, g->head_dim, 0, g->head_dim, g->inv_freq, 1.0f};
    for (int32_t l = 0; l < g->n_layers; l++) {
        g->layers[l].attention =
            (vw_nn_attention){l, g->heads, (float)(1.0 / sqrt((double)g->head_dim)), 0.0f};
        g->layers[l].rope = &g->rope;
        g->caches[l] = (vw_cache_spec){g->kv_heads, g->head_dim, g->head_dim, 0, 0};
    }
    return VW_OK;
}

static double count_parameters(const gemma *g)
{
    double n = 0;
    for (size_t i = 0; i < g->info.n_params; i++)
        n += (double)(g->specs[i].rows ? g->specs[i].rows : 1) * (double)g->specs[i].cols;
    return n;
}

static vw_status load(void *self, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    static const char *const ignored[] = {"*.rotary_emb.inv_freq", NULL};
    gemma *g = self;
    vw_status st;
    if ((st = gemma_configure(g, json, config, err)) || (st = describe_layers(g, err)) ||
        (st = gemma_list_params(g, err)))
        return st;
    g->info.size = sizeof g->info;
    g->info.family = "gemma";
    g->info.n_layers = g->n_layers;
    g->info.width = g->width;
    g->info.vocab_size = g->vocab_size;
    g->info.max_positions = g->max_positions;
    g->info.q_heads = g->heads;
    g->info.caches = g->caches;
    g->info.ignored = ignored;
    double n = count_parameters(g);
    snprintf(g->info.description, sizeof g->info.description, "Gemma 1, %d layers, %.*f %s parameters",
             g->n_layers, 2, n >= 1e9 ? n / 1e9 : n / 1e6, n >= 1e9 ? "B" : "M");
    return VW_OK;
}

static const vw_model_info *info(void *self)
{
    return &((gemma *)self)->info;
}

static vw_status gemma_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config;
    gemma *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for a model");
    memset(g, 0, sizeof *g);
    g->host = host;
    *self = g;
    return VW_OK;
}

static void gemma_close(void *self)
{
    gemma *g = self;
    const vw_host *host = g->host;
    host->free(host->core, g->names);
    host->free(host->core, g->specs);
    host->free(host->core, g->inv_freq);
    host->free(host->core, g->caches);
    host->free(host->core, g->layers);
    host->free(host->core, g);
}

/* A probe has no host and so no JSON service: it looks for the family's name in config.json, and
 * load() then reads the file properly. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096], text[16384];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "runs Gemma 1");
        return 1;
    }
    snprintf(path, sizeof path, "%s/config.json", about->folder);
    FILE *f = fopen(path, "rb");
    if (!f) {
        snprintf(why, why_bytes, "%s cannot be read", path);
        return 0;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *at = strstr(text, "\"model_type\"");
    char type[64] = "";
    if (at)
        sscanf(at + strlen("\"model_type\""), " : \"%63[^\"]\"", type);
    if (strcmp(type, "gemma") != 0) {
        snprintf(why, why_bytes, "%s: model_type is \"%s\", not \"gemma\"", path, type);
        return 0;
    }
    snprintf(why, why_bytes, "model_type is \"gemma\"");
    return 100;
}

static const vw_model_ops ops = {
    .size = sizeof ops, .load = load, .info = info, .forward = forward,
};

static const char *const needs[] = {"device", "gemm", "attention", NULL};

static const vw_plugin plugin = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_MODEL, .ops_major = VW_MODEL_OPS_MAJOR, .ops_minor = VW_MODEL_OPS_MINOR,
    .name = "gemma", .summary = "Gemma 1 from its published files", .version = "0.1.0",
    .license = "Apache-2.0", .author = "The VishwamAI authors",
    .url = "https://github.com/VishwamAI", .rank = VW_RANK_NORMAL, .needs = needs,
    .probe = probe, .open = gemma_open, .close = gemma_close, .ops = &ops,
};

VW_PLUGIN_DEFINE(model, gemma) { return &plugin; }
