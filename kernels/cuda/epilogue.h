/* epilogue.h - what becomes of a product's sums: the epilogues of the gemm kind, for one element.
 *
 * Written so that no compiler has a product and a sum left to fuse: every kernel that ends with
 * these gives the same bits for the same sum.
 */
#ifndef KERNELS_CUDA_EPILOGUE_H
#define KERNELS_CUDA_EPILOGUE_H

#include "kernels/cuda/cuda.h"

enum { /* vw_gemm_epilogue, but that GATED multiplies what was stored: y = act(y) * sum */
    VW_FINISH_STORE,
    VW_FINISH_ADD,
    VW_FINISH_ACTIVATE,
    VW_FINISH_GATED,
    VW_FINISH_SOFTCAP
};
enum { /* vw_activation */
    VW_FINISH_NONE,
    VW_FINISH_GELU_TANH,
    VW_FINISH_GELU_ERF,
    VW_FINISH_SILU,
    VW_FINISH_RELU
};

static __device__ inline float vw_activate(int activation, float x)
{
    float half = 0.5f * x;
    switch (activation) {
    case VW_FINISH_GELU_TANH:
        return fmaf(half, tanhf(0.7978845608f * fmaf(0.044715f * x, x * x, x)), half);
    case VW_FINISH_GELU_ERF:
        return fmaf(half, erff(x * 0.7071067812f), half);
    case VW_FINISH_SILU:
        return x / (1.0f + expf(-x));
    case VW_FINISH_RELU:
        return x > 0.0f || x != x ? x : 0.0f;
    default:
        return x;
    }
}

static __device__ inline void vw_finish(float *y, float sum, int epilogue, int activation,
                                        float cap)
{
    switch (epilogue) {
    case VW_FINISH_ADD: *y = *y + sum; break;
    case VW_FINISH_ACTIVATE: *y = vw_activate(activation, sum); break;
    case VW_FINISH_GATED: *y = vw_activate(activation, *y) * sum; break;
    case VW_FINISH_SOFTCAP: *y = cap * tanhf(sum / cap); break;
    default: *y = sum;
    }
}

#endif
