/* params.c - the parameters of a DeepSeek model under their published names.
 *
 * 91,991 tensors in the published checkpoint of V3, so the list is made in two passes of the same
 * text: one that counts, one that writes.
 */
#include "deepseek.h"

#include <stdarg.h>

typedef struct list {
    deepseek *m;
    size_t n; /* so far */
} list;

/* Append a parameter; rows 0: a vector.  Returns it, or NULL while counting. */
VW_PRINTF(5, 6)
static vw_param_spec *add(list *l, int64_t rows, int64_t cols, vw_split split, const char *name, ...)
{
    size_t i = l->n++;
    va_list args;
    if (!l->m->specs)
        return NULL;
    va_start(args, name);
    vsnprintf(l->m->names[i], sizeof *l->m->names, name, args);
    va_end(args);
    vw_param_spec *s = &l->m->specs[i];
    *s = (vw_param_spec){.name = l->m->names[i], .rows = rows, .cols = cols,
                         .init = rows ? VW_INIT_NORMAL : VW_INIT_ONES, .init_std = 0.02,
                         .split = split, .decay_group = rows ? 1 : 0};
    return s;
}

static void add_norm(list *l, int32_t layer, const char *name, int64_t width)
{
    add(l, 0, width, VW_SPLIT_NONE, "model.layers.%d.%s.weight", layer, name);
}

static void add_mlp(list *l, int32_t layer, const char *where, int64_t ffn, vw_split rows,
                    vw_split cols)
{
    const int64_t d = l->m->width;
    add(l, ffn, d, rows, "model.layers.%d.mlp.%sgate_proj.weight", layer, where);
    add(l, ffn, d, rows, "model.layers.%d.mlp.%sup_proj.weight", layer, where);
    add(l, d, ffn, cols, "model.layers.%d.mlp.%sdown_proj.weight", layer, where);
}

static void add_attention(list *l, int32_t n)
{
    const deepseek *m = l->m;
    const int64_t d = m->width, H = m->heads, q = H * (m->nope + m->rope);
    static const char at[] = "model.layers.%d.self_attn.%s.weight";
    add_norm(l, n, "input_layernorm", d);
    add(l, m->kv_rank + m->rope, d, VW_SPLIT_NONE, at, n, "kv_a_proj_with_mqa");
    add_norm(l, n, "self_attn.kv_a_layernorm", m->kv_rank);
    vw_param_spec *kv_b = add(l, H * (m->nope + m->dv), m->kv_rank, VW_SPLIT_ROWS, at, n, "kv_b_proj");
    if (kv_b && m->is_absorbed) {
        kv_b->n_heads = m->heads;
        kv_b->head_split = m->nope;
    }
    add(l, d, H * m->dv, VW_SPLIT_COLUMNS, at, n, "o_proj");
    add_norm(l, n, "post_attention_layernorm", d);
    if (!m->q_rank) {
        add(l, q, d, VW_SPLIT_ROWS, at, n, "q_proj");
        return;
    }
    add(l, q, m->q_rank, VW_SPLIT_ROWS, at, n, "q_b_proj");
    add(l, m->q_rank, d, VW_SPLIT_NONE, at, n, "q_a_proj");
    add_norm(l, n, "self_attn.q_a_layernorm", m->q_rank);
}

static void add_mixture(list *l, int32_t n, vw_experts_spec *experts)
{
    const deepseek *m = l->m;
    char where[32];
    vw_param_spec *router = add(l, m->n_experts, m->width, VW_SPLIT_NONE,
                                "model.layers.%d.mlp.gate.weight", n);
    if (router)
        router->is_exact = 1;
    if (m->n_shared)
        add_mlp(l, n, "shared_experts.", (int64_t)m->n_shared * m->expert_ffn, VW_SPLIT_ROWS,
                VW_SPLIT_COLUMNS);
    if (m->has_bias) {
        vw_param_spec *bias = add(l, 0, m->n_experts, VW_SPLIT_NONE,
                                  "model.layers.%d.mlp.gate.e_score_correction_bias", n);
        if (bias)
            bias->is_steered = 1;
    }
    if (experts)
        *experts = (vw_experts_spec){.first_param = l->n, .n_experts = m->n_experts,
                                     .top_k = m->top_k, .bias = m->has_bias ? l->n : 0};
    for (int32_t e = 0; e < m->n_experts; e++) {
        snprintf(where, sizeof where, "experts.%d.", e);
        add_mlp(l, n, where, m->expert_ffn, VW_SPLIT_EXPERT, VW_SPLIT_EXPERT);
    }
}

static void add_layer(list *l, int32_t n)
{
    deepseek *m = l->m;
    deepseek_layer *layer = &m->layers[n];
    if (n >= m->n_layers) {
        layer->draft = l->n;
        add_norm(l, n, "enorm", m->width);
        add_norm(l, n, "hnorm", m->width);
        add(l, m->width, 2 * (int64_t)m->width, VW_SPLIT_NONE, "model.layers.%d.eh_proj.weight", n);
        add_norm(l, n, "shared_head.norm", m->width);
    }
    layer->attention = l->n;
    add_attention(l, n);
    layer->ffn = l->n;
    if (layer->is_mixture)
        add_mixture(l, n, m->experts ? &m->experts[layer->moe.experts] : NULL);
    else
        add_mlp(l, n, "", m->ffn, VW_SPLIT_ROWS, VW_SPLIT_COLUMNS);
}

static size_t write_list(deepseek *m)
{
    list l = {m, 0};
    add(&l, m->vocab_size, m->width, VW_SPLIT_VOCABULARY, "model.embed_tokens.weight");
    add(&l, 0, m->width, VW_SPLIT_NONE, "model.norm.weight");
    vw_param_spec *head = add(&l, m->vocab_size, m->width, VW_SPLIT_VOCABULARY, "lm_head.weight");
    if (head)
        head->is_optional = m->is_tied;
    for (int32_t n = 0; n < deepseek_all_layers(m); n++)
        add_layer(&l, n);
    return l.n;
}

vw_status deepseek_list_params(deepseek *m, vw_error *err)
{
    const vw_host *host = m->host;
    size_t n = write_list(m);
    m->specs = host->alloc(host->core, n * sizeof *m->specs);
    m->names = host->alloc(host->core, n * sizeof *m->names);
    if (!m->specs || !m->names)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of %zu parameters", n);
    write_list(m);
    m->info.n_params = n;
    m->info.params = m->specs;
    return VW_OK;
}
