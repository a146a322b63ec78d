/* kind-device.c - conformance of the device kind: every installed device against the formulas.
 *
 * Expected values are computed here in double, from kernels/ref/pointwise.h or from the sentence in
 * device.h.  Sampling has a test of its own.
 */
#include "t/device-case.h"

#include "kernels/ref/pointwise.h"
#include "kernels/ref/quant.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

/* ---- memory, streams, events ----------------------------------------------------------------- */

static void test_memory(const bench *b)
{
    static const size_t sizes[] = {1, 255, 4096, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        vw_buffer buffer = {0};
        size_t n = sizes[i];
        unsigned char *host = malloc(n);
        must(b->ops->alloc(b->self, n, &buffer, &err), "%s: alloc of %zu bytes", b->name, n);
        is_int((uintptr_t)buffer.data % 256, 0, "%s: aligned", b->name);
        from_device(b, host, buffer.data, n);
        size_t zeros = 0;
        while (zeros < n && host[zeros] == 0)
            zeros++;
        is_int(zeros, n, "%s: zeroed", b->name);
        b->ops->fill(b->self, b->stream, buffer.data, 0x5A, n, &err);
        from_device(b, host, buffer.data, n);
        is_int(host[0] + host[n - 1], 2 * 0x5A, "%s: filled", b->name);
        b->ops->free(b->self, &buffer);
        free(host);
    }
    vw_buffer none = {0};
    b->ops->free(b->self, &none);
    is_int(b->ops->alloc(b->self, (size_t)1 << 60, &none, &err), VW_E_NOMEM, "%s: too much",
           b->name);
    like(err.text, "1152921504606846976", "%s: the error names what was asked", b->name);
}

static void test_info(const bench *b)
{
    vw_device_info info = {.size = sizeof info};
    must(b->ops->info(b->self, &info, &err), "%s: info", b->name);
    ok(info.description[0], "%s: is %s", b->name, info.description);
    ok(info.memory_free_bytes <= info.memory_bytes, "%s: free memory is part of all", b->name);
}

static void test_events(const bench *b)
{
    vw_event *from = NULL, *to = NULL;
    double seconds = -1;
    must(b->ops->event_new(b->self, &from, &err), "%s: event", b->name);
    must(b->ops->event_new(b->self, &to, &err), "%s: event", b->name);
    b->ops->event_record(b->self, from, b->stream, &err);
    b->ops->event_record(b->self, to, b->stream, &err);
    must(b->ops->event_wait(b->self, to, b->stream, &err), "%s: wait", b->name);
    must(b->ops->event_seconds(b->self, from, to, &seconds, &err), "%s: seconds", b->name);
    ok(seconds >= 0 && seconds < 10, "%s: %g seconds", b->name, seconds);
    b->ops->event_free(b->self, from);
    b->ops->event_free(b->self, to);
}

/* ---- the pointwise set ----------------------------------------------------------------------- */

static void test_norm(const bench *b, int64_t rows, int64_t n)
{
    grid x = make_grid(b, rows, n, 3, 2), add = make_grid(b, rows, n, 0, 1);
    grid w = make_grid(b, 1, n, 0, 1), y = make_grid(b, rows, n, 5, 0);
    double *want = doubles(&x), *sum = doubles(&x), *extra = doubles(&add);
    vw_tensor none = {0}, weight = vw_tensor_1d(w.buffer.data, VW_F32, n);

    for (int64_t t = 0; t < rows; t++)
        vw_ref_rms_norm(n, sum + t * n, w.host, 1, 1e-6, want + t * n);
    must(b->ops->rms_norm(b->self, b->stream, x.t, none, weight, 1, 1e-6f, y.t, &err), "rms_norm");
    expect(b, &y, want, 1e-6, "rms_norm with an offset");
    for (int64_t i = 0; i < rows * n; i++)
        sum[i] = (double)(float)(sum[i] + extra[i]);
    for (int64_t t = 0; t < rows; t++)
        vw_ref_rms_norm(n, sum + t * n, NULL, 0, 1e-5, want + t * n);
    must(b->ops->rms_norm(b->self, b->stream, x.t, add.t, none, 0, 1e-5f, y.t, &err), "rms_norm");
    expect(b, &x, sum, 1e-7, "rms_norm keeps the sum with the residual");
    expect(b, &y, want, 1e-6, "rms_norm of the sum, without a weight");
    must(b->ops->rms_norm(b->self, b->stream, x.t, none, none, 0, 1e-5f, x.t, &err), "in place");
    expect(b, &x, want, 1e-6, "rms_norm in place");
    drop(b, &x), drop(b, &add), drop(b, &w), drop(b, &y);
    free(want), free(sum), free(extra);
}

static void test_rope(const bench *b, vw_rope_pairing pairing, int32_t head_dim, int32_t first,
                      int32_t dims)
{
    static const int32_t places[] = {0, 1, 17, 8191, 131071, 999983, 1000000};
    enum { ROWS = sizeof places / sizeof *places, HEADS = 3 };
    grid x = make_grid(b, ROWS, HEADS * head_dim, 1, 1), freq = make_grid(b, 1, dims / 2, 0, 1);
    double *want = doubles(&x);
    vw_buffer where;

    for (int32_t i = 0; i < dims / 2; i++)
        freq.host[i] = powf(10000.0f, -2.0f * (float)i / (float)dims);
    b->ops->upload(b->self, b->stream, freq.buffer.data, freq.host, (size_t)dims / 2 * 4, &err);
    for (int t = 0; t < ROWS; t++)
        for (int h = 0; h < HEADS; h++)
            vw_ref_rope(pairing == VW_ROPE_PAIRS, first, dims, freq.host, 0.75, places[t],
                        want + (t * HEADS + h) * head_dim);
    vw_rope_desc desc = {pairing, HEADS, head_dim, first, dims, freq.buffer.data, 0.75f};
    to_device(b, places, sizeof places, &where);
    must(b->ops->rope(b->self, b->stream, x.t, where.data, &desc, &err), "rope");
    expect(b, &x, want, 3e-7, pairing ? "rope in pairs" : "rope in halves");
    b->ops->free(b->self, &where);
    drop(b, &x), drop(b, &freq);
    free(want);
}

static void test_activations(const bench *b, int64_t rows, int64_t n)
{
    static const char *const names[] = {"none", "gelu_tanh", "gelu_erf", "silu", "relu"};
    for (int act = VW_ACT_NONE; act <= VW_ACT_RELU; act++) {
        grid x = make_grid(b, rows, n, 2, act == VW_ACT_NONE ? 1 : 6);
        grid up = make_grid(b, rows, n, 0, 1), y = make_grid(b, rows, n, 1, 0);
        double *in = doubles(&x), *factor = doubles(&up), worst = 0;
        must(b->ops->activate(b->self, b->stream, (vw_activation)act, x.t, y.t, &err), "activate");
        float *got = fetch(b, &y);
        for (int64_t i = 0; i < rows * n; i++)
            worst = fmax(worst, fabs((double)got[i] - vw_ref_activate((vw_ref_act)act, in[i])));
        near(worst, 0, 1e-6, "%s: %s, absolute error", b->name, names[act]);
        for (int64_t i = 0; i < rows * n; i++)
            in[i] = vw_ref_activate((vw_ref_act)act, in[i]) * factor[i];
        must(b->ops->gate(b->self, b->stream, (vw_activation)act, x.t, up.t, up.t, &err), "gate");
        expect(b, &up, in, 1e-6, "gate, onto its second input");
        drop(b, &x), drop(b, &up), drop(b, &y);
        free(got), free(in), free(factor);
    }
}

static void test_extremes(const bench *b)
{
    static const float in[] = {0, -0.0f, 1e-30f, -1e-30f, 20, -20, 100, -100, 1e20f, -1e20f};
    enum { N = sizeof in / sizeof *in };
    for (int act = VW_ACT_GELU_TANH; act <= VW_ACT_RELU; act++) {
        grid x = make_grid(b, 1, N, 0, 0);
        double want[N];
        b->ops->upload(b->self, b->stream, x.buffer.data, in, sizeof in, &err);
        for (int i = 0; i < N; i++)
            want[i] = in[i] > 15 ? (double)in[i] : in[i] < -15 ? 0 : (double)in[i] / 2;
        if (act == VW_ACT_RELU)
            want[3] = 0;
        b->ops->activate(b->self, b->stream, (vw_activation)act, x.t, x.t, &err);
        expect(b, &x, want, 1e-6, "large and tiny values keep an activation finite");
        drop(b, &x);
    }
}

static void test_elementwise(const bench *b, int64_t rows, int64_t n)
{
    grid x = make_grid(b, rows, n, 2, 3), y = make_grid(b, rows, n, 0, 3);
    double *in = doubles(&x), *want = doubles(&y);
    for (int64_t i = 0; i < rows * n; i++)
        want[i] = 0.5 * in[i] - 2 * want[i];
    must(b->ops->axpby(b->self, b->stream, 0.5f, x.t, -2, y.t, &err), "axpby");
    expect(b, &y, want, 3e-7, "axpby");
    for (int64_t i = 0; i < rows * n; i++)
        want[i] = 3 * in[i];
    b->ops->fill(b->self, b->stream, y.buffer.data, 0xFF, (size_t)(rows * n) * 4, &err);
    must(b->ops->axpby(b->self, b->stream, 3, x.t, 0, y.t, &err), "axpby");
    expect(b, &y, want, 1e-7, "axpby with b = 0 does not read y");
    for (int64_t i = 0; i < rows * n; i++)
        want[i] = 1.5 * tanh(in[i] / 1.5);
    must(b->ops->softcap(b->self, b->stream, 1.5f, x.t, &err), "softcap");
    expect(b, &x, want, 3e-7, "softcap");
    drop(b, &x), drop(b, &y);
    free(in), free(want);
}

static void test_softmax(const bench *b, int64_t rows, int64_t n)
{
    grid x = make_grid(b, rows, n, 1, 20);
    x.host[0] = -INFINITY;
    b->ops->upload(b->self, b->stream, x.buffer.data, x.host, (size_t)(rows * x.stride) * 4, &err);
    double *want = doubles(&x);
    for (int64_t t = 0; t < rows; t++)
        vw_ref_softmax(n, want + t * n);
    must(b->ops->softmax(b->self, b->stream, x.t, &err), "softmax");
    expect(b, &x, want, 1e-6, "softmax");
    drop(b, &x);
    free(want);
}

static void test_moves(const bench *b)
{
    static const int32_t rows[] = {3, 0, -1, 3, 1};
    static const float weight[] = {0.5f, 2, 9, -1, 0.25f};
    enum { N = 5, D = 700 };
    grid x = make_grid(b, 4, D, 1, 1), y = make_grid(b, N, D, 2, 1);
    double *table = doubles(&x), *want = doubles(&y);
    vw_buffer which, how;

    to_device(b, rows, sizeof rows, &which);
    to_device(b, weight, sizeof weight, &how);
    for (int i = 0; i < N * D; i++)
        want[i] = rows[i / D] < 0 ? 0 : table[rows[i / D] * D + i % D];
    must(b->ops->gather(b->self, b->stream, x.t, which.data, y.t, &err), "gather");
    expect(b, &y, want, 0, "gather; a negative row gives zeros");
    for (int i = 0; i < N * D; i++)
        if (rows[i / D] >= 0)
            table[rows[i / D] * D + i % D] += (double)weight[i / D] * want[i];
    must(b->ops->scatter_add(b->self, b->stream, y.t, which.data, how.data, x.t, &err), "scatter");
    expect(b, &x, table, 3e-7, "scatter_add; a negative row is skipped");
    b->ops->free(b->self, &which);
    b->ops->free(b->self, &how);
    drop(b, &x), drop(b, &y);
    free(table), free(want);
}

static void test_top_k(const bench *b, int64_t n, int32_t k)
{
    enum { ROWS = 3 };
    grid x = make_grid(b, ROWS, n, 1, 1), values = make_grid(b, ROWS, k, 0, 0);
    grid indices = make_grid(b, ROWS, k, 0, 0);
    int wrong = 0;

    for (int64_t i = 0; i < ROWS * x.stride; i++)
        x.host[i] = floorf(x.host[i] * 20); /* many ties */
    b->ops->upload(b->self, b->stream, x.buffer.data, x.host, (size_t)(ROWS * x.stride) * 4, &err);
    indices.t.dtype = VW_I32;
    must(b->ops->top_k(b->self, b->stream, x.t, k, values.t, indices.t, &err), "top_k");
    float *got = fetch(b, &values), *raw = fetch(b, &indices);
    for (int t = 0; t < ROWS; t++) {
        const float *row = x.host + t * x.stride;
        char *taken = calloc((size_t)n, 1);
        for (int32_t i = 0; i < k; i++) {
            int32_t best = -1, id;
            for (int32_t j = 0; j < n; j++)
                if (!taken[j] && (best < 0 || row[j] > row[best]))
                    best = j;
            memcpy(&id, &raw[t * k + i], sizeof id);
            taken[best] = 1;
            wrong += id != best || got[t * k + i] != row[best];
        }
        free(taken);
    }
    is_int(wrong, 0, "%s: the %d largest of %lld, ties to the lower index", b->name, k,
           (long long)n);
    drop(b, &x), drop(b, &values), drop(b, &indices);
    free(got), free(raw);
}

/* ---- number formats -------------------------------------------------------------------------- */

static void test_16_bits(const bench *b, vw_dtype dtype)
{
    enum { ROWS = 2, N = 301 };
    grid x = make_grid(b, ROWS, N, 1, 100), back = make_grid(b, ROWS, N, 0, 0);
    uint16_t narrow[ROWS * N], want[ROWS * N];
    vw_tensor none = {0};
    vw_buffer buffer;
    double *exact = malloc(sizeof *exact * ROWS * N);

    for (int i = 0; i < ROWS * N; i++) {
        float v = x.host[i / N * x.stride + i % N];
        want[i] = dtype == VW_BF16 ? vw_f32_to_bf16(v) : vw_f32_to_f16(v);
        exact[i] = vw_dtype_get(dtype, want, (size_t)i);
    }
    to_device(b, NULL, sizeof narrow, &buffer);
    vw_tensor y = vw_tensor_2d(buffer.data, dtype, ROWS, N);
    must(b->ops->convert(b->self, b->stream, x.t, y, none, &err), "to %s", vw_dtype_name(dtype));
    from_device(b, narrow, buffer.data, sizeof narrow);
    is_mem(narrow, want, sizeof narrow, "%s: to %s", b->name, vw_dtype_name(dtype));
    must(b->ops->convert(b->self, b->stream, y, back.t, none, &err), "from it");
    expect(b, &back, exact, 0, "and back, exactly");
    b->ops->free(b->self, &buffer);
    drop(b, &x), drop(b, &back);
    free(exact);
}

/* All 65536 halves, subnormals and infinities included. */
static void test_all_halves(const bench *b)
{
    enum { N = 65536 };
    uint16_t *half = malloc(N * sizeof *half);
    grid y = make_grid(b, 1, N, 0, 0);
    vw_tensor none = {0};
    vw_buffer buffer;
    int wrong = 0;

    for (int i = 0; i < N; i++)
        half[i] = (uint16_t)i;
    to_device(b, half, N * sizeof *half, &buffer);
    b->ops->convert(b->self, b->stream, vw_tensor_2d(buffer.data, VW_F16, 1, N), y.t, none, &err);
    float *got = fetch(b, &y);
    for (int i = 0; i < N; i++) {
        float want = vw_f16_to_f32((uint16_t)i);
        wrong += want != want ? got[i] == got[i] : vw_f32_bits(got[i]) != vw_f32_bits(want);
    }
    is_int(wrong, 0, "%s: every f16", b->name);
    b->ops->free(b->self, &buffer);
    drop(b, &y);
    free(got), free(half);
}

static void test_quantised(const bench *b, vw_dtype dtype, int64_t group)
{
    enum { N = 300 };
    int64_t groups = (N + group - 1) / group;
    grid x = make_grid(b, 1, N, 0, 5), back = make_grid(b, 1, N, 0, 0);
    grid scales = make_grid(b, 1, groups, 0, 0);
    uint8_t codes[N], want[N];
    double value[N];
    vw_buffer buffer;

    for (int64_t g = 0, i = 0; g < groups; g++, i += group) {
        int64_t n = N - i < group ? N - i : group;
        float scale;
        if (dtype == VW_I8)
            scale = vw_ref_quantise_int8(x.host + i, n, (int8_t *)want + i);
        else
            vw_ref_quantise_e4m3(x.host + i, n, 1, n, 1, n, 0, want + i, &scale);
        for (int64_t j = i; j < i + n; j++)
            value[j] = vw_dtype_get(dtype, want, (size_t)j) * (double)scale;
    }
    to_device(b, NULL, sizeof codes, &buffer);
    vw_tensor y = vw_tensor_2d(buffer.data, dtype, 1, N);
    must(b->ops->convert(b->self, b->stream, x.t, y, scales.t, &err), "quantise");
    from_device(b, codes, buffer.data, sizeof codes);
    is_mem(codes, want, sizeof codes, "%s: %s codes, %lld values a scale", b->name,
           vw_dtype_name(dtype), (long long)group);
    must(b->ops->convert(b->self, b->stream, y, back.t, scales.t, &err), "dequantise");
    expect(b, &back, value, 1e-7, "and what they are worth");
    b->ops->free(b->self, &buffer);
    drop(b, &x), drop(b, &back), drop(b, &scales);
}

/* A whole tensor with one scale: its own where none is given, else the one that is, beyond which
 * values saturate; and the largest magnitude, raised only where that is asked for. */
static void test_round_e4m3(const bench *b, int64_t rows, int64_t cols)
{
    if (!offers(b, offsetof(vw_device_ops, round_e4m3), "round_e4m3"))
        return;
    grid x = make_grid(b, rows, cols, 3, 5), y = make_grid(b, rows, cols, 1, 0);
    double *want = doubles(&x), *exact = doubles(&x);
    float record[2] = {0, 0}, amax = 0;
    vw_buffer buffer;
    float *device = to_device(b, record, sizeof record, &buffer);
    for (int64_t i = 0; i < rows * cols; i++)
        amax = fmaxf(amax, (float)fabs(exact[i]));
    for (int turn = 0; turn < 3; turn++) {
        float scale = turn == 0 ? amax / 448 : 2.0f / 448; /* then those above 2 saturate */
        for (int64_t i = 0; i < rows * cols; i++)
            want[i] = (double)vw_e4m3_to_f32(vw_f32_to_e4m3((float)exact[i] * (1 / scale))) *
                      (double)scale;
        must(b->ops->round_e4m3(b->self, b->stream, x.t, device, turn != 1, y.t, &err), "round");
        expect(b, &y, want, 1e-7, turn ? "e4m3 with the scale of a record" : "e4m3 with its own");
        from_device(b, record, device, sizeof record);
        near((double)record[1], turn == 1 ? 0.25 : (double)amax, 0,
             "%s: the largest magnitude, recorded or not", b->name);
        record[0] = 2.0f / 448;
        record[1] = turn == 0 ? 0.25f : 0;
        b->ops->upload(b->self, b->stream, device, record, sizeof record, &err);
    }
    b->ops->free(b->self, &buffer);
    free(want), free(exact);
    drop(b, &x), drop(b, &y);
}

/* ---- what must not matter -------------------------------------------------------------------- */

/* The same work with 1 and with 3 threads, forwards and backwards, large enough to be split. */
static void test_threads(const bench *b)
{
    enum { ROWS = 37, N = 4099 };
    uint64_t seed = random_state;
    float *first = NULL;
    for (int threads = 1; threads <= 3; threads += 2) {
        random_state = seed;
        b->mock->n_threads = threads;
        b->mock->is_backwards = threads == 3;
        grid x = make_grid(b, ROWS, N, 1, 4), y = make_grid(b, ROWS, N, 0, 4);
        vw_tensor none = {0};
        b->ops->rms_norm(b->self, b->stream, x.t, y.t, none, 0, 1e-6f, x.t, &err);
        b->ops->gate(b->self, b->stream, VW_ACT_GELU_TANH, x.t, y.t, y.t, &err);
        b->ops->softcap(b->self, b->stream, 2, y.t, &err);
        b->ops->softmax(b->self, b->stream, x.t, &err);
        b->ops->axpby(b->self, b->stream, 1, x.t, 1, y.t, &err);
        float *got = fetch(b, &y);
        if (first)
            is_mem(got, first, sizeof *got * ROWS * N, "%s: threads change no bit", b->name);
        else
            first = got;
        if (got != first)
            free(got);
        drop(b, &x), drop(b, &y);
    }
    free(first);
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
}

static void test_refusals(const bench *b)
{
    grid x = make_grid(b, 2, 8, 0, 1), y = make_grid(b, 2, 9, 0, 1);
    vw_tensor none = {0}, half = x.t, empty = x.t;
    float *before = fetch(b, &y), *after;
    half.dtype = VW_BF16;
    is_int(b->ops->axpby(b->self, b->stream, 1, x.t, 1, y.t, &err), VW_E_INVALID, "%s: shapes",
           b->name);
    like(err.text, "y", "%s: %s", b->name, err.text);
    is_int(b->ops->softmax(b->self, b->stream, half, &err), VW_E_UNSUPPORTED, "%s: dtype", b->name);
    is_int(b->ops->convert(b->self, b->stream, half, half, none, &err), VW_E_UNSUPPORTED,
           "%s: conversion", b->name);
    after = fetch(b, &y);
    is_mem(after, before, sizeof *after * 18, "%s: nothing was touched", b->name);
    empty.shape[0] = 0;
    is_int(b->ops->softmax(b->self, b->stream, empty, &err), VW_OK, "%s: no rows", b->name);
    drop(b, &x), drop(b, &y);
    free(before), free(after);
}

/* The harness must see an error of 1e-5 in one value. */
static void test_detector(const bench *b)
{
    grid x = make_grid(b, 3, 50, 0, 1);
    double *want = doubles(&x), worst = 0;
    float *got = fetch(b, &x);
    want[77] += 1e-5;
    for (int i = 0; i < 150; i++)
        worst = fmax(worst, fabs((double)got[i] - want[i]) / (1 + fabs(want[i])));
    ok(worst > 1e-6, "%s: a planted error shows", b->name);
    drop(b, &x);
    free(want), free(got);
}

static void test_device(const bench *b)
{
    test_info(b);
    test_memory(b);
    test_events(b);
    test_detector(b);
    for (int64_t n = 1; n <= 2100; n = n * 3 + 1)
        test_norm(b, n > 100 ? 2 : 5, n);
    test_norm(b, 40, 2048);
    test_rope(b, VW_ROPE_HALF, 256, 0, 256);
    test_rope(b, VW_ROPE_HALF, 40, 0, 40);
    test_rope(b, VW_ROPE_HALF, 192, 128, 64);
    test_rope(b, VW_ROPE_PAIRS, 192, 128, 64);
    test_rope(b, VW_ROPE_PAIRS, 6, 2, 2);
    test_activations(b, 3, 1001);
    test_extremes(b);
    test_elementwise(b, 3, 777);
    test_elementwise(b, 2, 20001);
    test_softmax(b, 4, 333);
    test_softmax(b, 2, 70000);
    test_moves(b);
    test_top_k(b, 1, 1);
    test_top_k(b, 256, 8);
    test_top_k(b, 60, 60);
    test_16_bits(b, VW_BF16);
    test_16_bits(b, VW_F16);
    test_all_halves(b);
    test_quantised(b, VW_I8, 300);
    test_quantised(b, VW_I8, 128);
    test_quantised(b, VW_E4M3, 300);
    test_quantised(b, VW_E4M3, 128);
    test_round_e4m3(b, 1, 1);
    test_round_e4m3(b, 70, 333);
    test_threads(b);
    test_refusals(b);
}

int main(void)
{
    return test_devices(test_device);
}
