/* blas.c - gemm/blas: any library with the CBLAS interface (OpenBLAS, BLIS, a vendor's).
 *
 * An alternative to swap in and a rival to measure.  f32 weights go to the library as they lie; bf16,
 * f16 and the 8-bit formats are widened a block of outputs at a time.  The library brings threads of
 * its own; they are told how many this component may use.  What it allocates is its own business.
 */
#include "kernels/cpu/gemm.h"
#include "plugins/gemm/checks.h"
#include "plugins/gemm/groups.h"

#include <cblas.h>

/* OpenBLAS's and BLIS's own call; whichever is there. */
extern void openblas_set_num_threads(int n) __attribute__((weak));
extern void bli_thread_set_num_threads(long n) __attribute__((weak));

typedef struct blas_gemm {
    const vw_host *host;
} blas_gemm;

enum { BLOCK = 512 }; /* outputs that are widened at once */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "linked with %s",
             openblas_set_num_threads     ? "OpenBLAS"
             : bli_thread_set_num_threads ? "BLIS"
                                          : "a CBLAS");
    return 50;
}

static vw_status open_blas(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config;
    blas_gemm *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for gemm/blas");
    g->host = host;
    if (openblas_set_num_threads)
        openblas_set_num_threads(host->n_threads(host->core));
    else if (bli_thread_set_num_threads)
        bli_thread_set_num_threads(host->n_threads(host->core));
    *self = g;
    return VW_OK;
}

static void close_blas(void *self)
{
    blas_gemm *g = self;
    g->host->free(g->host->core, g);
}

static int is_direct(const vw_matrix *w)
{
    return w->dtype == VW_F32 && w->scales.rows == 0;
}

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    (void)self;
    vw_status s = check_matrix(stored, err);
    if (s != VW_OK)
        return s;
    if (format != VW_GEMM_STORED || !is_weight_dtype(stored->dtype))
        return vw_fail(err, VW_E_UNSUPPORTED, "gemm/blas runs stored f32, bf16, f16, e4m3, e5m2 "
                                              "and int8 weights; it re-quantises nothing");
    *pack_bytes = 0;
    *layout = 0;
    return VW_OK;
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    size_t bytes;
    uint32_t layout;
    vw_status s = check_problem(p, err);
    if (s == VW_OK && p->epilogue > VW_GEMM_ADD)
        return vw_fail(err, VW_E_UNSUPPORTED, "a BLAS stores or adds; it has no other epilogue");
    if (s == VW_OK && p->is_batch_invariant)
        return vw_fail(err, VW_E_UNSUPPORTED, "a BLAS does not promise how it sums");
    if (s == VW_OK)
        s = check_no_rounding(p, err);
    for (int i = 0; s == VW_OK && p->op != VW_GEMM_WGRAD && i < p->n_weights; i++) {
        s = pack_size(self, &p->weights[i]->stored, p->weights[i]->format, &bytes, &layout, err);
        if (s == VW_OK && p->op == VW_GEMM_DGRAD && !is_direct(&p->weights[i]->stored))
            return vw_fail(err, VW_E_UNSUPPORTED, "dgrad with gemm/blas needs f32 weights");
    }
    return s;
}

static vw_status plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    blas_gemm *g = self;
    vw_status s = supports(self, p, err);
    if (s != VW_OK)
        return s;
    plan_weights *kept = g->host->alloc(g->host->core, sizeof *kept);
    if (!kept)
        return vw_fail(err, VW_E_NOMEM, "no memory for a plan");
    memset(out, 0, sizeof *out);
    keep_weights(kept, out, p);
    out->state = kept;
    for (int i = 0; p->op == VW_GEMM_FORWARD && i < p->n_weights; i++)
        if (!is_direct(&p->weights[i]->stored))
            out->workspace_bytes = (size_t)matrix_k(&p->weights[i]->stored) * BLOCK * sizeof(float);
    return VW_OK;
}

static void plan_free(void *self, vw_gemm_plan *out)
{
    blas_gemm *g = self;
    g->host->free(g->host->core, out->state);
    memset(out, 0, sizeof *out);
}

/* y (+)= x w^T, w [n, k] or, transposed, [k, n]; one row of x is a matrix-vector product. */
static void multiply(const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                     int is_in_out, float *y, int64_t y_stride, int64_t m, int64_t n, int64_t k,
                     float beta)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) {
        for (int64_t i = 0; i < m && beta == 0; i++)
            memset(y + i * y_stride, 0, (size_t)n * sizeof *y);
    } else if (m == 1) {
        cblas_sgemv(CblasRowMajor, is_in_out ? CblasTrans : CblasNoTrans,
                    (int)(is_in_out ? k : n), (int)(is_in_out ? n : k), 1, w, (int)w_stride, x, 1,
                    beta, y, 1);
    } else {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, is_in_out ? CblasNoTrans : CblasTrans, (int)m,
                    (int)n, (int)k, 1, x, (int)x_stride, w, (int)w_stride, beta, y, (int)y_stride);
    }
}

/* A block of outputs that is widened by all threads. */
typedef struct widening {
    vw_gemm_operand w;
    int64_t first, n;
    float *out;
} widening;

static void widen_part(void *arg, int part, int n_parts)
{
    const widening *j = arg;
    for (int64_t i = j->n * part / n_parts; i < j->n * (part + 1) / n_parts; i++)
        vw_gemm_gather_row(&j->w, j->first + i, 1.0f, j->out + i * j->w.source.k);
}

static void run_one(const blas_gemm *g, const vw_gemm_problem *p, const vw_matrix *w, vw_tensor x,
                    vw_tensor y, float *workspace)
{
    float beta = p->epilogue == VW_GEMM_ADD;
    widening j = {.w.source = matrix_source(w, p->op), .out = workspace};
    const vw_gemm_source *s = &j.w.source;
    if (is_direct(w)) {
        multiply(x.data, x.stride[0], w->data, w->row_stride, s->is_in_out, y.data, y.stride[0],
                 x.shape[0], s->n, s->k, beta);
        return;
    }
    for (j.first = 0; j.first < s->n; j.first += BLOCK) {
        j.n = s->n - j.first < BLOCK ? s->n - j.first : BLOCK;
        g->host->parallel_for(g->host->core, g->host->n_threads(g->host->core), widen_part, &j);
        multiply(x.data, x.stride[0], workspace, s->k, 0, (float *)y.data + j.first, y.stride[0],
                 x.shape[0], j.n, s->k, beta);
    }
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const plan_weights *kept = p->state;
    int64_t m;
    (void)stream;
    vw_status s = check_run(p, kept->list, &x, weights, y, &m, err);
    for (int i = 0; s == VW_OK && m > 0 && i < p->problem.n_weights; i++)
        run_one(self, &p->problem, &weights[i]->stored, x, y[i], workspace);
    return s;
}

static vw_status run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err)
{
    group_walk walk;
    (void)stream;
    vw_status s = group_walk_begin(&walk, p, weights, groups, &x, y, err);
    if (s != VW_OK)
        return s;
    while (group_walk_next(&walk)) {
        if (walk.group < 0)
            clear_group_rows(&walk, &p->problem);
        for (int i = 0; walk.group >= 0 && i < p->problem.n_weights; i++)
            run_one(self, &p->problem, &weights[walk.group * p->problem.n_weights + i]->stored,
                    vw_tensor_rows(walk.x, walk.first, walk.m),
                    vw_tensor_rows(walk.y[i], walk.first, walk.m), workspace);
    }
    return VW_OK;
}

/* The distance of rows as a BLAS wants it, also where there is but one. */
static int apart(const vw_tensor *t)
{
    return (int)(t->shape[0] > 1 ? t->stride[0] : t->shape[1]);
}

/* dw (+)= dy^T x over rows [first, first + m). */
static void add_wgrad(const vw_gemm_problem *p, const vw_tensor *dy, const vw_tensor *x,
                      int64_t first, int64_t m, const vw_tensor *dw)
{
    int64_t n = dy->shape[1], k = x->shape[1];
    float beta = p->epilogue == VW_GEMM_ADD;
    for (int64_t i = 0; i < n && m == 0 && beta == 0; i++)
        memset((float *)dw->data + i * dw->stride[0], 0, (size_t)k * sizeof(float));
    if (m > 0 && n > 0 && k > 0)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)k, (int)m, 1,
                    (const float *)dy->data + first * dy->stride[0], apart(dy),
                    (const float *)x->data + first * x->stride[0], apart(x), beta, dw->data,
                    apart(dw));
}

static vw_status run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                           vw_tensor x, vw_tensor dw, void *workspace, vw_error *err)
{
    (void)self, (void)stream, (void)workspace;
    vw_status s = check_wgrad(&p->problem, &dy, &x, &dw, 1, err);
    if (s == VW_OK)
        add_wgrad(&p->problem, &dy, &x, 0, x.shape[0], &dw);
    return s;
}

static vw_status run_grouped_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream,
                                   vw_tensor dy, vw_tensor x, const vw_groups *groups,
                                   const vw_tensor *dw, void *workspace, vw_error *err)
{
    (void)self, (void)stream, (void)workspace;
    vw_status s = check_grouped_wgrad(&p->problem, groups, &dy, &x, dw, err);
    for (int32_t i = 0; s == VW_OK && i < groups->n_groups; i++)
        add_wgrad(&p->problem, &dy, &x, groups->rows[i], groups->rows[i + 1] - groups->rows[i],
                  &dw[i]);
    return s;
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    int64_t n = matrix_n(&w->stored), k = matrix_k(&w->stored);
    vw_gemm_operand o = {.source = matrix_source(&w->stored, VW_GEMM_FORWARD)};
    (void)self, (void)stream;
    if (!is_rows_f32(&y, y.shape[0], k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)k);
    for (int64_t i = 0; i < y.shape[0]; i++) {
        float *out = (float *)y.data + i * y.stride[0];
        if (rows[i] < 0 || rows[i] >= n)
            memset(out, 0, (size_t)k * sizeof *out);
        else
            vw_gemm_gather_row(&o, rows[i], scale, out);
    }
    return VW_OK;
}

static const vw_gemm_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .pack_size = pack_size,
    .plan = plan,
    .plan_free = plan_free,
    .run = run,
    .run_grouped = run_grouped,
    .run_wgrad = run_wgrad,
    .run_grouped_wgrad = run_grouped_wgrad,
    .gather = gather,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_GEMM,
    .ops_major = VW_GEMM_OPS_MAJOR,
    .ops_minor = VW_GEMM_OPS_MINOR,
    .name = "blas",
    .summary = "matrix products by a CBLAS library, such as OpenBLAS or BLIS",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .devices = devices,
    .probe = probe,
    .open = open_blas,
    .close = close_blas,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, blas)
{
    return &description;
}
