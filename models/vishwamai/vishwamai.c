/* vishwamai.c - the VishwamAI base family: how a token's logits come about.
 *
 * The forward below is the whole model.  N(x; w) = x / rms(x) * w.
 *
 *     x += Attn( N(x; input_layernorm) )              grouped query heads, half rotation
 *     x += MLP ( N(x; post_attention_layernorm) )     SwiGLU, or a mixture of them and a shared one
 *
 * Letters: T tokens, d width, H query heads, K key heads, D head size, F width of the MLP.
 */
#include "vishwamai.h"

#include <errno.h>
#include <math.h>

static void attention_part(const base_model *m, vw_cx *cx, const base_layer *layer,
                           vw_param *const *p, vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = vw_rms_norm(cx, x, p[INPUT_NORM], 0.0f, (float)m->eps);
    vw_tensor qkv[3]; /* [T, H D], [T, K D], [T, K D] */
    vw_linears(cx, h, 3, &p[Q_PROJ], qkv);
    vw_rope(cx, qkv[0], &m->rope);
    vw_rope(cx, qkv[1], &m->rope);
    vw_tensor a = vw_attention(cx, &layer->attention, qkv[0], qkv[1], qkv[2]); /* [T, H D] */
    vw_linear_drop_add(cx, a, p[O_PROJ], (float)m->dropout, x);
    vw_end(cx, mark);
}

static void dense_mlp(const base_model *m, vw_cx *cx, vw_param *const *gate_up_down, vw_tensor h,
                      vw_tensor x)
{
    vw_tensor f = vw_gated(cx, h, gate_up_down[0], gate_up_down[1], VW_ACT_SILU); /* [T, F] */
    vw_linear_drop_add(cx, f, gate_up_down[2], (float)m->dropout, x);
}

static void mlp_part(const base_model *m, vw_cx *cx, const base_layer *layer, vw_param *const *p,
                     vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = vw_rms_norm(cx, x, p[MLP_NORM], 0.0f, (float)m->eps);
    if (layer->has_experts) {
        vw_moe(cx, &layer->moe, h, p[ROUTER], layer->bias ? p[layer->bias] : NULL, x);
        if (layer->shared)
            dense_mlp(m, cx, &p[layer->shared], h, x);
    } else {
        dense_mlp(m, cx, &p[GATE_PROJ], h, x);
    }
    vw_end(cx, mark);
}

static vw_status forward(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last)
{
    const base_model *m = self;
    vw_tensor x; /* [T, d] */
    if (first == 0) {
        x = vw_embed(cx, params[EMBED_TOKENS], 1.0f);
        vw_dropout(cx, x, (float)m->dropout);
    } else {
        x = vw_hidden_in(cx);
    }
    for (int32_t l = first; l < last; l++) {
        vw_param *const *p = params + m->layers[l].first;
        attention_part(m, cx, &m->layers[l], p, x);
        mlp_part(m, cx, &m->layers[l], p, x);
    }
    if (last < m->n_layers) {
        vw_hidden_out(cx, x);
    } else {
        vw_tensor rows = vw_wanted_rows(cx, x);
        rows = vw_rms_norm(cx, rows, params[FINAL_NORM], 0.0f, (float)m->eps);
        vw_head(cx, rows, params[m->is_tied ? EMBED_TOKENS : LM_HEAD], 1.0f, 0.0f);
    }
    return vw_nn_status(cx);
}

static vw_status describe_layers(base_model *m, vw_error *err)
{
    const vw_host *host = m->host;
    const int half = m->head_dim / 2;
    m->layers = host->alloc(host->core, (size_t)m->n_layers * sizeof *m->layers);
    m->caches = host->alloc(host->core, (size_t)m->n_layers * sizeof *m->caches);
    m->inv_freq = host->alloc(host->core, (size_t)half * sizeof *m->inv_freq);
    if (!m->layers || !m->caches || !m->inv_freq)
        return vw_fail(err, VW_E_NOMEM, "no memory to describe %d layers", m->n_layers);
    for (int i = 0; i < half; i++)
        m->inv_freq[i] = (float)pow(m->rope_theta, -2.0 * i / m->head_dim);
    m->rope = (vw_nn_rope){VW_ROPE_HALF, m->head_dim, 0, m->head_dim, m->inv_freq, 1.0f};
    for (int32_t l = 0; l < m->n_layers; l++) {
        memset(&m->layers[l], 0, sizeof m->layers[l]);
        m->layers[l].attention =
            (vw_nn_attention){l, m->heads, (float)(1.0 / sqrt((double)m->head_dim)), 0.0f};
        m->caches[l] = (vw_cache_spec){m->kv_heads, m->head_dim, m->head_dim, 0, 0};
    }
    return VW_OK;
}

static void describe(base_model *m)
{
    vw_model_info *i = &m->info;
    double n = 0;
    i->size = sizeof *i;
    i->family = "vishwamai";
    i->n_layers = m->n_layers;
    i->width = m->width;
    i->vocab_size = m->vocab_size;
    i->max_positions = m->max_positions;
    i->q_heads = m->heads;
    i->caches = m->caches;
    for (size_t p = 0; p < i->n_params; p++)
        n += (double)(m->specs[p].rows ? m->specs[p].rows : 1) * (double)m->specs[p].cols;
    int at =
        snprintf(i->description, sizeof i->description, "VishwamAI base, %d layers, ", m->n_layers);
    if (i->n_experts)
        at += snprintf(i->description + at, sizeof i->description - (size_t)at, "%d experts, ",
                       m->n_experts);
    snprintf(i->description + at, sizeof i->description - (size_t)at, "%.2f %s parameters",
             n >= 1e9 ? n / 1e9 : n / 1e6, n >= 1e9 ? "B" : "M");
}

static vw_status load(void *self, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    base_model *m = self;
    vw_status st;
    if ((st = base_configure(m, json, config, err)) || (st = describe_layers(m, err)) ||
        (st = base_list_params(m, err)))
        return st;
    describe(m);
    return VW_OK;
}

static const vw_model_info *info(void *self)
{
    return &((base_model *)self)->info;
}

static vw_status base_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    base_model *m = host->alloc(host->core, sizeof *m);
    if (!m)
        return vw_fail(err, VW_E_NOMEM, "no memory for a model");
    memset(m, 0, sizeof *m);
    m->host = host;
    m->options = config;
    *self = m;
    return VW_OK;
}

static void base_close(void *self)
{
    base_model *m = self;
    const vw_host *host = m->host;
    host->free(host->core, m->names);
    host->free(host->core, m->specs);
    host->free(host->core, m->experts);
    host->free(host->core, m->inv_freq);
    host->free(host->core, m->caches);
    host->free(host->core, m->layers);
    host->free(host->core, m);
}

/* A probe has no host and so no JSON service: it looks for the family's name in config.json, and
 * load() then reads the file properly. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096], text[16384];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "runs and begins VishwamAI base models");
        return 100;
    }
    snprintf(path, sizeof path, "%s/config.json", about->folder);
    FILE *f = fopen(path, "rb");
    if (!f) {
        snprintf(why, why_bytes, "%s cannot be read: %s", path, strerror(errno));
        return 0;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *at = strstr(text, "\"model_type\"");
    char type[64] = "";
    if (at)
        sscanf(at + strlen("\"model_type\""), " : \"%63[^\"]\"", type);
    if (strcmp(type, "vishwamai") != 0) {
        snprintf(why, why_bytes, "%s: model_type is \"%s\", not \"vishwamai\"", path, type);
        return 0;
    }
    snprintf(why, why_bytes, "model_type is \"vishwamai\"");
    return 100;
}

static const vw_model_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = info,
    .forward = forward,
    .new_config = base_new_config,
};

static const char *const needs[] = {"device", "gemm", "attention", NULL};

static const vw_plugin plugin = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_MODEL,
    .ops_major = VW_MODEL_OPS_MAJOR,
    .ops_minor = VW_MODEL_OPS_MINOR,
    .name = "vishwamai",
    .summary = "the VishwamAI base family, dense or with experts; new or trained",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "The VishwamAI authors",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_PREFERRED,
    .needs = needs,
    .config_size = sizeof(base_options),
    .options = base_option_table,
    .probe = probe,
    .open = base_open,
    .close = base_close,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(model, vishwamai)
{
    return &plugin;
}
