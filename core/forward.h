/* forward.h - a forward in progress: what the blocks of nn*.c work in.
 *
 * The same text of a model runs in these ways:
 *
 *     measure            shapes only: plans are made, memory is sized, everything is checked
 *     run                inference: queue the work
 *     run, with a lesson the forward of training without recording: attention without a cache, and
 *                        a loss at the end
 *     recording          the same computation, bit for bit, on a tape (tape.h)
 *
 * Results of blocks come from vw_take(): in the scratch arena, or while recording in the tape's
 * memory, where they live until backward is done.  The arena's marks are kept while recording too:
 * where a tensor would have lain is where its gradient will lie, since it is alive over the same
 * stretch, backwards.  Memory within one block comes from vw_scratch().
 */
#ifndef VW_CORE_FORWARD_H
#define VW_CORE_FORWARD_H

#include "core/engine.h"
#include "core/profile.h"
#include "core/training.h"

typedef struct vw_tape vw_tape;

typedef enum cx_mode { CX_MEASURE, CX_RUN } cx_mode;

typedef struct batch { /* of one forward; device arrays are parts of one staging buffer */
    int64_t n_tokens, n_wanted;
    int32_t n_sequences;
    int64_t max_keys, max_queries_one;
    bool is_prompt;      /* every sequence begins with this */
    const int32_t *ids, *positions, *query_start, *n_keys, *wanted;
    const int32_t *ends; /* where a sequence's new keys end: n_keys, but for tokens that nobody
                            sees, which lie behind all keys until others take their place */
    const int32_t *tables[MAX_KV_GROUPS];
} batch;

/* What a forward of training knows besides.  Device memory unless said. */
typedef struct lesson {
    const int32_t *labels; /* [n_wanted] */
    vw_loss_desc loss;     /* its teacher is filled in by the head, chunk by chunk */
    float *ce, *kl;        /* [n_wanted], of each scored row */
    vw_distillation distil;
    vw_trainee_rows on_rows; /* gets the logits, before the loss overwrites them */
    void *arg;
    vw_gemm_rounding rounding; /* of both operands of a product */
    bool is_recorded;          /* delayed scaling: largest magnitudes are kept */
    bool drops;                /* is there dropout at all? */
    float dropout;             /* its rate; negative: as the model says */
    uint64_t seed, n_dropouts; /* each dropout of a forward draws from a stream of its own */
    bool is_replay;            /* a recomputation: what is counted was counted before */
    float router_scale;        /* of the routers' own losses in the gradient */
    int64_t *loads;            /* [routers][experts]: slots of each expert in this micro-batch */
    float *shares;             /* [routers][experts]: sums of the router's shares */
    int32_t n_experts;         /* stride of both */
    vw_param *const *projections; /* [borders]; NULL: hidden states are not compared */
    float hidden_scale;        /* of the sum of squares in the gradient, per border */
    double *misses;            /* [borders]: sums of squares */
} lesson;

/* Called with the device rows of logits [n, V] that a forward produced: rows first .. first + n. */
typedef vw_status (*logits_fn)(void *arg, int64_t first, vw_tensor logits, vw_error *err);

typedef struct forward {
    vw_cx cx; /* what models see; first */
    vw_engine *engine;
    cx_mode mode;
    vw_status status;
    vw_error *err;
    const batch *batch;
    int64_t max_tokens; /* that plans are for */
    int32_t max_sequences;
    int64_t logit_rows; /* of one chunk of the head */
    const vw_buffer *arena;
    size_t arena_used, arena_peak;
    int32_t first_layer;          /* of the range that runs */
    void *hidden_in, *hidden_out; /* where a range of layers begins and leaves off; device [T, d] */
    logits_fn on_logits;
    void *arg;
    lesson *lesson; /* NULL: inference */
    vw_tape *tape;  /* NULL: nothing is recorded */
    vw_profile *profile; /* NULL: none */
} forward;

static inline forward *vw_forward_of(vw_cx *cx)
{
    return (forward *)cx;
}

/* Is work to be queued? */
static inline bool vw_runs(const forward *f)
{
    return f->mode == CX_RUN && !f->status;
}

static const vw_tensor vw_nothing;

/* Keep the first error. */
static inline void vw_check(forward *f, vw_status st)
{
    if (st && !f->status)
        f->status = st;
}
VW_PRINTF(3, 4)
void vw_forward_fail(forward *f, vw_status code, const char *format, ...);

/* A block's result, f32 [rows, cols]; and memory until the scope's end, of any kind. */
vw_tensor vw_take(forward *f, int64_t rows, int64_t cols);
void *vw_scratch_bytes(forward *f, size_t bytes);
static inline vw_tensor vw_scratch(forward *f, int64_t rows, int64_t cols)
{
    return vw_tensor_2d(vw_scratch_bytes(f, (size_t)rows * (size_t)cols * sizeof(float)), VW_F32,
                        rows, cols);
}

/* While measuring: some operation will want that much workspace. */
void vw_want_workspace(forward *f, size_t bytes);

/* ---- plans.c: find or make; in run mode a plan that was not made while measuring is an error - */

typedef struct product { /* what a block asks for */
    vw_gemm_op op;
    int32_t n;
    const vw_gemm_weight *w[VW_GEMM_MAX_WEIGHTS];
    const char *name; /* for messages */
    vw_gemm_epilogue epilogue;
    vw_activation activation;
    float cap;
    int64_t max_m; /* 0: max_tokens */
    bool is_exact; /* in f32 whatever the lesson's rounding */
} product;

/* An input or a gradient as products with w read it: with delayed scaling rounded, in scratch. */
vw_tensor vw_scaled(forward *f, const vw_param *w, vw_operand which, vw_tensor x);

const gemm_plan *vw_plan_gemm(forward *f, const product *p);
const vw_attention_plan *vw_plan_attention(forward *f, const vw_nn_attention *desc);
vw_attention_problem vw_prompt_problem(const forward *f, const vw_nn_dense *desc);
const vw_attention_plan *vw_plan_prompt(forward *f, const vw_nn_dense *desc);
const float *vw_plan_rope(forward *f, const float *inv_freq, int32_t n);

/* ---- nn*.c: the blocks that others are made of ----------------------------------------------- */

bool vw_fits(forward *f, const vw_tensor *x, const vw_param *w);
void vw_multiply(forward *f, const gemm_plan *p, vw_tensor x, vw_param *const *w,
                 const vw_tensor *y);

void vw_block_linear(vw_cx *cx, vw_tensor x, int32_t n, vw_param *const *w, vw_tensor *y);
void vw_block_linear_add(vw_cx *cx, vw_tensor x, vw_param *w, vw_tensor y);
void vw_block_linear_drop_add(vw_cx *cx, vw_tensor x, vw_param *w, float rate, vw_tensor y);
vw_tensor vw_block_gated(vw_cx *cx, vw_tensor x, vw_param *gate, vw_param *up, vw_activation act);
vw_tensor vw_block_rms_norm(vw_cx *cx, vw_tensor x, vw_param *w, float offset, float eps);
/* An adapter's first half, factor scale A dropout(x); and of rows of A that were looked up the second:
 * y += factor scale B low. */
vw_tensor vw_block_adapter_low(forward *f, vw_tensor x, const vw_adapter *a, float factor);
void vw_block_adapt_rows(forward *f, vw_tensor low, const vw_adapter *a, float factor, vw_tensor y);
void vw_block_add(vw_cx *cx, vw_tensor x, vw_tensor y);
void vw_block_rope(vw_cx *cx, vw_tensor x, const vw_nn_rope *r);
void vw_block_dropout(vw_cx *cx, vw_tensor x, float rate);
vw_tensor vw_block_dropped(forward *f, vw_tensor x, float rate); /* the same into a new tensor */
vw_tensor vw_block_attention(vw_cx *cx, const vw_nn_attention *desc, vw_tensor q, vw_tensor k,
                             vw_tensor v);
vw_prompt vw_block_prompt(vw_cx *cx, const vw_nn_dense *desc);
vw_tensor vw_block_attention_prompt(vw_cx *cx, const vw_nn_dense *desc, vw_tensor q, vw_tensor k,
                                    vw_tensor v, vw_tensor cached_k, vw_tensor cached_v);
void vw_block_moe(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router, vw_param *bias,
                  vw_tensor y);
vw_tensor vw_block_mixture(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router,
                           vw_param *bias);
void vw_block_head(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap);

/* nn_heads.c */
vw_tensor vw_block_join(vw_cx *cx, int32_t heads, int32_t n_parts, const vw_nn_part *parts);
vw_tensor vw_block_per_head(vw_cx *cx, vw_tensor x, vw_param *w, vw_head_side side);
vw_tensor vw_block_each_head(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w);
vw_tensor vw_block_heads_of(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w,
                            int32_t is_turned);
/* The file's values as f32 weights in place, inputs first: can this gemm run them? */
bool vw_heads_turn(const vw_engine *e);

/* nn_profile.c: the table of blocks with a span around each; filled in and returned. */
const vw_nn *vw_nn_profiled(vw_nn *table);

/* nn_match.c: while recording, x at this border is compared with the teacher's. */
void vw_block_match(forward *f, vw_tensor x, int32_t border);

/* The rate that a dropout block of the model's rate uses in this forward. */
float vw_dropout_rate(const forward *f, float rate);

/* ---- forward.c: inference -------------------------------------------------------------------- */

/* The workspace that measuring asked for. */
vw_status vw_workspace_open(vw_engine *e, vw_error *err);
vw_status vw_forward_measure(vw_engine *e, vw_error *err);
vw_status vw_forward_run(vw_engine *e, const batch *b, logits_fn on_logits, void *arg,
                         vw_error *err);
/* The model's draft, given rows of hidden states; those that it leaves are in draft_hidden. */
vw_status vw_forward_draft(vw_engine *e, const batch *b, void *hidden, logits_fn on_logits, void *arg,
                           vw_error *err);

#endif
