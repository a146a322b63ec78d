/* cublaslt_way.h - which weights gemm/cublaslt multiplies, in which types, and which it refuses.
 *
 * `is_exact` says that activations keep all their bits; `cuda` is the device.
 */
#ifndef PLUGINS_GEMM_CUBLASLT_WAY_H
#define PLUGINS_GEMM_CUBLASLT_WAY_H

#include "plugins/cuda/driver.h"
#include "plugins/gemm/cuda_weights.h"

#include <cublasLt.h>

/* The kernels of parts.cu, in the order in which the plugin loads them. */
typedef enum kernel { SPLIT_BF16, SPLIT_F16, SPLIT_E4M3, JOIN, N_KERNELS, NO_SPLIT } kernel;

/* How weights of one dtype are multiplied. */
typedef struct way {
    kernel split;
    cudaDataType a, b; /* weight and activations */
    int n_parts, is_row_scaled;
    int granule; /* of dimensions and strides, elements; 1: any */
} way;

static inline way way_of(int is_exact, vw_dtype dtype)
{
    switch (dtype) {
    case VW_BF16:
        return (way){SPLIT_BF16, CUDA_R_16BF, CUDA_R_16BF, is_exact ? 3 : 1, 0, 1};
    case VW_F16:
        return (way){SPLIT_F16, CUDA_R_16F, CUDA_R_16F, is_exact ? 2 : 1, 1, 1};
    case VW_E4M3:
        return (way){SPLIT_E4M3, CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, 1, 1, 16};
    case VW_E5M2:
        return (way){SPLIT_E4M3, CUDA_R_8F_E5M2, CUDA_R_8F_E4M3, 1, 1, 16};
    default:
        return (way){NO_SPLIT, CUDA_R_32F, CUDA_R_32F, 1, 0, 1};
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static inline int is_one_scale(const vw_matrix *w)
{
    return w->scales.rows >= w->rows && w->scales.cols >= w->cols;
}

/* Scales are applied to sums, so all inputs of an output have the same. */
static inline int are_scales_outside(const vw_matrix *w, vw_gemm_op op)
{
    return w->scales.rows == 0 || is_one_scale(w) ||
           (op == VW_GEMM_FORWARD && w->layout == VW_OUT_IN && w->scales.cols >= w->cols);
}

static inline vw_status check_fp8(int is_exact, const vw_cuda *cuda, const vw_matrix *w,
                                  vw_gemm_op op, vw_error *err)
{
    if (is_exact)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "fp8 weights take activations rounded to fp8; [gemm.cublaslt] activations = "
                       "rounded allows it");
    if (cuda->major * 10 + cuda->minor < 89)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "fp8 products need compute capability 8.9; this device has %d.%d",
                       cuda->major, cuda->minor);
    if (op != VW_GEMM_FORWARD || w->layout != VW_OUT_IN || w->rows % 16 || w->cols % 16 ||
        w->row_stride % 16)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "fp8 weights of %lld x %lld; cublasLt multiplies forward, by weights stored "
                       "[out, in], of multiples of 16", (long long)w->rows, (long long)w->cols);
    return VW_OK;
}

static inline vw_status check_lt_weight(int is_exact, const vw_cuda *cuda,
                                        const vw_gemm_weight *weight, vw_gemm_op op,
                                        vw_error *err)
{
    const vw_matrix *w = &weight->stored;
    vw_status s = check_weight(w, weight->format, err);
    if (s != VW_OK)
        return s;
    if (weight->format != VW_GEMM_STORED || w->dtype == VW_I8)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "cublasLt multiplies f32, bf16, f16 and fp8, no int8");
    if (!are_scales_outside(w, op))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "scales of %lld x %lld; cublasLt takes one a weight or one a row of it",
                       (long long)w->scales.rows, (long long)w->scales.cols);
    return vw_dtype_bits(w->dtype) == 8 ? check_fp8(is_exact, cuda, w, op, err) : VW_OK;
}

#endif
