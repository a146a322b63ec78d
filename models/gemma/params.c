/* params.c - the parameters of a Gemma model under their published names, or those of GGUF files.
 */
#include "gemma.h"

typedef struct layer_param {
    const char *suffix;
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

vw_status gemma_list_params(gemma *g, vw_error *err)
{
    const int64_t d = g->width, q = (int64_t)g->heads * g->head_dim,
                  kv = (int64_t)g->kv_heads * g->head_dim;
    const char *const mlp_norm = g->version == 1 ? "post_attention_layernorm"
                                                 : "pre_feedforward_layernorm";
    const layer_param list[MAX_LAYER_PARAMS] = {
        [INPUT_NORM] = {"input_layernorm", 0, d, VW_SPLIT_NONE},
        [Q_PROJ] = {"self_attn.q_proj", q, d, VW_SPLIT_ROWS},
        [K_PROJ] = {"self_attn.k_proj", kv, d, VW_SPLIT_ROWS},
        [V_PROJ] = {"self_attn.v_proj", kv, d, VW_SPLIT_ROWS},
        [O_PROJ] = {"self_attn.o_proj", d, q, VW_SPLIT_COLUMNS},
        [MLP_NORM] = {mlp_norm, 0, d, VW_SPLIT_NONE},
        [GATE_PROJ] = {"mlp.gate_proj", g->ffn, d, VW_SPLIT_ROWS},
        [UP_PROJ] = {"mlp.up_proj", g->ffn, d, VW_SPLIT_ROWS},
        [DOWN_PROJ] = {"mlp.down_proj", d, g->ffn, VW_SPLIT_COLUMNS},
        [AFTER_ATTENTION_NORM] = {"post_attention_layernorm", 0, d, VW_SPLIT_NONE},
        [AFTER_MLP_NORM] = {"post_feedforward_layernorm", 0, d, VW_SPLIT_NONE},
        [Q_NORM] = {"self_attn.q_norm", 0, g->head_dim, VW_SPLIT_NONE},
        [K_NORM] = {"self_attn.k_norm", 0, g->head_dim, VW_SPLIT_NONE},
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

    snprintf(g->names[EMBED_TOKENS], sizeof *g->names, "%s.weight",
             g->is_gguf ? "token_embd" : "embed_tokens");
    set_spec(g, EMBED_TOKENS, g->vocab_size, d, VW_SPLIT_VOCABULARY);
    snprintf(g->names[FINAL_NORM], sizeof *g->names, "%s.weight",
             g->is_gguf ? "output_norm" : "norm");
    set_spec(g, FINAL_NORM, 0, d, VW_SPLIT_NONE);
    for (int l = 0; l < g->n_layers; l++) {
        for (size_t p = 0; p < per_layer; p++) {
            size_t i = FIRST_LAYER + (size_t)l * per_layer + p;
            snprintf(g->names[i], sizeof *g->names, "%s.%d.%s.weight",
                     g->is_gguf ? "blk" : "layers", l,
                     g->is_gguf ? gguf_suffixes[p] : list[p].suffix);
            set_spec(g, i, list[p].rows, list[p].cols, list[p].split);
        }
    }
    g->info.n_params = n;
    g->info.params = g->specs;
    g->info.prefixes = g->is_gguf ? NULL : prefixes;
    g->layer_params = (int32_t)per_layer;
    return VW_OK;
}
