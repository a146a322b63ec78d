/* model.h - the model kind: a family of models, written in the nn blocks.
 *
 * A model plugin reads the checkpoint's own config.json, says which parameters it has and what each
 * layer caches, and runs a range of layers.  It never touches a weight's bytes, a page of the cache
 * or a device.  One instance is one model.  Thread rule: load first; then forward may run in
 * several threads, each with its own context.
 */
#ifndef VISHWAMAI_MODEL_H
#define VISHWAMAI_MODEL_H

#include <vishwamai/host.h>
#include <vishwamai/json.h>
#include <vishwamai/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_MODEL_OPS_MAJOR 0 /* provisional: nothing divides a model among ranks by `split` yet */
#define VW_MODEL_OPS_MINOR 3

typedef enum vw_init { VW_INIT_ZEROS = 0, VW_INIT_ONES, VW_INIT_NORMAL } vw_init;

/* How a parameter is divided among tensor-parallel ranks. */
typedef enum vw_split {
    VW_SPLIT_NONE = 0, VW_SPLIT_ROWS, VW_SPLIT_COLUMNS, VW_SPLIT_VOCABULARY, VW_SPLIT_EXPERT
} vw_split;

/* No checkpoint has so many parameters; a file whose sizes say so is not believed (V3 has
 * 91,991). */
enum { VW_MOST_PARAMS = 1 << 20 };

/* A parameter as the model wants it.  Strings live as long as the instance. */
typedef struct vw_param_spec {
    const char *name;    /* in the checkpoint */
    int64_t rows, cols;  /* [rows, cols] as stored, outputs first; a vector has rows 0 */
    vw_init init;
    double init_std;
    vw_split split;
    int32_t decay_group; /* 0: no weight decay */
    int32_t is_optional; /* the file may lack it; the parameter is then NULL */
    int32_t is_exact;    /* multiplied in f32 whatever the precision of training: a router */
    int32_t is_steered;  /* no gradient moves it: a router's balancing bias */
    /* For per_head: n_heads heads, of which each has rows / n_heads rows, the first head_split of
     * them before the others.  Kept in f32, exactly as the file's values are.  0: an ordinary
     * one. */
    int32_t n_heads, head_split;
    /* The file's tensor is [n_slices, rows, cols], and this is slice number `slice` of it; all
     * slices have its name.  n_slices 0: the tensor is the parameter. */
    int32_t n_slices, slice;
    /* What other writers of the family call it, NULL-ended, or NULL.  A file is of one writer: of
     * the first whose names it has most of; `name` is the first one's. */
    const char *const *others;
} vw_param_spec;

/* The experts of one layer: parameters first_param + 3 e + {0, 1, 2} are gate, up and down of
 * expert e, all experts of one shape. */
typedef struct vw_experts_spec {
    size_t first_param;
    int32_t n_experts;
    int32_t top_k;      /* experts a token takes */
    size_t bias;        /* 1 + the number of the parameter that steers the choice; 0: there is none */
    double balance, capacity; /* of vw_nn_moe */
} vw_experts_spec;

/* What a new model must agree with. */
typedef struct vw_new_model {
    size_t size;
    int32_t vocab_size;     /* 0: as the plugin's options say */
    int32_t bos, eos, pad;  /* -1: none; with vocab_size */
    int64_t max_positions;  /* 0: as the plugin's options say */
} vw_new_model;

/* What a layer keeps for each token of a sequence. */
typedef struct vw_cache_spec {
    int32_t k_heads, dk, dv;
    int32_t window;    /* 0: everything */
    int32_t is_latent;
} vw_cache_spec;

typedef struct vw_model_info {
    size_t size;
    const char *family;      /* "gemma" */
    char description[128];   /* "Gemma 1, 18 layers, 2.51 B parameters" */
    int32_t n_layers, width, vocab_size;
    int64_t max_positions;   /* trained context */
    int32_t q_heads;         /* the largest of all layers */
    const vw_cache_spec *caches; /* [n_layers + n_drafts] */
    size_t n_params;
    const vw_param_spec *params; /* [n_params] */
    int32_t bos, eos, pad;   /* as config.json says; -1: silent */
    /* Names in the file that are not surplus though no parameter, as fnmatch patterns;
     * NULL-ended. */
    const char *const *ignored;
    int32_t n_experts;            /* layers with experts */
    const vw_experts_spec *experts; /* [n_experts] */
    /* What stands in front of every parameter's name, as several writers of the family have it,
     * NULL-ended: the first under which the file has params[0] counts.  NULL: nothing does. */
    const char *const *prefixes;
    /* Layers that draft() runs, behind the others: `caches` has n_layers + n_drafts.  0 or 1. */
    int32_t n_drafts;
    /* Keys of the id `pad` are seen by no query, and such a token is no key of the cache; positions
     * count it all the same.  In inference: training packs documents and never pads. */
    int32_t hides_pad;
} vw_model_info;

/* Rows of a parameter as the other kind of file has them.  Neighbours of one name make one
 * tensor. */
typedef struct vw_respelt {
    const char *name;    /* of the tensor, whole */
    size_t param;
    int64_t first, rows; /* of the parameter's rows; 0, 0 for a vector */
    int32_t is_turned;   /* rows and columns change places */
    int32_t is_slice;    /* of a tensor [pieces, rows, cols]; else rows stand below one another */
} vw_respelt;

/* The same model as the other of the two usual kinds of file says it: for one read from a
 * config.json what a GGUF file has, for one read from a GGUF file what published folders have.
 * Strings live as long as the instance. */
typedef struct vw_spelling {
    size_t size;
    int32_t is_gguf;          /* of the other */
    const char *architecture; /* GGUF's name of the family, in either case */
    const char *config;       /* a JSON object: GGUF's keys, or config.json */
    size_t n_pieces;
    const vw_respelt *pieces;   /* in the order in which they are written */
    double vector_shift;      /* added to the values of vectors: GGUF's norms hold 1 + w */
} vw_spelling;

typedef struct vw_model_ops {
    size_t size;

    /* Read the configuration; everything in it is checked.  Once per instance.  Required. */
    vw_status (*load)(void *self, const vw_json *json, const vw_json_doc *config, vw_error *err);

    /* Valid until close.  Required. */
    const vw_model_info *(*info)(void *self);

    /* Run layers [first, last) on the batch in `cx`.  first = 0 begins with the embedding, last =
     * n_layers ends with the head.  params as in info, in that order.  Called in measure mode too,
     * so it depends on nothing but shapes.  Required. */
    vw_status (*forward)(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last);

    /* The config.json of a new model with the sizes that the plugin's own options say: text of up
     * to `room` bytes, 0-terminated, which load() then reads.  Optional: a family of which there
     * are published models alone. */
    vw_status (*new_config)(void *self, const vw_new_model *about, char *text, size_t room,
                            vw_error *err);

    /* Guess the token after next, with n_drafts layers: token i of the batch is the one behind that
     * whose hidden state is row i of hidden_in, which is what forward() or this gave hidden_out.
     * Ends with the head; the state that leaves goes to hidden_out too, for a further guess.  A
     * model with n_drafts gives hidden_out each token's state in forward() besides.  Optional:
     * only where n_drafts > 0.  Since 0.3. */
    vw_status (*draft)(void *self, vw_cx *cx, vw_param *const *params);

    /* The other spelling.  VW_E_UNSUPPORTED, with the reason, when it cannot say what this model
     * is.  Optional.  Since model 0.3. */
    vw_status (*respell)(void *self, vw_spelling *out, vw_error *err);
} vw_model_ops;

#ifdef __cplusplus
}
#endif
#endif
