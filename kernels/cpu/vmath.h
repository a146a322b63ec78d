/* vmath.h - a vector of floats of whatever width the instruction set has, and the functions on it.
 *
 * The kernels of this folder are written once, on `vm_f`, with the compiler's own vector
 * extensions, and are compiled once for every instruction set.  Only what the extensions cannot say
 * is spelled as an intrinsic: the fused multiply-add (ISO C forbids the compiler to contract) and
 * the conversion from f16.  A width that the target does not have is split by the compiler, so
 * every width can be tested on every machine: -DVMATH_LANES=16 does it.
 *
 * Bounds of the functions, against exact arithmetic (t/attention-kernels.c, t/kind-device.c):
 *   vm_exp2    2 ulp; 0 below -126, +inf from 128
 *   vm_exp     2 ulp; 0 below -87.33, +inf above 88.72
 *   vm_tanh    4 ulp
 *   vm_normal_cdf   4e-7 absolute; vm_times_sigmoid 4e-7 of its first argument
 * NaN gives NaN.  The coefficients are interpolations of the exact functions at Chebyshev nodes.
 */
#ifndef KERNELS_CPU_VMATH_H
#define KERNELS_CPU_VMATH_H

#include <vishwamai/dtype.h>

#if defined __AVX__ || defined __F16C__
#include <immintrin.h>
#endif

#ifndef VMATH_LANES
#if defined __AVX512F__
#define VMATH_LANES 16
#elif defined __AVX__
#define VMATH_LANES 8
#else
#define VMATH_LANES 4
#endif
#endif

/* VW_ISA is the word that this compilation puts at the end of its names. */
#define VMATH_JOIN2(a, b) a##_##b
#define VMATH_JOIN(a, b)  VMATH_JOIN2(a, b)
#define VMATH_NAME(name)  VMATH_JOIN(name, VW_ISA)

typedef float vm_f __attribute__((vector_size(4 * VMATH_LANES)));
typedef int32_t vm_i __attribute__((vector_size(4 * VMATH_LANES)));
typedef uint32_t vm_u __attribute__((vector_size(4 * VMATH_LANES)));
typedef uint16_t vm_h __attribute__((vector_size(2 * VMATH_LANES)));
typedef int8_t vm_b __attribute__((vector_size(VMATH_LANES)));

/* ---- moving ---------------------------------------------------------------------------------- */

/* gcc does not fold memcpy of a whole vector as well as an unaligned vector type. */
typedef float vm_f_unaligned __attribute__((vector_size(4 * VMATH_LANES), aligned(4), may_alias));

static inline vm_f vm_load(const float *p)
{
    return *(const vm_f_unaligned *)p;
}
static inline void vm_store(float *p, vm_f x)
{
    *(vm_f_unaligned *)p = x;
}
static inline vm_f vm_set(float x)
{
    return x - (vm_f){0};
}

/* The first n < LANES values; the others are `rest`. */
static inline vm_f vm_load_part(const float *p, int64_t n, float rest)
{
    vm_f x = vm_set(rest);
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}

static inline void vm_store_part(float *p, vm_f x, int64_t n)
{
    memcpy(p, &x, (size_t)n * sizeof *p);
}

static inline vm_f vm_bits(vm_u x)
{
    vm_f y;
    memcpy(&y, &x, sizeof y);
    return y;
}
static inline vm_u vm_to_bits(vm_f x)
{
    vm_u y;
    memcpy(&y, &x, sizeof y);
    return y;
}

/* yes where the mask (a comparison's result) is true, else no. */
static inline vm_f vm_select(vm_i mask, vm_f yes, vm_f no)
{
    vm_u m;
    memcpy(&m, &mask, sizeof m);
    return vm_bits((m & vm_to_bits(yes)) | (~m & vm_to_bits(no)));
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* a * b + c, in one rounding where the machine has that. */
static inline vm_f vm_fma(vm_f a, vm_f b, vm_f c)
{
#if VMATH_LANES == 16 && defined __AVX512F__
    return (vm_f)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif VMATH_LANES == 8 && defined __FMA__
    return (vm_f)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* Correctly rounded. */
static inline vm_f vm_sqrt(vm_f x)
{
#if VMATH_LANES == 16 && defined __AVX512F__
    return (vm_f)_mm512_sqrt_ps((__m512)x);
#elif VMATH_LANES == 8 && defined __AVX__
    return (vm_f)_mm256_sqrt_ps((__m256)x);
#else
    for (int i = 0; i < VMATH_LANES; i++)
        x[i] = sqrtf(x[i]);
    return x;
#endif
}

/* The larger; a NaN in `x` is passed over, one in `y` stays. */
static inline vm_f vm_max(vm_f x, vm_f y)
{
    return vm_select(x > y, x, y);
}

static inline vm_f vm_abs(vm_f x)
{
    return vm_bits(vm_to_bits(x) & 0x7FFFFFFFu);
}

/* Sum and maximum over the lanes, by halves: lane i with lane i + n/2, and so on. */
#if defined __AVX__ && VMATH_LANES >= 8 && (VMATH_LANES == 8 || defined __AVX512F__)

#define VMATH_BY_HALVES(name, op128, op256)                                       \
    static inline float name(vm_f x)                                              \
    {                                                                             \
        __m256 h = VMATH_FOLD_512(x, op256);                                      \
        __m128 q = op128(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)); \
        q = op128(q, _mm_movehl_ps(q, q));                                        \
        return _mm_cvtss_f32(op128(q, _mm_shuffle_ps(q, q, 1)));                  \
    }
#if VMATH_LANES == 16
#define VMATH_FOLD_512(x, op256) \
    op256(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1))
#else
#define VMATH_FOLD_512(x, op256) ((__m256)x)
#endif
VMATH_BY_HALVES(vm_sum, _mm_add_ps, _mm256_add_ps)
VMATH_BY_HALVES(vm_max_lane, _mm_max_ps, _mm256_max_ps)

#else

static inline float vm_sum(vm_f x)
{
    float a[VMATH_LANES];
    memcpy(a, &x, sizeof a);
    for (int n = VMATH_LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a[i] += a[i + n];
    return a[0];
}

static inline float vm_max_lane(vm_f x)
{
    float a[VMATH_LANES];
    memcpy(a, &x, sizeof a);
    for (int n = VMATH_LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            a[i] = a[i + n] > a[i] ? a[i + n] : a[i];
    return a[0];
}

#endif

/* ---- functions ------------------------------------------------------------------------------- */

/* 2^(n + f) for f in [-1/2, 1/2] and `shifted` = n + 1.5 * 2^23: the polynomial has a relative
 * error of 2.6e-9; n goes into the exponent.  2^(n+f) must be a normal number. */
static inline vm_f vm_pow2(vm_f shifted, vm_f f)
{
    vm_f p = vm_set(0.000154614446986f);
    p = vm_fma(p, f, vm_set(0.00134004281776f));
    p = vm_fma(p, f, vm_set(0.00961805667852f));
    p = vm_fma(p, f, vm_set(0.0555032722667f));
    p = vm_fma(p, f, vm_set(0.240226509223f));
    p = vm_fma(p, f, vm_set(0.693147206703f));
    p = vm_fma(p, f, vm_set(1.0f));
    return vm_bits(vm_to_bits(p) + (vm_to_bits(shifted) << 23));
}

#define VMATH_ROUNDER 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer in the low bits */

static inline vm_f vm_exp2(vm_f x)
{
    vm_f shifted = x + VMATH_ROUNDER;
    vm_f y = vm_pow2(shifted, x - (shifted - VMATH_ROUNDER));
    y = vm_select(x < -126.0f, vm_set(0), y);
    y = vm_select(x >= 128.0f, vm_set(INFINITY), y);
    return vm_select(x == x, y, x);
}

/* As vm_exp2 for x <= 0 or NaN: what a softmax needs. */
static inline vm_f vm_exp2_below(vm_f x)
{
    vm_f shifted = x + VMATH_ROUNDER;
    vm_f y = vm_pow2(shifted, x - (shifted - VMATH_ROUNDER));
    y = vm_select(x < -126.0f, vm_set(0), y);
    return vm_select(x == x, y, x);
}

/* ln 2 in two parts, of which the first has few bits: n * it is exact. */
static inline vm_f vm_exp(vm_f x)
{
    vm_f shifted = vm_fma(x, vm_set(1.44269504088896f), vm_set(VMATH_ROUNDER));
    vm_f n = shifted - VMATH_ROUNDER;
    vm_f r = vm_fma(n, vm_set(-0.693359375f), x);
    r = vm_fma(n, vm_set(2.12194440e-4f), r);
    vm_f y = vm_pow2(shifted, r * 1.44269504088896f);
    y = vm_select(x < -87.33f, vm_set(0), y);
    y = vm_select(x > 88.72283f, vm_set(INFINITY), y);
    return vm_select(x == x, y, x);
}

/* Odd polynomial near 0, where the other form would cancel. */
static inline vm_f vm_tanh(vm_f x)
{
    vm_f z = vm_abs(x), s = x * x;
    vm_f p = vm_set(0.00229274481618f);
    p = vm_fma(p, s, vm_set(-0.00834394551584f));
    p = vm_fma(p, s, vm_set(0.021768918651f));
    p = vm_fma(p, s, vm_set(-0.0539592595772f));
    p = vm_fma(p, s, vm_set(0.133333035569f));
    p = vm_fma(p, s, vm_set(-0.333333331721f));
    vm_f small = vm_fma(p * s, x, x);
    vm_f large = 1.0f - 2.0f / (vm_exp(z + z) + 1.0f);
    large = vm_bits(vm_to_bits(large) | (vm_to_bits(x) & 0x80000000u));
    return vm_select(z < 0.625f, small, large);
}

/* 1 / (1 + exp(-x)) times y, in one division; large negative x gives y * 0. */
static inline vm_f vm_times_sigmoid(vm_f y, vm_f x)
{
    return y / (1.0f + vm_exp(-x));
}

/* The normal distribution function: half of erfc(-x / sqrt 2), with erfc(z) = exp(-z^2) Q(t),
 * t = 1 / (1 + 0.4 z), Q of degree 10 with a relative error of 4.2e-10 for z <= 7. */
static inline vm_f vm_normal_cdf(vm_f x)
{
    static const float q[] = {0.273275448679f, -0.691040534448f, 0.830727214091f, -0.550759642078f,
                              0.438871538133f, 0.0593168475624f, 0.234649105991f, 0.221433351913f,
                              0.226067401623f, -1.6124490891e-5f};
    vm_f z = vm_abs(x) * 0.707106781187f;
    vm_f t = 1.0f / (1.0f + 0.4f * z);
    vm_f p = vm_set(-0.0425246072096f);
    for (unsigned i = 0; i < sizeof q / sizeof *q; i++)
        p = vm_fma(p, t, vm_set(q[i]));
    vm_f half = 0.5f * p * vm_exp(-(z * z));
    return vm_select(x > 0, 1.0f - half, half);
}

/* ---- 16-bit formats -------------------------------------------------------------------------- */

static inline vm_h vm_load_16(const uint16_t *p)
{
    vm_h x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline vm_f vm_from_bf16(const uint16_t *p)
{
    return vm_bits(__builtin_convertvector(vm_load_16(p), vm_u) << 16);
}

static inline vm_f vm_from_f16(const uint16_t *p)
{
#if VMATH_LANES == 16 && defined __AVX512F__
    return (vm_f)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif VMATH_LANES == 8 && defined __F16C__
    return (vm_f)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#else
    /* Move the fields in place and let a product fix the bias, subnormals included. */
    vm_u h = __builtin_convertvector(vm_load_16(p), vm_u), magnitude = (h & 0x7FFFu) << 13;
    vm_f x = vm_bits(magnitude) * 0x1p112f;
    x = vm_bits(vm_to_bits(x) | ((vm_u)(magnitude >= 0x0F800000u) & 0x7F800000u));
    return vm_bits(vm_to_bits(x) | (h & 0x8000u) << 16);
#endif
}

static inline vm_f vm_from_i8(const int8_t *p)
{
#if VMATH_LANES == 16 && defined __AVX512F__
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (vm_f)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x));
#elif VMATH_LANES == 8 && defined __AVX2__
    __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return (vm_f)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x));
#else
    vm_b x;
    memcpy(&x, p, sizeof x);
    return __builtin_convertvector(__builtin_convertvector(x, vm_i), vm_f);
#endif
}

#endif
