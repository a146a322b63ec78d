/* deepseek.h - one checkpoint of the DeepSeek family, as its configuration describes it.
 *
 * V3 and its relatives differ in data alone: whether queries have a low-rank form, which layers are
 * dense, how experts are chosen, how positions are stretched.  A layer's parameters stand side by side
 * in the parameter list; where they begin is kept per layer, because layers have different ones.
 */
#ifndef DEEPSEEK_H
#define DEEPSEEK_H

#include <vishwamai/model.h>

enum { DEEPSEEK_MAX_LAYERS = 1000, DEEPSEEK_MAX_EXPERTS = 2048, DEEPSEEK_MAX_FURTHER = 8,
       DEEPSEEK_NAME = 96 };

/* The model's own parameters come first, then each layer's. */
enum { EMBED_TOKENS, FINAL_NORM, LM_HEAD, FIRST_LAYER };

/* A layer: attention, what the latent becomes, then a dense MLP, or the router and what follows it.
 * Q_B is q_proj where there is no low rank; then Q_A and Q_A_NORM are not there. */
enum { INPUT_NORM, KV_A, KV_A_NORM, O_PROJ, MLP_NORM, Q_B, Q_A, Q_A_NORM };
enum { GATE, UP, DOWN, N_MLP };                          /* of an MLP: dense, shared, an expert */
enum { ROUTER, SHARED, EXPERTS_OR_BIAS = SHARED + N_MLP }; /* of a mixture; then bias, experts */
/* What a layer that drafts has in front of them. */
enum { E_NORM, H_NORM, EH_PROJ, HEAD_NORM, N_DRAFT };

/* What a parameter is, whatever its name; those of an MLP are three in a row. */
enum {
    ROLE_EMBED, ROLE_NORM, ROLE_HEAD, /* the model's own; the others are a layer's */
    ROLE_ATTENTION_NORM, ROLE_KV_A, ROLE_KV_A_NORM, ROLE_KV_B, ROLE_K_B, ROLE_V_B, ROLE_O,
    ROLE_FFN_NORM, ROLE_Q, ROLE_Q_A, ROLE_Q_A_NORM, ROLE_Q_B,
    ROLE_MLP, ROLE_SHARED = ROLE_MLP + N_MLP, ROLE_EXPERT = ROLE_SHARED + N_MLP,
    ROLE_ROUTER = ROLE_EXPERT + N_MLP, ROLE_BIAS,
    ROLE_E_NORM, ROLE_H_NORM, ROLE_EH_PROJ, ROLE_DRAFT_NORM, DEEPSEEK_ROLES
};

typedef struct deepseek_place {
    int32_t role, layer, number; /* of an expert or a head */
} deepseek_place;

typedef enum deepseek_form { NAIVE = 0, ABSORBED, AUTO } deepseek_form;

typedef struct deepseek_options {
    int32_t attention; /* deepseek_form */
    int32_t mtp;       /* bool: load the layer that drafts */
    int32_t mtp_hidden; /* 0: behind the last norm, 1: before it */
    int64_t expert_groups, expert_groups_used; /* of a GGUF file that leaves them out; 0: it does not */
} deepseek_options;

/* What a file calls the numbers that deepseek_check() may find fault with. */
typedef struct deepseek_words {
    const char *experts, *used, *groups, *groups_used, *scale, *eps, *theta;
} deepseek_words;

typedef struct deepseek_layer {
    size_t draft, attention, kv_b, ffn; /* where its parameters begin in the list; draft: 0 for none */
    int32_t is_mixture;
    vw_nn_attention att;
    vw_nn_moe moe;
} deepseek_layer;

typedef struct deepseek {
    const vw_host *host;
    const deepseek_options *options;
    const deepseek_words *words;
    int32_t is_gguf;  /* names and keys are those of a GGUF file, */
    int32_t is_split; /* which has KV_B as a matrix a head for keys, and one for values */
    int32_t is_absorbed;
    int32_t n_layers, n_drafts, n_further; /* of nextn layers: loaded; in the file */
    int32_t width, vocab_size, ffn;
    int64_t max_positions;
    int32_t heads, q_rank, kv_rank, nope, rope, dv; /* q_rank 0: none */
    int32_t n_dense, n_experts, n_shared, top_k, expert_ffn; /* n_experts 0: all layers are dense */
    int32_t n_groups, top_groups, group_best, is_sigmoid, is_normalised, has_bias;
    double route_scale, eps;
    int32_t is_tied, is_interleaved;
    double theta, factor, original, beta_fast, beta_slow, mscale, mscale_all; /* factor 1: no YaRN */
    int32_t truncates; /* the ends of YaRN's ramp are whole numbers */
    float scale;      /* of q . k */
    vw_nn_rope q_rope, k_rope;
    float *inv_freq;  /* [rope / 2] */
    deepseek_layer *layers; /* [n_layers + n_drafts] */
    vw_cache_spec *caches;  /* likewise */
    vw_experts_spec *experts;
    vw_param_spec *specs;
    deepseek_place *places;
    char (*names)[DEEPSEEK_NAME];
    char *other_config;       /* of the other spelling, once it was asked for */
    size_t n_pieces;
    vw_respelt *pieces;
    char (*other_names)[DEEPSEEK_NAME];
    char ignored_layers[DEEPSEEK_MAX_FURTHER][32]; /* patterns of layers that are not loaded */
    const char *ignored[DEEPSEEK_MAX_FURTHER + 6];
    vw_model_info info;
} deepseek;

static inline int32_t deepseek_all_layers(const deepseek *m) { return m->n_layers + m->n_drafts; }

/* Read and check config.json; config.c. */
vw_status deepseek_configure(deepseek *m, const vw_json *json, const vw_json_doc *config,
                             vw_error *err);

/* The same from the keys of a GGUF file; gguf.c. */
vw_status deepseek_configure_gguf(deepseek *m, const vw_json *json, const vw_json_doc *config,
                                  vw_error *err);

/* What either says, held against itself; config.c. */
vw_status deepseek_check(const deepseek *m, vw_error *err);

/* Rotation and scale of attention, from numbers that it checks; yarn.c. */
vw_status deepseek_read_positions(deepseek *m, const vw_json *json, const vw_json_doc *config,
                                  vw_error *err);
vw_status deepseek_make_rotation(deepseek *m, vw_error *err);

/* As the kind has it; respell.c. */
vw_status deepseek_respell(void *self, vw_spelling *out, vw_error *err);

/* The name of a parameter in either kind of file; params.c. */
void deepseek_name(deepseek_place at, int32_t is_gguf, char name[DEEPSEEK_NAME]);

/* The parameter list under the names of the file, and where each layer's part of it begins; params.c. */
vw_status deepseek_list_params(deepseek *m, vw_error *err);

#endif
