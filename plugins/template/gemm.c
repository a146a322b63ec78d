/* @NAME@.c - gemm/@NAME@: products of activations with stored weights, the naive way.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/gemm.h.  A
 * plugin links nothing of the library: all that it needs comes through the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai run --set gemm.plugin=@NAME@ -p "ROMEO:"
 *     VW_PLUGIN_PATH=. vishwamai bench gemm/@NAME@
 */
#include <vishwamai/gemm.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [gemm.@NAME@] ------------------------------------------------------------------ */

typedef struct config {
    int64_t example;
} config;

static const vw_option options[] = {
    {"example", VW_OPTION_INT, "3", 0, 10, NULL, offsetof(config, example), VW_OPTION_RANGE,
     "a number that does nothing"},
    VW_OPTION_END,
};

/* ---- an instance ----------------------------------------------------------------------------- */

typedef struct state {
    const vw_host *host;
    const config *config;
} state;

/* Can it be used here?  A score, or 0 with the reason. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "a template");
    return 1;
}

static vw_status open_instance(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    state *s = host->alloc(host->core, sizeof *s);

    if (!s)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    s->host = host;
    s->config = config_;
    *self = s;
    return VW_OK;
}

static void close_instance(void *self)
{
    state *s = self;

    s->host->free(s->host->core, s);
}

/* ---- what it can do -------------------------------------------------------------------------- */

/* Weights [N, K] of any plain dtype whose elements have a value of their own, f32 in and out.  The
 * core composes epilogues from VW_GEMM_STORE where a gemm has no better way. */
static vw_status check_weight(const vw_matrix *w, vw_gemm_format format, vw_error *err)
{
    if (format != VW_GEMM_STORED)
        return vw_fail(err, VW_E_UNSUPPORTED, "re-quantised weights");
    if (w->layout != VW_OUT_IN || w->scales.rows > 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "weights with scales, or stored [in, out]");
    if (w->dtype != VW_F32 && w->dtype != VW_BF16 && w->dtype != VW_F16)
        return vw_fail(err, VW_E_UNSUPPORTED, "weights in %s", vw_dtype_name(w->dtype));
    return VW_OK;
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    vw_status status = VW_OK;

    if (p->op != VW_GEMM_FORWARD || p->epilogue != VW_GEMM_STORE)
        return vw_fail(err, VW_E_UNSUPPORTED, "only plain forward products");
    if (p->x_dtype != VW_F32 || p->y_dtype != VW_F32)
        return vw_fail(err, VW_E_UNSUPPORTED, "only f32 activations");
    for (int32_t i = 0; status == VW_OK && i < p->n_weights; i++)
        status = check_weight(&p->weights[i]->stored, p->weights[i]->format, err);
    return status;
}

/* The stored bytes are run in place: no pack. */
static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    vw_status status = check_weight(stored, format, err);

    if (status == VW_OK) {
        *pack_bytes = 0;
        *layout = 0;
    }
    return status;
}

/* Each thread expands one row of a weight at a time, K floats. */
static vw_status plan(void *self, const vw_gemm_problem *problem, vw_gemm_plan *out, vw_error *err)
{
    const state *s = self;
    vw_status status = supports(self, problem, err);

    if (status != VW_OK)
        return status;
    memset(out, 0, sizeof *out);
    out->problem = *problem;
    out->workspace_bytes = (size_t)s->host->n_threads(s->host->core) *
                           (size_t)problem->weights[0]->stored.cols * sizeof(float);
    return VW_OK;
}

/* ---- the product ----------------------------------------------------------------------------- */

static void expand_row(const vw_matrix *w, int64_t n, float *row)
{
    for (int64_t k = 0; k < w->cols; k++)
        row[k] = (float)vw_dtype_get(w->dtype, w->data, (size_t)(n * w->row_stride + k));
}

static float dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;

    for (int64_t k = 0; k < n; k++)
        sum += a[k] * b[k];
    return sum;
}

typedef struct job {
    const vw_matrix *w;
    vw_tensor x, y;
    float *rows; /* K floats for each part */
} job;

/* Outputs n = part, part + n_parts ... of Y[M,N] = X[M,K] W[N,K]^T. */
static void run_part(void *arg, int part, int n_parts)
{
    const job *j = arg;
    float *row = j->rows + (size_t)part * (size_t)j->w->cols;

    for (int64_t n = part; n < j->w->rows; n += n_parts) {
        expand_row(j->w, n, row);
        for (int64_t m = 0; m < j->x.shape[0]; m++) {
            const float *x = (const float *)j->x.data + m * j->x.stride[0];
            float *y = (float *)j->y.data + m * j->y.stride[0];
            y[n] = dot(x, row, j->w->cols);
        }
    }
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const state *s = self;

    if (x.shape[0] > p->problem.max_m)
        return vw_fail(err, VW_E_INVALID, "%lld rows, and the plan is for at most %lld",
                       (long long)x.shape[0], (long long)p->problem.max_m);
    for (int32_t i = 0; i < p->problem.n_weights; i++)
        if (x.shape[1] != weights[i]->stored.cols || y[i].shape[1] != weights[i]->stored.rows ||
            y[i].shape[0] != x.shape[0])
            return vw_fail(err, VW_E_INVALID, "x, y and weight %d do not fit each other", (int)i);
    for (int32_t i = 0; i < p->problem.n_weights; i++) {
        job j = {&weights[i]->stored, x, y[i], workspace};
        s->host->parallel_for(s->host->core, s->host->n_threads(s->host->core), run_part, &j);
    }
    return VW_OK;
}

/* The embedding: y[i] = scale * row rows[i]. */
static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *weight,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    const vw_matrix *w = &weight->stored;

    for (int64_t i = 0; i < y.shape[0]; i++) {
        float *out = (float *)y.data + i * y.stride[0];
        memset(out, 0, (size_t)w->cols * sizeof *out);
        if (rows[i] < 0 || rows[i] >= w->rows)
            continue;
        expand_row(w, rows[i], out);
        for (int64_t k = 0; k < w->cols; k++)
            out[k] *= scale;
    }
    return VW_OK;
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_gemm_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .pack_size = pack_size,
    .plan = plan,
    .run = run,
    .gather = gather,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_GEMM,
    .ops_major = VW_GEMM_OPS_MAJOR,
    .ops_minor = VW_GEMM_OPS_MINOR,
    .name = "@NAME@",
    .summary = "one line about @NAME@",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "your name",
    .url = "https://example.org/@NAME@",
    .rank = VW_RANK_NEVER, /* only by name; VW_RANK_NORMAL when `auto` may choose it */
    .devices = devices,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_instance,
    .close = close_instance,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, @NAME@)
{
    return &description;
}
