/* engine.h - the engine's inside: what a model that is ready to run consists of.
 *
 *     engine.c    open, close, info                  params.c   the checkpoint's tensors as vw_param
 *     stored.c    how a parameter lies in the file
 *     kv.c        pages, block tables, sequences     plans.c    gemm and attention plans, kept by shape
 *     nn*.c       the blocks                         feed.c     tokens in, rows of logits out
 *     forward.c   a forward of inference             experts.c  the experts of a layer as one thing
 *     expert_cache.c, expert_layout.c  experts that stay in the file; disk.c reads them
 *     text.c      ids to text, stop strings          sampling.c, generate.c (scoring too)
 *     draft.c     guesses of the next tokens
 *
 * Everything a decoded token needs is allocated before the first one: plans, the arena for
 * activations, the workspace, the pages and their tables.  Letters as in the headers.
 */
#ifndef VW_CORE_ENGINE_H
#define VW_CORE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <vishwamai/attention.h>
#include <vishwamai/gemm.h>
#include <vishwamai/model.h>
#include <vishwamai/tokenizer.h>
#include <vishwamai/vishwamai.h>
#include <vishwamai/weights.h>

#include "core/core.h"

/* ---- parameters ------------------------------------------------------------------------------ */

/* Low-rank adaptation of a matrix: y += scale up(down(x)).  The two are parameters like others.  Of
 * a table that rows are looked up in, A is kept as it is looked up in, [words, rank], and written the
 * other way round. */
typedef struct vw_adapter {
    struct vw_param *down, *up; /* A [rank, K], B [N, rank] */
    float scale, dropout;
} vw_adapter;

/* Where a matrix is used, each with an adapter of its own: an embedding that is the head too has
 * both the last ones. */
typedef enum adapter_site { ADAPTS_PRODUCT, ADAPTS_HEAD, ADAPTS_LOOKUP, ADAPTER_SITES } adapter_site;

struct vw_param {
    const vw_param_spec *spec;
    vw_gemm_weight weight; /* matrices */
    vw_buffer buffer;      /* the pack, the mapped bytes, or the f32 values of a vector */
    vw_buffer scales;
    float *vector;         /* vectors: device f32 [cols] */
    size_t bytes;          /* that a use of the whole parameter reads, and */
    size_t scale_bytes;    /* of scales that lie apart; 0: there are none, or in the pack */
    float *values;         /* training: the f32 master, which weight and vector then read */
    float *gradient;       /* device, as values; NULL: not trained */
    const vw_adapter *adapter; /* of products with it, and */
    const vw_adapter *lookup;  /* of rows that are looked up */
    bool is_transposed;        /* in files */
    bool is_looked_up, is_head; /* inference, once measured: rows of it are looked up; it makes logits */
    vw_gemm_weight *sides; /* with n_heads: [vw_head_side] of the first head, which plans are for */
    float *scaling; /* fp8 with delayed scaling: device [vw_operand][2], what round_e4m3 takes */
};

/* Of a product with a parameter. */
typedef enum vw_operand {
    VW_OPERAND_INPUT,
    VW_OPERAND_WEIGHT,
    VW_OPERAND_GRADIENT,
    VW_OPERANDS
} vw_operand;

/* The adapters of a model: two parameters each, under the names that PEFT gives them. */
typedef struct adapter_list {
    struct vw_param *params;  /* [2 n]: down, up */
    vw_adapter *of;           /* [n] */
    vw_param_spec *specs;     /* [2 n] */
    char (*names)[256];
    struct vw_param **adapted; /* [n]: the matrices */
    adapter_site *sites;       /* [n] */
    size_t n;
    vw_buffer values;         /* where they were loaded for inference */
} adapter_list;

/* The adapters of one matrix of all experts of a layer, [n] of each. */
typedef struct expert_adapters {
    const vw_gemm_weight **down, **up; /* NULL: none */
    vw_tensor *d_down, *d_up;          /* gradients; NULL where they are not trained */
    const vw_adapter *first;
} expert_adapters;

/* The experts of one layer, [n] of each: what a grouped product takes. */
typedef struct vw_experts {
    int32_t n;
    vw_param *const *params;              /* gate, up, down of each in turn */
    const vw_gemm_weight **gate_up;       /* [2 n], in turn */
    const vw_gemm_weight **gate, **up, **down;
    vw_tensor *d_gate, *d_up, *d_down;    /* gradients; NULL where they are not trained */
    expert_adapters adapters[3];          /* of gate, up, down */
} vw_experts;

/* ---- plans ----------------------------------------------------------------------------------- */

typedef struct gemm_plan {
    vw_gemm_problem key; /* what a block asked for */
    bool is_grouped;
    vw_gemm_plan plan;
    bool is_composed;    /* the gemm has no such epilogue: store, then a pointwise step */
} gemm_plan;

typedef struct rope_table { /* a model's inv_freq on the device */
    const float *host;
    vw_buffer buffer;
} rope_table;

enum { MAX_GEMM_PLANS = 128, MAX_ATTENTION_PLANS = 16, MAX_ROPE_TABLES = 8, MAX_KV_GROUPS = 8,
       SAMPLE_RESULT_BYTES = 256 };

/* ---- the cache ------------------------------------------------------------------------------- */

/* Layers of equal window share block tables, so a windowed group frees pages behind its window. */
typedef struct kv_group {
    int32_t window;
    int32_t n_pages, n_free;
    int32_t *free_pages;   /* a stack */
    int32_t *references;   /* [n_pages] sequences that hold the page */
    int32_t table_width;   /* pages of a full context */
    uint64_t page_bytes;   /* of one page of every layer */
} kv_group;

typedef struct kv_layer {
    int32_t group;
    const vw_attention_plan *plan;  /* set while measuring */
    const vw_attention_plan *dense; /* the same of training */
    vw_buffer pages;
} kv_layer;

struct vw_sequence {
    vw_engine *engine;
    int64_t length;
    int64_t n_drafted;             /* tokens whose place in the drafting layer's cache is filled */
    int64_t n_keys;                /* of its tokens that are in the cache: but those nobody sees */
    int32_t *tokens;               /* [context] */
    int32_t *table[MAX_KV_GROUPS]; /* [table_width], -1 where there is no page */
    struct vw_sequence *next_spare;
};

/* ---- the engine ------------------------------------------------------------------------------ */

struct vw_engine {
    vw_core *core;
    char *path;
    const char *adapter;    /* folder of an adapter, or ""; the settings' */
    const vw_component *device, *gemm, *attention, *tokenizer, *weights, *model;
    const vw_device_ops *dev;
    const vw_gemm_ops *mm;
    const vw_attention_ops *att;
    const vw_tokenizer_ops *tok;
    const vw_weights_ops *wts;
    const vw_model_ops *mdl;
    vw_device_info device_info;
    const vw_model_info *info;
    vw_tokenizer_info tokens;
    vw_json_doc *config;
    char *config_text;      /* of a new model: its config.json */
    vw_weights_reader *reader;
    vw_stream *stream;

    int64_t context, batch_tokens, logit_rows;
    int32_t max_sequences, page_tokens, is_batch_invariant;
    vw_dtype kv_dtype;
    vw_gemm_format format;
    uint64_t kv_bytes_limit;

    const char *prefix;     /* of this file's names; see vw_model_info */
    int writer;             /* of this file: whose names; see vw_param_spec */
    vw_param *params;       /* [info->n_params] */
    vw_param **param_list;  /* what the model gets; NULL where optional and absent */
    vw_experts *experts;    /* [info->n_experts] */
    vw_gemm_weight turned;  /* the shape of heads' matrices that run the other way round; rows 0: none do */
    vw_buffer counting;     /* device i32 0, 1, 2 ...: groups of a row each, all rows of a matrix */
    vw_buffer expert_loads; /* device i64 [info->n_experts][widest_experts]: slots, in inference */
    int32_t widest_experts;
    uint64_t expert_memory; /* 0: experts are in memory like everything else */
    double expert_pin;
    int32_t expert_reads;
    bool expert_direct, expert_pread;
    struct vw_expert_cache *cache; /* of streamed experts, or NULL */
    bool is_plan;           /* only what it would take is wanted: nothing is loaded */
    vw_memory_plan memory;
    adapter_list adapters;
    uint64_t parameters, weight_bytes, token_bytes;

    gemm_plan gemm_plans[MAX_GEMM_PLANS];
    int n_gemm_plans;
    vw_attention_plan attention_plans[MAX_ATTENTION_PLANS];
    int n_attention_plans;
    rope_table ropes[MAX_ROPE_TABLES];
    int n_ropes;

    int64_t draft_tokens;   /* drafted at a time; 0: this model cannot, or shall not */
    vw_buffer hidden;       /* [batch_tokens][width] of the last forward, for a draft of 1 */
    vw_buffer draft_hidden; /* the same of a draft, for a further one */

    kv_layer *kv_layers;    /* [n_layers + n_drafts] */
    kv_group groups[MAX_KV_GROUPS];
    int n_groups;
    uint64_t kv_pool_bytes, kv_token_bytes;
    uint64_t kv_counted;    /* of the core's budget, held by this engine */
    struct vw_sequence *spare; /* freed sequences are kept for reuse, linked by `next_spare` */

    vw_buffer arena, workspace, staging, sample_space;
    size_t workspace_bytes;
    int32_t *staging_host;  /* the same layout, filled here and copied in one go */
    size_t staging_words;
    int64_t *feed_done;     /* [max_sequences] tokens of each feed that are in, in this call */
    int32_t *round_feed;    /* [max_sequences] the feed of each sequence of this forward */
    int32_t *row_feed, *row_position; /* [batch_tokens] of each wanted row of this forward */
    float *host_row;        /* a row of logits, where the device's memory is not the host's */

    struct {                /* a prompt that is being computed, for whoever waits for it */
        vw_progress show;   /* NULL: nobody, or no prompt */
        void *arg;
        int64_t done, total;
    } prompt;

    atomic_int is_interrupted; /* set by signal handlers and other threads; free of locks */
};

/* engine.c: opening in steps.  Begin opens components and reads the configuration, of a folder or of
 * a new model (whose options' path is a folder with a tokenizer, or NULL); the parameters come
 * between; serve makes what inference needs. */
vw_status vw_engine_begin(vw_core *core, const vw_engine_options *options,
                          const vw_new_model *fresh, vw_engine **engine, vw_error *err);
vw_status vw_engine_serve(vw_engine *e, vw_error *err);
/* Rows of logits made at once, when at most `tokens` are wanted. */
int64_t vw_logit_rows(const vw_engine *e, int64_t tokens);

/* params.c.  Names: whose this file has, and with what prefix. */
void vw_params_choose_names(vw_engine *e);
/* Visit the file's tensors that belong to no parameter; ignored: the family knows of it. */
typedef vw_status (*vw_on_surplus)(void *arg, const vw_weights_tensor *t, bool is_ignored,
                                   vw_error *err);
vw_status vw_params_surplus(vw_engine *e, vw_on_surplus on_surplus, void *arg, vw_error *err);
/* Room for the parameters and for the list of them, zeros. */
vw_status vw_params_new(vw_engine *e, vw_error *err);
vw_status vw_params_load(vw_engine *e, const vw_engine_options *options, vw_error *err);
/* Weight bytes that a decoded token reads; known once a forward was measured. */
uint64_t vw_params_token_bytes(const vw_engine *e);
void vw_params_free(vw_engine *e);
/* The values of a loaded matrix as f32 [rows][cols] on the device, exactly. */
vw_status vw_param_dequantise(vw_engine *e, const vw_param *p, float *to, vw_error *err);
/* The name of a parameter in the engine's file, or in the one that will be written of a new model;
 * returns `name`. */
const char *vw_param_name(const vw_engine *e, const vw_param_spec *spec, char *name, size_t room);

/* plans.c */
void vw_plans_free(vw_engine *e);

/* adapter.c.  Adaptable: is the matrix used there?  Not a router, which is exact.  Block: its name there,
 * and the last word of that.  Attach: give it an adapter whose parameters have no values yet.  Load:
 * those of a folder, for inference. */
bool vw_adaptable(const vw_engine *e, size_t param, adapter_site site);
typedef struct adapter_block {
    char name[160], last[64];
} adapter_block;
adapter_block vw_adapter_block(const vw_engine *e, const vw_param *w, adapter_site site);
vw_status vw_adapters_open(vw_engine *e, vw_error *err);
void vw_adapters_attach(vw_engine *e, vw_param *w, adapter_site site, int64_t rank, double alpha,
                        double dropout);
vw_status vw_adapters_load(vw_engine *e, const char *folder, vw_error *err);
void vw_adapters_close(vw_engine *e);

/* experts.c: the handles of info->experts. */
vw_status vw_experts_open(vw_engine *e, vw_error *err);
void vw_experts_close(vw_engine *e);

/* nn.c */
extern const vw_nn vw_nn_table;

/* Layers that have a cache. */
static inline int32_t vw_cached_layers(const vw_engine *e)
{
    return e->info->n_layers + e->info->n_drafts;
}

/* kv.c */
vw_status vw_kv_group_layers(vw_engine *e, vw_error *err);
vw_status vw_kv_open(vw_engine *e, vw_error *err);
void vw_kv_close(vw_engine *e);
/* Pages that `n` more tokens would take from the pool; are so many there, in the pool and in what all
 * models of the process may hold?  And take them: VW_E_FULL takes none. */
int32_t vw_kv_pages_needed(const struct vw_sequence *s, int64_t n);
vw_status vw_kv_check(const vw_engine *e, int64_t pages, vw_error *err);
vw_status vw_kv_reserve(struct vw_sequence *s, int64_t n, vw_error *err);
/* After a forward: give back pages that no later token of a windowed layer can see. */
void vw_kv_slide(struct vw_sequence *s);

/* draft.c: memory for drafts, where the model makes them. */
vw_status vw_drafts_open(vw_engine *e, vw_error *err);

/* feed.c: as vw_engine_feed, but with rows as they are on the device. */
typedef vw_status (*device_row_fn)(void *arg, size_t feed, int64_t position, vw_tensor row,
                                   vw_error *err);
vw_status vw_feed_device(vw_engine *e, const vw_feed *feeds, size_t n_feeds, device_row_fn on_row,
                         void *arg, vw_error *err);
size_t vw_staging_words(const vw_engine *e);
/* A row of logits where the host may read and write it. */
vw_status vw_row_to_host(vw_engine *e, vw_tensor row, float **values, vw_error *err);

/* Progress of something long; VW_E_INTERRUPTED when the callback says so. */
vw_status vw_report(const vw_engine_options *options, const char *what, uint64_t done,
                    uint64_t total, const char *unit, vw_error *err);

#endif
