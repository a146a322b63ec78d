/* gradient.c - backward arithmetic on vectors; compiled once for every instruction set.
 *
 * As in pointwise.c the last, incomplete vector of a row goes through the same operations as the
 * others.
 */
#include "kernels/cpu/gradient.h"

#include "kernels/cpu/vmath.h"

extern const vw_gradients VMATH_NAME(vw_gradients);

#define LANES VMATH_LANES

/* Vectors of a row of n values: whole ones, then what is left, filled up with zeros. */
static inline vm_f load(const float *x, int64_t i, int64_t n)
{
    return i + LANES <= n ? vm_load(x + i) : vm_load_part(x + i, n - i, 0);
}

static inline void store(float *x, int64_t i, int64_t n, vm_f v)
{
    if (i + LANES <= n)
        vm_store(x + i, v);
    else
        vm_store_part(x + i, v, n - i);
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* Sums in f32 are carried over to a double after so many values. */
enum { CARRY = 1024 };

static double sum(int64_t n, const float *x)
{
    double total = 0;
    for (int64_t from = 0; from < n; from += CARRY) {
        int64_t to = n - from < CARRY ? n : from + CARRY;
        vm_f part = {0};
        for (int64_t i = from; i < to; i += LANES)
            part += load(x, i, to);
        total += (double)vm_sum(part);
    }
    return total;
}

/* Half a vector of floats is a whole one of doubles: one instruction turns it. */
enum { HALF = LANES / 2 };
typedef float vm_f_half __attribute__((vector_size(4 * HALF), aligned(4), may_alias));
typedef double vm_d __attribute__((vector_size(8 * HALF)));

/* In double all along: squares of f32 neither overflow nor vanish there.  Four chains of additions,
 * since a norm is to be as fast as memory. */
static double sum_squares(int64_t n, const float *x)
{
    vm_d part[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;
    double total = 0;
    for (; i + 4 * HALF <= n; i += 4 * HALF)
        for (int h = 0; h < 4; h++) {
            vm_d a = __builtin_convertvector(*(const vm_f_half *)(x + i + h * HALF), vm_d);
            part[h] += a * a;
        }
    for (; i < n; i++)
        total += (double)x[i] * (double)x[i];
    part[0] = (part[0] + part[1]) + (part[2] + part[3]);
    for (int lane = 0; lane < HALF; lane++)
        total += part[0][lane];
    return total;
}

static float dot(int64_t n, const float *x, const float *y)
{
    vm_f part[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        for (int h = 0; h < 4; h++)
            part[h] = vm_fma(vm_load(x + i + h * LANES), vm_load(y + i + h * LANES), part[h]);
    for (; i < n; i += LANES)
        part[0] = vm_fma(load(x, i, n), load(y, i, n), part[0]);
    return vm_sum((part[0] + part[1]) + (part[2] + part[3]));
}

/* ---- norm, softmax --------------------------------------------------------------------------- */

static inline vm_f weighted(const float *d_y, const float *w, float w_offset, int64_t i, int64_t n)
{
    vm_f g = load(d_y, i, n);
    return w ? g * (load(w, i, n) + w_offset) : g;
}

static void rms_norm(int64_t n, const float *x, const float *w, float w_offset, float eps,
                     const float *d_y, int is_added, float *d_x, float *d_w)
{
    vm_f squares[2] = {{0}, {0}}, products[2] = {{0}, {0}};
    int64_t i = 0;
    for (int64_t k = 0; i < n; i += LANES, k++) {
        vm_f a = load(x, i, n);
        squares[k & 1] = vm_fma(a, a, squares[k & 1]);
        products[k & 1] = vm_fma(a, weighted(d_y, w, w_offset, i, n), products[k & 1]);
    }
    float r = 1.0f / sqrtf(vm_sum(squares[0] + squares[1]) / (float)n + eps);
    float shrink = r * r * r * (vm_sum(products[0] + products[1]) / (float)n);
    for (i = 0; i < n; i += LANES) {
        vm_f a = load(x, i, n), d = load(d_y, i, n);
        vm_f g = w ? d * (load(w, i, n) + w_offset) : d;
        if (d_w)
            store(d_w, i, n, vm_fma(d, a * r, load(d_w, i, n)));
        g = vm_fma(vm_set(r), g, -shrink * a);
        store(d_x, i, n, is_added ? g + load(d_x, i, n) : g);
    }
}

static void softmax(int64_t n, const float *y, float *d_y)
{
    double total = 0;
    for (int64_t from = 0; from < n; from += CARRY)
        total += (double)dot(n - from < CARRY ? n - from : CARRY, y + from, d_y + from);
    vm_f mean = vm_set((float)total);
    for (int64_t i = 0; i < n; i += LANES)
        store(d_y, i, n, load(y, i, n) * (load(d_y, i, n) - mean));
}

/* ---- activations ----------------------------------------------------------------------------- */

/* The value and the slope of an activation. */
typedef struct tangent {
    vm_f value, slope;
} tangent;

/* s = sigmoid(u) and s (1 - s), both to a few ulp for every u: no 1 - s, which would cancel. */
static inline vm_f sigmoid(vm_f u, vm_f *slope)
{
    vm_f e = vm_exp(-vm_abs(u)), s = 1.0f / (1.0f + e);
    *slope = e * s * s;
    return vm_select(u < 0, e * s, s);
}

__attribute__((always_inline)) static inline tangent tangent_of(vw_pointwise_act act, vm_f x)
{
    const vm_f one = vm_set(1), zero = vm_set(0);
    vm_i is_far = vm_abs(x) > 100; /* the second term is 0 there, its factors 0 and infinity */
    vm_f s, u, ds;
    switch (act) {
    case VW_POINTWISE_GELU_TANH:
        /* (1 + tanh u) / 2 is the sigmoid s of 2 u. */
        u = 1.59576912160573f * vm_fma(0.044715f * x * x, x, x);
        s = sigmoid(u, &ds);
        u = 1.59576912160573f * vm_fma(vm_set(3 * 0.044715f), x * x, one);
        return (tangent){x * s, s + vm_select(is_far, zero, x * ds * u)};
    case VW_POINTWISE_GELU_ERF:
        s = vm_normal_cdf(x);
        u = x * 0.398942280401433f * vm_exp(-0.5f * x * x);
        return (tangent){x * s, s + vm_select(is_far, zero, u)};
    case VW_POINTWISE_SILU:
        s = sigmoid(x, &ds);
        return (tangent){x * s, s + vm_select(is_far, zero, x * ds)};
    case VW_POINTWISE_RELU:
        return (tangent){vm_select(x < 0, zero, x),
                         vm_select(x > 0, one, vm_select(x == x, zero, x))};
    default:
        return (tangent){x, one};
    }
}

/* Inlined with a constant `act`, so that the loop holds no switch. */
__attribute__((always_inline)) static inline void
activate_as(vw_pointwise_act act, int64_t n, const float *x, const float *d_y, int is_added,
            float *d_x)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vm_f d = load(d_y, i, n) * tangent_of(act, load(x, i, n)).slope;
        store(d_x, i, n, is_added ? d + load(d_x, i, n) : d);
    }
}

__attribute__((always_inline)) static inline void gate_as(vw_pointwise_act act, int64_t n,
                                                          const float *gate, const float *up,
                                                          const float *d_y, float *d_gate,
                                                          float *d_up)
{
    for (int64_t i = 0; i < n; i += LANES) {
        tangent t = tangent_of(act, load(gate, i, n));
        vm_f u = load(up, i, n), d = load(d_y, i, n);
        store(d_gate, i, n, d * u * t.slope);
        store(d_up, i, n, d * t.value);
    }
}

#define EACH_ACT(call)                                                              \
    switch (act) {                                                                  \
    case VW_POINTWISE_GELU_TANH: call(VW_POINTWISE_GELU_TANH); break;               \
    case VW_POINTWISE_GELU_ERF: call(VW_POINTWISE_GELU_ERF); break;                 \
    case VW_POINTWISE_SILU: call(VW_POINTWISE_SILU); break;                         \
    case VW_POINTWISE_RELU: call(VW_POINTWISE_RELU); break;                         \
    default: call(VW_POINTWISE_NONE);                                               \
    }

static void activate(vw_pointwise_act act, int64_t n, const float *x, const float *d_y,
                     int is_added, float *d_x)
{
#define ACTIVATE(a) activate_as(a, n, x, d_y, is_added, d_x)
    EACH_ACT(ACTIVATE)
}

static void gate(vw_pointwise_act act, int64_t n, const float *g, const float *up, const float *d_y,
                 float *d_gate, float *d_up)
{
#define GATE(a) gate_as(a, n, g, up, d_y, d_gate, d_up)
    EACH_ACT(GATE)
}

static void softcap(int64_t n, float cap, const float *y, float *d_y)
{
    float inverse = 1.0f / cap;
    for (int64_t i = 0; i < n; i += LANES) {
        vm_f t = load(y, i, n) * inverse;
        store(d_y, i, n, load(d_y, i, n) * (1 - t * t));
    }
}

/* ---- losses ---------------------------------------------------------------------------------- */

static void loss(int64_t n, const vw_gradient_loss *l, float *z)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vm_f a = load(z, i, n), e = vm_exp(a - l->max);
        vm_f g = vm_fma(vm_set(l->a), e, vm_set(-l->d));
        if (l->b != 0)
            g = vm_fma(vm_set(l->b), vm_exp((a - l->max) * l->inverse_t), g);
        if (l->teacher) {
            vm_f p = vm_exp((load(l->teacher, i, n) - l->teacher_max) * l->inverse_t);
            g = vm_fma(vm_set(-l->c), p, g);
        }
        vm_f t = a * l->inverse_cap;
        store(z, i, n, l->inverse_cap != 0 ? g * (1 - t * t) : g);
    }
}

static double divergence(int64_t n, const float *teacher, const float *z, float inverse_t,
                         float max, float log_total, float shift)
{
    double total = 0;
    for (int64_t from = 0; from < n; from += CARRY) {
        int64_t to = n - from < CARRY ? n : from + CARRY;
        vm_f part = {0};
        for (int64_t i = from; i < to; i += LANES) {
            int64_t left = to - i < LANES ? to - i : LANES;
            vm_f p = left == LANES ? vm_load(teacher + i)
                                   : vm_load_part(teacher + i, left, -INFINITY);
            vm_f d = (p - load(z, i, to)) * inverse_t - shift;
            p = vm_exp((p - max) * inverse_t - log_total);
            part += vm_select(p == 0, vm_set(0), p * d); /* 0 * log 0 */
        }
        total += (double)vm_sum(part);
    }
    return total;
}

/* ---- dropout --------------------------------------------------------------------------------- */

typedef uint64_t vm_l __attribute__((vector_size(8 * LANES)));

static inline void multiply(vm_u x, uint32_t by, vm_u *high, vm_u *low)
{
    vm_l product = __builtin_convertvector(x, vm_l) * by;
    *high = __builtin_convertvector(product >> 32, vm_u);
    *low = x * by;
}

/* The 4 words of the counters first .. first + LANES - 1, in the order of the stream. */
static void philox(uint64_t seed, uint64_t stream, uint64_t first, uint32_t words[LANES][4])
{
    vm_u c[4], k0 = (vm_u){0} + (uint32_t)seed, k1 = (vm_u){0} + (uint32_t)(seed >> 32);
    uint32_t low[LANES], high[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        low[lane] = (uint32_t)(first + (uint64_t)lane);
        high[lane] = (uint32_t)((first + (uint64_t)lane) >> 32);
    }
    memcpy(&c[0], low, sizeof low);
    memcpy(&c[1], high, sizeof high);
    c[2] = (vm_u){0} + (uint32_t)stream;
    c[3] = (vm_u){0} + (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        vm_u a_high, a_low, b_high, b_low;
        multiply(c[0], 0xD2511F53u, &a_high, &a_low);
        multiply(c[2], 0xCD9E8D57u, &b_high, &b_low);
        c[0] = b_high ^ c[1] ^ k0;
        c[1] = b_low;
        c[2] = a_high ^ c[3] ^ k1;
        c[3] = a_low;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int lane = 0; lane < LANES; lane++)
        for (int w = 0; w < 4; w++)
            words[lane][w] = c[w][lane];
}

static void dropout(int64_t n, uint64_t seed, uint64_t stream, uint64_t first, uint32_t least,
                    float scale, const float *x, float *y)
{
    uint32_t words[LANES][4];
    int64_t skip = (int64_t)(first % 4);
    for (int64_t i = -skip; i < n; i += 4 * LANES) {
        int64_t from = i < 0 ? 0 : i, to = n - i < 4 * LANES ? n : i + 4 * LANES;
        const uint32_t *word = words[0] - i;
        philox(seed, stream, (first - (uint64_t)skip) / 4 + (uint64_t)(i + skip) / 4, words);
        for (int64_t j = from; j < to; j++)
            y[j] = word[j] >= least ? x[j] * scale : 0;
    }
}

const vw_gradients VMATH_NAME(vw_gradients) = {
    .rms_norm = rms_norm,
    .activate = activate,
    .gate = gate,
    .softcap = softcap,
    .softmax = softmax,
    .loss = loss,
    .sum = sum,
    .sum_squares = sum_squares,
    .dot = dot,
    .divergence = divergence,
    .dropout = dropout,
};
