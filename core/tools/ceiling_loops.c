/* ceiling_loops.c - loops at the limits of a core.
 *
 * Arithmetic: twelve independent sums in registers hide the latency of two units.  The values stay
 * normal numbers.  Reading: every cache line once, in one stream or four; four keep more misses
 * under way.  Functions carry their instruction set as an attribute, so that the file is compiled
 * like any other and the choice is made at run time.
 */
#include "ceiling_loops.h"

#define N_SUMS 12
#define FOR_SUMS(do_it) \
    do_it(0) do_it(1) do_it(2) do_it(3) do_it(4) do_it(5) \
    do_it(6) do_it(7) do_it(8) do_it(9) do_it(10) do_it(11)

#if defined(__x86_64__)

#include <immintrin.h>

/* ---- AVX-512 --------------------------------------------------------------------------------- */

#define TARGET_512 __attribute__((target("avx512f,avx512bw,avx512vnni")))

TARGET_512 static double f32_avx512(int64_t rounds)
{
    __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.25f);
#define DECLARE(i) __m512 s##i = _mm512_set1_ps((float)(i + 1));
    FOR_SUMS(DECLARE)
#undef DECLARE
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#define STEP(i) s##i = _mm512_fmadd_ps(s##i, a, b);
        FOR_SUMS(STEP)
#undef STEP
    }
#define FOLD(i) s0 = i ? _mm512_add_ps(s0, s##i) : s0;
    FOR_SUMS(FOLD)
#undef FOLD
    return (double)_mm512_reduce_add_ps(s0);
}

TARGET_512 static double int8_avx512(int64_t rounds)
{
    __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(-1);
#define DECLARE(i) __m512i s##i = _mm512_set1_epi32(i);
    FOR_SUMS(DECLARE)
#undef DECLARE
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#define STEP(i) s##i = _mm512_dpbusd_epi32(s##i, a, b);
        FOR_SUMS(STEP)
#undef STEP
    }
#define FOLD(i) s0 = i ? _mm512_add_epi32(s0, s##i) : s0;
    FOR_SUMS(FOLD)
#undef FOLD
    return _mm512_reduce_add_epi32(s0);
}

TARGET_512 static uint64_t read_avx512(const char *p, size_t bytes, int n_streams)
{
    size_t part = bytes / (size_t)n_streams;
    __m512i s0 = _mm512_setzero_si512(), s1 = s0;
    for (size_t i = 0; i < part; i += 128)
        for (int k = 0; k < n_streams; k++) {
            const char *q = p + (size_t)k * part + i;
            if (n_streams > 1) {
                _mm_prefetch(q + 1024, _MM_HINT_T0);
                _mm_prefetch(q + 1088, _MM_HINT_T0);
            }
            s0 = _mm512_xor_si512(s0, _mm512_loadu_si512(q));
            s1 = _mm512_xor_si512(s1, _mm512_loadu_si512(q + 64));
        }
    return (uint64_t)_mm512_reduce_add_epi64(_mm512_xor_si512(s0, s1));
}

TARGET_512 static uint64_t read1_avx512(const void *data, size_t bytes)
{
    return read_avx512(data, bytes, 1);
}

TARGET_512 static uint64_t read4_avx512(const void *data, size_t bytes)
{
    return read_avx512(data, bytes, 4);
}

static const ceiling_loops avx512 = {"avx512-vnni", f32_avx512, 2.0 * 16 * N_SUMS, int8_avx512,
                                     2.0 * 64 * N_SUMS, read1_avx512, read4_avx512};

/* ---- AVX2 ------------------------------------------------------------------------------------ */

#define TARGET_256 __attribute__((target("avx2,fma")))

TARGET_256 static double f32_avx2(int64_t rounds)
{
    __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.25f);
    float out[8];
#define DECLARE(i) __m256 s##i = _mm256_set1_ps((float)(i + 1));
    FOR_SUMS(DECLARE)
#undef DECLARE
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(a), "+x"(b));
#define STEP(i) s##i = _mm256_fmadd_ps(s##i, a, b);
        FOR_SUMS(STEP)
#undef STEP
    }
#define FOLD(i) s0 = i ? _mm256_add_ps(s0, s##i) : s0;
    FOR_SUMS(FOLD)
#undef FOLD
    _mm256_storeu_ps(out, s0);
    return (double)out[0];
}

/* Without VNNI: bytes to 16-bit pairs, to 32-bit pairs, added. */
TARGET_256 static double int8_avx2(int64_t rounds)
{
    __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(-1), ones = _mm256_set1_epi16(1);
    int32_t out[8];
#define DECLARE(i) __m256i s##i = _mm256_set1_epi32(i);
    FOR_SUMS(DECLARE)
#undef DECLARE
    for (int64_t r = 0; r < rounds; r++) {
#define STEP(i)                                                     \
        __asm__ volatile("" : "+x"(a), "+x"(b));                    \
        s##i = _mm256_add_epi32(s##i, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        FOR_SUMS(STEP)
#undef STEP
    }
#define FOLD(i) s0 = i ? _mm256_add_epi32(s0, s##i) : s0;
    FOR_SUMS(FOLD)
#undef FOLD
    _mm256_storeu_si256((__m256i *)out, s0);
    return out[0];
}

TARGET_256 static uint64_t read_avx2(const char *p, size_t bytes, int n_streams)
{
    size_t part = bytes / (size_t)n_streams;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0;
    uint64_t out[4];
    for (size_t i = 0; i < part; i += 128)
        for (int k = 0; k < n_streams; k++) {
            const char *q = p + (size_t)k * part + i;
            if (n_streams > 1) {
                _mm_prefetch(q + 1024, _MM_HINT_T0);
                _mm_prefetch(q + 1088, _MM_HINT_T0);
            }
            for (int j = 0; j < 128; j += 64) {
                s0 = _mm256_xor_si256(s0, _mm256_loadu_si256((const __m256i *)(q + j)));
                s1 = _mm256_xor_si256(s1, _mm256_loadu_si256((const __m256i *)(q + j + 32)));
            }
        }
    _mm256_storeu_si256((__m256i *)out, _mm256_xor_si256(s0, s1));
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}

TARGET_256 static uint64_t read1_avx2(const void *data, size_t bytes)
{
    return read_avx2(data, bytes, 1);
}

TARGET_256 static uint64_t read4_avx2(const void *data, size_t bytes)
{
    return read_avx2(data, bytes, 4);
}

static const ceiling_loops avx2 = {"avx2", f32_avx2, 2.0 * 8 * N_SUMS, int8_avx2,
                                   2.0 * 32 * N_SUMS, read1_avx2, read4_avx2};
#endif

/* ---- any processor --------------------------------------------------------------------------- */

typedef float four_floats __attribute__((vector_size(16)));
typedef int16_t eight_shorts __attribute__((vector_size(16)));

static double f32_base(int64_t rounds)
{
    four_floats a = {0.5f, 0.5f, 0.5f, 0.5f}, b = {1.25f, 1.25f, 1.25f, 1.25f};
#define DECLARE(i) four_floats s##i = b * (float)(i + 1);
    FOR_SUMS(DECLARE)
#undef DECLARE
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+m"(a), "+m"(b));
#define STEP(i) s##i = s##i * a + b;
        FOR_SUMS(STEP)
#undef STEP
    }
#define FOLD(i) s0 = i ? s0 + s##i : s0;
    FOR_SUMS(FOLD)
#undef FOLD
    return (double)s0[0];
}

static double int8_base(int64_t rounds)
{
    eight_shorts a = {1, 1, 1, 1, 1, 1, 1, 1}, b = {3, 3, 3, 3, 3, 3, 3, 3};
#define DECLARE(i) eight_shorts s##i = a * (int16_t)(i + 1);
    FOR_SUMS(DECLARE)
#undef DECLARE
    for (int64_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+m"(a), "+m"(b));
#define STEP(i) s##i = s##i + a * b;
        FOR_SUMS(STEP)
#undef STEP
    }
#define FOLD(i) s0 = i ? s0 + s##i : s0;
    FOR_SUMS(FOLD)
#undef FOLD
    return s0[0];
}

static uint64_t read_base(const uint64_t *p, size_t bytes, int n_streams)
{
    size_t part = bytes / 8 / (size_t)n_streams;
    uint64_t s[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < part; i += 8)
        for (int k = 0; k < n_streams; k++) {
            const uint64_t *q = p + (size_t)k * part + i;
            __builtin_prefetch(q + 128);
            s[0] ^= q[0] ^ q[4];
            s[1] ^= q[1] ^ q[5];
            s[2] ^= q[2] ^ q[6];
            s[3] ^= q[3] ^ q[7];
        }
    return s[0] ^ s[1] ^ s[2] ^ s[3];
}

static uint64_t read1_base(const void *data, size_t bytes)
{
    return read_base(data, bytes, 1);
}

static uint64_t read4_base(const void *data, size_t bytes)
{
    return read_base(data, bytes, 4);
}

static const ceiling_loops baseline = {"baseline", f32_base, 2.0 * 4 * N_SUMS, int8_base,
                                       2.0 * 8 * N_SUMS, read1_base, read4_base};

const ceiling_loops *ceiling_loops_here(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vnni"))
        return &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &avx2;
#endif
    return &baseline;
}
