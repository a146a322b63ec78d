/* reduce.h - sums and largest values over a warp and over a block.
 *
 * The order of the additions depends on the number of threads alone, so a result is the same every
 * time.  `scratch` is a shared array of 32 values; every thread of the block must come, and all get
 * the result.  The block's size is a multiple of 32.
 */
#ifndef KERNELS_CUDA_REDUCE_H
#define KERNELS_CUDA_REDUCE_H

#include "kernels/cuda/cuda.h"

struct vw_plus {
    template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};

/* fmaxf: a NaN loses against a number. */
struct vw_larger {
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
    __device__ unsigned long long operator()(unsigned long long a, unsigned long long b) const
    {
        return a > b ? a : b;
    }
};

template <class T, class Op> __device__ static inline T vw_warp_reduce(T v, Op op)
{
    for (int with = VW_WARP / 2; with > 0; with /= 2)
        v = op(v, __shfl_xor_sync(VW_FULL_WARP, v, with));
    return v;
}

template <class T, class Op> __device__ static inline T vw_block_reduce(T v, Op op, T *scratch)
{
    int lane = (int)threadIdx.x % VW_WARP, warp = (int)threadIdx.x / VW_WARP;
    int n_warps = (int)blockDim.x / VW_WARP;
    v = vw_warp_reduce(v, op);
    if (lane == 0)
        scratch[warp] = v;
    __syncthreads();
    v = scratch[0];
    for (int w = 1; w < n_warps; w++)
        v = op(v, scratch[w]);
    __syncthreads();
    return v;
}

#endif
