/* tensor.h - views of numbers, and the memory that holds them.
 *
 * A vw_tensor is a view: it owns nothing and is passed by value.  A vw_buffer owns a stretch of a
 * device's memory; only the device kind makes and frees one.  `data` is an address in the memory of
 * the device in use: the host may read it only where that device says so (VW_DEVICE_HOST_VISIBLE).
 */
#ifndef VISHWAMAI_TENSOR_H
#define VISHWAMAI_TENSOR_H

#include <vishwamai/dtype.h>
#include <vishwamai/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_MAX_DIMS 4

/* Scales of a quantised tensor: value[r][c] = code[r][c] * scale[r / rows][c / cols].
 *
 * The last group of a dimension may be partial.  rows = cols = 0 means "no scales".  A group that
 * covers a whole dimension is given with that dimension's size: per-tensor is rows = N, cols = K;
 * per-row is rows = 1, cols = K.  DeepSeek's blocks are 128 x 128, its activations 1 x 128. */
typedef struct vw_scales {
    const void *data;   /* [ceil(N / rows)][row_stride] */
    vw_dtype dtype;     /* VW_F32 or VW_E8M0 (or BF16, F16 as some files store them) */
    int64_t rows, cols; /* elements of one group */
    int64_t row_stride; /* scales from one row of groups to the next */
} vw_scales;

/* A block format of a weight file (GGUF's Q8_0, Q4_K ...): `elements` consecutive values of a row
 * are stored in `bytes` bytes.  Static data of whoever defines it.  A matrix in one may have scales
 * beside, which its values are then times ("int4"). */
typedef struct vw_block_format {
    size_t size;
    const char *name;
    int32_t elements, bytes;
    /* Reference dequantiser of n_blocks blocks into f32.  Any thread. */
    void (*dequantise)(const void *blocks, int64_t n_blocks, float *out);
} vw_block_format;

typedef struct vw_tensor {
    void *data;
    vw_dtype dtype;
    int32_t n_dims;
    int64_t shape[VW_MAX_DIMS];
    int64_t stride[VW_MAX_DIMS]; /* in elements; the last one is 1 unless a comment says otherwise */
} vw_tensor;

/* A stretch of device memory.  Made and destroyed by the same device component. */
typedef struct vw_buffer {
    void *data;
    size_t bytes;
    uint64_t handle; /* the device's own business */
} vw_buffer;

/* A matrix of weights as it is stored: [rows, cols] with the rows `row_stride` elements apart.
 *
 * Rows are outputs (N) and cols inputs (K) when layout is VW_OUT_IN, the order of published files;
 * VW_IN_OUT is the transposed storage, where `rows` is K. */
typedef enum vw_layout { VW_OUT_IN = 0, VW_IN_OUT = 1 } vw_layout;

typedef struct vw_matrix {
    const void *data;
    vw_dtype dtype;
    vw_layout layout;
    int64_t rows, cols;
    int64_t row_stride;
    vw_scales scales;              /* zeros when there are none */
    const vw_block_format *format; /* with VW_BLOCK, else NULL */
} vw_matrix;

static inline vw_tensor vw_tensor_2d(void *data, vw_dtype dtype, int64_t rows, int64_t cols)
{
    vw_tensor t = {data, dtype, 2, {rows, cols, 1, 1}, {cols, 1, 1, 1}};
    return t;
}

static inline vw_tensor vw_tensor_1d(void *data, vw_dtype dtype, int64_t n)
{
    vw_tensor t = {data, dtype, 1, {n, 1, 1, 1}, {1, 1, 1, 1}};
    return t;
}

/* Bytes from the first to one past the last element of a view whose strides are not negative. */
static inline size_t vw_tensor_bytes(const vw_tensor *t)
{
    int64_t last = 0;
    for (int i = 0; i < t->n_dims; i++) {
        if (t->shape[i] <= 0)
            return 0;
        last += (t->shape[i] - 1) * t->stride[i];
    }
    return ((size_t)(last + 1) * vw_dtype_bits(t->dtype) + 7) / 8;
}

/* Columns [first, first + n) of a matrix view. */
static inline vw_tensor vw_tensor_cols(vw_tensor t, int64_t first, int64_t n)
{
    t.data = (char *)t.data + (size_t)first * vw_dtype_bits(t.dtype) / 8;
    t.shape[1] = n;
    return t;
}

/* Rows [first, first + n) of a view. */
static inline vw_tensor vw_tensor_rows(vw_tensor t, int64_t first, int64_t n)
{
    t.data = (char *)t.data + (size_t)(first * t.stride[0]) * vw_dtype_bits(t.dtype) / 8;
    t.shape[0] = n;
    return t;
}

#ifdef __cplusplus
}
#endif
#endif
