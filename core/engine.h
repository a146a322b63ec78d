/* engine.h - the engine's inside: what a model that is ready to run consists of.
 *
 *     engine.c    open, close, info                  params.c   the checkpoint's tensors as vw_param
 *     kv.c        pages, block tables, sequences     plans.c    gemm and attention plans, kept by shape
 *     nn.c        the blocks                         feed.c     tokens in, rows of logits out
 *     text.c      ids to text, stop strings          sampling.c, generate.c (scoring too)
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

/* ---- parameters ------------------------------------------------------------------------------- */

struct vw_param {
    const vw_param_spec *spec;
    vw_gemm_weight weight; /* matrices */
    vw_buffer buffer;      /* the pack, the mapped bytes, or the f32 values of a vector */
    vw_buffer scales;
    float *vector;         /* vectors: device f32 [cols] */
    size_t bytes;          /* that a use of the whole parameter reads */
};

/* ---- plans -------------------------------------------------------------------------------------- */

typedef struct gemm_plan {
    vw_gemm_problem key; /* what a block asked for */
    vw_gemm_plan plan;
    bool is_composed;    /* the gemm has no such epilogue: store, then a pointwise step */
} gemm_plan;

typedef struct rope_table { /* a model's inv_freq on the device */
    const float *host;
    vw_buffer buffer;
} rope_table;

enum { MAX_GEMM_PLANS = 64, MAX_ATTENTION_PLANS = 16, MAX_ROPE_TABLES = 8, MAX_KV_GROUPS = 8,
       SAMPLE_RESULT_BYTES = 256 };

/* ---- the cache ---------------------------------------------------------------------------------- */

/* Layers of equal window share block tables, so a windowed group frees pages behind its window. */
typedef struct kv_group {
    int32_t window;
    int32_t n_pages, n_free;
    int32_t *free_pages;   /* a stack */
    int32_t *references;   /* [n_pages] sequences that hold the page */
    int32_t table_width;   /* pages of a full context */
} kv_group;

typedef struct kv_layer {
    int32_t group;
    const vw_attention_plan *plan; /* set while measuring */
    vw_buffer pages;
} kv_layer;

struct vw_sequence {
    vw_engine *engine;
    int64_t length;
    int32_t *tokens;               /* [context] */
    int32_t *table[MAX_KV_GROUPS]; /* [table_width], -1 where there is no page */
    struct vw_sequence *next_spare;
};

/* ---- a forward in progress ---------------------------------------------------------------------- */

typedef enum cx_mode { CX_MEASURE, CX_RUN } cx_mode;

/* Called with the device rows of logits [n, V] that a forward produced: rows first .. first + n. */
typedef vw_status (*logits_fn)(void *arg, int64_t first, vw_tensor logits, vw_error *err);

typedef struct batch { /* of one forward; device arrays are parts of one staging buffer */
    int64_t n_tokens, n_wanted;
    int32_t n_sequences;
    int64_t max_keys, max_queries_one;
    const int32_t *ids, *positions, *query_start, *n_keys, *wanted;
    const int32_t *tables[MAX_KV_GROUPS];
} batch;

typedef struct forward {
    vw_cx cx; /* what models see; first */
    vw_engine *engine;
    cx_mode mode;
    vw_status status;
    vw_error *err;
    const batch *batch;
    size_t arena_used, arena_peak;
    logits_fn on_logits;
    void *arg;
} forward;

/* ---- the engine --------------------------------------------------------------------------------- */

struct vw_engine {
    vw_core *core;
    char *path;
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
    vw_weights_reader *reader;
    vw_stream *stream;

    int64_t context, batch_tokens, logit_rows;
    int32_t max_sequences, page_tokens, is_batch_invariant;
    vw_dtype kv_dtype;
    vw_gemm_format format;
    uint64_t kv_bytes_limit;

    const char *prefix;     /* of this file's names; see vw_model_info */
    vw_param *params;       /* [info->n_params] */
    vw_param **param_list;  /* what the model gets; NULL where optional and absent */
    uint64_t parameters, weight_bytes, token_bytes;

    gemm_plan gemm_plans[MAX_GEMM_PLANS];
    int n_gemm_plans;
    vw_attention_plan attention_plans[MAX_ATTENTION_PLANS];
    int n_attention_plans;
    rope_table ropes[MAX_ROPE_TABLES];
    int n_ropes;

    kv_layer *kv_layers;    /* [n_layers] */
    kv_group groups[MAX_KV_GROUPS];
    int n_groups;
    uint64_t kv_pool_bytes, kv_token_bytes;
    struct vw_sequence *spare; /* freed sequences are kept for reuse, linked by `next_spare` */

    vw_buffer arena, workspace, staging, sample_space;
    size_t workspace_bytes;
    int32_t *staging_host;  /* the same layout, filled here and copied in one go */
    size_t staging_words;
    int64_t *feed_done;     /* [max_sequences] tokens of each feed that are in, in this call */
    int32_t *round_feed;    /* [max_sequences] the feed of each sequence of this forward */
    int32_t *row_feed, *row_position; /* [batch_tokens] of each wanted row of this forward */
    float *host_row;        /* a row of logits, where the device's memory is not the host's */

    atomic_int is_interrupted; /* set by signal handlers and other threads; free of locks */
};

/* params.c */
vw_status vw_params_load(vw_engine *e, const vw_engine_options *options, vw_error *err);
void vw_params_free(vw_engine *e);

/* plans.c: find or make.  In run mode a plan that was not made while measuring is an error. */
gemm_plan *vw_plan_gemm(forward *f, vw_param *const *params, int n, vw_gemm_epilogue epilogue,
                        vw_activation activation, float cap);
const vw_attention_plan *vw_plan_attention(forward *f, const vw_nn_attention *desc);
const float *vw_plan_rope(forward *f, const float *inv_freq, int32_t n);
void vw_plans_free(vw_engine *e);

/* nn.c */
extern const vw_nn vw_nn_table;
vw_status vw_forward_measure(vw_engine *e, vw_error *err);
vw_status vw_forward_run(vw_engine *e, const batch *b, logits_fn on_logits, void *arg,
                         vw_error *err);

/* kv.c */
vw_status vw_kv_group_layers(vw_engine *e, vw_error *err);
vw_status vw_kv_open(vw_engine *e, vw_error *err);
void vw_kv_close(vw_engine *e);
/* Pages that `n` more tokens would take from the pool; and take them: VW_E_FULL takes none. */
int32_t vw_kv_pages_needed(const struct vw_sequence *s, int64_t n);
vw_status vw_kv_reserve(struct vw_sequence *s, int64_t n, vw_error *err);
/* After a forward: give back pages that no later token of a windowed layer can see. */
void vw_kv_slide(struct vw_sequence *s);

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
