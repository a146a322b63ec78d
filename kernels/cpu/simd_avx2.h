/* simd_avx2.h - 256-bit vectors: AVX2, FMA and F16C, which come together since Haswell and Zen. */
#include <immintrin.h>

enum { VL = 8 };
typedef __m256 vf;
typedef __m256i vi;

VW_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
VW_INLINE vf v_set1(float x) { return _mm256_set1_ps(x); }
VW_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
VW_INLINE void v_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
VW_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
VW_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
/* a * b + c */
VW_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }

VW_INLINE float v_sum(vf v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

VW_INLINE vi i_zero(void) { return _mm256_setzero_si256(); }
VW_INLINE vi i_set1(int32_t x) { return _mm256_set1_epi32(x); }
VW_INLINE vi i_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
VW_INLINE void i_store(void *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }
VW_INLINE void i_store_s8(void *p, vi v) /* VL bytes, of values that fit */
{
    __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(w, w));
}
VW_INLINE vi i_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
VW_INLINE vi i_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
VW_INLINE vi i_shl(vi a, int n) { return _mm256_slli_epi32(a, n); }
VW_INLINE vi i_sar(vi a, int n) { return _mm256_srai_epi32(a, n); }
VW_INLINE vi i_shr(vi a, int n) { return _mm256_srli_epi32(a, n); }
VW_INLINE vi i_and(vi a, vi b) { return _mm256_and_si256(a, b); }
VW_INLINE vi i_or(vi a, vi b) { return _mm256_or_si256(a, b); }
VW_INLINE vi i_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
VW_INLINE vi i_max(vi a, vi b) { return _mm256_max_epi32(a, b); }
VW_INLINE vf v_bits(vi a) { return _mm256_castsi256_ps(a); }
VW_INLINE vi i_bits(vf a) { return _mm256_castps_si256(a); }
VW_INLINE vf v_from_int(vi a) { return _mm256_cvtepi32_ps(a); }
VW_INLINE vi v_to_int(vf a) { return _mm256_cvtps_epi32(a); } /* to nearest even */

/* One int32 in all lanes.  As a float: that broadcast is a load alone on every core, the other is not. */
VW_INLINE vi i_broadcast(const void *p)
{
    return _mm256_castps_si256(_mm256_broadcast_ss((const float *)p));
}

/* Pairs of s16: acc + a.lo * b.lo + a.hi * b.hi in each int32. */
VW_INLINE vi i_dot2(vi acc, vi a, vi b) { return i_add(acc, _mm256_madd_epi16(a, b)); }
/* Of four s8 in each int32: numbers 0 and 2, or 1 and 3, as pairs of s16. */
VW_INLINE vi i_even16(vi a) { return _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8); }
VW_INLINE vi i_odd16(vi a) { return _mm256_srai_epi16(a, 8); }
/* Of s16: sum and product, cut to 16 bits.  Of bytes: pairs of products u8 * s8 added to an s16, which
 * saturates; the magnitude, as u8; a with the sign of b. */
VW_INLINE vi i_add16(vi a, vi b) { return _mm256_add_epi16(a, b); }
VW_INLINE vi i_mul16(vi a, vi b) { return _mm256_mullo_epi16(a, b); }
VW_INLINE vi i_pairs_u8(vi u8, vi s8) { return _mm256_maddubs_epi16(u8, s8); }
VW_INLINE vi i_abs8(vi a) { return _mm256_abs_epi8(a); }
VW_INLINE vi i_sign8(vi a, vi b) { return _mm256_sign_epi8(a, b); }
#define VW_HAS_DOT4_U7 1
/* acc + the four products u7 * s8 in each int32; of 7 bits, or the sum of a pair would saturate. */
VW_INLINE vi i_dot4_u7(vi acc, vi u7, vi s8)
{
    return i_add(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(u7, s8), _mm256_set1_epi16(1)));
}

/* VL consecutive values of a format, as floats. */
VW_INLINE vf v_load_bf16(const void *p)
{
    __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
}
VW_INLINE vf v_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
VW_INLINE vf v_load_s8(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
VW_INLINE vf v_load_e5m2(const void *p)
{
    __m128i h = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_cvtph_ps(_mm_slli_epi16(h, 8));
}
/* e4m3 values / 256: a code moved to the top of a half, its exponent one place down, is that, exactly,
 * subnormals too; the two codes of NaN become all ones, which is a NaN. */
VW_INLINE vf v_load_e4m3_256th(const void *p)
{
    __m128i c = _mm_unpacklo_epi8(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i *)p));
    __m128i half = _mm_and_si128(_mm_srai_epi16(c, 1), _mm_set1_epi16((short)0xBF80));
    __m128i most = _mm_set1_epi16(0x3F80);
    __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(half, most), most);
    return _mm256_cvtph_ps(_mm_or_si128(half, nan));
}
/* 2 VL bf16 in pairs: the first and the second of each pair. */
VW_INLINE vf v_bf16_first(vi a) { return v_bits(i_shl(a, 16)); }
VW_INLINE vf v_bf16_second(vi a) { return v_bits(i_and(a, i_set1((int32_t)0xFFFF0000))); }

/* r[i][j] <- r[j][i] */
VW_INLINE void v_transpose(vf r[8])
{
    vf a[8], b[8];
    VW_UNROLL
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    VW_UNROLL
    for (int i = 0; i < 2; i++) {
        vf *s = a + 4 * i, *t = b + 4 * i;
        t[0] = _mm256_shuffle_ps(s[0], s[2], 0x44);
        t[1] = _mm256_shuffle_ps(s[0], s[2], 0xEE);
        t[2] = _mm256_shuffle_ps(s[1], s[3], 0x44);
        t[3] = _mm256_shuffle_ps(s[1], s[3], 0xEE);
    }
    VW_UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}
