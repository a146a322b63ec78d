/* params.c - the parameters of a DeepSeek model under their published names, or those of GGUF files.
 *
 * 91,991 tensors in the published checkpoint of V3, so the list is made in two passes of the same
 * text: one that counts, one that writes.  Each parameter remembers what it is, so that its name in the
 * other kind of file can be told (respell.c).  A GGUF file has all experts of a layer in one tensor of
 * three dimensions, and in its newer form what a latent becomes, keys and values, in two.
 */
#include "deepseek.h"

typedef struct list {
    deepseek *m;
    size_t n; /* so far */
} list;

/* ---- names ----------------------------------------------------------------------------------- */

/* Behind "model." or "model.layers.N." here, as it is or behind "blk.N." there; of experts %d is the
 * number. */
static const struct {
    const char *published, *gguf;
} names[DEEPSEEK_ROLES] = {
    [ROLE_EMBED] = {"model.embed_tokens.weight", "token_embd.weight"},
    [ROLE_NORM] = {"model.norm.weight", "output_norm.weight"},
    [ROLE_HEAD] = {"lm_head.weight", "output.weight"},
    [ROLE_ATTENTION_NORM] = {"input_layernorm.weight", "attn_norm.weight"},
    [ROLE_KV_A] = {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
    [ROLE_KV_A_NORM] = {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
    [ROLE_KV_B] = {"self_attn.kv_b_proj.weight", "attn_kv_b.weight"},
    [ROLE_K_B] = {NULL, "attn_k_b.weight"},
    [ROLE_V_B] = {NULL, "attn_v_b.weight"},
    [ROLE_O] = {"self_attn.o_proj.weight", "attn_output.weight"},
    [ROLE_FFN_NORM] = {"post_attention_layernorm.weight", "ffn_norm.weight"},
    [ROLE_Q] = {"self_attn.q_proj.weight", "attn_q.weight"},
    [ROLE_Q_A] = {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
    [ROLE_Q_A_NORM] = {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
    [ROLE_Q_B] = {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
    [ROLE_MLP] = {"mlp.gate_proj.weight", "ffn_gate.weight"},
    [ROLE_MLP + UP] = {"mlp.up_proj.weight", "ffn_up.weight"},
    [ROLE_MLP + DOWN] = {"mlp.down_proj.weight", "ffn_down.weight"},
    [ROLE_SHARED] = {"mlp.shared_experts.gate_proj.weight", "ffn_gate_shexp.weight"},
    [ROLE_SHARED + UP] = {"mlp.shared_experts.up_proj.weight", "ffn_up_shexp.weight"},
    [ROLE_SHARED + DOWN] = {"mlp.shared_experts.down_proj.weight", "ffn_down_shexp.weight"},
    [ROLE_EXPERT] = {"mlp.experts.%d.gate_proj.weight", "ffn_gate_exps.weight"},
    [ROLE_EXPERT + UP] = {"mlp.experts.%d.up_proj.weight", "ffn_up_exps.weight"},
    [ROLE_EXPERT + DOWN] = {"mlp.experts.%d.down_proj.weight", "ffn_down_exps.weight"},
    [ROLE_ROUTER] = {"mlp.gate.weight", "ffn_gate_inp.weight"},
    [ROLE_BIAS] = {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    [ROLE_E_NORM] = {"enorm.weight", NULL},
    [ROLE_H_NORM] = {"hnorm.weight", NULL},
    [ROLE_EH_PROJ] = {"eh_proj.weight", NULL},
    [ROLE_DRAFT_NORM] = {"shared_head.norm.weight", NULL},
};

void deepseek_name(deepseek_place at, int32_t is_gguf, char name[DEEPSEEK_NAME])
{
    const char *form = is_gguf ? names[at.role].gguf : names[at.role].published;
    size_t n = 0;
    if (at.role > ROLE_HEAD)
        n = (size_t)snprintf(name, DEEPSEEK_NAME, is_gguf ? "blk.%d." : "model.layers.%d.", at.layer);
    const char *number = strstr(form, "%d");
    if (number)
        snprintf(name + n, DEEPSEEK_NAME - n, "%.*s%d%s", (int)(number - form), form, at.number,
                 number + 2);
    else
        snprintf(name + n, DEEPSEEK_NAME - n, "%s", form);
}

/* ---- the list -------------------------------------------------------------------------------- */

/* Append a parameter; rows 0: a vector.  Returns it, or NULL while counting. */
static vw_param_spec *add_numbered(list *l, int64_t rows, int64_t cols, vw_split split, int32_t layer,
                                   int32_t role, int32_t number)
{
    deepseek *m = l->m;
    size_t i = l->n++;
    if (!m->specs)
        return NULL;
    m->places[i] = (deepseek_place){role, layer, number};
    deepseek_name(m->places[i], m->is_gguf, m->names[i]);
    vw_param_spec *s = &m->specs[i];
    *s = (vw_param_spec){.name = m->names[i], .rows = rows, .cols = cols,
                         .init = rows ? VW_INIT_NORMAL : VW_INIT_ONES, .init_std = 0.02,
                         .split = split, .decay_group = rows ? 1 : 0};
    return s;
}

static vw_param_spec *add(list *l, int64_t rows, int64_t cols, vw_split split, int32_t layer,
                          int32_t role)
{
    return add_numbered(l, rows, cols, split, layer, role, 0);
}

static void add_norm(list *l, int32_t layer, int32_t role, int64_t width)
{
    add(l, 0, width, VW_SPLIT_NONE, layer, role);
}

static void add_mlp(list *l, int32_t layer, int32_t role, int64_t ffn)
{
    const int64_t d = l->m->width;
    add(l, ffn, d, VW_SPLIT_ROWS, layer, role + GATE);
    add(l, ffn, d, VW_SPLIT_ROWS, layer, role + UP);
    add(l, d, ffn, VW_SPLIT_COLUMNS, layer, role + DOWN);
}

/* Of each head: what a query becomes before it meets the latent, and what a latent becomes behind. */
static void add_heads(list *l, int32_t layer, int32_t role, int64_t rows, int64_t cols)
{
    for (int32_t h = 0; h < l->m->heads; h++) {
        vw_param_spec *s = add_numbered(l, rows, cols, VW_SPLIT_NONE, layer, role, h);
        if (!s)
            continue;
        s->n_slices = l->m->heads;
        s->slice = h;
    }
}

static void add_kv_b(list *l, int32_t n)
{
    const deepseek *m = l->m;
    if (m->is_split) {
        add_heads(l, n, ROLE_K_B, m->kv_rank, m->nope);
        add_heads(l, n, ROLE_V_B, m->dv, m->kv_rank);
        return;
    }
    vw_param_spec *kv_b = add(l, (int64_t)m->heads * (m->nope + m->dv), m->kv_rank, VW_SPLIT_ROWS, n,
                              ROLE_KV_B);
    if (kv_b && m->is_absorbed) {
        kv_b->n_heads = m->heads;
        kv_b->head_split = m->nope;
    }
}

static void add_attention(list *l, int32_t n)
{
    const deepseek *m = l->m;
    const int64_t d = m->width, q = (int64_t)m->heads * (m->nope + m->rope);
    add_norm(l, n, ROLE_ATTENTION_NORM, d);
    add(l, m->kv_rank + m->rope, d, VW_SPLIT_NONE, n, ROLE_KV_A);
    add_norm(l, n, ROLE_KV_A_NORM, m->kv_rank);
    add(l, d, (int64_t)m->heads * m->dv, VW_SPLIT_COLUMNS, n, ROLE_O);
    add_norm(l, n, ROLE_FFN_NORM, d);
    if (!m->q_rank) {
        add(l, q, d, VW_SPLIT_ROWS, n, ROLE_Q);
        return;
    }
    add(l, q, m->q_rank, VW_SPLIT_ROWS, n, ROLE_Q_B);
    add(l, m->q_rank, d, VW_SPLIT_NONE, n, ROLE_Q_A);
    add_norm(l, n, ROLE_Q_A_NORM, m->q_rank);
}

static void add_expert(list *l, int32_t n, int32_t number)
{
    const deepseek *m = l->m;
    for (int32_t i = 0; i < N_MLP; i++) {
        int64_t rows = i == DOWN ? m->width : m->expert_ffn, cols = i == DOWN ? m->expert_ffn : m->width;
        vw_param_spec *s = add_numbered(l, rows, cols, VW_SPLIT_EXPERT, n, ROLE_EXPERT + i, number);
        if (!s || !m->is_gguf)
            continue;
        s->n_slices = m->n_experts;
        s->slice = number;
    }
}

static void add_mixture(list *l, int32_t n, vw_experts_spec *experts)
{
    const deepseek *m = l->m;
    vw_param_spec *router = add(l, m->n_experts, m->width, VW_SPLIT_NONE, n, ROLE_ROUTER);
    if (router)
        router->is_exact = 1;
    if (m->n_shared)
        add_mlp(l, n, ROLE_SHARED, (int64_t)m->n_shared * m->expert_ffn);
    if (m->has_bias) {
        vw_param_spec *bias = add(l, 0, m->n_experts, VW_SPLIT_NONE, n, ROLE_BIAS);
        if (bias)
            bias->is_steered = 1;
    }
    if (experts)
        *experts = (vw_experts_spec){.first_param = l->n, .n_experts = m->n_experts,
                                     .top_k = m->top_k, .bias = m->has_bias ? l->n : 0};
    for (int32_t e = 0; e < m->n_experts; e++)
        add_expert(l, n, e);
}

static void add_layer(list *l, int32_t n)
{
    deepseek *m = l->m;
    deepseek_layer *layer = &m->layers[n];
    if (n >= m->n_layers) {
        layer->draft = l->n;
        add_norm(l, n, ROLE_E_NORM, m->width);
        add_norm(l, n, ROLE_H_NORM, m->width);
        add(l, m->width, 2 * (int64_t)m->width, VW_SPLIT_NONE, n, ROLE_EH_PROJ);
        add_norm(l, n, ROLE_DRAFT_NORM, m->width);
    }
    layer->attention = l->n;
    add_attention(l, n);
    layer->kv_b = l->n;
    add_kv_b(l, n);
    layer->ffn = l->n;
    if (layer->is_mixture)
        add_mixture(l, n, m->experts ? &m->experts[layer->moe.experts] : NULL);
    else
        add_mlp(l, n, ROLE_MLP, m->ffn);
}

static size_t write_list(deepseek *m)
{
    list l = {m, 0};
    add(&l, m->vocab_size, m->width, VW_SPLIT_VOCABULARY, 0, ROLE_EMBED);
    add(&l, 0, m->width, VW_SPLIT_NONE, 0, ROLE_NORM);
    vw_param_spec *head = add(&l, m->vocab_size, m->width, VW_SPLIT_VOCABULARY, 0, ROLE_HEAD);
    if (head)
        head->is_optional = m->is_tied;
    for (int32_t n = 0; n < deepseek_all_layers(m); n++)
        add_layer(&l, n);
    return l.n;
}

vw_status deepseek_list_params(deepseek *m, vw_error *err)
{
    const vw_host *host = m->host;
    if ((int64_t)deepseek_all_layers(m) * m->n_experts * 3 > VW_MOST_PARAMS)
        return vw_fail(err, VW_E_FORMAT,
                       "%d layers of %d experts are more tensors than the %d that a checkpoint may have",
                       deepseek_all_layers(m), m->n_experts, VW_MOST_PARAMS);
    size_t n = write_list(m);
    m->specs = host->alloc(host->core, n * sizeof *m->specs);
    m->names = host->alloc(host->core, n * sizeof *m->names);
    m->places = host->alloc(host->core, n * sizeof *m->places);
    if (!m->specs || !m->names || !m->places)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of %zu parameters", n);
    write_list(m);
    m->info.n_params = n;
    m->info.params = m->specs;
    return VW_OK;
}
