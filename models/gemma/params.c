/* params.c - the parameters of a Gemma model under their published names, or those of GGUF files.
 */
#include "gemma.h"

typedef struct layer_param {
    int64_t rows, cols; /* rows 0: a vector */
    vw_split split;
} layer_param;

static void set_spec(gemma *g, size_t i, int64_t rows, int64_t cols, vw_split split)
{
    vw_param_spec *s = &g->specs[i];
    s->name = g->names[i];
    s->rows = rows;
    s->cols = cols;
    s->init = rows ? VW_INIT_NORMAL : VW_INIT_ZEROS; /* norms hold w of (1 + w) */
    s->init_std = 0.02;
    s->split = split;
    s->decay_group = rows ? 1 : 0;
}

static const char *const gguf_suffixes[MAX_LAYER_PARAMS] = {
    [INPUT_NORM] = "attn_norm", [Q_PROJ] = "attn_q", [K_PROJ] = "attn_k", [V_PROJ] = "attn_v",
    [O_PROJ] = "attn_output", [MLP_NORM] = "ffn_norm", [GATE_PROJ] = "ffn_gate",
    [UP_PROJ] = "ffn_up", [DOWN_PROJ] = "ffn_down", [AFTER_ATTENTION_NORM] = "post_attention_norm",
    [AFTER_MLP_NORM] = "post_ffw_norm", [Q_NORM] = "attn_q_norm", [K_NORM] = "attn_k_norm",
};

static const char *const suffixes[MAX_LAYER_PARAMS] = {
    [INPUT_NORM] = "input_layernorm", [Q_PROJ] = "self_attn.q_proj", [K_PROJ] = "self_attn.k_proj",
    [V_PROJ] = "self_attn.v_proj", [O_PROJ] = "self_attn.o_proj",
    [MLP_NORM] = "pre_feedforward_layernorm", [GATE_PROJ] = "mlp.gate_proj",
    [UP_PROJ] = "mlp.up_proj", [DOWN_PROJ] = "mlp.down_proj",
    [AFTER_ATTENTION_NORM] = "post_attention_layernorm",
    [AFTER_MLP_NORM] = "post_feedforward_layernorm", [Q_NORM] = "self_attn.q_norm",
    [K_NORM] = "self_attn.k_norm",
};

void gemma_param_name(const gemma *g, size_t i, int32_t is_gguf, char *name, size_t room)
{
    size_t n = (size_t)g->layer_params, at = (i - FIRST_LAYER) % n;
    const char *suffix = is_gguf ? gguf_suffixes[at] : suffixes[at];
    if (!is_gguf && g->version == 1 && at == MLP_NORM) /* the one behind attention, in name alone */
        suffix = "post_attention_layernorm";
    if (i == EMBED_TOKENS)
        snprintf(name, room, "%s.weight", is_gguf ? "token_embd" : "embed_tokens");
    else if (i == FINAL_NORM)
        snprintf(name, room, "%s.weight", is_gguf ? "output_norm" : "norm");
    else
        snprintf(name, room, "%s.%zu.%s.weight", is_gguf ? "blk" : "layers", (i - FIRST_LAYER) / n,
                 suffix);
}

vw_status gemma_list_params(gemma *g, vw_error *err)
{
    const int64_t d = g->width, q = (int64_t)g->heads * g->head_dim,
                  kv = (int64_t)g->kv_heads * g->head_dim;
    const layer_param list[MAX_LAYER_PARAMS] = {
        [INPUT_NORM] = {0, d, VW_SPLIT_NONE},
        [Q_PROJ] = {q, d, VW_SPLIT_ROWS},
        [K_PROJ] = {kv, d, VW_SPLIT_ROWS},
        [V_PROJ] = {kv, d, VW_SPLIT_ROWS},
        [O_PROJ] = {d, q, VW_SPLIT_COLUMNS},
        [MLP_NORM] = {0, d, VW_SPLIT_NONE},
        [GATE_PROJ] = {g->ffn, d, VW_SPLIT_ROWS},
        [UP_PROJ] = {g->ffn, d, VW_SPLIT_ROWS},
        [DOWN_PROJ] = {d, g->ffn, VW_SPLIT_COLUMNS},
        [AFTER_ATTENTION_NORM] = {0, d, VW_SPLIT_NONE},
        [AFTER_MLP_NORM] = {0, d, VW_SPLIT_NONE},
        [Q_NORM] = {0, g->head_dim, VW_SPLIT_NONE},
        [K_NORM] = {0, g->head_dim, VW_SPLIT_NONE},
    };
    static const char *const prefixes[] = {"model.", "language_model.model.",
                                           "model.language_model.", NULL};
    const size_t per_layer = g->version == 1 ? GEMMA1_PARAMS :
                             g->version == 2 ? GEMMA2_PARAMS : GEMMA3_PARAMS;
    size_t n = FIRST_LAYER + (size_t)g->n_layers * per_layer;
    g->specs = g->host->alloc(g->host->core, n * sizeof *g->specs);
    g->names = g->host->alloc(g->host->core, n * sizeof *g->names);
    if (!g->specs || !g->names)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of %zu parameters", n);
    memset(g->specs, 0, n * sizeof *g->specs);

    g->layer_params = (int32_t)per_layer;
    for (size_t i = 0; i < n; i++) {
        const layer_param *p = &list[i < FIRST_LAYER ? 0 : (i - FIRST_LAYER) % per_layer];
        gemma_param_name(g, i, g->is_gguf, g->names[i], sizeof *g->names);
        if (i == EMBED_TOKENS)
            set_spec(g, i, g->vocab_size, d, VW_SPLIT_VOCABULARY);
        else if (i == FINAL_NORM)
            set_spec(g, i, 0, d, VW_SPLIT_NONE);
        else
            set_spec(g, i, p->rows, p->cols, p->split);
    }
    g->info.n_params = n;
    g->info.params = g->specs;
    g->info.prefixes = g->is_gguf ? NULL : prefixes;
    return VW_OK;
}
