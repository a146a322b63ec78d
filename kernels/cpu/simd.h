/* simd.h - the vectors of the instruction set a kernel is being compiled for.
 *
 * A kernel source is written once, in terms of `vf` (VL floats) and `vi` (VL int32), and compiled once
 * for each instruction set; the build says which by its flags and by VW_ISA, the word that ends the
 * names of what is exported: VW_ISA_NAME(vw_gemm_kernels) is vw_gemm_kernels_avx2.  Operations whose
 * result depends on the width (the sums) have a fixed order within one instruction set.
 */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include <vishwamai/dtype.h>

#define VW_ISA_PASTE_(name, isa) name##_##isa
#define VW_ISA_PASTE(name, isa) VW_ISA_PASTE_(name, isa)
#define VW_ISA_NAME(name) VW_ISA_PASTE(name, VW_ISA)

#if defined(__GNUC__)
#define VW_INLINE static inline __attribute__((always_inline))
#define VW_PREFETCH(p) __builtin_prefetch(p, 0, 3)
#else
#define VW_INLINE static inline
#define VW_PREFETCH(p) ((void)(p))
#endif

/* Before a loop of constant length: unroll it all, so that arrays of vectors become registers. */
#define VW_PRAGMA_(x) _Pragma(#x)
#define VW_UNROLL VW_PRAGMA_(GCC unroll 32)
/* Before a loop of any length whose body is short: four steps at a time. */
#define VW_UNROLL_STEPS VW_PRAGMA_(GCC unroll 4)

/* Keep a vector in its register here: the compiler may neither reorder nor regroup sums across. */
#if defined(__x86_64__) && !defined(VW_EMULATE_AVX512)
#define VW_KEEP(v) __asm__("" : "+v"(v))
/* Forget what was read through a pointer: the next use of it is an operand in memory. */
#define VW_REREAD(p) __asm__("" : "+r"(p))
#else
#define VW_KEEP(v) ((void)(v))
#define VW_REREAD(p) ((void)(p))
#endif

/* A test compiles the 512-bit kernels through SIMDe for machines that cannot run them. */
#ifdef VW_EMULATE_AVX512
#if !__has_include(<simde/x86/avx512.h>)
#undef VW_EMULATE_AVX512
#undef VW_EMULATE_VNNI
#endif
#endif

#if defined(__AVX512F__) || defined(VW_EMULATE_AVX512)
#include "kernels/cpu/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/cpu/simd_avx2.h"
#else
#include "kernels/cpu/simd_base.h"
#endif

/* The four s8 in each int32, as floats. */
VW_INLINE void v_from_s8x4(vi a, vf out[4])
{
    out[0] = v_from_int(i_sar(i_shl(a, 24), 24));
    out[1] = v_from_int(i_sar(i_shl(a, 16), 24));
    out[2] = v_from_int(i_sar(i_shl(a, 8), 24));
    out[3] = v_from_int(i_sar(a, 24));
}

/* The last n < VL values of a row, zeros behind them; nothing past the row is read. */
VW_INLINE vf v_load_part(const float *p, int64_t n)
{
    float part[VL] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return v_load(part);
}

VW_INLINE void v_store_part(float *p, vf v, int64_t n)
{
    float part[VL];
    v_store(part, v);
    memcpy(p, part, (size_t)n * sizeof *p);
}

#endif
