/* params.c - the parameters of a base model, under the names that models of its shape are published
 * with.
 *
 * First values: normal with the configured deviation, and 1 / sqrt(2 layers) of it in the two
 * projections into the residual stream, so that the stream's variance does not grow with depth.
 */
#include "vishwamai.h"

#include <math.h>
#include <stdbool.h>

typedef struct listing { /* a list in the making; without memory it only counts */
    base_model *model;
    size_t n;
} listing;

static vw_param_spec *add(listing *l, int64_t rows, int64_t cols, vw_split split)
{
    static vw_param_spec counted;
    size_t i = l->n++;
    base_model *m = l->model;
    if (!m->specs)
        return &counted;
    m->specs[i] = (vw_param_spec){.name = m->names[i],
                                  .rows = rows,
                                  .cols = cols,
                                  .init = rows ? VW_INIT_NORMAL : VW_INIT_ONES,
                                  .init_std = m->init_std,
                                  .split = split,
                                  .decay_group = rows ? 1 : 0};
    return &m->specs[i];
}

VW_PRINTF(2, 3)
static void name(listing *l, const char *format, ...)
{
    va_list args;
    if (!l->model->names)
        return;
    va_start(args, format);
    vsnprintf(l->model->names[l->n - 1], sizeof *l->model->names, format, args);
    va_end(args);
}

static double residual_std(const base_model *m)
{
    return m->init_std / sqrt(2.0 * m->n_layers);
}

/* gate, up and down of one MLP; `of` is "mlp", "mlp.experts.3" ... */
static void add_mlp(listing *l, int32_t layer, const char *of, int64_t ffn, bool is_expert)
{
    const base_model *m = l->model;
    vw_split into = is_expert ? VW_SPLIT_EXPERT : VW_SPLIT_ROWS;
    add(l, ffn, m->width, into);
    name(l, "model.layers.%d.%s.gate_proj.weight", layer, of);
    add(l, ffn, m->width, into);
    name(l, "model.layers.%d.%s.up_proj.weight", layer, of);
    add(l, m->width, ffn, is_expert ? into : VW_SPLIT_COLUMNS)->init_std = residual_std(m);
    name(l, "model.layers.%d.%s.down_proj.weight", layer, of);
}

static void add_experts(listing *l, int32_t layer, base_layer *at)
{
    const base_model *m = l->model;
    char of[32];
    add(l, m->n_experts, m->width, VW_SPLIT_NONE)->is_exact = 1;
    name(l, "model.layers.%d.mlp.gate.weight", layer);
    if (m->is_sigmoid) {
        at->bias = l->n - at->first;
        vw_param_spec *bias = add(l, 0, m->n_experts, VW_SPLIT_NONE);
        bias->init = VW_INIT_ZEROS;
        bias->is_steered = 1;
        name(l, "model.layers.%d.mlp.gate.e_score_correction_bias", layer);
    }
    if (m->n_shared) {
        at->shared = l->n - at->first;
        add_mlp(l, layer, "mlp.shared_experts", (int64_t)m->n_shared * m->expert_ffn, false);
    }
    at->experts = l->n - at->first;
    for (int32_t e = 0; e < m->n_experts; e++) {
        snprintf(of, sizeof of, "mlp.experts.%d", e);
        add_mlp(l, layer, of, m->expert_ffn, true);
    }
}

static void add_layer(listing *l, int32_t layer, base_layer *at)
{
    const base_model *m = l->model;
    const int64_t d = m->width, q = (int64_t)m->heads * m->head_dim,
                  kv = (int64_t)m->kv_heads * m->head_dim;
    at->first = l->n;
    at->bias = at->shared = at->experts = 0;
    at->has_experts = m->n_experts > 1 && layer >= m->n_dense;
    add(l, 0, d, VW_SPLIT_NONE);
    name(l, "model.layers.%d.input_layernorm.weight", layer);
    add(l, q, d, VW_SPLIT_ROWS);
    name(l, "model.layers.%d.self_attn.q_proj.weight", layer);
    add(l, kv, d, VW_SPLIT_ROWS);
    name(l, "model.layers.%d.self_attn.k_proj.weight", layer);
    add(l, kv, d, VW_SPLIT_ROWS);
    name(l, "model.layers.%d.self_attn.v_proj.weight", layer);
    add(l, d, q, VW_SPLIT_COLUMNS)->init_std = residual_std(m);
    name(l, "model.layers.%d.self_attn.o_proj.weight", layer);
    add(l, 0, d, VW_SPLIT_NONE);
    name(l, "model.layers.%d.post_attention_layernorm.weight", layer);
    if (at->has_experts)
        add_experts(l, layer, at);
    else
        add_mlp(l, layer, "mlp", m->ffn, false);
}

static size_t list(base_model *m)
{
    listing l = {m, 0};
    add(&l, m->vocab_size, m->width, VW_SPLIT_VOCABULARY);
    name(&l, "model.embed_tokens.weight");
    add(&l, 0, m->width, VW_SPLIT_NONE);
    name(&l, "model.norm.weight");
    if (!m->is_tied) {
        add(&l, m->vocab_size, m->width, VW_SPLIT_VOCABULARY);
        name(&l, "lm_head.weight");
    }
    for (int32_t layer = 0; layer < m->n_layers; layer++)
        add_layer(&l, layer, &m->layers[layer]);
    return l.n;
}

static void list_experts(base_model *m)
{
    int32_t n = 0;
    for (int32_t i = 0; i < m->n_layers; i++) {
        base_layer *l = &m->layers[i];
        if (!l->has_experts)
            continue;
        m->experts[n] = (vw_experts_spec){.first_param = l->first + l->experts,
                                          .n_experts = m->n_experts,
                                          .top_k = m->top_k,
                                          .bias = l->bias ? l->first + l->bias + 1 : 0,
                                          .balance = m->balance,
                                          .capacity = m->capacity};
        l->moe = (vw_nn_moe){.experts = n++,
                             .top_k = m->top_k,
                             .is_sigmoid = m->is_sigmoid,
                             .is_normalised = m->is_normalised,
                             .scale = (float)m->route_scale,
                             .capacity = (float)m->capacity,
                             .balance = (float)m->balance,
                             .z_loss = (float)m->z_loss,
                             .dropout = (float)m->dropout,
                             .activation = VW_ACT_SILU};
    }
    m->info.n_experts = n;
    m->info.experts = m->experts;
}

vw_status base_list_params(base_model *m, vw_error *err)
{
    const vw_host *host = m->host;
    size_t n, layers = (size_t)m->n_layers;
    if (m->n_experts > 1 && (int64_t)m->n_layers * m->n_experts * 3 > VW_MOST_PARAMS)
        return vw_fail(err, VW_E_FORMAT,
                       "%d layers of %d experts are more tensors than the %d that a checkpoint may have",
                       m->n_layers, m->n_experts, VW_MOST_PARAMS);
    n = list(m);
    m->experts = host->alloc(host->core, layers * sizeof *m->experts);
    m->names = host->alloc(host->core, n * sizeof *m->names);
    m->specs = m->names ? host->alloc(host->core, n * sizeof *m->specs) : NULL;
    if (!m->specs || !m->experts)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of %zu parameters", n);
    list(m);
    list_experts(m);
    m->info.n_params = n;
    m->info.params = m->specs;
    return VW_OK;
}
