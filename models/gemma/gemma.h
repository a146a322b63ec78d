/* gemma.h - one checkpoint of the Gemma family, as its config.json describes it.
 *
 * The versions differ in data, not in code paths: which norms a layer has, its window, its soft-caps
 * and its rotation are fields here, so that a later version fills them in and the forward stays one.
 */
#ifndef GEMMA_H
#define GEMMA_H

#include <vishwamai/model.h>

/* Parameters of a layer, in the order of the parameter list. */
enum {
    INPUT_NORM, Q_PROJ, K_PROJ, V_PROJ, O_PROJ, MLP_NORM, GATE_PROJ, UP_PROJ, DOWN_PROJ,
    LAYER_PARAMS
};
enum { EMBED_TOKENS, FINAL_NORM, FIRST_LAYER }; /* the model's own come first */

typedef struct gemma_layer {
    vw_nn_attention attention;
    const vw_nn_rope *rope;
} gemma_layer;

typedef struct gemma {
    const vw_host *host;
    int32_t n_layers, width, ffn, vocab_size;
    int32_t heads, kv_heads, head_dim;
    int64_t max_positions;
    double eps, rope_theta;
    vw_nn_rope rope;
    float *inv_freq;         /* [head_dim / 2] */
    gemma_layer *layers;     /* [n_layers] */
    vw_cache_spec *caches;   /* [n_layers] */
    vw_param_spec *specs;
    char (*names)[96];       /* the specs' names */
    vw_model_info info;
} gemma;

/* Read and check config.json; config.c. */
vw_status gemma_configure(gemma *g, const vw_json *json, const vw_json_doc *config, vw_error *err);

/* The parameter list under the published names; params.c. */
vw_status gemma_list_params(gemma *g, vw_error *err);

#endif
