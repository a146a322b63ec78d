/* gemm-product.h - products of which neither side is packed ahead: training, where weights change
 * with every step.
 *
 *     C[m, n] (+)= sum over k of A(m, k) B(k, n)
 *
 * A and B lie as they come, either way round: Y = X W^T, dX = dY W and dW = dY^T X are all of this
 * form.  A caller cuts the rows and columns of C into parts, and each thread packs what its part
 * needs on the way; nothing is shared, so the threads meet once.  Every value of C is one chain of
 * multiply-adds over ascending k, whatever the cut: the bits of gemm.h's tiles.
 */
#ifndef KERNELS_CPU_GEMM_PRODUCT_H
#define KERNELS_CPU_GEMM_PRODUCT_H

#include "kernels/cpu/gemm.h"

typedef struct vw_product {
    const vw_gemm_kernels *kernels;
    int64_t m, k;
    const float *a; /* A(i, j) = a[i * a_row + j * a_step]; one of the two is 1 */
    int64_t a_row, a_step;
    int n_weights;
    vw_gemm_operand w[VW_GEMM_WEIGHTS]; /* B(j, i) is input j of output i; in place */
    float *c[VW_GEMM_WEIGHTS];
    int64_t c_stride[VW_GEMM_WEIGHTS];
    int is_add;
    vw_dtype round_to; /* VW_BF16, VW_F16, VW_E4M3: both sides are rounded to it first; VW_F32: not.
                          E4M3 has one scale for 1 x 128 along k ... */
    int is_b_in_blocks; /* ... or, of B, for 128 x 128, of f32 */
} vw_product;

/* Rows and columns of C in parts: part p of rows * cols has a share of each, in units of tiles. */
typedef struct vw_product_cut {
    int rows, cols;
} vw_product_cut;

/* The cut into at most `most` parts that costs least, packing and idle threads included. */
vw_product_cut vw_product_cut_for(const vw_product *p, int most);

/* Work of a product in units of which a thread does about a thousand in a microsecond. */
double vw_product_work(const vw_product *p);

/* Bytes of scratch of one thread, for products of up to m x k, aligned to 64. */
size_t vw_product_scratch(const vw_gemm_kernels *kernels, int64_t m, int64_t k);

/* One part. */
void vw_product_run(const vw_product *p, vw_product_cut cut, int part, void *scratch);

#endif
