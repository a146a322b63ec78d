/* pointwise.c - the pointwise arithmetic on vectors; compiled once for every instruction set.
 *
 * The last, incomplete vector of a row goes through the same operations as the others, filled up
 * with a value that changes nothing, so a result never depends on where it stands.
 */
#include "kernels/cpu/pointwise.h"

#include "kernels/cpu/vmath.h"

extern const vw_pointwise VMATH_NAME(vw_pointwise);

#define LANES VMATH_LANES

/* ---- norm, softmax --------------------------------------------------------------------------- */

/* Adding the residual and summing squares is one pass, so that x comes from memory once. */
static float add_and_square(int64_t n, float *x, const float *residual)
{
    vm_f sum[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0, k = 0;
    for (; i + LANES <= n; i += LANES, k++) {
        vm_f a = vm_load(x + i);
        if (residual) {
            a += vm_load(residual + i);
            vm_store(x + i, a);
        }
        sum[k & 3] = vm_fma(a, a, sum[k & 3]);
    }
    if (i < n) {
        vm_f a = vm_load_part(x + i, n - i, 0);
        if (residual) {
            a += vm_load_part(residual + i, n - i, 0);
            vm_store_part(x + i, a, n - i);
        }
        sum[k & 3] = vm_fma(a, a, sum[k & 3]);
    }
    return vm_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static void rms_norm(int64_t n, float *x, const float *residual, const float *w, float w_offset,
                     float eps, float *y)
{
    float mean = add_and_square(n, x, residual) / (float)n;
    vm_f scale = vm_set(1.0f / sqrtf(mean + eps));
    int64_t i = 0;
    if (!w) {
        for (; i + LANES <= n; i += LANES)
            vm_store(y + i, vm_load(x + i) * scale);
        vm_store_part(y + i, vm_load_part(x + i, n - i, 0) * scale, n - i);
        return;
    }
    for (; i + LANES <= n; i += LANES)
        vm_store(y + i, vm_load(x + i) * scale * (vm_load(w + i) + w_offset));
    vm_f last = vm_load_part(x + i, n - i, 0) * scale;
    vm_store_part(y + i, last * (vm_load_part(w + i, n - i, 0) + w_offset), n - i);
}

static float row_max(int64_t n, const float *x)
{
    vm_f m = vm_set(-INFINITY);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        m = vm_max(vm_load(x + i), m);
    m = vm_max(vm_load_part(x + i, n - i, -INFINITY), m);
    return vm_max_lane(m);
}

/* Partial sums of 1024 values go to a double, so that a row of any length loses nothing. */
static double exp_sum(int64_t n, const float *x, float max, float factor, float *y)
{
    double total = 0;
    vm_f sum = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vm_f e = vm_exp((vm_load(x + i) - max) * factor);
        if (y)
            vm_store(y + i, e);
        sum += e;
        if (i % 1024 == 0) {
            total += (double)vm_sum(sum);
            sum = (vm_f){0};
        }
    }
    if (i < n) {
        vm_f e = vm_exp((vm_load_part(x + i, n - i, -INFINITY) - max) * factor);
        if (y)
            vm_store_part(y + i, e, n - i);
        for (int64_t lane = n - i; lane < LANES; lane++)
            e[lane] = 0;
        sum += e;
    }
    return total + (double)vm_sum(sum);
}

static void softmax(int64_t n, float *x)
{
    float scale = (float)(1.0 / exp_sum(n, x, row_max(n, x), 1, x));
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vm_store(x + i, vm_load(x + i) * scale);
    vm_store_part(x + i, vm_load_part(x + i, n - i, 0) * scale, n - i);
}

/* ---- elementwise ----------------------------------------------------------------------------- */

static inline vm_f act_one(vw_pointwise_act act, vm_f x)
{
    switch (act) {
    case VW_POINTWISE_GELU_TANH:
        /* (1 + tanh u) / 2 is the sigmoid of 2 u. */
        return vm_times_sigmoid(x, 1.59576912160573f * vm_fma(0.044715f * x * x, x, x));
    case VW_POINTWISE_GELU_ERF:
        return x * vm_normal_cdf(x);
    case VW_POINTWISE_SILU:
        return vm_times_sigmoid(x, x);
    case VW_POINTWISE_RELU:
        return vm_select(x < 0, vm_set(0), x);
    default:
        return x;
    }
}

/* Inlined with a constant `act`, so that the loop holds no switch. */
__attribute__((always_inline)) static inline void gate_as(vw_pointwise_act act, int64_t n,
                                                          const float *x, const float *up, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vm_f a = act_one(act, vm_load(x + i));
        vm_store(y + i, up ? a * vm_load(up + i) : a);
    }
    if (i < n) {
        vm_f a = act_one(act, vm_load_part(x + i, n - i, 0));
        vm_store_part(y + i, up ? a * vm_load_part(up + i, n - i, 0) : a, n - i);
    }
}

static void gate(vw_pointwise_act act, int64_t n, const float *x, const float *up, float *y)
{
    switch (act) {
    case VW_POINTWISE_GELU_TANH:
        gate_as(VW_POINTWISE_GELU_TANH, n, x, up, y);
        break;
    case VW_POINTWISE_GELU_ERF:
        gate_as(VW_POINTWISE_GELU_ERF, n, x, up, y);
        break;
    case VW_POINTWISE_SILU:
        gate_as(VW_POINTWISE_SILU, n, x, up, y);
        break;
    case VW_POINTWISE_RELU:
        gate_as(VW_POINTWISE_RELU, n, x, up, y);
        break;
    default:
        gate_as(VW_POINTWISE_NONE, n, x, up, y);
    }
}

/* b = 0 does not read y: it may hold anything. */
static void axpby(int64_t n, float a, const float *x, float b, float *y)
{
    int64_t i = 0;
    if (b == 0) {
        for (; i < n; i++)
            y[i] = a * x[i];
        return;
    }
    for (; i + LANES <= n; i += LANES)
        vm_store(y + i, vm_fma(vm_set(a), vm_load(x + i), b * vm_load(y + i)));
    vm_f rest = vm_fma(vm_set(a), vm_load_part(x + i, n - i, 0), b * vm_load_part(y + i, n - i, 0));
    vm_store_part(y + i, rest, n - i);
}

static void softcap(int64_t n, float cap, float *x)
{
    float inverse = 1.0f / cap;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vm_store(x + i, cap * vm_tanh(vm_load(x + i) * inverse));
    vm_store_part(x + i, cap * vm_tanh(vm_load_part(x + i, n - i, 0) * inverse), n - i);
}

/* ---- rope ------------------------------------------------------------------------------------ */

typedef double vm_d __attribute__((vector_size(8 * LANES)));
typedef uint64_t vm_l __attribute__((vector_size(8 * LANES)));

/* cos and sin of position * inv_freq.  The product and its remainder by pi/2 are in double, where a
 * position of a million costs no digit; the polynomials are Taylor's, good to 3e-9 at pi/4. */
static void angle(int32_t position, vm_f inv_freq, vm_f *cosine, vm_f *sine)
{
    const double rounder = 0x1.8p52;
    vm_d a = (double)position * __builtin_convertvector(inv_freq, vm_d);
    vm_d shifted = a * 0.63661977236758134308 + rounder;
    vm_f r = __builtin_convertvector(a - (shifted - rounder) * 1.57079632679489661923, vm_f);
    vm_l bits;
    memcpy(&bits, &shifted, sizeof bits);
    vm_u quadrant = __builtin_convertvector(bits & 3, vm_u);

    vm_f s = r * r;
    vm_f sn = vm_fma(vm_set(1.0f / 362880), s, vm_set(-1.0f / 5040));
    sn = vm_fma(sn, s, vm_set(1.0f / 120));
    sn = vm_fma(sn, s, vm_set(-1.0f / 6));
    sn = vm_fma(sn * s, r, r);
    vm_f cs = vm_fma(vm_set(-1.0f / 3628800), s, vm_set(1.0f / 40320));
    cs = vm_fma(cs, s, vm_set(-1.0f / 720));
    cs = vm_fma(cs, s, vm_set(1.0f / 24));
    cs = vm_fma(cs, s, vm_set(-0.5f));
    cs = vm_fma(cs, s, vm_set(1.0f));

    vm_i is_odd = (vm_i)((quadrant & 1) != 0);
    vm_u sin_sign = (quadrant & 2) << 30, cos_sign = ((quadrant + 1) & 2) << 30;
    *sine = vm_bits(vm_to_bits(vm_select(is_odd, cs, sn)) ^ sin_sign);
    *cosine = vm_bits(vm_to_bits(vm_select(is_odd, sn, cs)) ^ cos_sign);
}

enum { ROPE_BLOCK = 64 }; /* frequencies whose cos and sin are kept while all heads are turned */

static void turn_half(int64_t n, const float *cosine, const float *sine, float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vm_f c = vm_load(cosine + i), s = vm_load(sine + i), a = vm_load(x + i), b = vm_load(y + i);
        vm_store(x + i, a * c - b * s);
        vm_store(y + i, b * c + a * s);
    }
    for (; i < n; i++) {
        float a = x[i], b = y[i];
        x[i] = a * cosine[i] - b * sine[i];
        y[i] = b * cosine[i] + a * sine[i];
    }
}

static void turn_pairs(int64_t n, const float *cosine, const float *sine, float *x)
{
    for (int64_t i = 0; i < n; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cosine[i] - b * sine[i];
        x[2 * i + 1] = b * cosine[i] + a * sine[i];
    }
}

static void rope(const vw_pointwise_rope *r, int32_t position, float *x)
{
    float cosine[ROPE_BLOCK], sine[ROPE_BLOCK];
    int64_t half = r->dims / 2;
    for (int64_t from = 0; from < half; from += ROPE_BLOCK) {
        int64_t n = half - from < ROPE_BLOCK ? half - from : ROPE_BLOCK;
        for (int64_t i = 0; i < n; i += LANES) {
            int64_t m = n - i < LANES ? n - i : LANES;
            vm_f c, s;
            angle(position, vm_load_part(r->inv_freq + from + i, m, 0), &c, &s);
            vm_store_part(cosine + i, c * r->scale, m);
            vm_store_part(sine + i, s * r->scale, m);
        }
        for (int64_t h = 0; h < r->heads; h++) {
            float *head = x + h * r->head_dim + r->first;
            if (r->is_pairs)
                turn_pairs(n, cosine, sine, head + 2 * from);
            else
                turn_half(n, cosine, sine, head + from, head + half + from);
        }
    }
}

/* ---- conversion ------------------------------------------------------------------------------ */

static void from_bf16(int64_t n, const uint16_t *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vm_store(y + i, vm_from_bf16(x + i));
    for (; i < n; i++)
        y[i] = vw_bf16_to_f32(x[i]);
}

static void from_f16(int64_t n, const uint16_t *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vm_store(y + i, vm_from_f16(x + i));
    for (; i < n; i++)
        y[i] = vw_f16_to_f32(x[i]);
}

static void from_i8(int64_t n, const int8_t *x, float scale, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)x[i] * scale;
}

static void to_bf16(int64_t n, const float *x, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = vw_f32_to_bf16(x[i]);
}

static void to_f16(int64_t n, const float *x, uint16_t *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = vw_f32_to_f16(x[i]);
}

const vw_pointwise VMATH_NAME(vw_pointwise) = {
    .rms_norm = rms_norm,
    .rope = rope,
    .gate = gate,
    .axpby = axpby,
    .softcap = softcap,
    .softmax = softmax,
    .max = row_max,
    .exp_sum = exp_sum,
    .from_bf16 = from_bf16,
    .from_f16 = from_f16,
    .from_i8 = from_i8,
    .to_bf16 = to_bf16,
    .to_f16 = to_f16,
};
