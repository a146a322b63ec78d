/* onednn_run.c - products by oneDNN: rows of x without gaps, as floats or codes, into the primitive of
 * the next size, and its sums into y.
 */
#include "plugins/gemm/onednn.h"

#include "plugins/gemm/groups.h"

/* Of the OpenMP runtime, when the library was built with it.  What surrounds a product runs on the
 * library's threads, which still watch for work when it is done: another pool would wait for them. */
extern void omp_set_num_threads(int n) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));
extern void GOMP_parallel(void (*fn)(void *), void *arg, unsigned n, unsigned flags)
    __attribute__((weak));

typedef struct run_job {
    const onednn_gemm *g;
    const onednn_plan *plan;
    int size; /* index */
    vw_tensor x;
    float *rows, *sums, *scales; /* [size][K], [size][n], [size] */
    uint8_t *codes;              /* [size][K] */
    int is_s8, is_add;           /* of the weight whose turn it is, as the rest */
    const float *w_scales;       /* int8: [N]; then sums of codes, int32 [N] */
    vw_tensor y;
} run_job;

static void lay_out(run_job *j, void *workspace)
{
    size_t rows = (size_t)j->plan->size[j->size], k = (size_t)j->plan->k;
    j->rows = workspace;
    j->sums = j->rows + rows * k;
    j->scales = j->sums + rows * (size_t)j->plan->n_max;
    j->codes = (uint8_t *)(j->scales + rows);
}

/* vw_ref_quantise_int8 with codes offset by 128, in loops that a compiler makes vectors of: the
 * library must not be slow for what is not its own. */
static float quantise_row(const float *x, size_t k, uint8_t *codes)
{
    const float round = 0x1.8p23f; /* added, the unit is the last bit: to nearest even */
    uint32_t most = 0;
    for (size_t i = 0; i < k; i++) {
        uint32_t bits = vw_f32_bits(x[i]) & 0x7FFFFFFF;
        most = bits > most ? bits : most;
    }
    float amax = vw_bits_f32(most), ratio = 127.0f / amax;
    if (!isfinite(amax) || !(ratio <= 0x1p127f)) {
        memset(codes, 128, k);
        return isfinite(amax) ? 0.0f : vw_bits_f32(0x7FC00000);
    }
    for (size_t i = 0; i < k; i++)
        codes[i] = (uint8_t)(vw_f32_bits(x[i] * ratio + round) + 128);
    return amax / 127.0f;
}

/* A part of the rows of x without gaps, zeros below; or their codes, offset by 128. */
static void gather_part(void *arg, int part, int n_parts)
{
    run_job *j = arg;
    int64_t k = j->plan->k, size = j->plan->size[j->size], m = j->x.shape[0];
    for (int64_t i = size * part / n_parts; i < size * (part + 1) / n_parts; i++) {
        const float *from = (const float *)j->x.data + i * j->x.stride[0];
        uint8_t *codes = j->codes + i * k;
        if (i >= m)
            memset(j->is_s8 ? (void *)codes : (void *)(j->rows + i * k), 0,
                   (size_t)k * (j->is_s8 ? 1 : sizeof(float)));
        else if (j->is_s8)
            j->scales[i] = quantise_row(from, (size_t)k, codes);
        else
            memcpy(j->rows + i * k, from, (size_t)k * sizeof(float));
    }
}

static dnnl_status_t execute(const run_job *j, int i, const void *x, const void *w, void *y)
{
    const product *p = &j->plan->product[i];
    dnnl_memory_t mx = NULL, mw = NULL, my = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t s;
    if (!(s = dnnl_memory_create(&mx, &p->x[j->size], j->g->engine, (void *)(uintptr_t)x)) &&
        !(s = dnnl_memory_create(&mw, &p->w, j->g->engine, (void *)(uintptr_t)w)) &&
        !(s = dnnl_memory_create(&my, &p->y[j->size], j->g->engine, y)) &&
        !(s = dnnl_stream_create(&stream, j->g->engine, dnnl_stream_default_flags))) {
        const dnnl_exec_arg_t args[] = {
            {DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, mw}, {DNNL_ARG_DST, my}};
        s = dnnl_primitive_execute(p->primitive[j->size], stream, 3, args);
        if (s == dnnl_success)
            s = dnnl_stream_wait(stream);
    }
    dnnl_stream_destroy(stream);
    dnnl_memory_destroy(my);
    dnnl_memory_destroy(mw);
    dnnl_memory_destroy(mx);
    return s;
}

/* int32 sums of codes as values, where they lie. */
static void scale_sums(float *restrict sums, const int32_t *restrict codes,
                       const float *restrict scales, float x_scale, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        sums[c] = (float)((int32_t)vw_f32_bits(sums[c]) - 128 * codes[c]) * scales[c] * x_scale;
}

/* A part of the rows, from sums to the result. */
static void finish_part(void *arg, int part, int n_parts)
{
    const run_job *j = arg;
    int64_t n = j->y.shape[1], m = j->x.shape[0];
    for (int64_t r = m * part / n_parts; r < m * (part + 1) / n_parts; r++) {
        float *out = (float *)j->y.data + r * j->y.stride[0], *sums = j->sums + r * n;
        if (j->is_s8)
            scale_sums(sums, (const int32_t *)(const void *)(j->w_scales + n), j->w_scales,
                       j->scales[r], n);
        for (int64_t c = 0; c < n; c++)
            out[c] = j->is_add ? out[c] + sums[c] : sums[c];
    }
}

typedef struct row_loop {
    vw_part_fn fn;
    run_job *job;
} row_loop;

static void loop_part(void *arg)
{
    row_loop *l = arg;
    l->fn(l->job, omp_get_thread_num(), omp_get_num_threads());
}

/* Few rows are not worth waking threads for. */
static void for_rows(run_job *j, vw_part_fn fn)
{
    row_loop l = {fn, j};
    int n = j->g->host->n_threads(j->g->host->core);
    if (j->x.shape[0] < 8 || n == 1 || !GOMP_parallel || !omp_get_thread_num || !omp_get_num_threads)
        fn(j, 0, 1);
    else
        GOMP_parallel(loop_part, &l, (unsigned)n, 0);
}

/* Weight i; the library writes straight to y where y has the plan's shape. */
static vw_status run_one(run_job *j, int i, const vw_gemm_weight *w, vw_tensor y, vw_error *err)
{
    int is_whole = j->x.shape[0] == j->plan->size[j->size];
    j->is_s8 = w->layout == PACKED_S8;
    j->w_scales = j->is_s8 ? onednn_s8_scales(&j->plan->product[i].w, w->pack) : NULL;
    j->y = y;
    int is_tight_x = is_whole && (j->x.stride[0] == j->plan->k || j->x.shape[0] == 1);
    int is_tight_y = is_whole && !j->is_s8 && !j->is_add &&
                     (y.stride[0] == y.shape[1] || y.shape[0] == 1);
    if (j->is_s8 || !is_tight_x)
        for_rows(j, gather_part);
    const void *x = j->is_s8 ? (const void *)j->codes : is_tight_x ? j->x.data : j->rows;
    dnnl_status_t s = execute(j, i, x, w->pack ? w->pack : w->stored.data,
                              is_tight_y ? y.data : j->sums);
    if (s != dnnl_success)
        return onednn_failed(s, "a product", err);
    if (!is_tight_y)
        for_rows(j, finish_part);
    return VW_OK;
}

static vw_status run_rows(const onednn_gemm *g, const vw_gemm_plan *p, vw_tensor x,
                          const vw_gemm_weight *const *weights, const vw_tensor *y, int64_t first,
                          void *workspace, vw_error *err)
{
    run_job j = {.g = g, .plan = p->state, .x = x,
                 .is_add = p->problem.epilogue == VW_GEMM_ADD};
    vw_status s = VW_OK;
    if (omp_set_num_threads)
        omp_set_num_threads(g->host->n_threads(g->host->core));
    while (j.plan->size[j.size] < x.shape[0])
        j.size++;
    lay_out(&j, workspace);
    for (int i = 0; s == VW_OK && i < p->problem.n_weights; i++)
        s = run_one(&j, i, weights[i], vw_tensor_rows(y[i], first, x.shape[0]), err);
    return s;
}

vw_status onednn_run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const onednn_plan *plan = p->state;
    int64_t m;
    (void)stream;
    vw_status s = check_run(p, plan->kept.list, &x, weights, y, &m, err);
    return s != VW_OK || m == 0 ? s : run_rows(self, p, x, weights, y, 0, workspace, err);
}

vw_status onednn_run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err)
{
    group_walk walk;
    (void)stream;
    vw_status s = group_walk_begin(&walk, p, weights, groups, &x, y, err);
    while (s == VW_OK && group_walk_next(&walk)) {
        if (walk.group >= 0)
            s = run_rows(self, p, vw_tensor_rows(walk.x, walk.first, walk.m),
                         weights + walk.group * p->problem.n_weights, walk.y, walk.first, workspace,
                         err);
        else
            clear_group_rows(&walk, &p->problem);
    }
    return s;
}
