/* pointwise.h - what the host hands to each kernel of the pointwise set; read by C and by CUDA.
 *
 * Letters as in vishwamai/device.h: T rows, D values of a row; strides count values.  A kernel
 * whose work is cut into chunks of VW_CHUNK values of a row has `chunks' blocks a row, on the x
 * axis alone. `is_wide' says that every row begins at a multiple of 16 bytes, so that 4 values go
 * at a time.
 */
#ifndef KERNELS_CUDA_POINTWISE_H
#define KERNELS_CUDA_POINTWISE_H

#include <stdint.h>

enum {
    VW_CHUNK = 1024,        /* values that one block of VW_CHUNK_THREADS treats */
    VW_CHUNK_THREADS = 256,
    VW_SAMPLE_ROWS = 64,    /* rows of logits of one launch */
    VW_TURN_PAIRS = 64,     /* block of vw_rope: pairs, heads */
    VW_TURN_HEADS = 4
};

/* Blocks of any multiple of 32 threads, one a row. */
typedef struct vw_rms_norm_args {
    float *x;
    const float *residual, *w; /* NULL: none */
    float *y;
    int64_t cols, x_stride, residual_stride, y_stride;
    float w_offset, eps;
    int32_t is_wide;
} vw_rms_norm_args;

typedef struct vw_softmax_args {
    float *x;
    int64_t cols, stride;
} vw_softmax_args;

typedef struct vw_rope_args {
    float *x;
    const int32_t *positions;
    const float *inv_freq;
    int64_t stride;
    int32_t heads, head_dim, first, dims, is_pairs;
    uint32_t chunks; /* of VW_TURN_PAIRS pairs */
    float scale;
} vw_rope_args;

/* vw_gate: y = act(x) * up, or act(x) where up is NULL.  act numbers as vw_activation does.
 * vw_axpby: y = a x + b up, where up is y or NULL.  vw_softcap: y = a tanh(x / a). */
typedef struct vw_each_args {
    const float *x, *up;
    float *y;
    int64_t cols, x_stride, up_stride, y_stride;
    uint32_t chunks;
    int32_t act, is_wide;
    float a, b;
} vw_each_args;

typedef struct vw_gather_args {
    const float *x;
    const int32_t *rows;
    float *y;
    int64_t cols, x_rows, x_stride, y_stride;
    uint32_t chunks;
} vw_gather_args;

/* A block treats a chunk of one row of y. */
typedef struct vw_scatter_args {
    const float *x, *weight; /* weight NULL: ones */
    const int32_t *rows;
    float *y;
    int64_t cols, n, x_stride, y_stride;
    uint32_t chunks;
} vw_scatter_args;

typedef struct vw_top_k_args {
    const float *x;
    float *values;
    int32_t *indices;
    int64_t cols, x_stride, values_stride, indices_stride;
    int32_t k;
} vw_top_k_args;

typedef enum vw_number { /* what a convert reads or writes; the other side is f32 */
    VW_NUMBER_F32,
    VW_NUMBER_BF16,
    VW_NUMBER_F16,
    VW_NUMBER_I8,
    VW_NUMBER_E4M3
} vw_number;

/* vw_convert: f32, bf16, f16.  vw_quantise, vw_dequantise: i8, e4m3 in groups of a row, one block a
 * group, `chunks' groups a row, scales [T, chunks]. */
typedef struct vw_convert_args {
    const void *x;
    void *y;
    float *scales;
    int64_t cols, group, x_stride, y_stride, scales_stride;
    uint32_t chunks;
    int32_t from, to;
} vw_convert_args;

/* As vw_sample_desc; temperature 0 is greedy. */
typedef struct vw_sample_row {
    double uniform;
    float temperature, top_p, min_p;
    int32_t top_k;
} vw_sample_row;

typedef struct vw_sample_args {
    const float *logits;
    int32_t *token;
    float *logprob; /* NULL: not wanted */
    float *weights; /* [rows, cols] of working space */
    int64_t cols, stride, weights_stride;
    vw_sample_row rows[VW_SAMPLE_ROWS];
} vw_sample_args;

#endif
