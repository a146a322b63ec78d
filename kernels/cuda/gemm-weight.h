/* gemm-weight.h - single weights of a stored matrix, for the kernels that gemm.h describes. */
#ifndef KERNELS_CUDA_GEMM_WEIGHT_H
#define KERNELS_CUDA_GEMM_WEIGHT_H

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/load.h"

static __device__ inline float vw_scale_at(const vw_gemm_matrix &w, const vw_gemm_bytes &b,
                                           int row, int column)
{
    int group = w.scale_shift >= 0 ? column >> w.scale_shift : column / w.scale_cols;
    return vw_load_scale(b.scales, w.scale_type, row / w.scale_rows * w.scale_stride + group);
}

/* The weight of output n and input k; 0 where there is none. */
template <int T>
static __device__ inline float vw_weight_at(const vw_gemm_matrix &w, const vw_gemm_bytes &b, int n,
                                            int k)
{
    if (n >= w.n || k >= w.k)
        return 0.0f;
    int row = w.is_in_out ? k : n, column = w.is_in_out ? n : k;
    float x = vw_load<T>(b.data, row * w.row_stride + column);
    return b.scales ? x * vw_scale_at(w, b, row, column) : x;
}

#endif
