/* gemm-load.h - reading a vector of stored weights, whatever the format.
 *
 * `dtype` is a constant wherever these are called, so that each caller is compiled once a format.
 */
#ifndef KERNELS_CPU_GEMM_LOAD_H
#define KERNELS_CPU_GEMM_LOAD_H

#include "kernels/cpu/simd.h"

/* VL values times load_unit. */
VW_INLINE vf load(vw_dtype dtype, const char *p)
{
    switch (dtype) {
    case VW_F32: return v_load((const float *)(const void *)p);
    case VW_BF16: return v_load_bf16(p);
    case VW_F16: return v_load_f16(p);
    case VW_E4M3: return v_load_e4m3_256th(p);
    case VW_E5M2: return v_load_e5m2(p);
    default: return v_load_s8(p);
    }
}

/* What a loaded value must still be multiplied by: a power of two that goes into the scale. */
VW_INLINE float load_unit(vw_dtype dtype)
{
    return dtype == VW_E4M3 ? 256.0f : 1.0f;
}

VW_INLINE size_t bytes_of(vw_dtype dtype)
{
    return dtype == VW_F32 ? 4 : dtype == VW_BF16 || dtype == VW_F16 ? 2 : 1;
}

#endif
