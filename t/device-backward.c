/* device-backward.c - conformance of the device kind's training operations: every installed device
 * against kernels/ref/gradient.h, whose formulas t/gradient-formulas.c holds against differences.
 *
 * Errors are measured against the root mean square of the expected gradient, 1e-4 of which is what
 * training allows; the bound here is tighter, since single operations are far better.
 */
#include "t/device-case.h"

#include "kernels/ref/gradient.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

/* ---- measuring ------------------------------------------------------------------------------- */

/* The largest error of n values by the rms of what was expected. */
static double worst_of(const float *got, const double *want, int64_t n)
{
    double squares = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        worst = d <= worst ? worst : d; /* a NaN stays */
        squares += want[i] * want[i];
    }
    return worst / (sqrt(squares / (double)(n ? n : 1)) + 1e-30);
}

static void gradient_is(const bench *b, const grid *g, const double *want, const char *what)
{
    float *got = fetch(b, g);
    near(worst_of(got, want, g->rows * g->cols), 0, 5e-6, "%s: %s", b->name, what);
    free(got);
}

static double *zeros(int64_t n)
{
    return calloc((size_t)n + 1, sizeof(double));
}

static void *workspace(const bench *b, int64_t rows, int64_t cols, vw_buffer *buffer)
{
    return to_device(b, NULL, b->ops->reduce_bytes(b->self, rows, cols), buffer);
}

/* ---- norm, rope ------------------------------------------------------------------------------ */

static void test_norm(const bench *b, int64_t rows, int64_t n)
{
    grid x = make_grid(b, rows, n, 3, 2), d_y = make_grid(b, rows, n, 0, 1);
    grid w = make_grid(b, 1, n, 0, 1), d_x = make_grid(b, rows, n, 5, 1), d_w = make_grid(b, 1, n, 0, 1);
    double *in = doubles(&x), *g = doubles(&d_y), *want = zeros(rows * n), *sum = doubles(&d_w);
    double *added = doubles(&d_x);
    vw_tensor weight = vw_tensor_1d(w.buffer.data, VW_F32, n), none = {0};
    vw_tensor d_weight = vw_tensor_1d(d_w.buffer.data, VW_F32, n);
    vw_buffer space;
    void *work = workspace(b, rows, n, &space);

    for (int64_t t = 0; t < rows; t++)
        vw_ref_rms_norm_backward(n, in + t * n, w.host, 1, 1e-6, g + t * n, want + t * n, sum);
    for (int64_t i = 0; i < rows * n; i++)
        added[i] += want[i];
    must(b->ops->rms_norm_backward(b->self, b->stream, x.t, weight, 1, 1e-6f, d_y.t, d_x.t, 1,
                                   d_weight, work, &err), "rms_norm_backward");
    gradient_is(b, &d_x, added, "rms_norm by x, added");
    gradient_is(b, &d_w, sum, "rms_norm by w, added");
    must(b->ops->rms_norm_backward(b->self, b->stream, x.t, weight, 1, 1e-6f, d_y.t, d_x.t, 0,
                                   none, work, &err), "rms_norm_backward");
    gradient_is(b, &d_x, want, "rms_norm by x, written");
    memset(want, 0, (size_t)(rows * n) * sizeof *want);
    for (int64_t t = 0; t < rows; t++)
        vw_ref_rms_norm_backward(n, in + t * n, NULL, 0, 1e-6, g + t * n, want + t * n, NULL);
    must(b->ops->rms_norm_backward(b->self, b->stream, x.t, none, 1, 1e-6f, d_y.t, d_y.t, 0, none,
                                   work, &err), "rms_norm_backward");
    gradient_is(b, &d_y, want, "rms_norm without a weight, in place");
    b->ops->free(b->self, &space);
    drop(b, &x), drop(b, &d_y), drop(b, &w), drop(b, &d_x), drop(b, &d_w);
    free(in), free(g), free(want), free(sum), free(added);
}

/* The rotation back and its scale again: forward and back is the square of the scale. */
static void test_rope(const bench *b, vw_rope_pairing pairing)
{
    static const int32_t places[] = {0, 1, 17, 8191, 1000000};
    enum { ROWS = 5, HEADS = 3, DIM = 48 };
    grid x = make_grid(b, ROWS, HEADS * DIM, 1, 1), freq = make_grid(b, 1, 16, 0, 1);
    double *want = doubles(&x);
    vw_buffer where;
    for (int i = 0; i < 16; i++)
        freq.host[i] = powf(10000.0f, -(float)i / 16);
    b->ops->upload(b->self, b->stream, freq.buffer.data, freq.host, 16 * 4, &err);
    for (int t = 0; t < ROWS; t++)
        for (int h = 0; h < HEADS; h++)
            vw_ref_rope(pairing == VW_ROPE_PAIRS, 8, 32, freq.host, 0.75, -places[t],
                        want + (t * HEADS + h) * DIM);
    vw_rope_desc desc = {pairing, HEADS, DIM, 8, 32, freq.buffer.data, 0.75f};
    to_device(b, places, sizeof places, &where);
    must(b->ops->rope_backward(b->self, b->stream, x.t, where.data, &desc, &err), "rope_backward");
    gradient_is(b, &x, want, "rope turns back");
    must(b->ops->rope(b->self, b->stream, x.t, where.data, &desc, &err), "rope");
    double *in = doubles(&x);
    for (int64_t i = 0; i < ROWS * HEADS * DIM; i++)
        in[i] *= i % DIM >= 8 && i % DIM < 40 ? 0.75 * 0.75 : 1;
    gradient_is(b, &x, in, "and forth");
    b->ops->free(b->self, &where);
    drop(b, &x), drop(b, &freq);
    free(want), free(in);
}

/* ---- activations, cap, softmax --------------------------------------------------------------- */

static void test_activations(const bench *b, int64_t rows, int64_t n)
{
    static const char *const names[] = {"none", "gelu_tanh", "gelu_erf", "silu", "relu"};
    for (int act = VW_ACT_NONE; act <= VW_ACT_RELU; act++) {
        grid x = make_grid(b, rows, n, 2, 6), up = make_grid(b, rows, n, 0, 1);
        grid d_y = make_grid(b, rows, n, 1, 1), d_x = make_grid(b, rows, n, 0, 1);
        double *in = doubles(&x), *u = doubles(&up), *g = doubles(&d_y), *want = doubles(&d_x);
        for (int64_t i = 0; i < rows * n; i++)
            want[i] += g[i] * vw_ref_activate_slope((vw_ref_act)act, in[i]);
        must(b->ops->activate_backward(b->self, b->stream, (vw_activation)act, x.t, d_y.t, d_x.t, 1,
                                       &err), "activate_backward");
        gradient_is(b, &d_x, want, names[act]);
        for (int64_t i = 0; i < rows * n; i++) {
            want[i] = g[i] * vw_ref_activate((vw_ref_act)act, in[i]);
            g[i] *= u[i] * vw_ref_activate_slope((vw_ref_act)act, in[i]);
        }
        must(b->ops->gate_backward(b->self, b->stream, (vw_activation)act, x.t, up.t, d_y.t, x.t,
                                   d_y.t, &err), "gate_backward");
        gradient_is(b, &x, g, "gate by its gate, in place");
        gradient_is(b, &d_y, want, "gate by up, over d_y");
        drop(b, &x), drop(b, &up), drop(b, &d_y), drop(b, &d_x);
        free(in), free(u), free(g), free(want);
    }
}

/* Far out an activation is 0 or the identity, and its slope 0 or 1. */
static void test_extremes(const bench *b)
{
    static const float in[] = {20, -20, 100, -100, 1e20f, -1e20f, INFINITY, -INFINITY};
    enum { N = sizeof in / sizeof *in };
    for (int act = VW_ACT_GELU_TANH; act <= VW_ACT_RELU; act++) {
        grid x = make_grid(b, 1, N, 0, 0), d = make_grid(b, 1, N, 0, 0);
        double want[N];
        for (int i = 0; i < N; i++) {
            d.host[i] = 1;
            want[i] = in[i] > 0;
        }
        b->ops->upload(b->self, b->stream, x.buffer.data, in, sizeof in, &err);
        b->ops->upload(b->self, b->stream, d.buffer.data, d.host, sizeof in, &err);
        b->ops->activate_backward(b->self, b->stream, (vw_activation)act, x.t, d.t, d.t, 0, &err);
        expect(b, &d, want, 1e-6, "large values keep a slope finite");
        drop(b, &x), drop(b, &d);
    }
}

static void test_results(const bench *b, int64_t rows, int64_t n)
{
    grid y = make_grid(b, rows, n, 2, 1.9f), d_y = make_grid(b, rows, n, 1, 1);
    double *out = doubles(&y), *want = doubles(&d_y);
    for (int64_t i = 0; i < rows * n; i++)
        want[i] *= 1 - out[i] / 2 * (out[i] / 2);
    must(b->ops->softcap_backward(b->self, b->stream, 2, y.t, d_y.t, &err), "softcap_backward");
    gradient_is(b, &d_y, want, "softcap from its result");
    free(want);
    want = doubles(&d_y);
    float *now = fetch(b, &d_y);
    for (int64_t i = 0; i < rows * n; i++)
        want[i] = (double)now[i];
    for (int64_t t = 0; t < rows; t++)
        vw_ref_softmax_backward(n, out + t * n, want + t * n, want + t * n);
    must(b->ops->softmax_backward(b->self, b->stream, y.t, d_y.t, &err), "softmax_backward");
    gradient_is(b, &d_y, want, "softmax from its result");
    drop(b, &y), drop(b, &d_y);
    free(out), free(want), free(now);
}

/* ---- dropout and sums ------------------------------------------------------------------------ */

static void test_dropout(const bench *b, int64_t rows, int64_t n, float p)
{
    const uint64_t seed = 0x123456789ABCDEF0u, stream = 0xFEDCBA9876543210u;
    grid x = make_grid(b, rows, n, 3, 1), y = make_grid(b, rows, n, 0, 1);
    double *want = doubles(&x), kept = 0;
    for (int64_t i = 0; i < rows * n; i++) {
        uint32_t words[4];
        vw_ref_philox(seed, stream, (uint64_t)i / 4, words);
        int is_kept = (double)words[i % 4] >= (double)p * 0x1p32;
        want[i] = is_kept ? want[i] / (1 - (double)p) : 0;
        kept += is_kept;
    }
    must(b->ops->dropout(b->self, b->stream, p, seed, stream, x.t, y.t, &err), "dropout");
    expect(b, &y, want, 2e-7, "dropout by the words of its stream");
    near(kept / (double)(rows * n), 1 - (double)p, 4 * sqrt(0.25 / (double)(rows * n)),
         "%s: and keeps the share it should, within four deviations", b->name);
    must(b->ops->dropout(b->self, b->stream, p, seed, stream, x.t, x.t, &err), "dropout");
    expect(b, &x, want, 2e-7, "and once more in place");
    is_int(b->ops->dropout(b->self, b->stream, 1, 0, 0, x.t, x.t, &err), VW_E_INVALID, "p = 1");
    like(err.text, "dropout: a share of 1", "%s: %s", b->name, err.text);
    drop(b, &x), drop(b, &y);
    free(want);
}

static void test_sums(const bench *b, int64_t rows, int64_t n, int64_t pad)
{
    grid x = make_grid(b, rows, n, pad, 3), y = make_grid(b, 1, n, 0, 1);
    double *in = doubles(&x), *want = doubles(&y), squares = 0, got;
    vw_buffer space, result;
    void *work = workspace(b, rows, n, &space);
    to_device(b, NULL, sizeof got, &result);
    for (int64_t i = 0; i < rows * n; i++) {
        want[i % n] += in[i];
        squares += in[i] * in[i];
    }
    must(b->ops->sum_rows(b->self, b->stream, x.t, vw_tensor_1d(y.buffer.data, VW_F32, n), work,
                          &err), "sum_rows");
    expect(b, &y, want, 2e-6, "sum_rows is added");
    must(b->ops->sum_squares(b->self, b->stream, x.t, result.data, work, &err), "sum_squares");
    from_device(b, &got, result.data, sizeof got);
    near(got / squares, 1, 1e-12, "%s: sum_squares of %lld x %lld", b->name, (long long)rows,
         (long long)n);
    x.host[(rows - 1) * x.stride + n - 1] = INFINITY;
    b->ops->upload(b->self, b->stream, x.buffer.data, x.host, (size_t)(rows * x.stride) * 4, &err);
    b->ops->sum_squares(b->self, b->stream, x.t, result.data, work, &err);
    from_device(b, &got, result.data, sizeof got);
    ok(!isfinite(got), "%s: the last value is infinite, and it shows", b->name);
    b->ops->free(b->self, &space), b->ops->free(b->self, &result);
    drop(b, &x), drop(b, &y);
    free(in), free(want);
}

/* ---- what must not matter -------------------------------------------------------------------- */

/* Everything that sums over rows, with 1 and with 3 threads. */
static void test_threads(const bench *b)
{
    enum { ROWS = 301, N = 515 };
    uint64_t seed = random_state;
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads += 2) {
        random_state = seed;
        b->mock->n_threads = threads;
        b->mock->is_backwards = threads == 3;
        grid x = make_grid(b, ROWS, N, 1, 4), y = make_grid(b, ROWS, N, 0, 4);
        grid sum = make_grid(b, 1, N, 0, 1);
        vw_tensor none = {0}, out = vw_tensor_1d(sum.buffer.data, VW_F32, N);
        vw_buffer space;
        void *work = workspace(b, ROWS, N, &space);
        b->ops->rms_norm_backward(b->self, b->stream, x.t, none, 0, 1e-6f, y.t, y.t, 0, out, work,
                                  &err);
        b->ops->sum_rows(b->self, b->stream, y.t, out, work, &err);
        b->ops->sum_squares(b->self, b->stream, y.t, (double *)sum.buffer.data, work, &err);
        float *got = fetch(b, &sum);
        if (first)
            is_mem(got, first, sizeof *got * N, "%s: threads change no bit", b->name);
        else
            first = got;
        if (got != first)
            free(got);
        b->ops->free(b->self, &space);
        drop(b, &x), drop(b, &y), drop(b, &sum);
    }
    free(first);
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
}

static void test_refusals(const bench *b)
{
    grid x = make_grid(b, 2, 8, 0, 1), y = make_grid(b, 2, 9, 0, 1);
    vw_tensor none = {0}, narrow = vw_tensor_1d(y.buffer.data, VW_F32, 7);
    is_int(b->ops->rms_norm_backward(b->self, b->stream, x.t, none, 0, 0, x.t, y.t, 0, none, NULL,
                                     &err), VW_E_INVALID, "%s: shapes", b->name);
    like(err.text, "rms_norm_backward: d_x is [2, 9]; [2, 8] would be right", "%s: %s", b->name,
         err.text);
    is_int(b->ops->sum_rows(b->self, b->stream, x.t, narrow, NULL, &err), VW_E_INVALID, "width");
    like(err.text, "sum_rows: y must be f32 [8], as wide as x", "%s: %s", b->name, err.text);
    is_int(b->ops->gate_backward(b->self, b->stream, (vw_activation)77, x.t, x.t, x.t, x.t, x.t,
                                 &err), VW_E_UNSUPPORTED, "activation");
    like(err.text, "gate_backward: activation 77 is not known", "%s: %s", b->name, err.text);
    is_int(b->ops->softcap_backward(b->self, b->stream, 0, x.t, x.t, &err), VW_E_INVALID, "cap");
    like(err.text, "softcap_backward: the cap must be above 0, not 0", "%s: %s", b->name, err.text);
    drop(b, &x), drop(b, &y);
}

/* An error of 1e-5 of the rms in one value must show, and a last column that is forgotten. */
static void test_detector(const bench *b)
{
    grid x = make_grid(b, 30, 50, 0, 1);
    double *want = doubles(&x);
    float *got = fetch(b, &x);
    near(worst_of(got, want, 1500), 0, 0, "%s: equal values have no error", b->name);
    want[77] += 1e-5;
    ok(worst_of(got, want, 1500) > 5e-6, "%s: a planted error shows", b->name);
    got[3] = NAN;
    ok(!(worst_of(got, want, 1500) <= 5e-6), "%s: and a NaN", b->name);
    drop(b, &x);
    free(want), free(got);
}

static void test_device(const bench *b)
{
    if (offers(b, offsetof(vw_device_ops, rms_norm_backward), "backward operations")) {
        test_detector(b);
        for (int64_t n = 2; n <= 2100; n = n * 3 + 1) /* of one value there is but eps left */
            test_norm(b, n > 100 ? 70 : 5, n);
        test_rope(b, VW_ROPE_HALF);
        test_rope(b, VW_ROPE_PAIRS);
        test_activations(b, 3, 1001);
        test_extremes(b);
        test_results(b, 3, 333);
        test_results(b, 2, 20001);
        test_dropout(b, 7, 1001, 0.1f);
        test_dropout(b, 3, 4, 0.5f);
        test_sums(b, 100, 77, 2);
        test_sums(b, 3, 20000, 0);
        test_threads(b);
        test_refusals(b);
    }
}

int main(void)
{
    return test_devices(test_device);
}
