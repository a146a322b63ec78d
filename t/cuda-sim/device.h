/* device.h - CUDA's language for the host's C++ compiler, so that kernels run in t/cuda-sim.
 *
 * kernels/cuda/cuda.h says what kernels may use; that, and no more, is here.  A file of t/cuda-sim
 * includes this before the .cu.  Shared arrays are static and lie in a section of their own, which
 * is filled with NaN before a block begins, so that what was not written shows.
 */
#ifndef CUDA_SIM_DEVICE_H
#define CUDA_SIM_DEVICE_H

#define VW_CUDA_SIM 1

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "t/cuda-sim/kernel.h"

/* ---- words ---------------------------------------------------------------------------------- */

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static const
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("sim_shared")))
#define VW_DYNAMIC_SHARED(type, name) type *name = (type *)sim_dynamic_shared()

#define threadIdx sim_thread_index
#define blockIdx sim_block_index
#define blockDim sim_block_size
#define gridDim sim_grid_size
#define warpSize 32

/* ---- vectors -------------------------------------------------------------------------------- */

#define SIM_VECTOR2(name, type)                                                                    \
    struct alignas(2 * sizeof(type)) name {                                                        \
        type x, y;                                                                                 \
    };                                                                                             \
    static inline name make_##name(type x, type y)                                                 \
    {                                                                                              \
        return name{x, y};                                                                         \
    }
#define SIM_VECTOR4(name, type)                                                                    \
    struct alignas(4 * sizeof(type)) name {                                                        \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name make_##name(type x, type y, type z, type w)                                 \
    {                                                                                              \
        return name{x, y, z, w};                                                                   \
    }
SIM_VECTOR2(float2, float)
SIM_VECTOR4(float4, float)
SIM_VECTOR2(int2, int)
SIM_VECTOR4(int4, int)
SIM_VECTOR2(uint2, unsigned)
SIM_VECTOR4(uint4, unsigned)
SIM_VECTOR2(ushort2, unsigned short)
SIM_VECTOR4(ushort4, unsigned short)
SIM_VECTOR4(uchar4, unsigned char)
#undef SIM_VECTOR2
#undef SIM_VECTOR4

/* ---- meetings ------------------------------------------------------------------------------- */

static inline void __syncthreads() { sim_barrier(); }
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { sim_exchange(SIM_SYNC_WARP, mask, 0); }

template <class T> static inline T sim_shuffle(unsigned mask, T value, unsigned from)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a lane passes 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    const uint64_t *all = sim_exchange(SIM_SHUFFLE, mask, bits);
    if (!(mask >> from & 1))
        sim_fail("a shuffle reads lane %u, which takes no part (mask %08x)", from, mask);
    memcpy(&value, &all[from], sizeof value);
    return value;
}

/* Lanes meet in groups of `width`; who would leave the group keeps its own value. */
template <class T> static inline T __shfl_sync(unsigned mask, T v, int from, int width = 32)
{
    unsigned base = sim_lane() & ~(unsigned)(width - 1);
    return sim_shuffle(mask, v, base + ((unsigned)from & (unsigned)(width - 1)));
}

template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32)
{
    unsigned lane = sim_lane(), from = lane ^ (unsigned)with;
    return sim_shuffle(mask, v, from >= (lane | (unsigned)(width - 1)) + 1 ? lane : from);
}

template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32)
{
    unsigned lane = sim_lane(), place = lane & (unsigned)(width - 1);
    return sim_shuffle(mask, v, place < by ? lane : lane - by);
}

template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32)
{
    unsigned lane = sim_lane(), place = lane & (unsigned)(width - 1);
    return sim_shuffle(mask, v, place + by >= (unsigned)width ? lane : lane + by);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    const uint64_t *all = sim_exchange(SIM_VOTE, mask, predicate != 0);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        if (mask >> lane & 1)
            votes |= (unsigned)all[lane] << lane;
    return votes;
}

static inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}

static inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) == mask;
}

static inline void __threadfence() {}
static inline void __threadfence_block() {}

/* ---- atomics: one thread runs at a time ----------------------------------------------------- */

template <class T> static inline T sim_swap(T *at, T value)
{
    T old = *at;
    *at = value;
    return old;
}
#define SIM_ATOMICS(type)                                                                          \
    static inline type atomicAdd(type *at, type v) { return sim_swap<type>(at, (type)(*at + v)); } \
    static inline type atomicMax(type *at, type v) { return sim_swap(at, v > *at ? v : *at); }     \
    static inline type atomicMin(type *at, type v) { return sim_swap(at, v < *at ? v : *at); }     \
    static inline type atomicExch(type *at, type v) { return sim_swap(at, v); }                    \
    static inline type atomicCAS(type *at, type want, type v)                                      \
    {                                                                                              \
        return sim_swap(at, *at == want ? v : *at);                                                \
    }
SIM_ATOMICS(int)
SIM_ATOMICS(unsigned)
SIM_ATOMICS(unsigned long long)
#undef SIM_ATOMICS
static inline float atomicAdd(float *at, float v) { return sim_swap(at, *at + v); }

/* ---- numbers -------------------------------------------------------------------------------- */

template <class T> static inline T __ldg(const T *at) { return *at; }

static inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static inline int __float_as_int(float x) { int u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
static inline float __int_as_float(int u) { float x; memcpy(&x, &u, 4); return x; }
static inline long long __double_as_longlong(double x) { long long u; memcpy(&u, &x, 8); return u; }
static inline double __longlong_as_double(long long u) { double x; memcpy(&x, &u, 8); return x; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }

static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
#define rsqrtf sim_rsqrtf /* a later C library has its own */
#define sincospif sim_sincospif
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

/* sin and cos of pi x; the whole turns are taken off first, exactly. */
static inline void sincospif(float x, float *s, float *c)
{
    double turn = (double)x - 2 * rint((double)x / 2);
    *s = (float)sin(M_PI * turn);
    *c = (float)cos(M_PI * turn);
}

#define SIM_LARGER(type)                                                                           \
    static inline type max(type a, type b) { return a > b ? a : b; }                               \
    static inline type min(type a, type b) { return a < b ? a : b; }
SIM_LARGER(int)
SIM_LARGER(unsigned)
SIM_LARGER(long long)
SIM_LARGER(unsigned long long)
SIM_LARGER(long)
SIM_LARGER(unsigned long)
#undef SIM_LARGER

#endif
