/* grok.h - one checkpoint of Grok-1, as its configuration describes it. */
#ifndef GROK_H
#define GROK_H

#include <vishwamai/model.h>

/* Whose names a file has: those of keyfan and Aqwu (which the reader of xAI's own files gives
 * too), lmzheng's, hpcai-tech's. */
enum { NAMES_KEYFAN, NAMES_LMZHENG, NAMES_HPCAI, N_NAMINGS };

/* Parameters of a layer, in the order of the parameter list; three of each expert follow. */
enum {
    PRE_ATTN_NORM, Q_PROJ, K_PROJ, V_PROJ, O_PROJ, POST_ATTN_NORM, PRE_MOE_NORM, ROUTER,
    POST_MOE_NORM, EXPERTS
};
enum { EMBEDDING, FINAL_NORM, LM_HEAD, FIRST_LAYER }; /* the model's own come first */

enum { GROK_MAX_LAYERS = 1000, GROK_MAX_EXPERTS = 256 };

typedef struct grok_options {
    int32_t hide_pad, activation_shard;
} grok_options;

typedef struct grok_layer {
    vw_nn_attention attention;
    vw_nn_moe moe;
} grok_layer;

typedef struct grok {
    const vw_host *host;
    const grok_options *options;
    int32_t n_layers, width, ffn, vocab_size, heads, kv_heads, head_dim, n_experts, top_k;
    int64_t max_positions;
    double eps, rope_theta;
    double embedding_multiplier, attention_multiplier, output_multiplier, attention_cap;
    vw_nn_rope rope;
    float *inv_freq;          /* [head_dim / 2] */
    grok_layer *layers;       /* [n_layers] */
    vw_cache_spec *caches;    /* [n_layers] */
    vw_experts_spec *experts; /* [n_layers] */
    int32_t layer_params;
    vw_param_spec *specs;
    char (*names)[N_NAMINGS][96];            /* of each parameter */
    const char *(*others)[N_NAMINGS];        /* the same but the first, NULL-ended */
    vw_model_info info;
} grok;

/* Read and check config.json; config.c. */
vw_status grok_configure(grok *g, const vw_json *json, const vw_json_doc *config, vw_error *err);

/* The parameter list under all published names; params.c. */
vw_status grok_list_params(grok *g, vw_error *err);

#endif
