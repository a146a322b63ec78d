/* ref.c - gemm/ref: the specification as a component.
 *
 * Every format in place, sums in double, one rounding: what other gemms are measured against, and
 * what a model is checked with when a number looks wrong.  Re-quantised formats are quantised anew
 * from the stored rows on every use, since a pack would only be an optimisation.
 */
#include "kernels/ref/quant.h"
#include "plugins/gemm/checks.h"
#include "plugins/gemm/groups.h"

typedef struct ref_gemm {
    const vw_host *host;
} ref_gemm;

/* One call of run or run_grouped, as the threads see it. */
typedef struct ref_job {
    const vw_gemm_problem *problem;
    const vw_gemm_weight *const *weights;
    vw_tensor x, y[VW_GEMM_MAX_WEIGHTS];
    int64_t m;
    float *workspace; /* for each part: three rows of K */
    int64_t k;
} ref_job;

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "plain C, sums in double");
    return 1;
}

static vw_status open_ref(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config;
    ref_gemm *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for gemm/ref");
    g->host = host;
    *self = g;
    return VW_OK;
}

static void close_ref(void *self)
{
    ref_gemm *g = self;
    g->host->free(g->host->core, g);
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    (void)self;
    vw_status s = check_problem(p, err);
    if (s == VW_OK)
        s = check_rounding(p, err);
    for (int i = 0; s == VW_OK && p->op != VW_GEMM_WGRAD && i < p->n_weights; i++) {
        vw_dtype t = p->weights[i]->stored.dtype;
        if (!is_weight_dtype(t) && t != VW_BLOCK && t != VW_F64 && t != VW_I4 && t != VW_E2M1)
            return vw_fail(err, VW_E_UNSUPPORTED, "weights in %s", vw_dtype_name(t));
        if (t == VW_BLOCK && (p->op != VW_GEMM_FORWARD ||
                              p->weights[i]->stored.layout != VW_OUT_IN ||
                              p->weights[i]->stored.format->elements > 256))
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "a block format must be stored [out, in] and used forward");
    }
    return s;
}

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    (void)self, (void)format;
    vw_status s = check_matrix(stored, err);
    if (s == VW_OK) {
        *pack_bytes = 0;
        *layout = 0;
    }
    return s;
}

/* Output n of a weight as it is computed with: stored values, or the re-quantised ones. */
static void weight_row(const vw_gemm_weight *w, vw_gemm_op op, int64_t n, float *row)
{
    vw_gemm_source source = matrix_source(&w->stored, op);
    vw_ref_weight_row(&source, n, row);
    int64_t group = w->format == VW_GEMM_INT8 ? source.k : 32;
    for (int64_t k = 0; w->format != VW_GEMM_STORED && k < source.k; k += group) {
        int64_t len = source.k - k < group ? source.k - k : group;
        vw_ref_round_int8(row + k, len);
    }
}

enum { GROUP = 128 }; /* values along the sum, and outputs of a weight, of one scale of e4m3 */

static int64_t group_len(int64_t n, int64_t first)
{
    return n - first < GROUP ? n - first : GROUP;
}

/* n values that follow each other in a sum, as the problem rounds them; e4m3 with the scale that
 * fits each group of them, or with those given. */
static void round_values(vw_gemm_rounding rounding, float *x, int64_t n, const float *scales)
{
    for (int64_t i = 0; rounding == VW_GEMM_ROUND_BF16 && i < n; i++)
        x[i] = vw_bf16_to_f32(vw_f32_to_bf16(x[i]));
    for (int64_t i = 0; rounding == VW_GEMM_ROUND_F16 && i < n; i++)
        x[i] = vw_f16_to_f32(vw_f32_to_f16(x[i]));
    for (int64_t i = 0; rounding == VW_GEMM_ROUND_E4M3 && i < n; i += GROUP) {
        int64_t len = group_len(n, i);
        vw_ref_round_e4m3(x + i, len,
                          scales ? scales[i / GROUP] : vw_ref_e4m3_scale(vw_ref_amax(x + i, len)));
    }
}

/* The scales of a weight's blocks of outputs [n, n + 128). */
static void block_scales(const vw_gemm_weight *w, vw_gemm_op op, int64_t n, float *row,
                         float *scales)
{
    vw_gemm_source source = matrix_source(&w->stored, op);
    for (int64_t k = 0; k < source.k; k += GROUP)
        scales[k / GROUP] = 0;
    for (int64_t i = n; i < n + group_len(source.n, n); i++) {
        weight_row(w, op, i, row);
        for (int64_t k = 0; k < source.k; k += GROUP)
            scales[k / GROUP] =
                fmaxf(scales[k / GROUP], vw_ref_amax(row + k, group_len(source.k, k)));
    }
    for (int64_t k = 0; k < source.k; k += GROUP)
        scales[k / GROUP] = vw_ref_e4m3_scale(scales[k / GROUP]);
}

static float finish(const vw_gemm_problem *p, double sum, double up, float old)
{
    vw_gemm_act act = (vw_gemm_act)p->activation;
    switch (p->epilogue) {
    case VW_GEMM_ADD: return (float)(old + sum);
    case VW_GEMM_ACTIVATE: return (float)vw_ref_act(act, sum);
    case VW_GEMM_GATED: return (float)(vw_ref_act(act, sum) * up);
    case VW_GEMM_SOFTCAP: return (float)(p->cap * tanh(sum / p->cap));
    default: return (float)sum;
    }
}

/* Outputs part, part + n_parts ... of result r: one weight row at a time, all rows of X. */
static void run_result(const ref_job *job, int r, int part, int n_parts)
{
    const vw_gemm_problem *p = job->problem;
    int is_gated = p->epilogue == VW_GEMM_GATED;
    float *row = job->workspace + (size_t)part * 3 * (size_t)job->k, *up = row + job->k;
    float *scales = up + job->k;
    int is_rounded = p->rounding != VW_GEMM_ROUND_NONE; /* and then not gated: `up` is free */
    int64_t scaled = -1;                                /* outputs that `scales` are of */
    const vw_tensor *y = &job->y[r];
    for (int64_t n = part; n < y->shape[1]; n += n_parts) {
        if (p->rounding == VW_GEMM_ROUND_E4M3 && n / GROUP != scaled) {
            scaled = n / GROUP;
            block_scales(job->weights[r], p->op, scaled * GROUP, row, scales);
        }
        weight_row(job->weights[r], p->op, n, row);
        if (is_gated)
            weight_row(job->weights[1], p->op, n, up);
        round_values(p->rounding, row, job->k, scales);
        for (int64_t m = 0; m < job->m; m++) {
            const float *x = (const float *)job->x.data + m * job->x.stride[0];
            float *out = (float *)y->data + m * y->stride[0] + n;
            if (is_rounded) {
                memcpy(up, x, (size_t)job->k * sizeof *up);
                round_values(p->rounding, up, job->k, NULL);
            }
            double sum = vw_ref_dot(is_rounded ? up : x, row, job->k);
            *out = finish(p, sum, is_gated ? vw_ref_dot(x, up, job->k) : 0, *out);
        }
    }
}

static void run_part(void *arg, int part, int n_parts)
{
    const ref_job *job = arg;
    for (int r = 0; r < n_results(job->problem); r++)
        run_result(job, r, part, n_parts);
}

static vw_status plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    ref_gemm *g = self;
    vw_status s = supports(self, p, err);
    if (s != VW_OK)
        return s;
    plan_weights *kept = g->host->alloc(g->host->core, sizeof *kept);
    if (!kept)
        return vw_fail(err, VW_E_NOMEM, "no memory for a plan");
    memset(out, 0, sizeof *out);
    keep_weights(kept, out, p);
    out->state = kept;
    int64_t rows = 2 * p->max_m;
    if (p->op != VW_GEMM_WGRAD)
        rows = 3 * matrix_source(&kept->copy[0].stored, p->op).k;
    out->workspace_bytes = (size_t)g->host->n_threads(g->host->core) * (size_t)rows * sizeof(float);
    return VW_OK;
}

static void plan_free(void *self, vw_gemm_plan *out)
{
    ref_gemm *g = self;
    g->host->free(g->host->core, out->state);
    memset(out, 0, sizeof *out);
}

static void compute(const ref_gemm *g, ref_job *job)
{
    vw_gemm_source w = matrix_source(&job->weights[0]->stored, job->problem->op);
    job->k = w.k;
    if (job->m > 0)
        g->host->parallel_for(g->host->core, g->host->n_threads(g->host->core), run_part, job);
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const plan_weights *kept = p->state;
    ref_job job = {.problem = &p->problem, .weights = weights, .x = x, .workspace = workspace};
    (void)stream;
    vw_status s = check_run(p, kept->list, &x, weights, y, &job.m, err);
    if (s != VW_OK)
        return s;
    for (int i = 0; i < n_results(&p->problem); i++)
        job.y[i] = y[i];
    compute(self, &job);
    return VW_OK;
}

/* Group g's rows of x and y into the job. */
static void slice(ref_job *job, const vw_tensor *x, const vw_tensor *y, int64_t first, int64_t m)
{
    job->m = m;
    job->x = vw_tensor_rows(*x, first, m);
    for (int i = 0; i < n_results(job->problem); i++)
        job->y[i] = vw_tensor_rows(y[i], first, m);
}

static vw_status run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err)
{
    ref_job job = {.problem = &p->problem, .workspace = workspace};
    (void)stream;
    group_walk walk;
    vw_status s = group_walk_begin(&walk, p, weights, groups, &x, y, err);
    if (s != VW_OK)
        return s;
    while (group_walk_next(&walk)) {
        slice(&job, &walk.x, walk.y, walk.first, walk.m);
        job.weights = weights + (walk.group < 0 ? 0 : walk.group) * p->problem.n_weights;
        if (walk.group < 0)
            clear_group_rows(&walk, &p->problem);
        else
            compute(self, &job);
    }
    return VW_OK;
}

/* One weight gradient over rows [first, first + m), every n_parts-th of its own rows. */
typedef struct wgrad_job {
    vw_tensor dy, x, dw;
    int64_t first, m;
    const vw_gemm_problem *p;
    float *workspace;
} wgrad_job;

/* Column j of the job's rows, rounded along them. */
static void column(const wgrad_job *job, const vw_tensor *t, int64_t j, float *out)
{
    const float *from = (const float *)t->data + job->first * t->stride[0] + j;
    for (int64_t r = 0; r < job->m; r++)
        out[r] = from[r * t->stride[0]];
    round_values(job->p->rounding, out, job->m, NULL);
}

static void wgrad_part(void *arg, int part, int n_parts)
{
    const wgrad_job *job = arg;
    float *dy = job->workspace + part * 2 * job->p->max_m, *x = dy + job->p->max_m;
    for (int64_t i = part; i < job->dw.shape[0]; i += n_parts) {
        column(job, &job->dy, i, dy);
        for (int64_t j = 0; j < job->dw.shape[1]; j++) {
            float *out = (float *)job->dw.data + i * job->dw.stride[0] + j;
            column(job, &job->x, j, x);
            *out = finish(job->p, vw_ref_dot(dy, x, job->m), 0, *out);
        }
    }
}

static vw_status run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                           vw_tensor x, vw_tensor dw, void *workspace, vw_error *err)
{
    const ref_gemm *g = self;
    wgrad_job job = {dy, x, dw, 0, x.shape[0], &p->problem, workspace};
    (void)stream;
    vw_status s = check_wgrad(&p->problem, &dy, &x, &dw, 1, err);
    if (s == VW_OK)
        g->host->parallel_for(g->host->core, g->host->n_threads(g->host->core), wgrad_part, &job);
    return s;
}

static vw_status run_grouped_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream,
                                   vw_tensor dy, vw_tensor x, const vw_groups *groups,
                                   const vw_tensor *dw, void *workspace, vw_error *err)
{
    const ref_gemm *g = self;
    (void)stream;
    vw_status s = check_grouped_wgrad(&p->problem, groups, &dy, &x, dw, err);
    for (int32_t i = 0; s == VW_OK && i < groups->n_groups; i++) {
        wgrad_job job = {
            dy,          x,        dw[i], groups->rows[i], groups->rows[i + 1] - groups->rows[i],
            &p->problem, workspace};
        g->host->parallel_for(g->host->core, g->host->n_threads(g->host->core), wgrad_part, &job);
    }
    return s;
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    int64_t n = matrix_n(&w->stored), k = matrix_k(&w->stored);
    (void)self, (void)stream;
    if (!is_rows_f32(&y, y.shape[0], k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)k);
    for (int64_t i = 0; i < y.shape[0]; i++) {
        float *out = (float *)y.data + i * y.stride[0];
        memset(out, 0, (size_t)k * sizeof *out);
        if (rows[i] < 0 || rows[i] >= n)
            continue;
        weight_row(w, VW_GEMM_FORWARD, rows[i], out);
        for (int64_t j = 0; j < k; j++)
            out[j] *= scale;
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
    .name = "ref",
    .summary = "matrix products in plain C with sums in double: the specification",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NEVER,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .probe = probe,
    .open = open_ref,
    .close = close_ref,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, ref)
{
    return &description;
}
