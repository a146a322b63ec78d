/* gemm.h - the matrix product, plainly: the specification of every faster one.
 *
 * Letters: M rows of activations, N outputs, K inputs; Y[M,N] = X[M,K] W[N,K]^T.  A weight's value is
 * code * scale of its group (gemm.md, section 3.1).  Sums are in double and rounded once, so that a
 * difference from this code is the other side's rounding, never ours.
 */
#ifndef KERNELS_REF_GEMM_H
#define KERNELS_REF_GEMM_H

#include <vishwamai/dtype.h>

/* A weight matrix as it is stored, in the words of the kernels.  Stored rows are outputs, or inputs
 * when is_in_out; scale groups are in terms of stored rows and columns. */
typedef struct vw_gemm_source {
    const void *data;
    vw_dtype dtype;
    int is_in_out;
    int64_t n, k;       /* outputs and inputs, whatever the storage */
    int64_t row_stride; /* elements from one stored row to the next */
    const void *scales; /* NULL: none */
    vw_dtype scale_dtype;
    int64_t scale_rows, scale_cols, scale_stride;
    /* block formats only (VW_BLOCK): a row is a run of blocks */
    int block_kind; /* vw_block_kind, of blocks.h */
    int block_elements, block_bytes;
    void (*dequantise)(const void *blocks, int64_t n_blocks, float *out);
} vw_gemm_source;

/* What is applied to the sums before they are stored; the values are those of the gemm kind. */
typedef enum vw_gemm_act {
    VW_GEMM_ACT_NONE = 0,
    VW_GEMM_ACT_GELU_TANH,
    VW_GEMM_ACT_GELU_ERF,
    VW_GEMM_ACT_SILU,
    VW_GEMM_ACT_RELU
} vw_gemm_act;

/* The scale of stored element (row, col); 1 without scales. */
float vw_ref_scale(const vw_gemm_source *w, int64_t row, int64_t col);

/* Output n of the weight as f32: out[k] = code * scale, one rounding. */
void vw_ref_weight_row(const vw_gemm_source *w, int64_t n, float *out);

/* The sum over k of x[k] * w[k] in double. */
double vw_ref_dot(const float *x, const float *w, int64_t k);

double vw_ref_act(vw_gemm_act act, double x);

#endif
