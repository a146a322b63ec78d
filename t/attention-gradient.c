/* attention-gradient.c - gradients of dense attention: the formula against central differences, every
 * installed plugin against the formula over shapes, masks and batches, and what must not change a bit.
 *
 * Errors are measured by the rms of the tensor's gradient: 1e-4 is what training allows.
 */
#include "t/attention-case.h"

#include "kernels/ref/attention.h"
#include "t/tap/tap.h"
#include "t/with_device.h"

#include <stdlib.h>
#include <string.h>

static vw_error err;

/* ---- the formula ----------------------------------------------------------------------------- */

static const float *key_of(const void *from, int64_t j, float *space)
{
    const vw_ref_rows *rows = from;
    (void)space;
    return rows[0].data + j * rows[0].stride;
}

static const float *value_of(const void *from, int64_t j, float *space)
{
    const vw_ref_rows *rows = from;
    (void)space;
    return rows[1].data + j * rows[1].stride;
}

/* Gradients of a fixture by kernels/ref/attention.h, which does one row at a time. */
static void expected(const fixture *f, const float *d_out, grads *g)
{
    const shape *s = &f->s;
    int64_t wq = (int64_t)s->q_heads * s->dk, wk = (int64_t)s->k_heads * s->dk;
    int64_t wv = (int64_t)s->k_heads * s->dv, wo = (int64_t)s->q_heads * s->dv, at = 0;
    int64_t group = s->q_heads / s->k_heads;
    vw_ref_attention a = {s->dk, s->dv, s->is_causal, s->window, (double)f->scale, (double)s->cap};
    g->dq = malloc((size_t)(f->n_queries * wq + 1) * 4);
    g->dk = malloc((size_t)(f->n_queries * wk + 1) * 4);
    g->dv = malloc((size_t)(f->n_queries * wv + 1) * 4);
    double space[1024], *delta = malloc((size_t)(f->n_queries * s->q_heads + 1) * sizeof *delta);
    void *room = malloc(vw_ref_attend_space(&a, f->max_keys));
    float *out = malloc((size_t)(f->n_queries * wo + 1) * 4);
    float *lse = malloc((size_t)(f->n_queries * s->q_heads + 1) * 4);
    for (int seq = 0; seq < f->n_sequences; at += f->n[seq++]) {
        int64_t n = f->n[seq];
        vw_ref_attention_pass pass = {
            a, n, s->q_heads, s->k_heads, {f->q[seq], wq}, {f->k[seq], wk}, {f->v[seq], wv},
            {out, wo}, {(float *)(uintptr_t)d_out + at * wo, wo}, lse};
        for (int64_t i = 0; i < n * s->q_heads; i++) {
            int64_t h = i % s->q_heads, t = i / s->q_heads;
            vw_ref_rows from[2] = {{f->k[seq] + h / group * s->dk, wk},
                                   {f->v[seq] + h / group * s->dv, wv}};
            vw_ref_kv kv = {key_of, value_of, from};
            lse[i] = (float)vw_ref_attend(&a, f->q[seq] + t * wq + h * s->dk, t, n, &kv,
                                          out + t * wo + h * s->dv, room);
        }
        for (int64_t i = 0; i < n * s->q_heads; i++) {
            int64_t h = i % s->q_heads, t = i / s->q_heads;
            delta[i] = vw_ref_attend_delta(&pass, t, h);
            vw_ref_attend_dq(&pass, delta[i], t, h, g->dq + (at + t) * wq + h * s->dk, space);
        }
        for (int64_t j = 0; j < n * s->k_heads; j++)
            vw_ref_attend_dkv(&pass, delta, j / s->k_heads, j % s->k_heads,
                              g->dk + (at + j / s->k_heads) * wk + j % s->k_heads * s->dk,
                              g->dv + (at + j / s->k_heads) * wv + j % s->k_heads * s->dv, space);
    }
    free(delta), free(room), free(out), free(lse);
}

/* loss = sum of d_out * out of one sequence, all in double, written once more from attention.md 2.1:
 * the independent side of the central differences. */
static double loss(const fixture *f, const double *q, const double *k, const double *v,
                   const float *d_out)
{
    const shape *s = &f->s;
    int64_t n = f->n[0], group = s->q_heads / s->k_heads;
    double sum = 0, *weight = malloc((size_t)n * sizeof *weight);
    for (int64_t i = 0; i < n; i++)
        for (int64_t h = 0; h < s->q_heads; h++) {
            double total = 0;
            for (int64_t j = 0; j < n; j++) {
                int is_seen = (!s->is_causal || j <= i) && (s->window == 0 || i - j < s->window);
                double z = 0;
                for (int64_t d = 0; d < s->dk; d++)
                    z += (double)f->scale * q[(i * s->q_heads + h) * s->dk + d] *
                         k[(j * s->k_heads + h / group) * s->dk + d];
                z = s->cap > 0 ? (double)s->cap * tanh(z / (double)s->cap) : z;
                total += weight[j] = is_seen ? exp(z) : 0;
            }
            for (int64_t j = 0; j < n; j++)
                for (int64_t d = 0; d < s->dv; d++)
                    sum += weight[j] / total * v[(j * s->k_heads + h / group) * s->dv + d] *
                           (double)d_out[(i * s->q_heads + h) * s->dv + d];
        }
    free(weight);
    return sum;
}

static double *as_doubles(const float *x, int64_t n)
{
    double *y = malloc((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

/* Every value of q, k and v moved by a little: the largest difference by the largest gradient. */
static void test_differences(shape s, const char *what)
{
    static const int n = 9;
    const double step = 1e-5;
    fixture f = make_fixture(s, 1, &n, &n);
    int64_t sizes[3] = {(int64_t)n * s.q_heads * s.dk, (int64_t)n * s.k_heads * s.dk,
                        (int64_t)n * s.k_heads * s.dv};
    float *d_out = random_rows(n, s.q_heads * s.dv);
    double *x[3] = {as_doubles(f.q[0], sizes[0]), as_doubles(f.k[0], sizes[1]),
                    as_doubles(f.v[0], sizes[2])};
    grads g;
    expected(&f, d_out, &g);
    const float *claimed[3] = {g.dq, g.dk, g.dv};
    for (int w = 0; w < 3; w++) {
        double worst = 0, largest = 0;
        for (int64_t i = 0; i < sizes[w]; i++) {
            double at = x[w][i], slope;
            x[w][i] = at + step;
            slope = loss(&f, x[0], x[1], x[2], d_out);
            x[w][i] = at - step;
            slope = (slope - loss(&f, x[0], x[1], x[2], d_out)) / (2 * step);
            x[w][i] = at;
            worst = fmax(worst, fabs(slope - (double)claimed[w][i]));
            largest = fmax(largest, fabs(slope));
        }
        near(worst / largest, 0, 1e-6, "the formula, %s: d%c against differences", what, "qkv"[w]);
    }
    free(x[0]), free(x[1]), free(x[2]);
    free(d_out);
    free_grads(&g);
    free_fixture(&f);
}

/* ---- plugins against the formula ------------------------------------------------------------- */

static double error_of(const float *got, const float *want, int64_t n)
{
    double squares = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        worst = d <= worst ? worst : d; /* a NaN stays */
        squares += (double)want[i] * (double)want[i];
    }
    double rms = sqrt(squares / (double)(n ? n : 1));
    return worst / (rms > 0.01 ? rms : 0.01); /* a lone key's scores have no gradient */
}

static void check(const bench *b, shape s, int n_sequences, const int *n, const char *what)
{
    fixture f = make_fixture(s, n_sequences, n, n);
    int64_t rows = f.n_queries;
    float *d_out = random_rows(rows, s.q_heads * s.dv);
    grads got, want;
    run_backward(b, &f, d_out, &got);
    expected(&f, d_out, &want);
    ok(distance_of(&f, f.out, f.lse) <= 1, "%s: %s: forward", b->name, what);
    near(error_of(got.dq, want.dq, rows * s.q_heads * s.dk), 0, 5e-5, "%s: %s: dQ", b->name, what);
    near(error_of(got.dk, want.dk, rows * s.k_heads * s.dk), 0, 5e-5, "%s: %s: dK", b->name, what);
    near(error_of(got.dv, want.dv, rows * s.k_heads * s.dv), 0, 5e-5, "%s: %s: dV", b->name, what);
    free(d_out);
    free_grads(&got), free_grads(&want);
    free_fixture(&f);
}

static void test_shapes(const bench *b)
{
    static const int lengths[] = {1, 2, 17, 63, 64, 65, 130, 300};
    static const int heads[][2] = {{1, 1}, {6, 2}, {8, 1}, {3, 3}};
    static const int sizes[][2] = {{32, 32}, {40, 24}, {64, 64}, {59, 7}, {1, 3}, {128, 128}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const int *h = heads[i % 4], *d = sizes[i % 6];
        shape s = {h[0], h[1], d[0], d[1], i % 3 != 1, 0, 0, VW_F32, 64, 0};
        check(b, s, 1, &lengths[i], "a length");
    }
    static const int long_one = 700;
    shape deep = {2, 1, 16, 16, 1, 0, 0, VW_F32, 64, 0};
    check(b, deep, 1, &long_one, "several chunks");
    deep.is_causal = 0;
    check(b, deep, 1, &long_one, "several chunks, not causal");
    deep.window = 300, deep.is_causal = 1, deep.cap = 2;
    check(b, deep, 1, &long_one, "several chunks, window and cap");
}

static void test_masks(const bench *b)
{
    static const int windows[] = {2, 5, 64, 100, 1000}, n = 150;
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        shape s = {4, 2, 24, 24, 1, windows[i], 0, VW_F32, 64, 0};
        check(b, s, 1, &n, "window");
        s.is_causal = 0;
        check(b, s, 1, &n, "window, not causal");
    }
    shape capped = {4, 2, 24, 24, 1, 0, 0.7f, VW_F32, 64, 0};
    check(b, capped, 1, &n, "cap");
}

/* Documents end to end: the batch, then each alone, which must give the same bits; then threads. */
static void test_documents(const bench *b)
{
    static const int n[] = {0, 1, 65, 300, 3, 64};
    enum { B = 6, W = 96 };
    shape s = {4, 4, 24, 24, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, B, n, n);
    float *d_out = random_rows(f.n_queries, W);
    int64_t at = 0, bytes = f.n_queries * W * 4;
    grads all, one;
    check(b, s, B, n, "documents");
    run_backward(b, &f, d_out, &all);
    for (int i = 0; i < B; i++) {
        fixture alone = make_fixture(s, 1, &n[i], &n[i]);
        memcpy(alone.q[0], f.q[i], (size_t)(n[i] * W) * 4);
        memcpy(alone.k[0], f.k[i], (size_t)(n[i] * W) * 4);
        memcpy(alone.v[0], f.v[i], (size_t)(n[i] * W) * 4);
        run_backward(b, &alone, d_out + at * W, &one);
        ok(!memcmp(one.dq, all.dq + at * W, (size_t)(n[i] * W) * 4) &&
               !memcmp(one.dk, all.dk + at * W, (size_t)(n[i] * W) * 4) &&
               !memcmp(one.dv, all.dv + at * W, (size_t)(n[i] * W) * 4),
           "%s: a document of %d alone as among others", b->name, n[i]);
        at += n[i];
        free_grads(&one);
        free_fixture(&alone);
    }
    for (int threads = 2; threads <= 5; threads += 3) {
        b->mock->n_threads = threads;
        b->mock->is_backwards = threads == 5;
        run_backward(b, &f, d_out, &one);
        ok(!memcmp(one.dq, all.dq, (size_t)bytes) && !memcmp(one.dk, all.dk, (size_t)bytes) &&
               !memcmp(one.dv, all.dv, (size_t)bytes),
           "%s: %d threads change no bit", b->name, threads);
        free_grads(&one);
    }
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
    free(d_out);
    free_grads(&all);
    free_fixture(&f);
}

/* Invariants of attention.md section 3: without a cap the dK of all keys add up to 0; the dV to the
 * d_out of all rows. */
static void test_invariants(const bench *b)
{
    static const int n = 90;
    shape s = {2, 2, 8, 8, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &n);
    float *d_out = random_rows(n, 16);
    grads g;
    double worst_k = 0, worst_v = 0;
    run_backward(b, &f, d_out, &g);
    for (int c = 0; c < 16; c++) {
        double k = 0, v = 0;
        for (int i = 0; i < n; i++) {
            k += (double)g.dk[i * 16 + c];
            v += (double)g.dv[i * 16 + c] - (double)d_out[i * 16 + c];
        }
        worst_k = fmax(worst_k, fabs(k)), worst_v = fmax(worst_v, fabs(v));
    }
    near(worst_k, 0, 1e-5, "%s: dK adds up to nothing", b->name);
    near(worst_v, 0, 3e-5, "%s: dV adds up to d_out", b->name);
    free(d_out);
    free_grads(&g);
    free_fixture(&f);
}

static void test_refusals(const bench *b)
{
    static const int n = 4;
    shape s = {2, 2, 8, 8, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &n);
    vw_attention_problem p = problem_of(&f);
    vw_attention_plan cached, dense;
    int32_t start[2] = {0, 4}, keys[1] = {4};
    vw_attention_batch batch = {.n_sequences = 1, .n_queries = 4, .query_start = start,
                                .n_keys = keys};
    float x[64] = {0};
    vw_tensor t = vw_tensor_2d(x, VW_F32, 4, 16);
    b->ops->plan(b->self, &p, &cached, &err);
    p.is_dense = 1;
    p.page_tokens = 0;
    p.kv_dtype = (vw_dtype)0;
    ok(b->ops->plan(b->self, &p, &dense, &err) == VW_OK, "%s: a dense plan asks for no page",
       b->name);
    is_int(b->ops->run_dense(b->self, &cached, NULL, &batch, t, t, t, t, NULL, NULL, &err),
           VW_E_INVALID, "%s: a plan for a cache", b->name);
    like(err.text, "a dense batch with a plan that is not dense", "%s", err.text);
    is_int(b->ops->run(b->self, &dense, NULL, &batch, t, NULL, t, NULL, NULL, &err), VW_E_INVALID,
           "%s: a dense plan", b->name);
    like(err.text, "a cache with a plan that is dense", "%s", err.text);
    start[1] = 5;
    is_int(b->ops->run_dense(b->self, &dense, NULL, &batch, t, t, t, t, NULL, NULL, &err),
           VW_E_INVALID, "%s: rows that are not there", b->name);
    like(err.text, "sequence 0: queries 0 to 5 of 4", "%s", err.text);
    start[1] = 4;
    vw_tensor narrow = vw_tensor_2d(x, VW_F32, 4, 15);
    is_int(b->ops->backward(b->self, &dense, NULL, &batch, t, t, t, t, x, t, t, narrow, t, NULL,
                            &err), VW_E_INVALID, "%s: a narrow d_k", b->name);
    like(err.text, "d_k is f32 [4, 15]; f32 [4, 16]", "%s", err.text);
    b->ops->plan_free(b->self, &cached), b->ops->plan_free(b->self, &dense);
    free_fixture(&f);
}

/* The measure must see a key that is forgotten, a head that is swapped and a delta that is left out. */
static void test_detector(const bench *b)
{
    static const int n = 40;
    shape s = {4, 2, 16, 16, 1, 0, 0, VW_F32, 64, 0}, other = s;
    fixture f = make_fixture(s, 1, &n, &n);
    float *d_out = random_rows(n, 64);
    grads want, wrong;
    expected(&f, d_out, &want);
    near(error_of(want.dq, want.dq, n * 64), 0, 0, "%s: equal is equal", b->name);
    other.window = 39;
    f.s = other;
    expected(&f, d_out, &wrong);
    ok(error_of(wrong.dv, want.dv, n * 32) > 5e-5, "%s: one hidden key shows", b->name);
    free_grads(&wrong);
    f.s = s;
    f.scale *= 1.0005f;
    expected(&f, d_out, &wrong);
    ok(error_of(wrong.dk, want.dk, n * 32) > 5e-5, "%s: a shifted scale shows", b->name);
    want.dq[3] = NAN;
    ok(!(error_of(want.dq, wrong.dq, n * 64) <= 5e-5), "%s: a NaN shows", b->name);
    free(d_out);
    free_grads(&want), free_grads(&wrong);
    free_fixture(&f);
}

static void test_attention(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    bench b = {.name = plugin->name, .mock = &mock, .ops = it.component.ops,
               .self = it.component.self};
    if (!b.ops->backward || !b.ops->run_dense) {
        skip(1, "attention/%s has no gradients", b.name);
    } else {
        test_detector(&b);
        test_refusals(&b);
        test_invariants(&b);
        test_shapes(&b);
        test_masks(&b);
        test_documents(&b);
    }
    mock_close(&mock, &it);
}

int main(void)
{
    shape plain = {2, 2, 5, 4, 1, 0, 0, VW_F32, 64, 0}, all = {4, 2, 5, 4, 1, 4, 1.5f, VW_F32, 64, 0};
    test_differences(plain, "causal");
    test_differences(all, "shared heads, window and cap");
    plain.is_causal = 0;
    test_differences(plain, "not causal");
    ok(mock_plugins(VW_KIND_ATTENTION, test_attention, NULL) > 0, "there are attentions");
    return done_testing();
}
