/* gemma.c - the Gemma family: how a token's logits come about.
 *
 * The forward below is the whole model.  N(x; w) = x / rms(x) * (1 + w); the embedding is multiplied
 * by sqrt(width), which stays unrounded because activations are f32 (models.md section 4.1).
 *
 *     Gemma 1:    x += Attn( N(x; input_layernorm) )
 *                 x += MLP ( N(x; post_attention_layernorm) )
 *     Gemma 2, 3: x += N( Attn( N(x; input_layernorm) );        post_attention_layernorm )
 *                 x += N( MLP ( N(x; pre_feedforward_layernorm) ); post_feedforward_layernorm )
 *
 * Gemma 2 caps the scores of attention and the logits; Gemma 3 norms each head of q and k before
 * they are rotated.  In both most or half of the layers see a window only; in Gemma 3 these have a
 * rotation of their own.
 *
 * Letters: T tokens, d width, H query heads, K key heads, D head size, F width of the MLP.
 */
#include "gemma.h"

#include "plugins/gguf/keys.h"

#include <errno.h>
#include <math.h>

static vw_tensor norm(const gemma *g, vw_cx *cx, vw_tensor x, vw_param *w)
{
    return vw_rms_norm(cx, x, w, g->is_gguf ? 0.0f : 1.0f, (float)g->eps);
}

/* x += f W^T, normed on the way where the version does that. */
static void add_part(const gemma *g, vw_cx *cx, vw_tensor f, vw_param *w, vw_param *const *after,
                     vw_tensor x)
{
    if (g->version == 1)
        vw_linear_add(cx, f, w, x);
    else
        vw_add(cx, norm(g, cx, vw_linear(cx, f, w), *after), x);
}

static void attention_part(const gemma *g, vw_cx *cx, const gemma_layer *layer,
                           vw_param *const *p, vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = norm(g, cx, x, p[INPUT_NORM]);
    vw_tensor qkv[3]; /* [T, H D], [T, K D], [T, K D] */
    vw_linears(cx, h, 3, &p[Q_PROJ], qkv);
    if (g->version == 3) {
        qkv[0] = norm(g, cx, qkv[0], p[Q_NORM]);
        qkv[1] = norm(g, cx, qkv[1], p[K_NORM]);
    }
    vw_rope(cx, qkv[0], layer->rope);
    vw_rope(cx, qkv[1], layer->rope);
    vw_tensor a = vw_attention(cx, &layer->attention, qkv[0], qkv[1], qkv[2]); /* [T, H D] */
    add_part(g, cx, a, p[O_PROJ], p + AFTER_ATTENTION_NORM, x);
    vw_end(cx, mark);
}

static void mlp_part(const gemma *g, vw_cx *cx, vw_param *const *p, vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = norm(g, cx, x, p[MLP_NORM]);
    vw_tensor f = vw_gated(cx, h, p[GATE_PROJ], p[UP_PROJ], VW_ACT_GELU_TANH); /* [T, F] */
    add_part(g, cx, f, p[DOWN_PROJ], p + AFTER_MLP_NORM, x);
    vw_end(cx, mark);
}

static vw_status forward(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last)
{
    const gemma *g = self;
    vw_tensor x = first == 0 ? vw_embed(cx, params[EMBED_TOKENS], sqrtf((float)g->width))
                             : vw_hidden_in(cx); /* [T, d] */
    for (int32_t l = first; l < last; l++) {
        vw_param *const *p = params + FIRST_LAYER + (size_t)(l * g->layer_params);
        attention_part(g, cx, &g->layers[l], p, x);
        mlp_part(g, cx, p, x);
    }
    if (last < g->n_layers) {
        vw_hidden_out(cx, x);
    } else {
        vw_tensor rows = vw_wanted_rows(cx, x);
        rows = norm(g, cx, rows, params[FINAL_NORM]);
        vw_head(cx, rows, params[EMBED_TOKENS], 1.0f, (float)g->final_cap);
    }
    return vw_nn_status(cx);
}

static vw_status describe_layers(gemma *g, vw_error *err)
{
    const vw_host *host = g->host;
    const int half = g->head_dim / 2;
    g->layers = host->alloc(host->core, (size_t)g->n_layers * sizeof *g->layers);
    g->caches = host->alloc(host->core, (size_t)g->n_layers * sizeof *g->caches);
    g->inv_freq = host->alloc(host->core, N_SCOPES * (size_t)half * sizeof *g->inv_freq);
    if (!g->layers || !g->caches || !g->inv_freq)
        return vw_fail(err, VW_E_NOMEM, "no memory to describe %d layers", g->n_layers);
    for (int s = 0; s < N_SCOPES; s++) {
        float *inv_freq = g->inv_freq + s * half;
        for (int i = 0; i < half; i++)
            inv_freq[i] = (float)(pow(g->theta[s], -2.0 * i / g->head_dim) / g->position_factor[s]);
        g->rope[s] = (vw_nn_rope){VW_ROPE_HALF, g->head_dim, 0, g->head_dim, inv_freq, 1.0f};
    }
    for (int32_t l = 0; l < g->n_layers; l++) {
        g->layers[l].attention = (vw_nn_attention){l, g->heads, (float)(1.0 / sqrt(g->query_scalar)),
                                                   (float)g->attention_cap};
        g->layers[l].rope = &g->rope[g->is_local[l] ? LOCAL : GLOBAL];
        g->caches[l] = (vw_cache_spec){g->kv_heads, g->head_dim, g->head_dim,
                                       g->is_local[l] ? g->window : 0, 0};
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
    static const char *const ignored[] = {"*.rotary_emb.inv_freq", "*vision_tower.*",
                                          "*multi_modal_projector.*", "rope_freqs.weight",
                                          NULL};
    gemma *g = self;
    vw_status st = json->get(json->root(config), "general.architecture")
                       ? gemma_configure_gguf(g, json, config, err)
                       : gemma_configure(g, json, config, err);
    if (st || (st = describe_layers(g, err)) ||
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
    snprintf(g->info.description, sizeof g->info.description, "Gemma %d, %d layers, %.*f %s parameters",
             g->version, g->n_layers, 2, n >= 1e9 ? n / 1e9 : n / 1e6, n >= 1e9 ? "B" : "M");
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
    host->free(host->core, g->pieces);
    host->free(host->core, g->other_names);
    host->free(host->core, g->other_config);
    host->free(host->core, g->names);
    host->free(host->core, g->specs);
    host->free(host->core, g->inv_freq);
    host->free(host->core, g->caches);
    host->free(host->core, g->layers);
    host->free(host->core, g);
}

static int is_family(const char *type)
{
    return !strcmp(type, "gemma") || !strcmp(type, "gemma2") || !strcmp(type, "gemma3") ||
           !strcmp(type, "gemma3_text");
}

/* A probe has no host and so no JSON service: it looks for a name of the family in config.json, and
 * load() then reads the file properly. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096], text[65536], type[64] = "";
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "runs Gemma 1, 2 and 3");
        return 1;
    }
    size_t length = strlen(about->folder);
    int is_gguf = length > 5 && !strcmp(about->folder + length - 5, ".gguf");
    snprintf(path, sizeof path, "%s%s", about->folder, is_gguf ? "" : "/config.json");
    FILE *f = fopen(path, "rb");
    if (!f) {
        snprintf(why, why_bytes, "%s cannot be read: %s", path, strerror(errno));
        return 0;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    if (is_gguf)
        gguf_find_architecture(text, n, type, sizeof type);
    for (const char *at = text; !is_gguf && !is_family(type) && (at = strstr(at, "\"model_type\"")) != NULL;) {
        at += strlen("\"model_type\"");
        sscanf(at, " : \"%63[^\"]\"", type);
    }
    if (!is_family(type)) {
        snprintf(why, why_bytes, "%s: %s is \"%s\", none of Gemma's", path,
                 is_gguf ? "general.architecture" : "model_type", type);
        return 0;
    }
    snprintf(why, why_bytes, "model_type is \"%s\"", type);
    return 100;
}

static const vw_model_ops ops = {
    .size = sizeof ops, .load = load, .info = info, .forward = forward,
    .respell = gemma_respell,
};

static const char *const needs[] = {"device", "gemm", "attention", NULL};

static const vw_plugin plugin = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_MODEL, .ops_major = VW_MODEL_OPS_MAJOR, .ops_minor = VW_MODEL_OPS_MINOR,
    .name = "gemma", .summary = "Gemma 1, 2 and 3 (text) from their published files", .version = "0.1.0",
    .license = "Apache-2.0", .author = "The VishwamAI authors",
    .url = "https://github.com/VishwamAI", .rank = VW_RANK_NORMAL, .needs = needs,
    .probe = probe, .open = gemma_open, .close = gemma_close, .ops = &ops,
};

VW_PLUGIN_DEFINE(model, gemma) { return &plugin; }
