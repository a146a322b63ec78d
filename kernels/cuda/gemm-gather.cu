/* gemm-gather.cu - single rows of a stored matrix as floats: the embedding of a tied table. */
#include "kernels/cuda/gemm-weight.h"

template <int T> static __device__ inline void gather(const vw_gemm_gather_args &a)
{
    int row = a.rows[blockIdx.x], k = blockIdx.y * blockDim.x + threadIdx.x;
    if (k >= a.matrix.k)
        return;
    bool is_there = row >= 0 && row < a.matrix.n;
    float x = is_there ? vw_weight_at<T>(a.matrix, a.bytes, row, k) * a.scale : 0.0f;
    a.y[blockIdx.x * a.y_stride + k] = x;
}

#define KERNEL(name, T)                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        vw_gemm_gather_##name(const vw_gemm_gather_args a)                                         \
    {                                                                                              \
        gather<T>(a);                                                                              \
    }

KERNEL(f32, VW_TYPE_F32)
KERNEL(bf16, VW_TYPE_BF16)
KERNEL(f16, VW_TYPE_F16)
KERNEL(e4m3, VW_TYPE_E4M3)
KERNEL(e5m2, VW_TYPE_E5M2)
KERNEL(i8, VW_TYPE_I8)
