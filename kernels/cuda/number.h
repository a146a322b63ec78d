/* number.h - the number formats on a device: what vishwamai/dtype.h defines, bit for bit.
 *
 * dtype.h is the host's and nvcc would not compile it for a device.  bf16 and the 8-bit formats are
 * bits moved about; f16 has an instruction everywhere, and in t/cuda-sim dtype.h itself.
 */
#ifndef KERNELS_CUDA_NUMBER_H
#define KERNELS_CUDA_NUMBER_H

#include "kernels/cuda/cuda.h"

#ifndef __CUDACC__
#include <vishwamai/dtype.h>
#endif

__device__ static inline float vw_from_bf16(uint16_t h)
{
    return __uint_as_float((unsigned)h << 16);
}

__device__ static inline uint16_t vw_to_bf16(float x)
{
    unsigned u = __float_as_uint(x);
    if ((u & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

#ifdef __CUDACC__
__device__ static inline float vw_from_f16(uint16_t h)
{
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}

__device__ static inline uint16_t vw_to_f16(float x)
{
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
#else
static inline float vw_from_f16(uint16_t h) { return vw_f16_to_f32(h); }
static inline uint16_t vw_to_f16(float x) { return vw_f32_to_f16(x); }
#endif

__device__ static inline float vw_from_e4m3(uint8_t c)
{
    unsigned exponent = (c >> 3) & 15, mantissa = c & 7;
    float x = exponent ? __uint_as_float((exponent + 120) << 23 | mantissa << 20)
                       : (float)mantissa * 0x1p-9f;
    if ((c & 0x7F) == 0x7F)
        return __uint_as_float(0x7FC00000);
    return c & 0x80 ? -x : x;
}

/* Round to nearest even, saturating at 448; NaN gives 0x7F. */
__device__ static inline uint8_t vw_to_e4m3(float x)
{
    unsigned u = __float_as_uint(x), a = u & 0x7FFFFFFF, sign = (u >> 24) & 0x80;
    if (a > 0x7F800000)
        return 0x7F;
    if (a >= 0x43E00000)
        return (uint8_t)(sign | 0x7E);
    if (a < 0x3C800000)
        return (uint8_t)(sign | (unsigned)rintf(__uint_as_float(a) * 0x1p9f));
    a -= 0x3C000000;
    return (uint8_t)((a + 0x7FFFF + ((a >> 20) & 1)) >> 20 | sign);
}

__device__ static inline float vw_from_e5m2(uint8_t c)
{
    return vw_from_f16((uint16_t)(c << 8));
}

__device__ static inline float vw_from_e8m0(uint8_t c)
{
    if (c == 255)
        return __uint_as_float(0x7FC00000);
    return c ? __uint_as_float((unsigned)c << 23) : 0x1p-127f;
}

#endif
