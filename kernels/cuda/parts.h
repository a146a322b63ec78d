/* parts.h - the parameters of the kernels around a product of 16-bit or 8-bit numbers.
 *
 * Tensor cores want both operands in the weight's format; activations are f32.  A row x of them
 * becomes parts p_0, p_1, ... in that format, with x = scale * (p_0 + p_1 + ...): three parts are
 * every bit of an f32 in bf16, two are 22 bits of it in f16.  The parts are rows of one operand, one
 * behind the other, so that the weight is read once, and their products are added afterwards,
 * smallest first.  One part alone is x rounded.
 *
 * Letters: M rows, K inputs, N outputs, P parts.
 */
#ifndef KERNELS_CUDA_PARTS_H
#define KERNELS_CUDA_PARTS_H

#include <stdint.h>

enum { VW_PARTS_MOST = 3, VW_PARTS_THREADS = 256, VW_PARTS_COLUMNS = 1024 };

/* x [M, K] into parts [P, M, stride]; one block a row. */
typedef struct vw_parts_split_args {
    const float *x;
    int64_t x_stride;
    void *parts;
    int64_t stride;      /* elements from row to row of a part */
    int64_t part_stride; /* and from part to part */
    float *scale;        /* [M]; vw_parts_bf16 writes none */
    int32_t k, n_parts;
} vw_parts_split_args;

/* y[m, n] = epilogue(row_scale[m] * scale[n] * sum of P products); blocks of VW_PARTS_COLUMNS. */
typedef struct vw_parts_join_args {
    const float *product; /* [P, M, stride] */
    int64_t stride, part_stride;
    float *y;
    int64_t y_stride;
    const float *row_scale; /* NULL: none */
    const void *scale;      /* of outputs, NULL: none; scale_rows of them have one */
    int64_t scale_stride;
    int32_t scale_type, scale_rows; /* type.h */
    int32_t n, n_parts;
    int32_t epilogue, activation; /* epilogue.h */
    float cap;
} vw_parts_join_args;

#endif
