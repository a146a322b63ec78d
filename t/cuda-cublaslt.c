/* cuda-cublaslt.c - gemm/cublaslt beyond the kind's own test: what it refuses and why, slabs, many
 * shapes, captures; and the simulated library, trusted only as far as it is shown to refuse.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/gemm/cublaslt_product.c" /* what it tells the library, piece by piece */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/gemm.h>

static vw_error err;

typedef struct rig {
    mock_host mock, gemm_mock;
    mock_instance device, gemm;
    const vw_device_ops *dev;
    void *dev_self;
    const vw_gemm_ops *ops;
    void *self;
    vw_stream *stream;
} rig;

static bool open_rig(rig *r, const char *setting)
{
    const char *settings[] = {"workspace=64K", setting, NULL};
    const vw_plugin *device = mock_plugin(VW_KIND_DEVICE, "cuda");
    const vw_plugin *gemm = mock_plugin(VW_KIND_GEMM, "cublaslt");
    mock_host_init(&r->mock);
    mock_host_init(&r->gemm_mock);
    if (!device || !gemm || !mock_open(&r->mock, device, NULL, &r->device))
        return false;
    r->dev = r->device.component.ops;
    r->dev_self = r->device.component.self;
    r->gemm_mock.component[VW_KIND_DEVICE] = &r->device.component;
    if (r->dev->stream_new(r->dev_self, &r->stream, &err) ||
        !mock_open(&r->gemm_mock, gemm, settings, &r->gemm))
        return false;
    r->ops = r->gemm.component.ops;
    r->self = r->gemm.component.self;
    return true;
}

static void close_rig(rig *r)
{
    mock_close(&r->gemm_mock, &r->gemm);
    r->dev->stream_free(r->dev_self, r->stream);
    mock_close(&r->mock, &r->device);
}

static void *memory(rig *r, size_t bytes, const void *host, vw_buffer *buffer)
{
    if (r->dev->alloc(r->dev_self, bytes, buffer, &err) ||
        (host && r->dev->upload(r->dev_self, r->stream, buffer->data, host, bytes, &err)))
        bail_out("%s", err.text);
    return buffer->data;
}

static void fetch(rig *r, void *host, const void *device, size_t bytes)
{
    if (r->dev->download(r->dev_self, r->stream, host, device, bytes, &err) ||
        r->dev->synchronize(r->dev_self, r->stream, &err))
        bail_out("%s", err.text);
}

/* ---- what it does not do --------------------------------------------------------------------- */

static vw_status ask_for(rig *r, vw_matrix m, vw_gemm_format format, vw_gemm_problem p)
{
    vw_gemm_weight w = {.stored = m, .format = format};
    p.size = sizeof p;
    p.max_m = 4;
    p.n_weights = 1;
    p.weights[0] = &w;
    p.x_dtype = p.y_dtype = VW_F32;
    err.text[0] = '\0';
    return r->ops->supports(r->self, &p, &err);
}

static vw_status ask(rig *r, vw_matrix m, vw_gemm_format format, int is_invariant)
{
    return ask_for(r, m, format, (vw_gemm_problem){.is_batch_invariant = is_invariant});
}

static vw_matrix stored(vw_dtype dtype, int64_t n, int64_t k, int64_t scale_rows, int64_t scale_cols)
{
    vw_matrix m = {.dtype = dtype, .rows = n, .cols = k, .row_stride = k};
    if (scale_rows)
        m.scales = (vw_scales){NULL, VW_F32, scale_rows, scale_cols,
                               (k + scale_cols - 1) / scale_cols};
    return m;
}

static void test_refusals(void)
{
    rig r;
    if (!open_rig(&r, NULL))
        bail_out("gemm/cublaslt: %s", err.text);
    is_int(ask(&r, stored(VW_BF16, 7, 9, 0, 0), VW_GEMM_STORED, 0), VW_OK, "bf16 of any size");
    is_int(ask(&r, stored(VW_BF16, 7, 9, 0, 0), VW_GEMM_STORED, 1), VW_E_UNSUPPORTED, "invariance");
    is_str(err.text, "cublasLt chooses by the number of rows: it is not batch invariant", "says so");
    is_int(ask_for(&r, stored(VW_F32, 7, 9, 0, 0), VW_GEMM_STORED,
                   (vw_gemm_problem){.rounding = VW_GEMM_ROUND_BF16}), VW_E_UNSUPPORTED, "rounding");
    is_str(err.text, "operands are used as they are, not rounded", "says so");
    is_int(ask(&r, stored(VW_BF16, 7, 9, 0, 0), VW_GEMM_INT8, 0), VW_E_UNSUPPORTED, "int8");
    is_str(err.text, "cublasLt multiplies f32, bf16, f16 and fp8, no int8", "says so");
    is_int(ask(&r, stored(VW_BF16, 256, 256, 128, 128), VW_GEMM_STORED, 0), VW_E_UNSUPPORTED,
           "scales in blocks");
    is_str(err.text, "scales of 128 x 128; cublasLt takes one a weight or one a row of it",
           "says so");
    is_int(ask(&r, stored(VW_E4M3, 32, 32, 32, 32), VW_GEMM_STORED, 0), VW_E_UNSUPPORTED, "fp8");
    is_str(err.text, "fp8 weights take activations rounded to fp8; [gemm.cublaslt] activations = "
                     "rounded allows it", "says what to do");
    close_rig(&r);
    if (!open_rig(&r, "activations=rounded"))
        bail_out("gemm/cublaslt: %s", err.text);
    is_int(ask(&r, stored(VW_E4M3, 32, 32, 32, 32), VW_GEMM_STORED, 0), VW_OK, "fp8, allowed");
    is_int(ask(&r, stored(VW_E4M3, 32, 40, 32, 40), VW_GEMM_STORED, 0), VW_E_UNSUPPORTED, "odd fp8");
    is_str(err.text, "fp8 weights of 32 x 40; cublasLt multiplies forward, by weights stored [out, "
                     "in], of multiples of 16", "says which");
    close_rig(&r);
}

/* ---- results --------------------------------------------------------------------------------- */

/* X[m][k] and W[n][k] whose products are exact in f32, so that any order gives these sums. */
static float x_at(int64_t m, int64_t k) { return (float)((7 * m + 3 * k) % 17 - 8); }
static float w_at(int64_t n, int64_t k) { return (float)((5 * n + 11 * k) % 13 - 6); }

typedef struct product {
    int64_t m, n, k;
    float *x;
    uint16_t *w;
    vw_buffer on_x, on_w, on_y, workspace;
    vw_gemm_weight weight;
    vw_gemm_plan plan;
} product;

static void make_product(rig *r, product *p, int64_t m, int64_t n, int64_t k)
{
    *p = (product){.m = m, .n = n, .k = k, .x = malloc((size_t)(m * k) * sizeof *p->x),
                   .w = malloc((size_t)(n * k) * sizeof *p->w)};
    for (int64_t i = 0; i < m * k; i++)
        p->x[i] = x_at(i / k, i % k);
    for (int64_t i = 0; i < n * k; i++)
        p->w[i] = vw_f32_to_bf16(w_at(i / k, i % k));
    p->weight.stored = stored(VW_BF16, n, k, 0, 0);
    p->weight.stored.data = memory(r, (size_t)(n * k) * sizeof *p->w, p->w, &p->on_w);
    memory(r, (size_t)(m * k) * sizeof *p->x, p->x, &p->on_x);
    memory(r, (size_t)(m * n) * sizeof(float), NULL, &p->on_y);
    vw_gemm_problem problem = {.size = sizeof problem, .max_m = m, .n_weights = 1,
                               .weights = {&p->weight}, .x_dtype = VW_F32, .y_dtype = VW_F32};
    if (r->ops->plan(r->self, &problem, &p->plan, &err))
        bail_out("plan: %s", err.text);
    memory(r, p->plan.workspace_bytes, NULL, &p->workspace);
}

static vw_status multiply(rig *r, product *p, int64_t m)
{
    const vw_gemm_weight *list[] = {&p->weight};
    vw_tensor y = vw_tensor_2d(p->on_y.data, VW_F32, m, p->n);
    return r->ops->run(r->self, &p->plan, r->stream, vw_tensor_2d(p->on_x.data, VW_F32, m, p->k),
                       list, &y, p->workspace.data, &err);
}

static int64_t n_wrong(rig *r, product *p, int64_t m)
{
    int64_t wrong = 0;
    float *y = malloc((size_t)(m * p->n) * sizeof *y);
    fetch(r, y, p->on_y.data, (size_t)(m * p->n) * sizeof *y);
    for (int64_t i = 0; i < m * p->n; i++) {
        float sum = 0;
        for (int64_t k = 0; k < p->k; k++)
            sum += x_at(i / p->n, k) * w_at(i % p->n, k);
        wrong += y[i] != sum;
    }
    free(y);
    return wrong;
}

static void free_product(rig *r, product *p)
{
    vw_buffer *all[] = {&p->on_x, &p->on_w, &p->on_y, &p->workspace};
    r->ops->plan_free(r->self, &p->plan);
    for (int i = 0; i < 4; i++)
        r->dev->free(r->dev_self, all[i]);
    free(p->x);
    free(p->w);
}

/* So many outputs that 64 rows are a slab: 150 rows are three, the last one short. */
static void test_slabs(rig *r)
{
    product p;
    make_product(r, &p, 150, 48 * 1024, 8);
    ok(p.plan.workspace_bytes < (size_t)150 * 3 * 48 * 1024 * 4, "the workspace is not all rows'");
    is_int(multiply(r, &p, 150), VW_OK, "three slabs of rows");
    is_int(n_wrong(r, &p, 150), 0, "every element");
    free_product(r, &p);
}

/* More numbers of rows than choices are kept. */
static void test_many_shapes(rig *r)
{
    product p;
    int n_good = 0;
    make_product(r, &p, LT_CHOICES, 8, 8);
    for (int64_t m = 1; m <= LT_CHOICES; m++)
        n_good += multiply(r, &p, m) == VW_OK;
    is_int(n_good, LT_CHOICES, "%d shapes", LT_CHOICES);
    is_int(n_wrong(r, &p, LT_CHOICES), 0, "and the last is right");
    free_product(r, &p);
}

static void test_capture(rig *r)
{
    product p;
    void *graph = NULL;
    make_product(r, &p, 5, 24, 200);
    is_int(r->dev->capture_begin(r->dev_self, r->stream, &err), VW_OK, "a capture begins");
    is_int(multiply(r, &p, 5), VW_OK, "a product, captured");
    is_int(r->dev->capture_end(r->dev_self, r->stream, &graph, &err), VW_OK, "a graph");
    for (int i = 0; i < 2; i++) {
        r->dev->fill(r->dev_self, r->stream, p.on_y.data, 0x7F, 5 * 24 * 4, &err);
        is_int(r->dev->graph_launch(r->dev_self, graph, r->stream, &err), VW_OK, "launch %d", i);
        is_int(n_wrong(r, &p, 5), 0, "gives the product");
    }
    r->dev->graph_free(r->dev_self, graph);
    free_product(r, &p);
}

/* ---- the simulated library finds mistakes ---------------------------------------------------- */

enum { M = 16, N = 8, K = 128 };

static void test_mistakes(rig *r)
{
    static lt_library lt;
    vw_buffer a, b, d, w;
    const lt_shape good = {.m = M, .n = N, .k = K, .lda = K, .ldb = K, .ldd = M, .compute =
                           CUBLAS_COMPUTE_32F, .transpose_a = 1};
    memory(r, M * K * 4, NULL, &a);
    memory(r, N * K * 4, NULL, &b);
    memory(r, N * M * 4, NULL, &d);
    memory(r, 64 << 10, NULL, &w);
    is_int(lt_open(&lt, 64 << 10, &err), VW_OK, "the library");
#define TRY(want, what, A, B, D, W, ...)                                                           \
    do {                                                                                           \
        lt_shape s = good;                                                                         \
        __VA_ARGS__;                                                                               \
        is_int(lt_multiply(&lt, &s, A, B, 0, D, W, r->stream, &err), want, "%s", what);            \
    } while (0)
    TRY(VW_OK, "a good product", a.data, b.data, d.data, w.data, (void)s);
    TRY(VW_E_DEVICE, "columns that overlap", a.data, b.data, d.data, w.data, s.lda = K - 1);
    like(err.text, "cublasLt: describing a product failed with status 7 (invalid value)", "%s",
         err.text);
    TRY(VW_E_DEVICE, "A beyond its memory", a.data, b.data, d.data, w.data, s.lda = K + 1);
    TRY(VW_E_DEVICE, "A not transposed where it is", a.data, b.data, d.data, w.data,
        s.transpose_a = 0);
    TRY(VW_E_DEVICE, "B beyond its memory", a.data, (char *)b.data + 16, d.data, w.data, (void)s);
    TRY(VW_E_DEVICE, "a D that is also A", a.data, b.data, a.data, w.data, (void)s);
    TRY(VW_E_DEVICE, "a workspace that is too short", a.data, b.data, d.data, (char *)w.data + 256,
        (void)s);
    TRY(VW_E_DEVICE, "no workspace", a.data, b.data, d.data, NULL, (void)s);
    TRY(VW_E_UNSUPPORTED, "fp8 of another order", a.data, b.data, d.data, w.data,
        s.a_type = s.b_type = CUDA_R_8F_E4M3, s.transpose_a = 0, s.lda = M, s.n = 16);
    TRY(VW_E_UNSUPPORTED, "fp8 of a size that is no multiple", a.data, b.data, d.data, w.data,
        s.a_type = s.b_type = CUDA_R_8F_E4M3);
    TRY(VW_E_UNSUPPORTED, "two types", a.data, b.data, d.data, w.data, s.b_type = CUDA_R_16BF);
#undef TRY
    is_int(r->dev->synchronize(r->dev_self, r->stream, &err), VW_OK, "the stream is as before");
    lt_close(&lt);
    r->dev->free(r->dev_self, &a);
    r->dev->free(r->dev_self, &b);
    r->dev->free(r->dev_self, &d);
    r->dev->free(r->dev_self, &w);
}

/* The real library needs a device for a product, but none to be told about one. */
static void test_real_descriptions(void)
{
    static const int types[] = {CUDA_R_32F, CUDA_R_16BF, CUDA_R_16F, CUDA_R_8F_E4M3};
    char version[64] = "", *simulated = strdup(getenv("VW_CUBLASLT"));
    static lt_library lt;
    unsetenv("VW_CUBLASLT");
    if (load(&lt.api, &lt.file, 0, &err) == VW_OK) {
        for (int i = 0; i < 4; i++) {
            lt_choice c = {0};
            lt_shape s = {.m = 64, .n = 16, .k = 128, .lda = 128, .ldb = 128, .ldd = 64,
                          .a_type = types[i], .b_type = types[i], .transpose_a = 1,
                          .compute = i ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32,
                          .align_a = 16, .align_b = 16, .align_d = 16};
            is_int(describe(&lt.api, &s, &c), CUBLAS_STATUS_SUCCESS, "it takes type %d", types[i]);
            is_int(choose(&lt, &s, &c), CUBLAS_STATUS_NOT_INITIALIZED,
                   "and every wish: it lacks a handle alone");
            forget(&lt.api, &c);
        }
        lt_close(&lt);
    } else {
        skip(8, "%s", err.text);
    }
    setenv("VW_CUBLASLT", "libc.so.6", 1);
    is_int(lt_look(version, sizeof version, &err), VW_E_DEVICE, "another library");
    like(err.text, "cublasLt has no cublasLtGetVersion", "%s", err.text);
    setenv("VW_CUBLASLT", "/nowhere/lib.so", 1);
    is_int(lt_look(version, sizeof version, &err), VW_E_DEVICE, "no library");
    like(err.text, "VW_CUBLASLT cannot be loaded: /nowhere/lib.so", "%s", err.text);
    setenv("VW_CUBLASLT", simulated, 1);
    free(simulated);
}

int main(void)
{
    rig r;
    char path[4096];
    snprintf(path, sizeof path, "%s/t/cuda-sim/.libs/libcuda.so",
             getenv("top_builddir") ? getenv("top_builddir") : ".");
    setenv("VW_CUDA_DRIVER", path, 1);
    setenv("VW_CUBLASLT", path, 1);
    setenv("VW_CUDA_SIM_STRICT", "1", 1);
    test_refusals();
    if (!open_rig(&r, NULL))
        bail_out("gemm/cublaslt: %s", err.text);
    test_slabs(&r);
    test_many_shapes(&r);
    test_capture(&r);
    test_mistakes(&r);
    close_rig(&r);
    test_real_descriptions();
    return done_testing();
}
