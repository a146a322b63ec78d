/* grok.c - Grok-1: how a token's logits come about.
 *
 * The forward below is the whole model.  N(x; w) = x / rms(x) * w, four to a layer:
 *
 *     x  = embedding * embedding_multiplier
 *     x += N( Attn( N(x; rms_norm) );   rms_norm_1 )
 *     x += N( MoE ( N(x; rms_norm_2) ); rms_norm_3 )
 *     logits = N(x; final) E^T * output_multiplier
 *
 * Scores of attention are capped before the mask.  A token takes the best two of eight experts with
 * their shares of the softmax over all eight, as they are; no cap on the router.  Keys of padding
 * (id 0) are seen by nobody, as in xAI's program.
 *
 * Letters: T tokens, d width, H query heads, K key heads, D head size, V vocabulary.
 */
#include "grok.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

static vw_tensor norm(const grok *g, vw_cx *cx, vw_tensor x, vw_param *w)
{
    return vw_rms_norm(cx, x, w, 0.0f, (float)g->eps);
}

static void attention_part(const grok *g, vw_cx *cx, const grok_layer *layer, vw_param *const *p,
                           vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = norm(g, cx, x, p[PRE_ATTN_NORM]);
    vw_tensor qkv[3]; /* [T, H D], [T, K D], [T, K D] */
    vw_linears(cx, h, 3, &p[Q_PROJ], qkv);
    vw_rope(cx, qkv[0], &g->rope);
    vw_rope(cx, qkv[1], &g->rope);
    vw_tensor a = vw_attention(cx, &layer->attention, qkv[0], qkv[1], qkv[2]); /* [T, H D] */
    vw_add(cx, norm(g, cx, vw_linear(cx, a, p[O_PROJ]), p[POST_ATTN_NORM]), x);
    vw_end(cx, mark);
}

static void moe_part(const grok *g, vw_cx *cx, const grok_layer *layer, vw_param *const *p,
                     vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_tensor h = norm(g, cx, x, p[PRE_MOE_NORM]);
    vw_tensor m = vw_mixture(cx, &layer->moe, h, p[ROUTER], NULL); /* [T, d] */
    vw_add(cx, norm(g, cx, m, p[POST_MOE_NORM]), x);
    vw_end(cx, mark);
}

static vw_status forward(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last)
{
    const grok *g = self;
    vw_tensor x = first == 0 ? vw_embed(cx, params[EMBEDDING], (float)g->embedding_multiplier)
                             : vw_hidden_in(cx); /* [T, d] */
    for (int32_t l = first; l < last; l++) {
        vw_param *const *p = params + FIRST_LAYER + (size_t)(l * g->layer_params);
        attention_part(g, cx, &g->layers[l], p, x);
        moe_part(g, cx, &g->layers[l], p, x);
    }
    if (last < g->n_layers) {
        vw_hidden_out(cx, x);
    } else {
        vw_tensor rows = norm(g, cx, vw_wanted_rows(cx, x), params[FINAL_NORM]);
        vw_head(cx, rows, params[params[LM_HEAD] ? LM_HEAD : EMBEDDING],
                (float)g->output_multiplier, 0.0f);
    }
    return vw_nn_status(cx);
}

/* ---- description ----------------------------------------------------------------------------- */

static vw_status describe_layers(grok *g, vw_error *err)
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
        g->layers[l].attention = (vw_nn_attention){l, g->heads, (float)g->attention_multiplier,
                                                   (float)g->attention_cap};
        g->layers[l].moe = (vw_nn_moe){.experts = l, .top_k = g->top_k, .scale = 1.0f,
                                       .activation = VW_ACT_GELU_TANH};
        g->caches[l] = (vw_cache_spec){g->kv_heads, g->head_dim, g->head_dim, 0, 0};
    }
    return VW_OK;
}

static void describe(grok *g)
{
    vw_model_info *i = &g->info;
    double n = 0;
    i->size = sizeof *i;
    i->family = "grok";
    i->n_layers = g->n_layers;
    i->width = g->width;
    i->vocab_size = g->vocab_size;
    i->max_positions = g->max_positions;
    i->q_heads = g->heads;
    i->caches = g->caches;
    i->hides_pad = g->options->hide_pad && i->pad >= 0;
    for (size_t p = 0; p < i->n_params; p++)
        if (!g->specs[p].is_optional)
            n += (double)(g->specs[p].rows ? g->specs[p].rows : 1) * (double)g->specs[p].cols;
    snprintf(i->description, sizeof i->description, "Grok-1, %d layers, %d experts, %.2f %s "
             "parameters", g->n_layers, g->n_experts, n >= 1e9 ? n / 1e9 : n / 1e6,
             n >= 1e9 ? "B" : "M");
}

static vw_status load(void *self, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    static const char *const ignored[] = {"*.rotary_emb.inv_freq", NULL};
    grok *g = self;
    vw_status st;
    if (g->options->activation_shard)
        return vw_fail(err, VW_E_UNSUPPORTED, "[model.grok] activation_shard = yes: activations "
                       "are divided among ranks, and this process runs alone; leave it at no");
    if ((st = grok_configure(g, json, config, err)) || (st = describe_layers(g, err)) ||
        (st = grok_list_params(g, err)))
        return st;
    g->info.ignored = ignored;
    describe(g);
    return VW_OK;
}

static const vw_model_info *info(void *self)
{
    return &((grok *)self)->info;
}

static vw_status grok_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    grok *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for a model");
    memset(g, 0, sizeof *g);
    g->host = host;
    g->options = config;
    *self = g;
    return VW_OK;
}

static void grok_close(void *self)
{
    grok *g = self;
    const vw_host *host = g->host;
    host->free(host->core, g->experts);
    host->free(host->core, g->others);
    host->free(host->core, g->names);
    host->free(host->core, g->specs);
    host->free(host->core, g->inv_freq);
    host->free(host->core, g->caches);
    host->free(host->core, g->layers);
    host->free(host->core, g);
}

/* ---- the probe ------------------------------------------------------------------------------- */

/* xAI's own files come without any configuration. */
static int is_original(const char *folder)
{
    static const char *const first[] = {"tensor00000_000", "ckpt-0/tensor00000_000"};
    char path[4200];
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, first[i]);
        if (!access(path, R_OK))
            return 1;
    }
    return 0;
}

/* lmzheng's file says "mixtral" and betrays itself by its class. */
static const char *find_family(const char *text)
{
    static const char *const marks[] = {"\"grok\"", "\"grok-1\"", "\"Grok1ModelForCausalLM\"",
                                        "\"GrokForCausalLM\"", NULL};
    for (const char *const *m = marks; *m; m++)
        if (strstr(text, *m))
            return *m;
    return NULL;
}

/* A probe has no host and so no JSON service: it looks for a name of the family in config.json, and
 * load() then reads the file properly. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4200], text[16384];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "runs Grok-1");
        return 1;
    }
    snprintf(path, sizeof path, "%s/config.json", about->folder);
    FILE *f = fopen(path, "rb");
    if (!f) {
        int code = errno;
        if (is_original(about->folder)) {
            snprintf(why, why_bytes, "found tensor00000_000");
            return 100;
        }
        snprintf(why, why_bytes, "%s cannot be read: %s", path, strerror(code));
        return 0;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *mark = find_family(text);
    if (mark)
        snprintf(why, why_bytes, "config.json says %s", mark);
    else if (is_original(about->folder))
        snprintf(why, why_bytes, "found tensor00000_000");
    else
        snprintf(why, why_bytes, "%s names no class of Grok-1", path);
    return mark || is_original(about->folder) ? 200 : 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const vw_option options[] = {
    {"hide_pad", VW_OPTION_BOOL, "yes", 0, 0, NULL, offsetof(grok_options, hide_pad), 0,
     "nobody sees the keys of padding, as in xAI's program; no: id 0 is a token like others"},
    {"activation_shard", VW_OPTION_BOOL, "no", 0, 0, NULL,
     offsetof(grok_options, activation_shard), 0,
     "divide activations among ranks; a process that runs alone refuses yes"},
    VW_OPTION_END,
};

static const vw_model_ops ops = {
    .size = sizeof ops, .load = load, .info = info, .forward = forward,
};

static const char *const needs[] = {"device", "gemm", "attention", NULL};

static const vw_plugin plugin = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_MODEL, .ops_major = VW_MODEL_OPS_MAJOR, .ops_minor = VW_MODEL_OPS_MINOR,
    .name = "grok", .summary = "Grok-1 from xAI's files and from its published conversions",
    .version = "0.1.0", .license = "Apache-2.0", .author = "The VishwamAI authors",
    .url = "https://github.com/VishwamAI", .rank = VW_RANK_NORMAL, .needs = needs,
    .config_size = sizeof(grok_options), .options = options,
    .probe = probe, .open = grok_open, .close = grok_close, .ops = &ops,
};

VW_PLUGIN_DEFINE(model, grok) { return &plugin; }
