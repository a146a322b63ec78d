/* params.c - the parameters of a Grok-1 model under the names of its published conversions.
 *
 * A pattern's %d are the layer and the expert.  lm_head is a copy of the embedding that some files
 * hold and others leave out.
 */
#include "grok.h"

typedef struct pattern {
    const char *names[N_NAMINGS];
} pattern;

static const pattern own[] = {
    [EMBEDDING] = {{"transformer.in_out_embed.weight", "model.embed_tokens.weight",
                    "model.embed_tokens.weight"}},
    [FINAL_NORM] = {{"transformer.rms_norm.weight", "model.norm.weight", "model.norm.scale"}},
    [LM_HEAD] = {{"lm_head.weight", "lm_head.weight", "lm_head.weight"}},
};

static const pattern of_layer[] = {
    [PRE_ATTN_NORM] = {{"transformer.decoder_layer.%d.rms_norm.weight",
                        "model.layers.%d.pre_attn_norm.weight",
                        "model.layers.%d.pre_attn_norm.scale"}},
    [Q_PROJ] = {{"transformer.decoder_layer.%d.multi_head_attention.query.weight",
                 "model.layers.%d.self_attn.q_proj.weight", "model.layers.%d.attn.q_proj.weight"}},
    [K_PROJ] = {{"transformer.decoder_layer.%d.multi_head_attention.key.weight",
                 "model.layers.%d.self_attn.k_proj.weight", "model.layers.%d.attn.k_proj.weight"}},
    [V_PROJ] = {{"transformer.decoder_layer.%d.multi_head_attention.value.weight",
                 "model.layers.%d.self_attn.v_proj.weight", "model.layers.%d.attn.v_proj.weight"}},
    [O_PROJ] = {{"transformer.decoder_layer.%d.multi_head_attention.linear.weight",
                 "model.layers.%d.self_attn.o_proj.weight", "model.layers.%d.attn.o_proj.weight"}},
    [POST_ATTN_NORM] = {{"transformer.decoder_layer.%d.rms_norm_1.weight",
                         "model.layers.%d.post_attn_norm.weight",
                         "model.layers.%d.post_attn_norm.scale"}},
    [PRE_MOE_NORM] = {{"transformer.decoder_layer.%d.rms_norm_2.weight",
                       "model.layers.%d.pre_moe_norm.weight",
                       "model.layers.%d.pre_moe_norm.scale"}},
    [ROUTER] = {{"transformer.decoder_layer.%d.router.weight",
                 "model.layers.%d.block_sparse_moe.gate.weight",
                 "model.layers.%d.moe_block.gate.weight"}},
    [POST_MOE_NORM] = {{"transformer.decoder_layer.%d.rms_norm_3.weight",
                        "model.layers.%d.post_moe_norm.weight",
                        "model.layers.%d.post_moe_norm.scale"}},
};

/* In the order of vw_experts_spec: gate, up, down. */
static const pattern of_expert[] = {
    {{"transformer.decoder_layer.%d.moe.%d.linear.weight",
      "model.layers.%d.block_sparse_moe.experts.%d.w1.weight",
      "model.layers.%d.moe_block.experts.%d.linear.weight"}},
    {{"transformer.decoder_layer.%d.moe.%d.linear_v.weight",
      "model.layers.%d.block_sparse_moe.experts.%d.w3.weight",
      "model.layers.%d.moe_block.experts.%d.linear_v.weight"}},
    {{"transformer.decoder_layer.%d.moe.%d.linear_1.weight",
      "model.layers.%d.block_sparse_moe.experts.%d.w2.weight",
      "model.layers.%d.moe_block.experts.%d.linear_1.weight"}},
};

/* `text` with %d replaced by the numbers in turn. */
static void fill_in(char *to, size_t room, const char *text, const int32_t numbers[2])
{
    size_t n = 0;
    for (int used = 0; *text && n + 12 < room;) {
        if (text[0] == '%' && text[1] == 'd') {
            n += (size_t)snprintf(to + n, room - n, "%d", numbers[used++ % 2]);
            text += 2;
        } else {
            to[n++] = *text++;
        }
    }
    to[n] = '\0';
}

static vw_param_spec *set_spec(grok *g, size_t i, const pattern *p, int32_t layer, int32_t expert,
                               int64_t rows, int64_t cols, vw_split split)
{
    const int32_t numbers[2] = {layer, expert};
    for (int w = 0; w < N_NAMINGS; w++)
        fill_in(g->names[i][w], sizeof g->names[i][w], p->names[w], numbers);
    for (int w = 1; w < N_NAMINGS; w++)
        g->others[i][w - 1] = g->names[i][w];
    g->others[i][N_NAMINGS - 1] = NULL;
    g->specs[i] = (vw_param_spec){.name = g->names[i][NAMES_KEYFAN],
                                  .others = g->others[i],
                                  .rows = rows,
                                  .cols = cols,
                                  .init = rows ? VW_INIT_NORMAL : VW_INIT_ONES,
                                  .init_std = 0.02,
                                  .split = split,
                                  .decay_group = rows ? 1 : 0};
    return &g->specs[i];
}

static void list_layer(grok *g, int32_t l)
{
    const int64_t d = g->width, q = (int64_t)g->heads * g->head_dim,
                  kv = (int64_t)g->kv_heads * g->head_dim;
    const struct {
        int64_t rows, cols;
        vw_split split;
    } shapes[EXPERTS] = {
        [PRE_ATTN_NORM] = {0, d, VW_SPLIT_NONE},  [Q_PROJ] = {q, d, VW_SPLIT_ROWS},
        [K_PROJ] = {kv, d, VW_SPLIT_ROWS},        [V_PROJ] = {kv, d, VW_SPLIT_ROWS},
        [O_PROJ] = {d, q, VW_SPLIT_COLUMNS},      [POST_ATTN_NORM] = {0, d, VW_SPLIT_NONE},
        [PRE_MOE_NORM] = {0, d, VW_SPLIT_NONE},   [ROUTER] = {g->n_experts, d, VW_SPLIT_NONE},
        [POST_MOE_NORM] = {0, d, VW_SPLIT_NONE},
    };
    size_t first = FIRST_LAYER + (size_t)l * (size_t)g->layer_params;
    for (size_t p = 0; p < EXPERTS; p++)
        set_spec(g, first + p, &of_layer[p], l, 0, shapes[p].rows, shapes[p].cols,
                 shapes[p].split)->is_exact = p == ROUTER;
    for (int32_t e = 0; e < g->n_experts; e++)
        for (size_t m = 0; m < 3; m++)
            set_spec(g, first + EXPERTS + 3 * (size_t)e + m, &of_expert[m], l, e,
                     m == 2 ? d : g->ffn, m == 2 ? g->ffn : d, VW_SPLIT_EXPERT);
    g->experts[l] = (vw_experts_spec){.first_param = first + EXPERTS, .n_experts = g->n_experts,
                                      .top_k = g->top_k};
}

vw_status grok_list_params(grok *g, vw_error *err)
{
    const vw_host *host = g->host;
    g->layer_params = EXPERTS + 3 * g->n_experts;
    size_t n = FIRST_LAYER + (size_t)g->n_layers * (size_t)g->layer_params;
    g->specs = host->alloc(host->core, n * sizeof *g->specs);
    g->names = host->alloc(host->core, n * sizeof *g->names);
    g->others = host->alloc(host->core, n * sizeof *g->others);
    g->experts = host->alloc(host->core, (size_t)g->n_layers * sizeof *g->experts);
    if (!g->specs || !g->names || !g->others || !g->experts)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of %zu parameters", n);
    set_spec(g, EMBEDDING, &own[EMBEDDING], 0, 0, g->vocab_size, g->width, VW_SPLIT_VOCABULARY);
    set_spec(g, FINAL_NORM, &own[FINAL_NORM], 0, 0, 0, g->width, VW_SPLIT_NONE);
    set_spec(g, LM_HEAD, &own[LM_HEAD], 0, 0, g->vocab_size, g->width,
             VW_SPLIT_VOCABULARY)->is_optional = 1;
    for (int32_t l = 0; l < g->n_layers; l++)
        list_layer(g, l);
    g->info.n_params = n;
    g->info.params = g->specs;
    g->info.n_experts = g->n_layers;
    g->info.experts = g->experts;
    return VW_OK;
}
