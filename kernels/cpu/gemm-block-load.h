/* gemm-block-load.h - vectors out of a pack of Q4_K, Q6_K or int4: codes of VL outputs as unsigned
 * bytes, four a step, and what they are scaled by.  gemm-blocks.h has the layout.
 */
#ifndef KERNELS_CPU_GEMM_BLOCK_LOAD_H
#define KERNELS_CPU_GEMM_BLOCK_LOAD_H

#include "kernels/cpu/gemm-blocks.h"
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

#ifdef VW_EMULATE_AVX512 /* what is emulated gains nothing by it and takes minutes to compile */
#undef VW_UNROLL
#define VW_UNROLL
#endif

/* Vectors of a panel; a line holds a word of each of its outputs. */
enum { VECTORS = VW_GEMM_PANEL / VL, STEPS = VW_GEMM_BLOCK / 4, LINE = 4 * VW_GEMM_PANEL };

/* The formats, in the order of vw_gemm_kernels.unpacked; where codes begin in a unit, and its end. */
enum { Q4_K, Q6_K, INT4 };
enum {
    Q4_K_CODES = 4 * LINE, Q4_K_UNIT = 144 * VW_GEMM_PANEL,
    Q6_K_SCALES = 2 * VW_GEMM_PANEL, Q6_K_CODES = 18 * VW_GEMM_PANEL, Q6_K_UNIT = 210 * VW_GEMM_PANEL,
    INT4_BLOCK = 16 * VW_GEMM_PANEL
};

VW_INLINE vi nibbles(vi word, const int is_high)
{
    return i_and(is_high ? i_sar(word, 4) : word, i_set1(0x0F0F0F0F));
}

/* Sixteen values of Q6_K, four a step, of three words LINE apart. */
VW_INLINE void load_sixes(const char *p, vi code[4])
{
    vi word[3];
    VW_UNROLL
    for (int s = 0; s < 3; s++) {
        word[s] = i_load(p + s * LINE);
        code[s] = i_and(word[s], i_set1(0x3F3F3F3F));
        word[s] = i_xor(word[s], code[s]);
    }
    code[3] = i_or(i_or(i_shr(word[0], 2), i_shr(word[1], 4)), i_shr(word[2], 6));
}

VW_INLINE void store_byte(vi word, const int byte, vf scale, float *out)
{
    vi one = byte < 3 ? i_and(i_sar(word, 8 * byte), i_set1(255)) : i_sar(word, 24);
    v_store(out, v_mul(v_from_int(one), scale));
}

/* Of vector j of a unit of Q4_K: the scale of each of eight blocks, minus the minimum behind it, and
 * the next block's `apart` floats away. */
VW_INLINE void q4_k_params(const char *unit, const int j, float *out, int64_t apart)
{
    const char *words = unit + LINE + j * VL * 4;
    vf d = v_load_f16(unit + j * VL * 2);
    vf least = v_mul(v_load_f16(unit + LINE / 2 + j * VL * 2), v_set1(-1));
    vi a = i_load(words), b = i_load(words + LINE), c = i_load(words + 2 * LINE);
    vi six = i_set1(0x3F3F3F3F), four = i_set1(0x0F0F0F0F), two = i_set1(0x30303030);
    vi scale[2] = {i_and(a, six), i_or(i_and(c, four), i_and(i_sar(a, 2), two))};
    vi min[2] = {i_and(b, six), i_or(i_and(i_sar(c, 4), four), i_and(i_sar(b, 2), two))};
    VW_UNROLL
    for (int i = 0; i < 8; i++) {
        store_byte(scale[i / 4], i % 4, d, out + i * apart);
        store_byte(min[i / 4], i % 4, least, out + i * apart + VW_GEMM_PANEL);
    }
}

VW_INLINE vf int4_scale(vw_dtype dtype, const char *scales, const int j)
{
    return dtype == VW_F32    ? v_load((const float *)(const void *)scales + j * VL)
           : dtype == VW_BF16 ? v_load_bf16(scales + j * VL * 2)
                              : v_load_f16(scales + j * VL * 2);
}

/* ---- products ---- */

#if defined(VW_HAS_DOT4_U7) && !defined(VW_HAS_DOT4)
enum { PAIRS = 1 }; /* sums are pairs of 16 bits until the block, or its half, ends */
#else
enum { PAIRS = 0 };
#endif

VW_INLINE vi multiply(vi acc, vi w, vi x)
{
#if defined(VW_HAS_DOT4)
    return i_dot4(acc, w, x);
#elif defined(VW_HAS_DOT4_U7)
    return i_add16(acc, i_pairs_u8(w, x));
#else
    return i_dot2(i_dot2(acc, i_even16(w), i_even16(x)), i_odd16(w), i_odd16(x));
#endif
}

/* acc + times * sums of activations, as pairs or as their sum. */
VW_INLINE vi add_sums(vi acc, const int times, const char *sums)
{
    const vi both = i_set1((int32_t)((uint32_t)times << 16 | (times & 0xFFFF)));
#if defined(VW_HAS_DOT4_U7) && !defined(VW_HAS_DOT4)
    vi v = i_broadcast(sums);
    return i_add16(acc, times == 1 ? v : i_mul16(v, both));
#else
    return i_dot2(acc, i_broadcast(sums), both);
#endif
}

/* What the sums of row i of a tile start from, or those of the second half of a block of Q6_K. */
VW_INLINE vi start(const int form, const int rows, const char *x, int i, const int half)
{
    const char *all = x + 4 * i, *first = x + (40 * rows + 4 * i);
    if (form == INT4)
        return add_sums(i_zero(), 1, all);
    if (form == Q6_K && half)
        return add_sums(add_sums(i_zero(), 4, all), -1, first);
    return form == Q6_K ? add_sums(i_zero(), 1, first) : i_zero();
}

/* The whole sum. */
VW_INLINE vi whole_of(vi sum)
{
    return PAIRS ? i_dot2(i_zero(), sum, i_set1(0x00010001)) : sum;
}

/* What else the activations of a block have. */
VW_INLINE vf x_scale(const int rows, const char *x, int i) { return v_bits(i_broadcast(x + 4 * (rows + i))); }
VW_INLINE vf x_sum(const int rows, const char *x, int i) { return v_bits(i_broadcast(x + 4 * (11 * rows + i))); }

#endif
