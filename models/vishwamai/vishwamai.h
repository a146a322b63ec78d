/* vishwamai.h - one model of the VishwamAI base family, as its config.json or its options describe
 * it.
 */
#ifndef VISHWAMAI_BASE_H
#define VISHWAMAI_BASE_H

#include <vishwamai/model.h>

/* What [model.vishwamai] says of a new model; the keys are those of the family's documents. */
typedef struct base_options {
    int64_t vocab_size, hidden_dim, num_layers, num_heads, num_kv_heads, head_dim, mlp_dim,
        max_seq_len;
    int64_t num_experts, top_k, expert_dim, num_shared_experts, num_dense_layers;
    int32_t router, tie_embeddings;
    double capacity, aux_weight, router_z_weight, dropout_rate, init_scale, rope_theta, norm_eps;
} base_options;

extern const vw_option base_option_table[];

/* Parameters of a layer, in the order of the parameter list.  A dense layer ends after
 * DOWN_PROJ; one with experts has ROUTER in the place of GATE_PROJ, then a bias if its router
 * has one, the shared expert's three if there is one, and each expert's three. */
enum { INPUT_NORM, Q_PROJ, K_PROJ, V_PROJ, O_PROJ, MLP_NORM, GATE_PROJ, UP_PROJ, DOWN_PROJ };
enum { ROUTER = GATE_PROJ };
enum { EMBED_TOKENS, FINAL_NORM, LM_HEAD }; /* the model's own come first; LM_HEAD if untied */

typedef struct base_layer {
    vw_nn_attention attention;
    vw_nn_moe moe;
    size_t first;                 /* parameter */
    size_t bias, shared, experts; /* parameters from `first` on; bias and shared 0: none */
    int32_t has_experts;
} base_layer;

typedef struct base_model {
    const vw_host *host;
    const base_options *options;
    int32_t n_layers, width, ffn, vocab_size, heads, kv_heads, head_dim;
    int32_t n_experts, top_k, expert_ffn, n_shared, n_dense;
    int32_t is_tied, is_sigmoid, is_normalised;
    int64_t max_positions;
    double eps, rope_theta, dropout, capacity, balance, z_loss, route_scale, init_std;
    vw_nn_rope rope;
    float *inv_freq;          /* [head_dim / 2] */
    base_layer *layers;       /* [n_layers] */
    vw_cache_spec *caches;    /* [n_layers] */
    vw_experts_spec *experts; /* [layers with experts] */
    vw_param_spec *specs;
    char (*names)[96]; /* the specs' names */
    vw_model_info info;
} base_model;

/* Read and check config.json; write the one of a new model; config.c. */
vw_status base_configure(base_model *m, const vw_json *json, const vw_json_doc *config,
                         vw_error *err);
vw_status base_new_config(void *self, const vw_new_model *about, char *text, size_t room,
                          vw_error *err);

/* The parameter list, and where each layer's parameters are in it; params.c. */
vw_status base_list_params(base_model *m, vw_error *err);

#endif
