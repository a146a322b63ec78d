/* kind-attention.c - conformance of the attention kind: every installed plugin against the formula,
 * over shapes, masks and formats, and against itself where bits must not change.
 */
#include "t/attention-case.h"

#include "t/tap/tap.h"
#include "t/with_device.h"

#include <stdlib.h>
#include <string.h>

static vw_error err;

/* One fixture of one sequence, in one call, against the formula. */
static void check(const bench *b, shape s, int n, int S, const char *what)
{
    fixture f = make_fixture(s, 1, &n, &S);
    attend_once(b, &f);
    double d = distance_of(&f, f.out, f.lse);
    ok(d <= 1,
       "%s: %s: %d on %d, heads %d/%d, %d/%d, causal %d, window %d, cap %g, %s, pages of %d",
       b->name, what, n, S, s.q_heads, s.k_heads, s.dk, s.dv, s.is_causal, s.window, (double)s.cap,
       vw_dtype_name(s.dtype), s.page);
    if (!(d <= 1))
        diag("%g of the bound", d);
    free_fixture(&f);
}

/* ---- grids ----------------------------------------------------------------------------------- */

static void test_grid(const bench *b)
{
    static const int pairs[][2] = {{113, 203}, {1, 217}, {70, 70}, {5, 2}, {65, 129}, {128, 64}};
    static const int heads[][2] = {{1, 1}, {6, 2}, {8, 1}, {3, 3}};
    static const int sizes[][2] = {{32, 32},   {40, 40},   {59, 59},   {64, 64},   {96, 96},
                                   {111, 111}, {128, 128}, {192, 128}, {256, 256}, {1, 3}};
    int turn = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof pairs / sizeof *pairs; j++, turn++) {
            const int *h = heads[turn % 4];
            shape s = {h[0], h[1], sizes[i][0], sizes[i][1], turn % 3 != 0, 0, 0, VW_F32, 64, 0};
            check(b, s, pairs[j][0], pairs[j][1], "grid");
        }
    shape many = {48, 8, 64, 64, 1, 0, 0, VW_F32, 64, 0};
    check(b, many, 17, 77, "grid");
    shape large = {8, 1, 256, 256, 1, 0, 0, VW_F32, 64, 0};
    check(b, large, 257, 513, "grid");
    shape deep = {2, 1, 64, 64, 1, 0, 0, VW_F32, 64, 0};
    check(b, deep, 3, 1700, "several chunks");
    check(b, deep, 1, 4096, "several chunks");
    check(b, deep, 700, 1200, "several chunks");
}

static void test_windows_and_caps(const bench *b)
{
    static const int windows[] = {1, 2, 63, 64, 65, 128, 203, 1000};
    static const float caps[] = {0.5f, 30, 50};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        shape s = {4, 2, 32, 32, 1, windows[i], 0, VW_F32, 64, 0};
        check(b, s, 113, 203, "window");
        s.is_causal = 0;
        check(b, s, 113, 203, "window");
        s.page = 3;
        check(b, s, 1, 203, "window");
        s.is_causal = 1, s.page = 16;
        check(b, s, 20, 203, "window");
    }
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        shape s = {4, 2, 40, 40, 1, 0, caps[i], VW_F32, 64, 0};
        check(b, s, 70, 131, "cap");
        s.window = 33;
        check(b, s, 70, 131, "cap and window");
    }
    shape chunks = {2, 2, 32, 32, 1, 600, 20, VW_F32, 16, 0};
    check(b, chunks, 40, 1300, "window over chunks");
}

static void test_dtypes(const bench *b)
{
    static const vw_dtype types[] = {VW_BF16, VW_F16, VW_I8, VW_F32};
    static const int pages[] = {1, 3, 16, 61, 64, 128};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
            shape s = {6, 2, 40, 24, 1, 0, 0, types[t], pages[p], 0};
            check(b, s, 19, 83, "cache");
            check(b, s, 1, 150, "cache");
        }
}

static void test_latent(const bench *b)
{
    static const vw_dtype types[] = {VW_F32, VW_BF16, VW_F16, VW_I8};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        shape s = {16, 1, 72, 64, 1, 0, 0, types[t], 64, 1};
        check(b, s, 4, 131, "latent");
        s.page = 3;
        check(b, s, 2, 50, "latent");
    }
    static const int heads[] = {1, 3, 16, 63, 128};
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++) {
        shape full = {heads[h], 1, 576, 512, 1, 0, 0, VW_F32, 64, 1};
        check(b, full, 1, 520, "latent decode");
        full.page = 61;
        check(b, full, 2, 65, "latent");
    }
    shape prefill = {16, 1, 576, 512, 1, 0, 0, VW_F32, 64, 1};
    check(b, prefill, 2, 600, "latent");
    check(b, prefill, 70, 70, "latent prefill");
}

/* ---- what must not matter -------------------------------------------------------------------- */

/* Two runs of equal data give equal bits. */
static void same(const bench *b, const fixture *f, const float *out, const float *lse,
                 const char *what)
{
    is_mem(out, f->out, (size_t)(f->n_queries * f->s.q_heads * f->s.dv) * 4, "%s: %s", b->name,
           what);
    is_mem(lse, f->lse, (size_t)(f->n_queries * f->s.q_heads) * 4, "%s: %s, lse", b->name, what);
}

static void test_pages(const bench *b)
{
    static const int pages[] = {1, 16, 61, 256}, n = 9, S = 300;
    shape s = {4, 2, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    float *out = f.out, *lse = f.lse;
    attend_once(b, &f);
    f.out = malloc((size_t)(n * 160) * 4), f.lse = malloc((size_t)(n * 4) * 4);
    for (size_t p = 0; p < sizeof pages / sizeof *pages; p++) {
        f.s.page = pages[p];
        attend_once(b, &f);
        same(b, &f, out, lse, "another page size changes no bit");
    }
    free(out), free(lse);
    free_fixture(&f);
}

/* All tokens at once, in pieces, and one by one. */
static void test_pieces(const bench *b, shape s, int S)
{
    static const char *const names[] = {"in pieces", "one by one"};
    fixture f = make_fixture(s, 1, &S, &S);
    attend_once(b, &f);
    for (int way = 0; way < 2; way++) {
        cache c = make_cache(b, &f);
        memset(f.out, 0xFF, (size_t)(S * s.q_heads * s.dv) * 4);
        for (int from = 0, to; from < S; from = to) {
            int piece = way ? 1 : from == 0 ? 100 : 28;
            to = from + piece < S ? from + piece : S;
            append(b, &f, &c, &from, &to);
            attend(b, &f, &c, &from, &from, &to, f.out, f.lse);
        }
        double d = distance_of(&f, f.out, f.lse);
        ok(d <= 1, "%s: %d tokens %s, window %d, cap %g", b->name, S, names[way], s.window,
           (double)s.cap);
        free_cache(b, &c);
    }
    free_fixture(&f);
}

/* A batch of different lengths; then each sequence alone, which must give the same bits; then the
 * batch with more threads, parts in reverse. */
static void test_batch(const bench *b)
{
    static const int n[] = {0, 1, 17, 1, 64, 3, 1}, S[] = {5, 1, 17, 1100, 130, 0, 700};
    enum { B = 7 };
    shape s = {4, 2, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, B, n, S);
    int64_t row = 0;
    attend_once(b, &f);
    ok(distance_of(&f, f.out, f.lse) <= 1, "%s: a batch of %d lengths", b->name, B);
    for (int i = 0; i < B; i++) {
        fixture one = make_fixture(s, 1, &n[i], &S[i]);
        memcpy(one.q[0], f.q[i], (size_t)(n[i] * 160) * 4);
        memcpy(one.k[0], f.k[i], (size_t)(S[i] * 80) * 4);
        memcpy(one.v[0], f.v[i], (size_t)(S[i] * 80) * 4);
        attend_once(b, &one);
        same(b, &one, f.out + row * 160, f.lse + row * 4, "alone as in the batch");
        row += n[i];
        free_fixture(&one);
    }
    float *out = f.out, *lse = f.lse;
    f.out = malloc((size_t)(row * 160) * 4), f.lse = malloc((size_t)(row * 4) * 4);
    for (int threads = 2; threads <= 5; threads += 3) {
        b->mock->n_threads = threads;
        b->mock->is_backwards = threads == 5;
        attend_once(b, &f);
        same(b, &f, out, lse, "threads change no bit");
    }
    b->mock->n_threads = 1;
    b->mock->is_backwards = false;
    free(out), free(lse);
    free_fixture(&f);
}

/* The last key is NaN: only rows that see it may know.  Then unused memory full of NaN, which
 * make_cache() always gives, was already in every other test. */
static void test_hidden(const bench *b)
{
    static const int n = 30, S = 130;
    shape s = {3, 3, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    float *out = f.out, *lse = f.lse;
    attend_once(b, &f);
    f.out = malloc((size_t)(n * 120) * 4), f.lse = malloc((size_t)(n * 3) * 4);
    for (int i = 0; i < 120; i++)
        f.k[0][(S - 1) * 120 + i] = f.v[0][(S - 1) * 120 + i] = NAN;
    attend_once(b, &f);
    is_mem(f.out, out, (size_t)((n - 1) * 120) * 4, "%s: a NaN key leaks into no earlier row",
           b->name);
    ok(f.out[n * 120 - 1] != f.out[n * 120 - 1], "%s: and shows in its own", b->name);
    free(out), free(lse);
    free_fixture(&f);
}

static void test_nothing(const bench *b)
{
    static const int n = 0, S = 0;
    shape s = {2, 1, 8, 8, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    ok(attend_once(b, &f), "%s: no tokens", b->name);
    f.n_sequences = 0;
    ok(attend_once(b, &f), "%s: no sequences", b->name);
    f.n_sequences = 1;
    free_fixture(&f);
}

static void test_refusals(const bench *b)
{
    static const int n = 2, S = 4;
    shape good = {4, 2, 8, 8, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(good, 1, &n, &S);
    vw_attention_problem p = problem_of(&f), bad;
    vw_attention_plan plan = {0};
    is_int(b->ops->supports(b->self, &p, &err), VW_OK, "%s: supported", b->name);
    bad = p, bad.q_heads = 5;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: 5 on 2 heads", b->name);
    like(err.text, "5", "%s: %s", b->name, err.text);
    bad = p, bad.kv_dtype = VW_I32;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: int32", b->name);
    like(err.text, "int32", "%s: %s", b->name, err.text);
    bad = p, bad.dk = 0;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: no width", b->name);
    bad = p, bad.page_tokens = 0;
    is_int(b->ops->plan(b->self, &bad, &plan, &err), VW_E_UNSUPPORTED, "%s: no page", b->name);
    is_int(plan.state == NULL, 1, "%s: no plan was made", b->name);

    cache c = make_cache(b, &f);
    float out[64];
    memset(out, 0x11, sizeof out);
    set_batch(&f, &c, zeros, f.S);
    vw_tensor q = vw_tensor_2d(f.q[0], VW_F32, 2, 31), o = vw_tensor_2d(out, VW_F32, 2, 32);
    is_int(b->ops->run(b->self, &c.plan, NULL, &c.batch, q, c.pages, o, NULL, c.workspace, &err),
           VW_E_INVALID, "%s: a wrong q", b->name);
    float before[64];
    memset(before, 0x11, sizeof before);
    is_mem(out, before, sizeof out, "%s: out is untouched", b->name);
    free_cache(b, &c);
    free_fixture(&f);
}

/* The measure must see a zeroed tile, a swapped head and a shifted scale. */
static void test_detector(const bench *b)
{
    static const int n = 70, S = 140;
    shape s = {4, 2, 32, 32, 1, 0, 0, VW_F32, 64, 0};
    fixture f = make_fixture(s, 1, &n, &S);
    int64_t size = (int64_t)n * 128;
    float *want = malloc((size_t)size * 4), *lse = malloc((size_t)n * 16);
    formula(&f, want, lse);
    memcpy(f.out, want, (size_t)size * 4);
    ok(distance(f.out, want, size, lse, lse, n * 4) <= 1, "%s: equal is near", b->name);
    f.out[size - 1] += 1e-3f;
    ok(distance(f.out, want, size, lse, lse, n * 4) > 1, "%s: one element shows", b->name);
    f.out[size - 1] = NAN;
    ok(distance(f.out, want, size, lse, lse, n * 4) > 1, "%s: one NaN shows", b->name);
    f.scale *= 1.0001f;
    formula(&f, f.out, f.lse);
    ok(distance(f.out, want, size, lse, lse, n * 4) > 1, "%s: a shifted scale shows", b->name);
    memcpy(f.out, want, (size_t)size * 4);
    memcpy(f.lse, lse, (size_t)n * 16);
    f.lse[3] += 3e-5f;
    ok(distance(f.out, want, size, f.lse, lse, n * 4) > 1, "%s: a shifted lse shows", b->name);
    free(want), free(lse);
    free_fixture(&f);
}

static void test_attention(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    (void)arg;
    mock_host_init(&mock);
    with_device device;
    if (!with_device_open(&device, plugin, &mock))
        return;
    if (!mock_open(&mock, plugin, NULL, &it)) {
        with_device_close(&device);
        return;
    }
    bench b = {.name = plugin->name, .mock = &mock};
    b.ops = with_device_attention(&device, &it, &b.self);
    test_detector(&b);
    test_refusals(&b);
    test_nothing(&b);
    test_grid(&b);
    test_windows_and_caps(&b);
    test_dtypes(&b);
    test_latent(&b);
    test_pages(&b);
    shape pieces = {6, 2, 40, 40, 1, 0, 0, VW_F32, 64, 0};
    test_pieces(&b, pieces, 129);
    pieces.window = 40, pieces.cap = 5, pieces.page = 16;
    test_pieces(&b, pieces, 129);
    test_batch(&b);
    test_hidden(&b);
    mock_close(&mock, &it);
    with_device_close(&device);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_ATTENTION, test_attention, NULL) > 0, "there are attentions");
    return done_testing();
}
