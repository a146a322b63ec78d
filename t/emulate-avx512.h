/* emulate-avx512.h - AVX-512 intrinsics on a machine without them, by SIMDe (libsimde-dev).
 *
 * SIMDe defines what each intrinsic does independently of us, so that the 512-bit kernels are tested
 * for what they compute wherever they cannot run.  The few that its release lacks are spelled here,
 * lane by lane, as Intel's guide has them.
 */
#ifndef T_EMULATE_AVX512_H
#define T_EMULATE_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpsabi"
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#pragma GCC diagnostic pop

#ifndef _CMP_LT_OQ
#define _CMP_LT_OQ 17
#endif

#define VW_EMULATED static inline __attribute__((unused))

VW_EMULATED simde__m512 emulated_cvtph_ps(simde__m256i a)
{
    uint16_t h[16];
    float f[16];
    memcpy(h, &a, sizeof h);
    for (int i = 0; i < 16; i++)
        f[i] = vw_f16_to_f32(h[i]);
    return simde_mm512_loadu_ps(f);
}

VW_EMULATED simde__m512i emulated_cvtepu16_epi32(simde__m256i a)
{
    uint16_t h[16];
    int32_t w[16];
    memcpy(h, &a, sizeof h);
    for (int i = 0; i < 16; i++)
        w[i] = h[i];
    return simde_mm512_loadu_si512(w);
}

VW_EMULATED simde__m512i emulated_cvtepi8_epi32(simde__m128i a)
{
    int8_t b[16];
    int32_t w[16];
    memcpy(b, &a, sizeof b);
    for (int i = 0; i < 16; i++)
        w[i] = b[i];
    return simde_mm512_loadu_si512(w);
}

VW_EMULATED simde__m512 emulated_cvtepi32_ps(simde__m512i a)
{
    int32_t w[16];
    float f[16];
    simde_mm512_storeu_si512(w, a);
    for (int i = 0; i < 16; i++)
        f[i] = (float)w[i];
    return simde_mm512_loadu_ps(f);
}

VW_EMULATED simde__m512i emulated_cvtps_epi32(simde__m512 a)
{
    float f[16];
    int32_t w[16];
    simde_mm512_storeu_ps(f, a);
    for (int i = 0; i < 16; i++)
        w[i] = (int32_t)nearbyintf(f[i]);
    return simde_mm512_loadu_si512(w);
}

VW_EMULATED simde__m512i emulated_srai_epi32(simde__m512i a, unsigned n)
{
    int32_t w[16];
    simde_mm512_storeu_si512(w, a);
    for (int i = 0; i < 16; i++)
        w[i] >>= n;
    return simde_mm512_loadu_si512(w);
}

/* SIMDe's release has these under another name, or with a slip in it. */
#undef _mm512_shuffle_f32x4
#undef _mm512_madd_epi16
#define _mm512_shuffle_f32x4(a, b, n) \
    simde_mm512_castsi512_ps(          \
        simde_mm512_shuffle_i32x4(simde_mm512_castps_si512(a), simde_mm512_castps_si512(b), n))
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)

#undef _mm512_cvtph_ps
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi8_epi32
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_epi32
#undef _mm512_srai_epi32
#define _mm512_cvtph_ps emulated_cvtph_ps
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#define _mm512_srai_epi32 emulated_srai_epi32

#endif
