/* gemm.h - the parameters of the matrix kernels, as C and CUDA both read them.
 *
 * Letters: M rows of activations, N outputs, K inputs; Y[M,N] = X[M,K] W[N,K]^T.
 *
 * The order of a sum is the same in every kernel and depends on K alone: input k belongs to partial
 * sum (k / 8) mod 8, each of which runs over rising k with fused products, and the eight are added
 * as a tree, ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).  Eight partial sums are eight lanes that
 * read a row together in the kernels for few rows of X, and eight registers in the tile kernel.  So
 * a row's bits depend neither on its neighbours nor on the kernel.
 */
#ifndef KERNELS_CUDA_GEMM_H
#define KERNELS_CUDA_GEMM_H

#include "kernels/cuda/type.h"

#include <stdint.h>

enum {
    VW_GEMM_PARTS = 8,        /* partial sums */
    VW_GEMM_CHUNK = 8,        /* consecutive inputs of one of them */
    VW_GEMM_PERIOD = 64,      /* inputs until the first has its turn again */
    VW_GEMM_TILE = 64,        /* rows and outputs of a block of the tile kernel, 256 threads */
    VW_GEMM_FEW = 8,          /* rows of X at most in the kernels of few rows */
    VW_GEMM_ROWS_OUTPUTS = 16, /* outputs of a block of vw_gemm_row(s), 128 threads */
    VW_GEMM_COLS_OUTPUTS = 32, /* and of vw_gemm_cols, 256 threads */
    VW_GEMM_GROUPS_A_LAUNCH = 128
};

/* How a weight is stored; its bytes are apart, since the groups of one product share the rest. */
typedef struct vw_gemm_matrix {
    int32_t n, k;
    int64_t row_stride;      /* elements from one stored row to the next */
    int32_t is_in_out;       /* stored rows are inputs */
    int32_t scale_type;       /* type.h */
    int32_t scale_rows, scale_cols; /* groups in stored rows and columns */
    int64_t scale_stride;
    int32_t scale_shift;     /* column / scale_cols = column >> scale_shift; -1: not a shift */
    int32_t is_chunk_scaled; /* eight inputs of a chunk have one scale */
    int32_t is_vector;       /* stored [out, in]; eight inputs of a chunk lie aligned, in X too */
} vw_gemm_matrix;

typedef struct vw_gemm_bytes {
    const void *data, *scales; /* scales NULL: none */
} vw_gemm_bytes;

/* Y = epilogue(sums); the epilogues are those of the gemm kind, but that GATED multiplies what an
 * earlier launch stored: y = act(y) * sum. */
typedef struct vw_gemm_args {
    const float *x;
    float *y;
    int64_t x_stride, y_stride;
    int32_t m;
    int32_t epilogue, activation;
    float cap;
    vw_gemm_matrix matrix;
    vw_gemm_bytes bytes;
} vw_gemm_args;

/* Which rows belong to which weight; forms as in the gemm kind, VW_GEMM_DENSE for one weight. */
enum { VW_GEMM_DENSE = -1 };
typedef struct vw_gemm_tile_args {
    vw_gemm_args product;     /* bytes unused */
    int32_t is_x_transposed;  /* X is stored [K, M] */
    int32_t form, n_groups;
    int32_t first_group, n_here; /* the groups of this launch */
    int32_t rows_a_group;     /* masked */
    const int32_t *rows;      /* offsets, ids or counts */
    vw_gemm_bytes group[VW_GEMM_GROUPS_A_LAUNCH];
} vw_gemm_tile_args;

/* y[i] = scale * row rows[i] of the weight. */
typedef struct vw_gemm_gather_args {
    vw_gemm_matrix matrix;
    vw_gemm_bytes bytes;
    const int32_t *rows;
    float *y;
    int64_t y_stride;
    float scale;
} vw_gemm_gather_args;

#endif
