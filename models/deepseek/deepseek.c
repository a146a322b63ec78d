/* deepseek.c - the DeepSeek family (V3, R1, V3.1; V2): how a token's logits come about.
 *
 * The forward below is the whole model (DeepSeek-V3, arXiv 2412.19437, section 2.1).  N is RMS norm.
 *
 *     h = N(x; input_layernorm)
 *     q = Wqb N(Wqa h)              each head: nope values, then rope values that are rotated
 *     [c | p] = Wkva h              c normed, p rotated and shared by all heads
 *     x += Wo attention,  x += FFN( N(x; post_attention_layernorm) )
 *
 * Attention has two forms of the same numbers.  Naive: keys [Wkb c | p] and values Wvb c of every
 * head are made and cached.  Absorbed: c and p are all that is cached; Wkb is applied to queries
 * before the scores and Wvb to what comes out, so all heads share one key of kv_rank + rope values.
 *
 * Letters: T tokens, d width, H heads.
 */
#include "deepseek.h"

#include "plugins/gguf/keys.h"

#include <errno.h>
#include <math.h>

static const float low_rank_eps = 1e-6f; /* of the two norms within, whatever rms_norm_eps says */

static vw_tensor norm(const deepseek *m, vw_cx *cx, vw_tensor x, vw_param *w)
{
    return vw_rms_norm(cx, x, w, 0.0f, (float)m->eps);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* q [T, H (nope + rope)] and [c | p] [T, kv_rank + rope], rotated. */
static void project(const deepseek *m, vw_cx *cx, vw_param *const *p, vw_tensor h, vw_tensor *q,
                    vw_tensor *latent)
{
    vw_param *w[2] = {p[m->q_rank ? Q_A : Q_B], p[KV_A]};
    vw_tensor y[2];
    vw_linears(cx, h, 2, w, y);
    *q = m->q_rank
             ? vw_linear(cx, vw_rms_norm(cx, y[0], p[Q_A_NORM], 0.0f, low_rank_eps), p[Q_B])
             : y[0];
    *latent = y[1];
    vw_rope(cx, *q, &m->q_rope);
    vw_rope(cx, *latent, &m->k_rope);
}

/* Keys [T, H (nope + rope)] and values [T, H dv] of every head. */
static void expand(const deepseek *m, vw_cx *cx, vw_param *const *kv_b, vw_tensor latent, vw_tensor c,
                   vw_tensor *k, vw_tensor *v)
{
    if (m->is_split) {
        const vw_nn_part key[2] = {{vw_heads_of(cx, c, m->heads, kv_b, 1), m->heads, 0, m->nope},
                                   {latent, 1, m->kv_rank, m->rope}};
        *k = vw_join(cx, m->heads, 2, key);
        *v = vw_heads_of(cx, c, m->heads, kv_b + m->heads, 0);
        return;
    }
    vw_tensor kv = vw_linear(cx, c, *kv_b); /* [T, H (nope + dv)] */
    const vw_nn_part key[2] = {{kv, m->heads, 0, m->nope}, {latent, 1, m->kv_rank, m->rope}};
    const vw_nn_part value[1] = {{kv, m->heads, m->nope, m->dv}};
    *k = vw_join(cx, m->heads, 2, key);
    *v = vw_join(cx, m->heads, 1, value);
}

static vw_tensor attend_naive(const deepseek *m, vw_cx *cx, const vw_nn_attention *att,
                              vw_param *const *kv_b, vw_tensor q, vw_tensor latent, vw_tensor c)
{
    vw_tensor k, v;
    expand(m, cx, kv_b, latent, c, &k, &v);
    return vw_attention(cx, att, q, k, v);
}

/* Keys of the latent applied to q, or values to what comes out; kv_b: one matrix for both, or one a
 * head of each. */
static vw_tensor absorb(const deepseek *m, vw_cx *cx, vw_tensor x, vw_param *const *kv_b,
                        vw_head_side side)
{
    return m->is_split ? vw_each_head(cx, x, m->heads, kv_b + (side == VW_HEAD_BEHIND ? m->heads : 0))
                       : vw_per_head(cx, x, *kv_b, side);
}

static vw_tensor attend_absorbed(const deepseek *m, vw_cx *cx, const vw_nn_attention *att,
                                 vw_param *const *kv_b, vw_tensor q, vw_tensor latent, vw_tensor c)
{
    vw_tensor within = absorb(m, cx, q, kv_b, VW_HEAD_BEFORE); /* [T, H kv_rank] */
    const vw_nn_part query[2] = {{within, m->heads, 0, m->kv_rank}, {q, m->heads, m->nope, m->rope}};
    const vw_nn_part key[2] = {{c, 1, 0, m->kv_rank}, {latent, 1, m->kv_rank, m->rope}};
    vw_tensor k = vw_join(cx, 1, 2, key);
    vw_tensor o = vw_attention(cx, att, vw_join(cx, m->heads, 2, query), k, c);
    return absorb(m, cx, o, kv_b, VW_HEAD_BEHIND);
}

/* A prompt's own tokens in the naive form, which is a third of the work; cached is the latent. */
static vw_tensor attend_prompt(const deepseek *m, vw_cx *cx, const vw_nn_dense *dense,
                               vw_param *const *kv_b, vw_tensor q, vw_tensor latent, vw_tensor c)
{
    const vw_nn_part key[2] = {{c, 1, 0, m->kv_rank}, {latent, 1, m->kv_rank, m->rope}};
    vw_tensor k, v, cached = vw_join(cx, 1, 2, key);
    expand(m, cx, kv_b, latent, c, &k, &v);
    return vw_attention_prompt(cx, dense, q, k, v, cached, c);
}

static vw_tensor attend(const deepseek *m, vw_cx *cx, const vw_nn_attention *att, vw_param *const *kv_b,
                        vw_tensor q, vw_tensor latent, vw_tensor c)
{
    const vw_nn_dense dense = {*att, m->heads, m->nope + m->rope, m->dv};
    if (!m->is_absorbed)
        return attend_naive(m, cx, att, kv_b, q, latent, c);
    vw_prompt is_prompt = vw_is_prompt(cx, &dense);
    size_t mark = vw_begin(cx);
    vw_tensor a = is_prompt ? attend_prompt(m, cx, &dense, kv_b, q, latent, c) : (vw_tensor){0};
    if (is_prompt == VW_PROMPT_YES)
        return a;
    vw_end(cx, mark);
    return attend_absorbed(m, cx, att, kv_b, q, latent, c);
}

static void attention_part(const deepseek *m, vw_cx *cx, const deepseek_layer *layer,
                           vw_param *const *list, vw_tensor x)
{
    vw_param *const *p = list + layer->attention, *const *kv_b = list + layer->kv_b;
    size_t mark = vw_begin(cx);
    vw_tensor q, latent, h = norm(m, cx, x, p[INPUT_NORM]);
    project(m, cx, p, h, &q, &latent);
    vw_tensor c = vw_rms_norm(cx, vw_tensor_cols(latent, 0, m->kv_rank), p[KV_A_NORM], 0.0f,
                              low_rank_eps);
    vw_tensor a = attend(m, cx, &layer->att, kv_b, q, latent, c);
    vw_linear_add(cx, a, p[O_PROJ], x); /* a [T, H dv] */
    vw_end(cx, mark);
}

/* ---- what follows it ------------------------------------------------------------------------- */

static void add_mlp(vw_cx *cx, vw_param *const *p, vw_tensor h, vw_tensor x)
{
    vw_linear_add(cx, vw_gated(cx, h, p[GATE], p[UP], VW_ACT_SILU), p[DOWN], x);
}

static void ffn_part(const deepseek *m, vw_cx *cx, const deepseek_layer *layer, vw_param *const *list,
                     vw_tensor x)
{
    size_t mark = vw_begin(cx);
    vw_param *const *p = list + layer->ffn;
    vw_tensor h = norm(m, cx, x, list[layer->attention + MLP_NORM]);
    if (!layer->is_mixture) {
        add_mlp(cx, p, h, x);
    } else {
        vw_param *bias = m->has_bias ? p[m->n_shared ? EXPERTS_OR_BIAS : SHARED] : NULL;
        vw_moe(cx, &layer->moe, h, p[ROUTER], bias, x);
        if (m->n_shared)
            add_mlp(cx, p + SHARED, h, x);
    }
    vw_end(cx, mark);
}

static void run_layer(const deepseek *m, vw_cx *cx, int32_t n, vw_param *const *params, vw_tensor x)
{
    const deepseek_layer *layer = &m->layers[n];
    attention_part(m, cx, layer, params, x);
    ffn_part(m, cx, layer, params, x);
}

static vw_param *head_of(const deepseek *m, vw_param *const *params)
{
    return params[m->is_tied ? EMBED_TOKENS : LM_HEAD];
}

static vw_status forward(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last)
{
    const deepseek *m = self;
    vw_tensor x = first == 0 ? vw_embed(cx, params[EMBED_TOKENS], 1.0f) : vw_hidden_in(cx);
    for (int32_t n = first; n < last; n++)
        run_layer(m, cx, n, params, x);
    if (last < m->n_layers) {
        vw_hidden_out(cx, x);
    } else if (m->n_drafts) {
        vw_tensor y = norm(m, cx, x, params[FINAL_NORM]);
        vw_hidden_out(cx, m->options->mtp_hidden ? x : y);
        vw_head(cx, vw_wanted_rows(cx, y), head_of(m, params), 1.0f, 0.0f);
    } else {
        vw_tensor rows = norm(m, cx, vw_wanted_rows(cx, x), params[FINAL_NORM]);
        vw_head(cx, rows, head_of(m, params), 1.0f, 0.0f);
    }
    return vw_nn_status(cx);
}

/* Multi-token prediction (section 2.2 of the report): the layer sees the next token's embedding beside
 * the state that predicted it.  The published weights have the embedding first. */
static vw_status draft(void *self, vw_cx *cx, vw_param *const *params)
{
    const deepseek *m = self;
    vw_param *const *p = params + m->layers[m->n_layers].draft;
    vw_tensor e = norm(m, cx, vw_embed(cx, params[EMBED_TOKENS], 1.0f), p[E_NORM]);
    vw_tensor h = norm(m, cx, vw_hidden_in(cx), p[H_NORM]);
    const vw_nn_part both[2] = {{e, 1, 0, m->width}, {h, 1, 0, m->width}};
    vw_tensor x = vw_linear(cx, vw_join(cx, 1, 2, both), p[EH_PROJ]);
    run_layer(m, cx, m->n_layers, params, x);
    vw_hidden_out(cx, x);
    vw_head(cx, norm(m, cx, vw_wanted_rows(cx, x), p[HEAD_NORM]), head_of(m, params), 1.0f, 0.0f);
    return vw_nn_status(cx);
}

/* ---- description ----------------------------------------------------------------------------- */

static vw_nn_moe mixture(const deepseek *m, int32_t number)
{
    return (vw_nn_moe){.experts = number,
                       .top_k = m->top_k,
                       .is_sigmoid = m->is_sigmoid,
                       .is_normalised = m->is_normalised,
                       .n_groups = m->n_groups,
                       .top_groups = m->top_groups,
                       .group_best = m->group_best,
                       .scale = (float)m->route_scale,
                       .activation = VW_ACT_SILU};
}

static vw_status describe_layers(deepseek *m, vw_error *err)
{
    const vw_host *host = m->host;
    size_t n = (size_t)deepseek_all_layers(m);
    const vw_cache_spec naive = {m->heads, m->nope + m->rope, m->dv, 0, 0},
                        latent = {1, m->kv_rank + m->rope, m->kv_rank, 0, 1};
    m->layers = host->alloc(host->core, n * sizeof *m->layers);
    m->caches = host->alloc(host->core, n * sizeof *m->caches);
    m->experts = host->alloc(host->core, n * sizeof *m->experts);
    if (!m->layers || !m->caches || !m->experts)
        return vw_fail(err, VW_E_NOMEM, "no memory to describe %zu layers", n);
    memset(m->layers, 0, n * sizeof *m->layers);
    for (int32_t l = 0; l < (int32_t)n; l++) {
        deepseek_layer *layer = &m->layers[l];
        layer->att = (vw_nn_attention){l, m->heads, m->scale, 0};
        m->caches[l] = m->is_absorbed ? latent : naive;
        if (m->n_experts && l >= m->n_dense) {
            layer->is_mixture = 1;
            layer->moe = mixture(m, m->info.n_experts++);
        }
    }
    return VW_OK;
}

static void describe(deepseek *m)
{
    vw_model_info *i = &m->info;
    double n = 0;
    i->size = sizeof *i;
    i->family = "deepseek";
    i->n_layers = m->n_layers;
    i->n_drafts = m->n_drafts;
    i->width = m->width;
    i->vocab_size = m->vocab_size;
    i->max_positions = m->max_positions;
    i->q_heads = m->heads;
    i->caches = m->caches;
    i->experts = m->experts;
    for (size_t p = 0; p < i->n_params; p++)
        n += (double)(m->specs[p].rows ? m->specs[p].rows : 1) * (double)m->specs[p].cols;
    snprintf(i->description, sizeof i->description,
             "DeepSeek, %d layers, %d experts, %s attention, %.2f %s parameters", m->n_layers,
             m->n_experts, m->is_absorbed ? "absorbed" : "naive", n >= 1e9 ? n / 1e9 : n / 1e6,
             n >= 1e9 ? "B" : "M");
}

/* Layers that draft lie behind the others in the file, and bring copies of embedding and head. */
static void ignore_rest(deepseek *m)
{
    size_t n = 0;
    m->ignored[n++] = "*.rotary_emb.inv_freq";
    m->ignored[n++] = "rope_freqs.weight";
    if (m->is_split) /* some files have both forms */
        m->ignored[n++] = "blk.*.attn_kv_b.weight";
    if (m->n_drafts) {
        m->ignored[n++] = "model.layers.*.embed_tokens.weight*";
        m->ignored[n++] = "model.layers.*.shared_head.head.weight*";
    }
    for (int32_t i = m->n_drafts; i < m->n_further; i++) {
        snprintf(m->ignored_layers[i], sizeof *m->ignored_layers, "%s.%d.*",
                 m->is_gguf ? "blk" : "model.layers", m->n_layers + i);
        m->ignored[n++] = m->ignored_layers[i];
    }
    m->info.ignored = m->ignored;
}

static vw_status load(void *self, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    deepseek *m = self;
    vw_status st = json->get(json->root(config), "general.architecture")
                       ? deepseek_configure_gguf(m, json, config, err)
                       : deepseek_configure(m, json, config, err);
    m->is_absorbed = m->options->attention != NAIVE;
    if (st || (st = deepseek_check(m, err)) || (st = deepseek_make_rotation(m, err)) ||
        (st = describe_layers(m, err)) || (st = deepseek_list_params(m, err)))
        return st;
    ignore_rest(m);
    describe(m);
    return VW_OK;
}

static const vw_model_info *info(void *self)
{
    return &((deepseek *)self)->info;
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static vw_status deepseek_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    deepseek *m = host->alloc(host->core, sizeof *m);
    if (!m)
        return vw_fail(err, VW_E_NOMEM, "no memory for a model");
    memset(m, 0, sizeof *m);
    m->host = host;
    m->options = config;
    *self = m;
    return VW_OK;
}

static void deepseek_close(void *self)
{
    deepseek *m = self;
    const vw_host *host = m->host;
    host->free(host->core, m->names);
    host->free(host->core, m->places);
    host->free(host->core, m->other_names);
    host->free(host->core, m->pieces);
    host->free(host->core, m->other_config);
    host->free(host->core, m->specs);
    host->free(host->core, m->experts);
    host->free(host->core, m->caches);
    host->free(host->core, m->layers);
    host->free(host->core, m->inv_freq);
    host->free(host->core, m);
}

/* A probe has no host and so no JSON service: it looks for the family's name in config.json, and
 * load() then reads the file properly. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4096], text[65536], type[64] = "";
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "runs DeepSeek-V3, R1, V3.1 and V2");
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
    const char *key = is_gguf ? "general.architecture" : "model_type";
    const char *at = is_gguf ? NULL : strstr(text, "\"model_type\"");
    if (is_gguf)
        gguf_find_architecture(text, n, type, sizeof type);
    else if (at)
        sscanf(at + strlen("\"model_type\""), " : \"%63[^\"]\"", type);
    if (is_gguf ? strcmp(type, "deepseek2") != 0
                : strcmp(type, "deepseek_v3") != 0 && strcmp(type, "deepseek_v2") != 0) {
        snprintf(why, why_bytes, "%s: %s is \"%s\", none of DeepSeek's", path, key, type);
        return 0;
    }
    snprintf(why, why_bytes, "%s is \"%s\"", key, type);
    return 100;
}

static const char *const forms[] = {"naive", "absorbed", "auto", NULL};
static const char *const states[] = {"normed", "raw", NULL};

static const vw_option options[] = {
    {.key = "attention", .type = VW_OPTION_ENUM, .def = "auto", .choices = forms,
     .offset = offsetof(deepseek_options, attention),
     .help = "absorbed: cache the latent alone; naive: keys and values of every head; auto: absorbed"},
    {.key = "mtp", .type = VW_OPTION_BOOL, .def = "no", .offset = offsetof(deepseek_options, mtp),
     .help = "load the layer that predicts a further token, to draft with ([engine] draft_tokens)"},
    {.key = "mtp_hidden", .type = VW_OPTION_ENUM, .def = "normed", .choices = states,
     .offset = offsetof(deepseek_options, mtp_hidden), .flags = VW_OPTION_ADVANCED,
     .help = "the state that it is given: behind the last norm or before it; only drafts differ"},
    {.key = "expert_groups", .type = VW_OPTION_INT, .def = "0", .min = 0, .max = DEEPSEEK_MAX_EXPERTS,
     .offset = offsetof(deepseek_options, expert_groups), .flags = VW_OPTION_RANGE | VW_OPTION_ADVANCED,
     .help = "groups of experts, for a GGUF file that leaves them out (8 in V3 and R1); 0: as it says"},
    {.key = "expert_groups_used", .type = VW_OPTION_INT, .def = "1", .min = 1,
     .max = DEEPSEEK_MAX_EXPERTS, .flags = VW_OPTION_RANGE | VW_OPTION_ADVANCED,
     .offset = offsetof(deepseek_options, expert_groups_used),
     .help = "of these the groups that a token's experts are taken from (4 in V3 and R1)"},
    VW_OPTION_END,
};

static const vw_model_ops ops = {
    .size = sizeof ops, .load = load, .info = info, .forward = forward, .draft = draft,
    .respell = deepseek_respell,
};

static const char *const needs[] = {"device", "gemm", "attention", NULL};

static const vw_plugin plugin = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_MODEL, .ops_major = VW_MODEL_OPS_MAJOR, .ops_minor = VW_MODEL_OPS_MINOR,
    .name = "deepseek", .summary = "DeepSeek-V3, R1, V3.1 and V2 from their published files",
    .version = "0.1.0", .license = "Apache-2.0", .author = "The VishwamAI authors",
    .url = "https://github.com/VishwamAI", .rank = VW_RANK_NORMAL, .needs = needs,
    .config_size = sizeof(deepseek_options), .options = options,
    .probe = probe, .open = deepseek_open, .close = deepseek_close, .ops = &ops,
};

VW_PLUGIN_DEFINE(model, deepseek) { return &plugin; }
