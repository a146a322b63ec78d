/* gemm.h - the gemm kind: products of activations with stored weights.
 *
 * Letters: M rows of activations (tokens), N outputs, K inputs; Y[M,N] = X[M,K] W[N,K]^T.
 *
 * A weight reaches a gemm as a vw_matrix: the bytes of the file.  The gemm either runs them in
 * place or asks for a private layout (a pack), which the core makes once, a few rows at a time, so
 * that it can drop the file's pages behind it.  A plan fixes everything that can be decided once;
 * run() then only computes.  One plan may cover several weights with the same X (q, k and v; gate
 * and up): the activations are prepared once and the threads meet once.
 *
 * Thread rule: one `self` may be used by several threads at once; a plan may be shared if each
 * caller brings its own workspace.
 */
#ifndef VISHWAMAI_GEMM_H
#define VISHWAMAI_GEMM_H

#include <vishwamai/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_GEMM_OPS_MAJOR 1
#define VW_GEMM_OPS_MINOR 1

#define VW_GEMM_MAX_WEIGHTS 4

/* What the weights are computed as. */
typedef enum vw_gemm_format {
    VW_GEMM_STORED = 0,  /* the stored values, exactly */
    VW_GEMM_INT8,        /* re-quantised: int8, one f32 scale a row, amax / 127 */
    VW_GEMM_INT8_BLOCK32 /* re-quantised: int8, one f32 scale for 32 values of a row */
} vw_gemm_format;

/* A weight as this gemm runs it: the file's matrix, or a pack of it.  Made by `bind`, plain data
 * that the caller keeps; `pack` points into the caller's memory. */
typedef struct vw_gemm_weight {
    vw_matrix stored;      /* shape, dtype, scales; data is not read when pack is set */
    vw_gemm_format format;
    const void *pack;      /* NULL: run in place */
    uint32_t layout;       /* the gemm's own number and version of its pack layout */
} vw_gemm_weight;

typedef enum vw_gemm_op {
    VW_GEMM_FORWARD = 0, /* Y[M,N] = X[M,K] W^T */
    VW_GEMM_DGRAD,       /* dX[M,K] = dY[M,N] W: one weight, in place; STORE or ADD */
    VW_GEMM_WGRAD        /* dW[N,K] = dY[M,N]^T X[M,K]: run_wgrad; STORE or ADD.  weights[0] gives
                            the shape, its data is not read */
} vw_gemm_op;

/* What becomes of the f32 sums before they are stored once. */
typedef enum vw_gemm_epilogue {
    VW_GEMM_STORE = 0,   /* Y = sum */
    VW_GEMM_ADD,         /* Y += sum: a residual */
    VW_GEMM_ACTIVATE,    /* Y = act(sum) */
    VW_GEMM_GATED,       /* two weights: Y[0] = act(X W0^T) * (X W1^T); there is no Y[1] */
    VW_GEMM_SOFTCAP      /* Y = cap * tanh(sum / cap) */
} vw_gemm_epilogue;

/* What both operands of a product are rounded to before it; sums are f32 all the same.
 *
 * With BF16 and F16 each value to nearest even.  With E4M3 by current scaling (gemm.md section 4,
 * form A): activations and gradients in groups of 1 x 128 along the sum, stored weights in
 * 128 x 128; the product is that of the dequantised values. */
typedef enum vw_gemm_rounding {
    VW_GEMM_ROUND_NONE = 0,
    VW_GEMM_ROUND_BF16,
    VW_GEMM_ROUND_F16,
    VW_GEMM_ROUND_E4M3
} vw_gemm_rounding;

/* What a plan is for.  Everything here is fixed in it; M may be anything up to max_m. */
typedef struct vw_gemm_problem {
    size_t size;
    vw_gemm_op op;
    int64_t max_m;
    int32_t n_weights;   /* 1 .. VW_GEMM_MAX_WEIGHTS */
    const vw_gemm_weight *weights[VW_GEMM_MAX_WEIGHTS]; /* equal K; other N, dtype allowed */
    vw_dtype x_dtype, y_dtype; /* VW_F32 is always possible; others as `supports` says */
    vw_gemm_epilogue epilogue;
    vw_activation activation;
    float cap;
    int32_t is_batch_invariant; /* a row's result may not depend on M */
    vw_gemm_rounding rounding;  /* since 1.1; f32 weights in place */
} vw_gemm_problem;

/* Filled by plan(); freed by plan_free(). */
typedef struct vw_gemm_plan {
    vw_gemm_problem problem;
    size_t workspace_bytes; /* device memory, aligned to 256, that each run needs */
    void *state;            /* the gemm's own */
} vw_gemm_plan;

/* How rows belong to the groups (experts) of a grouped product.  Device arrays. */
typedef enum vw_group_form {
    VW_GROUP_OFFSETS = 0, /* offsets i32 [G + 1]: rows [offsets[g], offsets[g+1]) belong to g */
    VW_GROUP_ROW_IDS,     /* ids i32 [M]: group of each row, in runs; -1 gives a row of zeros */
    VW_GROUP_MASKED       /* counts i32 [G]: X and Y are [G, max_m, .], rows >= counts[g] are
                             neither read nor written */
} vw_group_form;

typedef struct vw_groups {
    vw_group_form form;
    int32_t n_groups;
    const int32_t *rows; /* offsets, ids or counts */
} vw_groups;

typedef struct vw_gemm_ops {
    size_t size;

    /* Can this gemm run the problem?  VW_OK, or VW_E_UNSUPPORTED with the reason.  The weights need
     * no data yet.  Required. */
    vw_status (*supports)(void *self, const vw_gemm_problem *problem, vw_error *err);

    /* How this gemm wants a stored matrix in this format: *pack_bytes of memory aligned to 4096, or
     * 0 when it runs the stored bytes in place.  `layout` is written.  VW_E_UNSUPPORTED with the
     * reason when it cannot run it at all.  Required.  Any thread. */
    vw_status (*pack_size)(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err);

    /* Pack stored rows [first, first + n) into `pack`, the whole of which has pack_bytes.  `first`
     * is a multiple of 64, and so is n but for the last call.  Calls for different rows may run in
     * different threads; afterwards the stored rows are not needed again.  Required where pack_size
     * can answer more than 0. */
    vw_status (*pack)(void *self, const vw_matrix *stored, vw_gemm_format format, int64_t first,
                      int64_t n, void *pack, vw_error *err);

    /* Plan and free a plan.  Allocation happens here.  plan is required, plan_free where a plan has
     * something to free. */
    vw_status (*plan)(void *self, const vw_gemm_problem *problem, vw_gemm_plan *plan,
                      vw_error *err);
    void (*plan_free)(void *self, vw_gemm_plan *plan);

    /* Compute.  x [M, K], y[i] [M, N_i], rows may be strided; 0 <= M <= max_m.  `weights` are those
     * of the plan or others of the same shape, dtype, format and layout (one plan serves all
     * layers).  `workspace` has workspace_bytes.  Only queues work on `stream`.  Allocates nothing.
     * M = 0 and N = 0 succeed and may have null pointers; K = 0 stores epilogue(0).
     * For VW_GEMM_DGRAD x is dY [M, N] and y[0] is dX [M, K].
     * VW_E_INVALID if a shape or dtype differs from the plan; y is then unchanged.  Required. */
    vw_status (*run)(void *self, const vw_gemm_plan *plan, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err);

    /* One product a group: group g's rows with weights[g * n_weights + i].  The plan is that of one
     * group with max_m the largest total M (masked: rows a group).  Each group's result equals that
     * of run() for its rows, bitwise.  Forward, and since 1.1 dgrad.  Optional: VW_E_UNSUPPORTED. */
    vw_status (*run_grouped)(void *self, const vw_gemm_plan *plan, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err);

    /* dw[N,K] = dy[M,N]^T x[M,K] (STORE) or += (ADD), f32 sums over ascending m; M = 0 stores zeros
     * or adds nothing.  Optional. */
    vw_status (*run_wgrad)(void *self, const vw_gemm_plan *plan, vw_stream *stream, vw_tensor dy,
                           vw_tensor x, vw_tensor dw, void *workspace, vw_error *err);

    /* y[i] = scale * row rows[i] of the weight, dequantised to f32: the embedding of a tied table.
     * rows i32 [n] on the device, y [n, K].  A row outside [0, N) gives zeros.  Required. */
    vw_status (*gather)(void *self, vw_stream *stream, const vw_gemm_weight *weight,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err);

    /* One weight gradient a group: dw[g] from the rows of group g alone, as run_wgrad would,
     * bitwise.  The plan is run_wgrad's, max_m the largest total M; `groups` in the form OFFSETS.
     * An array of groups->n_groups tensors; all of one shape.  Since 1.1.  Optional. */
    vw_status (*run_grouped_wgrad)(void *self, const vw_gemm_plan *plan, vw_stream *stream,
                                   vw_tensor dy, vw_tensor x, const vw_groups *groups,
                                   const vw_tensor *dw, void *workspace, vw_error *err);
} vw_gemm_ops;

#ifdef __cplusplus
}
#endif
#endif
