/* order.h - "larger value first, then the lower id" as the order of unsigned integers.
 *
 * NaN counts as the smallest value, and 0 and -0 are equal, as everywhere in the device kind.
 */
#ifndef KERNELS_CUDA_ORDER_H
#define KERNELS_CUDA_ORDER_H

#include "kernels/cuda/cuda.h"

/* Larger for larger values; never 0. */
__device__ static inline unsigned vw_key_of(float x)
{
    unsigned u = __float_as_uint(x == x ? x + 0.0f : -INFINITY);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

__device__ static inline float vw_value_at(unsigned key)
{
    return __uint_as_float(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}

/* Larger for what comes earlier in the order. */
__device__ static inline unsigned long long vw_place_of(float x, unsigned id)
{
    return (unsigned long long)vw_key_of(x) << 32 | (0xFFFFFFFFu - id);
}

__device__ static inline unsigned vw_id_at(unsigned long long place)
{
    return 0xFFFFFFFFu - (unsigned)place;
}

#endif
