/* simd_avx512.h - 512-bit vectors: AVX-512 F, BW, DQ, VL as on every server since Skylake.
 *
 * Compiled with VNNI flags it also has i_dot4, four s8 products in one step.
 */
#ifdef VW_EMULATE_AVX512
#include VW_EMULATE_AVX512 /* a test names the header that stands in for the intrinsics */
#else
#include <immintrin.h>
#endif

enum { VL = 16 };
typedef __m512 vf;
typedef __m512i vi;

VW_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
VW_INLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
VW_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
VW_INLINE void v_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
VW_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
VW_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
/* a * b + c */
VW_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }

VW_INLINE float v_sum(vf v)
{
    vf s = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0x4E));
    s = _mm512_add_ps(s, _mm512_shuffle_f32x4(s, s, 0xB1));
    __m128 q = _mm512_castps512_ps128(s);
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}

VW_INLINE vi i_zero(void) { return _mm512_setzero_si512(); }
VW_INLINE vi i_set1(int32_t x) { return _mm512_set1_epi32(x); }
VW_INLINE vi i_load(const void *p) { return _mm512_loadu_si512(p); }
VW_INLINE void i_store(void *p, vi v) { _mm512_storeu_si512(p, v); }
VW_INLINE void i_store_s8(void *p, vi v) /* VL bytes, of values that fit */
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(v));
}
VW_INLINE vi i_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
VW_INLINE vi i_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
#define i_shl(a, n) _mm512_slli_epi32(a, n)
#define i_sar(a, n) _mm512_srai_epi32(a, n)
#define i_shr(a, n) _mm512_srli_epi32(a, n)
VW_INLINE vi i_and(vi a, vi b) { return _mm512_and_si512(a, b); }
VW_INLINE vi i_or(vi a, vi b) { return _mm512_or_si512(a, b); }
VW_INLINE vi i_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
VW_INLINE vi i_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
VW_INLINE vf v_bits(vi a) { return _mm512_castsi512_ps(a); }
VW_INLINE vi i_bits(vf a) { return _mm512_castps_si512(a); }
VW_INLINE vf v_from_int(vi a) { return _mm512_cvtepi32_ps(a); }
VW_INLINE vi v_to_int(vf a) { return _mm512_cvtps_epi32(a); } /* to nearest even */

/* One int32 in all lanes. */
VW_INLINE vi i_broadcast(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return i_set1(x);
}

/* Pairs of s16: acc + a.lo * b.lo + a.hi * b.hi in each int32. */
VW_INLINE vi i_dot2(vi acc, vi a, vi b) { return i_add(acc, _mm512_madd_epi16(a, b)); }
/* Of four s8 in each int32: numbers 0 and 2, or 1 and 3, as pairs of s16. */
VW_INLINE vi i_even16(vi a) { return _mm512_srai_epi16(_mm512_slli_epi16(a, 8), 8); }
VW_INLINE vi i_odd16(vi a) { return _mm512_srai_epi16(a, 8); }
/* Of s16: sum and product, cut to 16 bits.  Of bytes: pairs of products u8 * s8 added to an s16, which
 * saturates; the magnitude, as u8; a with the sign of b, where b is not 0. */
VW_INLINE vi i_add16(vi a, vi b) { return _mm512_add_epi16(a, b); }
VW_INLINE vi i_mul16(vi a, vi b) { return _mm512_mullo_epi16(a, b); }
VW_INLINE vi i_pairs_u8(vi u8, vi s8) { return _mm512_maddubs_epi16(u8, s8); }
VW_INLINE vi i_abs8(vi a) { return _mm512_abs_epi8(a); }
VW_INLINE vi i_sign8(vi a, vi b)
{
    return _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(b), i_zero(), a);
}
#define VW_HAS_DOT4_U7 1
/* acc + the four products u7 * s8 in each int32; of 7 bits, or the sum of a pair would saturate. */
VW_INLINE vi i_dot4_u7(vi acc, vi u7, vi s8)
{
    return i_add(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(u7, s8), i_set1(0x00010001)));
}

#if defined(__AVX512VNNI__) || defined(VW_EMULATE_VNNI)
#define VW_HAS_DOT4 1
/* acc + the four products u8 * s8 in each int32. */
VW_INLINE vi i_dot4(vi acc, vi u8, vi s8) { return _mm512_dpbusd_epi32(acc, u8, s8); }
#endif

/* VL consecutive values of a format, as floats. */
VW_INLINE vf v_load_bf16(const void *p)
{
    vi w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return v_bits(i_shl(w, 16));
}
VW_INLINE vf v_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
VW_INLINE vf v_load_s8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
VW_INLINE vf v_load_e5m2(const void *p)
{
    __m256i h = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    return _mm512_cvtph_ps(_mm256_slli_epi16(h, 8));
}
/* e4m3 values / 256: a code moved to the top of a half, its exponent one place down, is that, exactly,
 * subnormals too; the two codes of NaN become all ones, which is a NaN. */
VW_INLINE vf v_load_e4m3_256th(const void *p)
{
    __m256i c = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)), 8);
    __m256i half = _mm256_and_si256(_mm256_srai_epi16(c, 1), _mm256_set1_epi16((short)0xBF80));
    __m256i most = _mm256_set1_epi16(0x3F80);
    __m256i nan = _mm256_cmpeq_epi16(_mm256_and_si256(half, most), most);
    return _mm512_cvtph_ps(_mm256_or_si256(half, nan));
}
/* 2 VL bf16 in pairs: the first and the second of each pair. */
VW_INLINE vf v_bf16_first(vi a) { return v_bits(i_shl(a, 16)); }
VW_INLINE vf v_bf16_second(vi a) { return v_bits(i_and(a, i_set1((int32_t)0xFFFF0000))); }

/* r[i][j] <- r[j][i]: 4 x 4 blocks inside the 128-bit lanes, then the lanes themselves. */
VW_INLINE void v_transpose(vf r[16])
{
    vf a[16], b[16];
    VW_UNROLL
    for (int i = 0; i < 16; i += 4) {
        vf s0 = _mm512_unpacklo_ps(r[i], r[i + 1]), s1 = _mm512_unpackhi_ps(r[i], r[i + 1]);
        vf s2 = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), s3 = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        a[i] = _mm512_shuffle_ps(s0, s2, 0x44);
        a[i + 1] = _mm512_shuffle_ps(s0, s2, 0xEE);
        a[i + 2] = _mm512_shuffle_ps(s1, s3, 0x44);
        a[i + 3] = _mm512_shuffle_ps(s1, s3, 0xEE);
    }
    VW_UNROLL
    for (int j = 0; j < 4; j++) {
        b[j] = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88);
        b[4 + j] = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xDD);
        b[8 + j] = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
        b[12 + j] = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xDD);
    }
    VW_UNROLL
    for (int j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_f32x4(b[j], b[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_f32x4(b[j], b[8 + j], 0xDD);
        r[4 + j] = _mm512_shuffle_f32x4(b[4 + j], b[12 + j], 0x88);
        r[12 + j] = _mm512_shuffle_f32x4(b[4 + j], b[12 + j], 0xDD);
    }
}
