/* gemma.h - one checkpoint of the Gemma family, as its configuration describes it.
 *
 * The versions differ in data, not in code paths: which norms a layer has, its window, its soft-caps
 * and its rotation are fields here, so that the forward stays one.
 */
#ifndef GEMMA_H
#define GEMMA_H

#include <vishwamai/model.h>

/* Parameters of a layer, in the order of the parameter list: Gemma 1 has the first nine, Gemma 2
 * the norms behind attention and MLP too, Gemma 3 those of queries and keys besides. */
enum {
    INPUT_NORM, Q_PROJ, K_PROJ, V_PROJ, O_PROJ, MLP_NORM, GATE_PROJ, UP_PROJ, DOWN_PROJ,
    GEMMA1_PARAMS, AFTER_ATTENTION_NORM = GEMMA1_PARAMS, AFTER_MLP_NORM,
    GEMMA2_PARAMS, Q_NORM = GEMMA2_PARAMS, K_NORM,
    GEMMA3_PARAMS, MAX_LAYER_PARAMS = GEMMA3_PARAMS
};
enum { EMBED_TOKENS, FINAL_NORM, FIRST_LAYER }; /* the model's own come first */

enum { GLOBAL, LOCAL, N_SCOPES }; /* of a layer's attention: everything, or a window */

enum { GEMMA_MAX_LAYERS = 1000 };

typedef struct gemma_layer {
    vw_nn_attention attention;
    const vw_nn_rope *rope;
} gemma_layer;

typedef struct gemma {
    const vw_host *host;
    int32_t version;         /* 1, 2, 3 */
    int32_t is_gguf;         /* names as GGUF files have them, and norms that hold 1 + w */
    int32_t n_layers, width, ffn, vocab_size;
    int32_t heads, kv_heads, head_dim;
    int64_t max_positions;
    double eps, query_scalar; /* q . k is divided by the root of query_scalar */
    double attention_cap, final_cap; /* 0: none */
    int32_t window;          /* of local layers; 0: there are none */
    uint8_t is_local[GEMMA_MAX_LAYERS];
    double theta[N_SCOPES], position_factor[N_SCOPES]; /* positions are divided by the factor */
    vw_nn_rope rope[N_SCOPES];
    float *inv_freq;         /* [N_SCOPES][head_dim / 2] */
    gemma_layer *layers;     /* [n_layers] */
    vw_cache_spec *caches;   /* [n_layers] */
    int32_t layer_params;    /* of each layer: GEMMA1_PARAMS ... */
    vw_param_spec *specs;
    char (*names)[96];       /* the specs' names */
    vw_model_info info;
    char *other_config;      /* of the other spelling; NULL before it is asked for */
    char (*other_names)[128];
    vw_respelt *pieces;
} gemma;

/* Read and check config.json; config.c. */
vw_status gemma_configure(gemma *g, const vw_json *json, const vw_json_doc *config, vw_error *err);

/* The keys of a GGUF file, as JSON; gguf.c. */
vw_status gemma_configure_gguf(gemma *g, const vw_json *json, const vw_json_doc *config,
                               vw_error *err);

/* llama.cpp knows the query scale by the size of the published models; a file says nothing. */
double gemma_gguf_query_scalar(const gemma *g);

/* As the kind has it; respell.c. */
vw_status gemma_respell(void *self, vw_spelling *out, vw_error *err);

/* The name of parameter i in either spelling, without a prefix; params.c. */
void gemma_param_name(const gemma *g, size_t i, int32_t is_gguf, char *name, size_t room);

/* The parameter list under the published names; params.c. */
vw_status gemma_list_params(gemma *g, vw_error *err);

#endif
