/* simd_base.h - 128-bit vectors of the compiler: SSE2 on any x86-64, NEON on any arm64.
 *
 * For machines without AVX2, and for tools (valgrind, emulators) that know no more.  There is no
 * fused multiply-add, so v_fma rounds twice.
 */
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { VL = 4 };
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

VW_INLINE vf v_set1(float x) { return (vf){x, x, x, x}; }
VW_INLINE vf v_zero(void) { return v_set1(0); }
VW_INLINE vf v_load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
VW_INLINE void v_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
VW_INLINE vf v_add(vf a, vf b) { return a + b; }
VW_INLINE vf v_mul(vf a, vf b) { return a * b; }
/* a * b + c */
VW_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }

VW_INLINE vi i_set1(int32_t x) { return (vi){x, x, x, x}; }
VW_INLINE vi i_zero(void) { return i_set1(0); }
VW_INLINE vi i_load(const void *p) { vi v; memcpy(&v, p, sizeof v); return v; }
VW_INLINE void i_store(void *p, vi v) { memcpy(p, &v, sizeof v); }
VW_INLINE vi i_add(vi a, vi b) { return a + b; }
VW_INLINE vi i_sub(vi a, vi b) { return a - b; }
VW_INLINE vi i_shl(vi a, int n) { return a << n; }
VW_INLINE vi i_sar(vi a, int n) { return a >> n; }
VW_INLINE vi i_shr(vi a, int n) { return (vi)((vu)a >> n); }
VW_INLINE vi i_and(vi a, vi b) { return a & b; }
VW_INLINE vi i_or(vi a, vi b) { return a | b; }
VW_INLINE vi i_xor(vi a, vi b) { return a ^ b; }
VW_INLINE vi i_max(vi a, vi b) { return (a & (a > b)) | (b & ~(a > b)); }
VW_INLINE void i_store_s8(void *p, vi v) /* VL bytes, of values that fit */
{
    int8_t c[4] = {(int8_t)v[0], (int8_t)v[1], (int8_t)v[2], (int8_t)v[3]};
    memcpy(p, c, sizeof c);
}
VW_INLINE vf v_bits(vi a) { return (vf)a; }
VW_INLINE vi i_bits(vf a) { return (vi)a; }
VW_INLINE vf v_from_int(vi a) { return __builtin_convertvector(a, vf); }
VW_INLINE vi v_to_int(vf a) /* to nearest even */
{
#ifdef __SSE2__
    return (vi)_mm_cvtps_epi32((__m128)a);
#else
    return (vi){(int32_t)nearbyintf(a[0]), (int32_t)nearbyintf(a[1]), (int32_t)nearbyintf(a[2]),
                (int32_t)nearbyintf(a[3])};
#endif
}

VW_INLINE float v_sum(vf v) { return (v[0] + v[2]) + (v[1] + v[3]); }

/* One int32 in all lanes. */
VW_INLINE vi i_broadcast(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return i_set1(x);
}

/* Pairs of s16: acc + a.lo * b.lo + a.hi * b.hi in each int32. */
VW_INLINE vi i_dot2(vi acc, vi a, vi b)
{
#ifdef __SSE2__
    return acc + (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return acc + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}
/* Of four s8 in each int32: numbers 0 and 2, or 1 and 3, as pairs of s16. */
typedef int16_t vw_s16x8 __attribute__((vector_size(16)));
VW_INLINE vi i_even16(vi a) { return (vi)(((vw_s16x8)a << 8) >> 8); }
VW_INLINE vi i_odd16(vi a) { return (vi)((vw_s16x8)a >> 8); }

/* VL consecutive values of a format, as floats. */
VW_INLINE vf v_load_bf16(const void *p)
{
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    return (vf)((vi){h[0], h[1], h[2], h[3]} << 16);
}
VW_INLINE vf v_load_f16(const void *p)
{
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    return (vf){vw_f16_to_f32(h[0]), vw_f16_to_f32(h[1]), vw_f16_to_f32(h[2]), vw_f16_to_f32(h[3])};
}
VW_INLINE vf v_load_s8(const void *p)
{
    const int8_t *c = (const int8_t *)p;
    return (vf){c[0], c[1], c[2], c[3]};
}
VW_INLINE vf v_load_e5m2(const void *p)
{
    const uint8_t *c = (const uint8_t *)p;
    return (vf){vw_e5m2_to_f32(c[0]), vw_e5m2_to_f32(c[1]), vw_e5m2_to_f32(c[2]),
                vw_e5m2_to_f32(c[3])};
}
/* e4m3 values / 256, as the wider instruction sets find them. */
VW_INLINE vf v_load_e4m3_256th(const void *p)
{
    const uint8_t *c = (const uint8_t *)p;
    vf v = {vw_e4m3_to_f32(c[0]), vw_e4m3_to_f32(c[1]), vw_e4m3_to_f32(c[2]), vw_e4m3_to_f32(c[3])};
    return v * 0x1p-8f;
}
/* 2 VL bf16 in pairs: the first and the second of each pair. */
VW_INLINE vf v_bf16_first(vi a) { return v_bits(i_shl(a, 16)); }
VW_INLINE vf v_bf16_second(vi a) { return v_bits(i_and(a, i_set1((int32_t)0xFFFF0000))); }

/* r[i][j] <- r[j][i] */
VW_INLINE void v_transpose(vf r[4])
{
    for (int i = 0; i < 4; i++)
        for (int j = i + 1; j < 4; j++) {
            float x = r[i][j];
            r[i][j] = r[j][i];
            r[j][i] = x;
        }
}
