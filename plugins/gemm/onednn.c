/* onednn.c - gemm/onednn: Intel's oneDNN as a component.
 *
 * An alternative to swap in, and the rival that gemm/cpu is measured against.  f32 weights run in
 * place, or with `pack = yes` in the layout that the library prefers; other formats are widened to
 * f32 in that layout.  Weights re-quantised to int8 run as u8 x s8 with int8 activations, on CPUs
 * with VNNI alone: without it the library's sums of two products saturate at 16 bits, which only a
 * race for speed can want (`saturating = yes`).
 *
 * The library wants to know M when a primitive is made, so a plan holds a few sizes and a run is
 * padded to the next one.  Threads and what is allocated in a run are the library's own.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/ref/quant.h"
#include "plugins/gemm/checks.h"
#include "plugins/gemm/groups.h"
#include "plugins/gemm/onednn_layout.h"

/* Of the OpenMP runtime, when the library was built with it.  What surrounds a product runs on the
 * library's threads, which still watch for work when it is done: another pool would wait for them. */
extern void omp_set_num_threads(int n) __attribute__((weak));
extern int omp_get_thread_num(void) __attribute__((weak));
extern int omp_get_num_threads(void) __attribute__((weak));
extern void GOMP_parallel(void (*fn)(void *), void *arg, unsigned n, unsigned flags)
    __attribute__((weak));

typedef struct onednn_config {
    int64_t threads;
    int32_t pack, saturating;
} onednn_config;

typedef struct onednn_gemm {
    const vw_host *host;
    onednn_config config;
    int has_s8; /* may products of bytes be used? */
    dnnl_engine_t engine;
} onednn_gemm;

enum { MAX_SIZES = 12, PACKED_F32 = 1, PACKED_S8 = 2 };

/* One weight of a plan: a primitive for each size of M. */
typedef struct product {
    dnnl_memory_desc_t w;
    dnnl_primitive_t primitive[MAX_SIZES];
    dnnl_memory_desc_t x[MAX_SIZES], y[MAX_SIZES];
} product;

typedef struct onednn_plan {
    plan_weights kept;
    int n_sizes;
    int64_t size[MAX_SIZES], n_max, k;
    product product[VW_GEMM_MAX_WEIGHTS];
} onednn_plan;

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    const dnnl_version_t *v = dnnl_version();
    (void)about;
    snprintf(why, why_bytes, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return 50;
}

static vw_status failed(dnnl_status_t s, const char *what, vw_error *err)
{
    return vw_fail(err, s == dnnl_out_of_memory ? VW_E_NOMEM : VW_E_DEVICE,
                   "oneDNN: %s failed with status %d", what, (int)s);
}

static vw_status open_onednn(const vw_host *host, const void *config, void **self, vw_error *err)
{
    vw_cpu_isa isa;
    char why[160];
    if (!vw_cpu_choose(&isa, why, sizeof why))
        return vw_fail(err, VW_E_CONFIG, "%s", why);
    onednn_gemm *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for gemm/onednn");
    *g = (onednn_gemm){host, *(const onednn_config *)config, 0, NULL};
    g->has_s8 = isa == VW_CPU_VNNI || g->config.saturating;
    if (g->has_s8 && isa != VW_CPU_VNNI)
        host->log(host->core, VW_LOG_WARN, "gemm/onednn: products of bytes saturate on this CPU; "
                                           "results with int8 weights are wrong");
    dnnl_status_t s = dnnl_engine_create(&g->engine, dnnl_cpu, 0);
    if (s != dnnl_success) {
        host->free(host->core, g);
        return failed(s, "making an engine", err);
    }
    *self = g;
    return VW_OK;
}

static void close_onednn(void *self)
{
    onednn_gemm *g = self;
    dnnl_engine_destroy(g->engine);
    g->host->free(g->host->core, g);
}

/* ---- primitives ---- */

/* y[m, n] = x[m, k] w[k, n]; w in the layout of *w, or in the preferred one, which is written
 * there, when its format kind is "any". */
static dnnl_status_t make(const onednn_gemm *g, int is_s8, int64_t m, int64_t n, int64_t k,
                          dnnl_memory_desc_t *w, dnnl_memory_desc_t *x, dnnl_memory_desc_t *y,
                          dnnl_primitive_t *out)
{
    dnnl_dims_t x_dims = {m, k}, y_dims = {m, n};
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t desc;
    dnnl_status_t s;
    if ((s = dnnl_memory_desc_init_by_tag(x, 2, x_dims, is_s8 ? dnnl_u8 : dnnl_f32, dnnl_ab)) ||
        (s = dnnl_memory_desc_init_by_tag(y, 2, y_dims, is_s8 ? dnnl_s32 : dnnl_f32, dnnl_ab)) ||
        (s = dnnl_matmul_desc_init(&matmul, x, w, NULL, y)) ||
        (s = dnnl_primitive_desc_create(&desc, &matmul, NULL, g->engine, NULL)))
        return s;
    *w = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    s = out ? dnnl_primitive_create(out, desc) : dnnl_success;
    dnnl_primitive_desc_destroy(desc);
    return s;
}

/* The layout of weights in a pack, which must not depend on M: that for a middling batch. */
static vw_status packed_layout(const onednn_gemm *g, int is_s8, int64_t n, int64_t k,
                               dnnl_memory_desc_t *w, vw_error *err)
{
    dnnl_dims_t dims = {k, n};
    dnnl_memory_desc_t x, y;
    dnnl_status_t s = dnnl_memory_desc_init_by_tag(w, 2, dims, is_s8 ? dnnl_s8 : dnnl_f32,
                                                   dnnl_format_tag_any);
    if (s == dnnl_success)
        s = make(g, is_s8, 128, n, k, w, &x, &y, NULL);
    if (s != dnnl_success)
        return failed(s, "choosing a layout", err);
    if (!onednn_is_plain_blocked(w))
        return vw_fail(err, VW_E_UNSUPPORTED, "oneDNN prefers a layout that cannot be written here");
    return VW_OK;
}

/* ---- weights ---- */

/* 0: in place. */
static uint32_t choose_layout(const onednn_gemm *g, const vw_matrix *w, vw_gemm_format format)
{
    if (format == VW_GEMM_INT8)
        return PACKED_S8;
    return w->dtype == VW_F32 && !g->config.pack && w->scales.rows == 0 ? 0 : PACKED_F32;
}

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    const onednn_gemm *g = self;
    int64_t n = matrix_n(stored), k = matrix_k(stored);
    dnnl_memory_desc_t md;
    vw_status s = check_matrix(stored, err);
    if (s != VW_OK)
        return s;
    if (!is_weight_dtype(stored->dtype) || format == VW_GEMM_INT8_BLOCK32 || n == 0 || k == 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "gemm/onednn runs f32, bf16, f16, e4m3, e5m2 and int8 "
                                              "weights that are not empty, in no groups of 32");
    if (format == VW_GEMM_INT8 && !g->has_s8)
        return vw_fail(err, VW_E_UNSUPPORTED, "oneDNN's products of 8-bit numbers saturate on a CPU "
                                              "without VNNI; saturating = yes runs them "
                                              "nevertheless, for a race");
    uint32_t l = choose_layout(g, stored, format);
    size_t bytes = 0;
    if (l) {
        s = packed_layout(g, l == PACKED_S8, n, k, &md, err);
        if (s != VW_OK)
            return s;
        bytes = (dnnl_memory_desc_get_size(&md) + 63) / 64 * 64;
        if (l == PACKED_S8)
            bytes += (size_t)n * (sizeof(float) + sizeof(int32_t));
    }
    *layout = l;
    *pack_bytes = bytes;
    return VW_OK;
}

/* Scales of an int8 pack, [n]; the sums of codes follow. */
static float *s8_scales(const dnnl_memory_desc_t *md, const void *pack)
{
    size_t codes = (dnnl_memory_desc_get_size(md) + 63) / 64 * 64;
    return (float *)(void *)((char *)(uintptr_t)pack + codes);
}

static void pack_row(const dnnl_memory_desc_t *md, int is_s8, int64_t n, const float *row,
                     int64_t k, int8_t *codes, void *pack)
{
    float *scales = s8_scales(md, pack);
    int32_t sum = 0;
    if (is_s8)
        scales[n] = vw_ref_quantise_int8(row, k, codes);
    for (int64_t j = 0; j < md->padded_dims[0]; j++) {
        int64_t at = onednn_offset(md, j, n);
        if (is_s8) {
            ((int8_t *)pack)[at] = j < k ? codes[j] : 0;
            sum += j < k ? codes[j] : 0;
        } else {
            ((float *)pack)[at] = j < k ? row[j] : 0;
        }
    }
    if (is_s8)
        ((int32_t *)(void *)(scales + md->dims[1]))[n] = sum;
}

static vw_status pack(void *self, const vw_matrix *stored, vw_gemm_format format, int64_t first,
                      int64_t n, void *out, vw_error *err)
{
    onednn_gemm *g = self;
    vw_gemm_source w = matrix_source(stored, VW_GEMM_FORWARD);
    int is_s8 = choose_layout(g, stored, format) == PACKED_S8;
    dnnl_memory_desc_t md;
    vw_status s = packed_layout(g, is_s8, w.n, w.k, &md, err);
    if (s != VW_OK)
        return s;
    float *row = g->host->alloc(g->host->core, (size_t)w.k * (sizeof(float) + 1));
    if (!row)
        return vw_fail(err, VW_E_NOMEM, "no memory to pack weights");
    for (int64_t i = first; i < first + n; i++) {
        vw_ref_weight_row(&w, i, row);
        pack_row(&md, is_s8, i, row, w.k, (int8_t *)(row + w.k), out);
    }
    for (int64_t i = w.n; first + n == w.n && i < md.padded_dims[1]; i++)
        for (int64_t k = 0; k < md.padded_dims[0]; k++)
            memset((char *)out + onednn_offset(&md, k, i) * (is_s8 ? 1 : 4), 0, is_s8 ? 1 : 4);
    g->host->free(g->host->core, row);
    return VW_OK;
}

/* ---- plans ---- */

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    vw_status s = check_problem(p, err);
    if (s == VW_OK)
        s = check_no_rounding(p, err);
    if (s != VW_OK)
        return s;
    if (p->op != VW_GEMM_FORWARD || p->epilogue > VW_GEMM_ADD || p->is_batch_invariant)
        return vw_fail(err, VW_E_UNSUPPORTED, "gemm/onednn multiplies forward, stores or adds, and "
                                              "does not promise how it sums");
    for (int i = 0; i < p->n_weights; i++) {
        size_t bytes;
        uint32_t layout;
        s = pack_size(self, &p->weights[i]->stored, p->weights[i]->format, &bytes, &layout, err);
        if (s == VW_OK && layout != p->weights[i]->layout)
            s = vw_fail(err, VW_E_INVALID, "weight %d is in layout %u; this plan needs layout %u", i,
                        (unsigned)p->weights[i]->layout, (unsigned)layout);
        if (s != VW_OK)
            return s;
    }
    return VW_OK;
}

static void plan_free(void *self, vw_gemm_plan *out)
{
    onednn_gemm *g = self;
    onednn_plan *plan = out->state;
    for (int i = 0; plan && i < VW_GEMM_MAX_WEIGHTS; i++)
        for (int j = 0; j < MAX_SIZES; j++)
            if (plan->product[i].primitive[j])
                dnnl_primitive_destroy(plan->product[i].primitive[j]);
    g->host->free(g->host->core, plan);
    memset(out, 0, sizeof *out);
}

/* One weight in all sizes of M. */
static vw_status plan_product(const onednn_gemm *g, onednn_plan *plan, int i, vw_error *err)
{
    const vw_gemm_weight *w = plan->kept.list[i];
    product *to = &plan->product[i];
    int64_t n = matrix_n(&w->stored), k = plan->k, stride = w->stored.row_stride;
    dnnl_dims_t dims = {k, n}, out_in = {1, stride}, in_out = {stride, 1};
    vw_status s = VW_OK;
    if (w->layout)
        s = packed_layout(g, w->layout == PACKED_S8, n, k, &to->w, err);
    else if (dnnl_memory_desc_init_by_strides(&to->w, 2, dims, dnnl_f32,
                                              w->stored.layout == VW_OUT_IN ? out_in : in_out))
        s = vw_fail(err, VW_E_UNSUPPORTED, "oneDNN does not take rows %lld apart", (long long)stride);
    for (int j = 0; s == VW_OK && j < plan->n_sizes; j++) {
        dnnl_status_t made = make(g, w->layout == PACKED_S8, plan->size[j], n, k, &to->w, &to->x[j],
                                  &to->y[j], &to->primitive[j]);
        if (made != dnnl_success)
            s = failed(made, "making a product", err);
    }
    plan->n_max = n > plan->n_max ? n : plan->n_max;
    return s;
}

static vw_status plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    onednn_gemm *g = self;
    vw_status s = supports(self, p, err);
    if (s != VW_OK)
        return s;
    onednn_plan *plan = g->host->alloc(g->host->core, sizeof *plan);
    if (!plan)
        return vw_fail(err, VW_E_NOMEM, "no memory for a plan");
    memset(plan, 0, sizeof *plan);
    memset(out, 0, sizeof *out);
    keep_weights(&plan->kept, out, p);
    out->state = plan;
    plan->k = matrix_k(&p->weights[0]->stored);
    for (int64_t m = 1; plan->n_sizes < MAX_SIZES - 1 && m < p->max_m; m *= 4)
        plan->size[plan->n_sizes++] = m;
    plan->size[plan->n_sizes++] = p->max_m > 0 ? p->max_m : 1;
    for (int i = 0; i < p->n_weights && s == VW_OK; i++)
        s = plan_product(g, plan, i, err);
    /* padded rows of x, sums, codes and scales of x */
    size_t rows = (size_t)plan->size[plan->n_sizes - 1];
    out->workspace_bytes = rows * (size_t)plan->k * 5 + rows * (size_t)plan->n_max * 4 +
                           rows * sizeof(float) + 1024;
    if (s != VW_OK)
        plan_free(self, out);
    return s;
}

/* ---- running ---- */

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
    j->w_scales = j->is_s8 ? s8_scales(&j->plan->product[i].w, w->pack) : NULL;
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
        return failed(s, "a product", err);
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

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const onednn_plan *plan = p->state;
    int64_t m;
    (void)stream;
    vw_status s = check_run(p, plan->kept.list, &x, weights, y, &m, err);
    return s != VW_OK || m == 0 ? s : run_rows(self, p, x, weights, y, 0, workspace, err);
}

static vw_status run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
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

static void read_row(const dnnl_memory_desc_t *md, int is_s8, const void *pack, int64_t n, int64_t k,
                     float *out)
{
    for (int64_t j = 0; j < k; j++) {
        int64_t at = onednn_offset(md, j, n);
        out[j] = is_s8 ? ((const int8_t *)pack)[at] * s8_scales(md, pack)[n]
                       : ((const float *)pack)[at];
    }
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    vw_gemm_source source = matrix_source(&w->stored, VW_GEMM_FORWARD);
    dnnl_memory_desc_t md;
    (void)stream;
    if (!is_rows_f32(&y, y.shape[0], source.k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)source.k);
    if (w->pack) {
        vw_status s = packed_layout(self, w->layout == PACKED_S8, source.n, source.k, &md, err);
        if (s != VW_OK)
            return s;
    }
    for (int64_t i = 0; i < y.shape[0]; i++) {
        float *out = (float *)y.data + i * y.stride[0];
        memset(out, 0, (size_t)source.k * sizeof *out);
        if (rows[i] < 0 || rows[i] >= source.n)
            continue;
        if (w->pack)
            read_row(&md, w->layout == PACKED_S8, w->pack, rows[i], source.k, out);
        else
            vw_ref_weight_row(&source, rows[i], out);
        for (int64_t k = 0; k < source.k; k++)
            out[k] *= scale;
    }
    return VW_OK;
}

static const vw_gemm_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .pack_size = pack_size,
    .pack = pack,
    .plan = plan,
    .plan_free = plan_free,
    .run = run,
    .run_grouped = run_grouped,
    .gather = gather,
};

static const vw_option options[] = {
    {.key = "threads", .type = VW_OPTION_INT, .def = "0", .min = 0, .max = 4096,
     .offset = offsetof(onednn_config, threads), .flags = VW_OPTION_RANGE,
     .help = "threads that the library may use; 0: as many as the pool has"},
    {.key = "pack", .type = VW_OPTION_BOOL, .def = "no", .offset = offsetof(onednn_config, pack),
     .help = "copy f32 weights into the layout that the library prefers"},
    {.key = "saturating", .type = VW_OPTION_BOOL, .def = "no",
     .offset = offsetof(onednn_config, saturating),
     .help = "run weights re-quantised to int8 on CPUs without VNNI too, where the library's sums of "
             "two products saturate at 16 bits: wrong results, for a race alone"},
    VW_OPTION_END,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_GEMM,
    .ops_major = VW_GEMM_OPS_MAJOR,
    .ops_minor = VW_GEMM_OPS_MINOR,
    .name = "onednn",
    .summary = "matrix products by oneDNN",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .devices = devices,
    .config_size = sizeof(onednn_config),
    .options = options,
    .probe = probe,
    .open = open_onednn,
    .close = close_onednn,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, onednn)
{
    return &description;
}
