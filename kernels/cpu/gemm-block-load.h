/* gemm-block-load.h - vectors out of a pack of blocks: codes of VL outputs as bytes, four a step, what
 * they are scaled by, and how they are multiplied.  gemm-blocks.h has the layout.
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

/* How codes are multiplied: bytes as unsigned or signed ones, nibbles of Q4_0 and int4, the others. */
enum { U8, S8, U4, Q4_K, Q6_K };

/* Where codes begin in a unit, and its end. */
enum {
    Q8_CODES = 2 * VW_GEMM_PANEL, Q8_UNIT = 34 * VW_GEMM_PANEL,
    Q4_K_CODES = 4 * LINE, Q4_K_UNIT = 144 * VW_GEMM_PANEL,
    Q6_K_SCALES = 2 * VW_GEMM_PANEL, Q6_K_CODES = 18 * VW_GEMM_PANEL, Q6_K_UNIT = 210 * VW_GEMM_PANEL,
    U4_BLOCK = 16 * VW_GEMM_PANEL
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

VW_INLINE vf u4_scale(vw_dtype dtype, const char *scales, const int j)
{
    return dtype == VW_F32    ? v_load((const float *)(const void *)scales + j * VL)
           : dtype == VW_BF16 ? v_load_bf16(scales + j * VL * 2)
                              : v_load_f16(scales + j * VL * 2);
}

/* Four values of Q8_0, as they are multiplied. */
VW_INLINE vi load_bytes(const int form, const char *p)
{
    return form == U8 ? i_xor(i_load(p), i_set1((int32_t)0x80808080)) : i_load(p);
}

/* ---- products ----
 *
 * The instructions of x86 multiply unsigned bytes by signed ones.  Bytes need sums of 32 bits at every
 * step, and without VNNI a pair fits 16 bits only if the activations have 7 bits
 * (255 * 63 * 2 < 2^15), or if the sign of the weight is moved to the activation
 * (128 * 127 * 2 < 2^15), which is one instruction more and exact for 8. */

#if defined(VW_HAS_DOT4)
enum { PAIRS = 0, BYTES_8 = U8, BYTES_7 = U8 };
#elif defined(VW_HAS_DOT4_U7)
enum { PAIRS = 1, BYTES_8 = S8, BYTES_7 = U8 }; /* below 8 bits: sums are pairs of 16 to the end */
#else
enum { PAIRS = 0, BYTES_8 = S8, BYTES_7 = S8 };
#endif

VW_INLINE vi multiply(const int form, vi acc, vi w, vi x)
{
    (void)form;
#if defined(VW_HAS_DOT4)
    return i_dot4(acc, w, x);
#elif defined(VW_HAS_DOT4_U7)
    if (form == S8)
        return i_dot2(acc, i_pairs_u8(i_abs8(w), i_sign8(x, w)), i_set1(0x00010001));
    return form == U8 ? i_dot2(acc, i_pairs_u8(w, x), i_set1(0x00010001)) : i_add16(acc, i_pairs_u8(w, x));
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

/* What the sums of row i of a tile start from, or those of the second half of a block of Q6_K: minus
 * what the codes have too much. */
VW_INLINE vi start(const int form, const int rows, const char *x, int i, const int half)
{
    const char *all = x + 4 * i, *first = x + (40 * rows + 4 * i);
    if (form == U4)
        return add_sums(i_zero(), 1, all);
    if (form == U8)
        return i_dot2(i_zero(), i_broadcast(all), i_set1(0x00100010));
    if (form == Q6_K && half)
        return add_sums(add_sums(i_zero(), 4, all), -1, first);
    return form == Q6_K ? add_sums(i_zero(), 1, first) : i_zero();
}

/* The whole sum. */
VW_INLINE vi whole_of(const int form, vi sum)
{
    return PAIRS && form != U8 && form != S8 ? i_dot2(i_zero(), sum, i_set1(0x00010001)) : sum;
}

/* What else the activations of a block have. */
VW_INLINE vf x_scale(const int rows, const char *x, int i) { return v_bits(i_broadcast(x + 4 * (rows + i))); }
VW_INLINE vf x_sum(const int rows, const char *x, int i) { return v_bits(i_broadcast(x + 4 * (11 * rows + i))); }

#endif
