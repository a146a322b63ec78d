/* gemm-block-load.h - vectors out of a pack of Q4_K, Q6_K or int4: four codes of each of VL outputs as
 * unsigned bytes, and what a block is scaled by.  gemm-blocks.h has the layout.
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
enum { VECTORS = VW_GEMM_PANEL / VL, MOST_WIDE = VECTORS * VW_GEMM_MAX_PANELS, STEPS = 8, LINE = 64 };

/* The formats, in the order of vw_gemm_kernels.unpacked. */
enum { Q4_K, Q6_K, INT4, N_FORMS };

/* Bytes of a panel's unit, and where its words begin.  int4's lie behind the scales of a group, 32
 * values at a time. */
VW_INLINE int64_t unit_bytes(const int form)
{
    return (form == Q4_K ? 144 : form == Q6_K ? 210 : 16) * VW_GEMM_PANEL;
}

VW_INLINE int words_at(const int form)
{
    return form == Q4_K ? 64 : form == Q6_K ? 32 : 0;
}

enum { Q4_K_CODES = 3, Q6_K_HIGH = 32, Q6_K_SCALES = 48 }; /* words of a unit */

VW_INLINE vi nibbles(vi word, const int is_high)
{
    return i_and(is_high ? i_sar(word, 4) : word, i_set1(0x0F0F0F0F));
}

/* Codes 4 s ... 4 s + 3 of block `block` of a unit; `p`: the unit's words, of these VL outputs.  A
 * block is given as a constant modulo 4 and what is above. */
VW_INLINE vi load_codes(const int form, const char *p, int half, const int run, int s)
{
    if (form == Q4_K)
        return nibbles(i_load(p + (Q4_K_CODES + (half * 2 + run / 2) * 8 + s) * LINE), run % 2);
    if (form == INT4)
        return nibbles(i_load(p + s % 4 * LINE), s / 4);
    vi low = nibbles(i_load(p + (half * 16 + run % 2 * 8 + s) * LINE), run / 2);
    vi high = i_load(p + (Q6_K_HIGH + half * 8 + s) * LINE), bits = i_set1(0x30303030);
    high = run == 0 ? i_shl(high, 4) : run == 1 ? i_shl(high, 2) : run == 2 ? high : i_sar(high, 2);
    return i_or(low, i_and(high, bits));
}

VW_INLINE void store_byte(vi word, const int byte, vf scale, float *out)
{
    vi one = byte < 3 ? i_and(i_sar(word, 8 * byte), i_set1(255)) : i_sar(word, 24);
    v_store(out, v_mul(v_from_int(one), scale));
}

/* The scale and minus the minimum of each of eight blocks, as a record has them; the records are
 * `apart` floats apart. */
VW_INLINE void q4_k_params(const char *unit, const int j, float *out, int64_t apart)
{
    const char *words = unit + words_at(Q4_K) + j * VL * 4;
    vf d = v_load_f16(unit + j * VL * 2);
    vf least = v_mul(v_load_f16(unit + VW_GEMM_PANEL * 2 + j * VL * 2), v_set1(-1));
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

/* d, and the scales of both halves of a block as pairs of s16. */
VW_INLINE void q6_k_params(const char *unit, const int j, float *out, int64_t apart)
{
    const char *words = unit + words_at(Q6_K) + Q6_K_SCALES * LINE + j * VL * 4;
    vf d = v_load_f16(unit + j * VL * 2);
    VW_UNROLL
    for (int i = 0; i < 8; i++) {
        vi four = i_load(words + i / 2 * LINE);
        v_store(out + i * apart, d);
        VW_UNROLL
        for (int h = 0; h < 2; h++) {
            vi high = i_shl(four, 24 - 8 * (i % 2 * 2 + h)); /* the scale is the upper byte */
            vi low = i_and(i_sar(high, 24), i_set1(0xFFFF));
            i_store(out + i * apart + (h + 1) * VW_GEMM_PANEL, i_or(low, i_shl(low, 16)));
        }
    }
}

VW_INLINE void unit_params(const int form, const char *unit, float *out, int64_t apart)
{
    VW_UNROLL
    for (int j = 0; j < VECTORS; j++)
        if (form == Q4_K)
            q4_k_params(unit, j, out + j * VL, apart);
        else
            q6_k_params(unit, j, out + j * VL, apart);
}

VW_INLINE vf int4_scale(vw_dtype dtype, const char *scales, const int j)
{
    return dtype == VW_F32    ? v_load((const float *)(const void *)scales + j * VL)
           : dtype == VW_BF16 ? v_load_bf16(scales + j * VL * 2)
                              : v_load_f16(scales + j * VL * 2);
}

#endif
