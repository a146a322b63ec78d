/* cpu.c - gemm/cpu: matrix products with the vector units of this machine.
 *
 * Stored weights run in place by default: a start is then immediate and nothing is kept twice.
 * Weights that the user has re-quantised to int8 are packed, and `pack = yes` packs the others,
 * which is a little faster for small batches.  Activations are f32 unless `activations = int8` or
 * `int7` says that products with int8 weights may quantise each row to 8 or 7 bits, and products with
 * blocks of few bits, then packed too, each 32 values of a row.
 *
 * Bits: results do not depend on the number of threads.  Packed weights sum in the same order for
 * any number of rows; weights in place do so only for a batch-invariant plan, which gives up the
 * row path of small batches.  Quantised activations give the same bits on every instruction set.
 */
#include "plugins/gemm/cpu.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm-blocks.h"

enum { F32_ACTIVATIONS, INT8_ACTIVATIONS, INT7_ACTIVATIONS };

static const char *const activations[] = {"f32", "int8", "int7", NULL};

/* The number of a pack layout, as a file would hold it: the version above the kernels' word. */
enum { LAYOUT_VERSION = 1 << 8 };

enum { WORTH_SPREADING = 1 << 15 }; /* values of gathered rows */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    vw_cpu_isa isa;
    (void)about;
    if (!vw_cpu_choose(&isa, why, why_bytes))
        return 0;
    snprintf(why, why_bytes, "runs on %s", vw_cpu_isa_name(isa));
    return 100 + (int32_t)isa;
}

static const vw_gemm_kernels *kernels_of(vw_cpu_isa isa)
{
    switch (isa) {
#ifdef HAVE_ISA_AVX2
    case VW_CPU_AVX2: return &vw_gemm_kernels_avx2;
#endif
#ifdef HAVE_ISA_AVX512
    case VW_CPU_AVX512: return &vw_gemm_kernels_avx512;
#endif
#ifdef HAVE_ISA_VNNI
    case VW_CPU_VNNI: return &vw_gemm_kernels_vnni;
#endif
    default: return &vw_gemm_kernels_base;
    }
}

static vw_status open_cpu(const vw_host *host, const void *config, void **self, vw_error *err)
{
    vw_cpu_isa isa;
    char why[160];
    if (!vw_cpu_choose(&isa, why, sizeof why))
        return vw_fail(err, VW_E_CONFIG, "%s", why);
    cpu_gemm *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for gemm/cpu");
    *g = (cpu_gemm){host, kernels_of(isa), *(const cpu_config *)config};
    host->log(host->core, VW_LOG_INFO, "matrix kernels: %s%s%s%s", g->kernels->name,
              g->config.activations ? "; activations are quantised to " : "",
              g->config.activations ? activations[g->config.activations] : "",
              g->config.activations
                  ? " where weights are int8, int4, Q8_0, Q4_0, Q4_K or Q6_K"
                  : "");
    *self = g;
    return VW_OK;
}

static void close_cpu(void *self)
{
    cpu_gemm *g = self;
    g->host->free(g->host->core, g);
}

/* ---- weights ---- */

/* How this component lays a stored matrix out in a format, and what an int8 scale covers. */
static vw_gemm_layout choose_layout(const cpu_gemm *g, const vw_matrix *w, vw_gemm_format format,
                                    int64_t *scale_k, int *is_kept)
{
    vw_gemm_source s = matrix_source(w, VW_GEMM_FORWARD);
    *scale_k = s.k > 0 ? s.k : 1;
    *is_kept = 0;
    if (format != VW_GEMM_STORED) {
        *scale_k = format == VW_GEMM_INT8_BLOCK32 ? 32 : *scale_k;
        return VW_GEMM_PANEL_S8;
    }
    if (w->dtype == VW_I8 && (g->config.pack || g->config.activations != F32_ACTIVATIONS) &&
        vw_gemm_keeps_s8(&s, scale_k)) {
        *is_kept = 1;
        return VW_GEMM_PANEL_S8;
    }
    if (g->config.activations != F32_ACTIVATIONS && vw_gemm_is_blocks(&s))
        return VW_GEMM_PANEL_BLOCKS;
    if (!g->config.pack || s.scales)
        return VW_GEMM_IN_PLACE;
    return w->dtype == VW_F32    ? VW_GEMM_PANEL_F32
           : w->dtype == VW_BF16 ? VW_GEMM_PANEL_BF16
           : w->dtype == VW_F16  ? VW_GEMM_PANEL_F16
                                 : VW_GEMM_IN_PLACE;
}

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    int64_t scale_k;
    int is_kept;
    vw_status s = check_matrix(stored, err);
    if (s != VW_OK)
        return s;
    if (stored->dtype == VW_BLOCK ? stored->layout != VW_OUT_IN || stored->format->elements > 256 ||
                                        256 % stored->format->elements
                                  : !is_weight_dtype(stored->dtype))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "weights in %s; gemm/cpu runs f32, bf16, f16, e4m3, e5m2, int8 and block "
                       "formats that are stored [out, in]",
                       stored->format ? stored->format->name : vw_dtype_name(stored->dtype));
    vw_gemm_layout l = choose_layout(self, stored, format, &scale_k, &is_kept);
    *layout = l == VW_GEMM_IN_PLACE ? 0 : LAYOUT_VERSION | (uint32_t)l;
    vw_gemm_source source = matrix_source(stored, VW_GEMM_FORWARD);
    *pack_bytes = l == VW_GEMM_PANEL_BLOCKS
                      ? vw_gemm_blocks_bytes(&source)
                      : vw_gemm_pack_bytes(l, matrix_n(stored), matrix_k(stored), scale_k);
    return VW_OK;
}

static vw_status pack(void *self, const vw_matrix *stored, vw_gemm_format format, int64_t first,
                      int64_t n, void *out, vw_error *err)
{
    cpu_gemm *g = self;
    int64_t scale_k;
    int is_kept;
    vw_gemm_layout l = choose_layout(g, stored, format, &scale_k, &is_kept);
    vw_gemm_source s = matrix_source(stored, VW_GEMM_FORWARD);
    size_t bytes = (size_t)(s.k + 1) * VW_GEMM_PANEL * sizeof(float);
    float *scratch = l == VW_GEMM_PANEL_S8 ? g->host->alloc(g->host->core, bytes) : NULL;
    if (l == VW_GEMM_PANEL_S8 && !scratch)
        return vw_fail(err, VW_E_NOMEM, "no memory to pack weights: %zu bytes", bytes);
    if (l != VW_GEMM_IN_PLACE)
        vw_gemm_pack(g->kernels, &s, l, scale_k, is_kept, first, n, out, scratch);
    g->host->free(g->host->core, scratch);
    return VW_OK;
}

static vw_gemm_operand operand(const cpu_gemm *g, const vw_gemm_weight *w, vw_gemm_op op)
{
    int64_t scale_k;
    int is_kept;
    vw_gemm_operand o = {.source = matrix_source(&w->stored, op), .pack = w->pack};
    choose_layout(g, &w->stored, w->format, &scale_k, &is_kept);
    o.layout = w->pack ? (vw_gemm_layout)(w->layout & 0xFF) : VW_GEMM_IN_PLACE;
    o.scale_k = scale_k;
    return o;
}

/* ---- plans ---- */

static vw_status check_weight(const cpu_gemm *g, const vw_gemm_problem *p, int i, vw_error *err)
{
    const vw_gemm_weight *w = p->weights[i];
    size_t bytes;
    uint32_t layout;
    vw_status s = pack_size((void *)(uintptr_t)g, &w->stored, w->format, &bytes, &layout, err);
    if (s != VW_OK)
        return s;
    if (w->stored.dtype == VW_BLOCK && p->op == VW_GEMM_DGRAD)
        return vw_fail(err, VW_E_UNSUPPORTED, "a block format is used forward");
    if (bytes && p->op == VW_GEMM_DGRAD)
        return vw_fail(err, VW_E_UNSUPPORTED, "dgrad needs the weight in place, and it is packed");
    if (layout != w->layout)
        return vw_fail(err, VW_E_INVALID, "weight %d is in layout %u; this plan needs layout %u", i,
                       (unsigned)w->layout, (unsigned)layout);
    return VW_OK;
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    vw_status s = check_problem(p, err);
    if (s == VW_OK)
        s = check_rounding(p, err);
    for (int i = 0; s == VW_OK && p->op != VW_GEMM_WGRAD && i < p->n_weights; i++)
        s = check_weight(self, p, i, err);
    return s;
}

static vw_status plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    cpu_gemm *g = self;
    vw_status s = supports(self, p, err);
    if (s != VW_OK)
        return s;
    plan_weights *kept = g->host->alloc(g->host->core, sizeof *kept);
    if (!kept)
        return vw_fail(err, VW_E_NOMEM, "no memory for a plan");
    memset(out, 0, sizeof *out);
    keep_weights(kept, out, p);
    out->state = kept;
    vw_gemm_source w = matrix_source(&kept->copy[0].stored, p->op);
    size_t prepared = 0, product = cpu_product_bytes(g, &out->problem);
    if (p->op == VW_GEMM_FORWARD)
        prepared = vw_gemm_workspace(g->kernels, p->max_m, w.k, p->epilogue == VW_GEMM_GATED,
                                     g->host->n_threads(g->host->core));
    out->workspace_bytes = prepared > product ? prepared : product;
    return VW_OK;
}

static void plan_free(void *self, vw_gemm_plan *out)
{
    cpu_gemm *g = self;
    g->host->free(g->host->core, out->state);
    memset(out, 0, sizeof *out);
}

/* ---- products ---- */

static void prepare_part(void *arg, int part, int n_parts)
{
    vw_gemm_prepare(arg, part, n_parts);
}

static void multiply_part(void *arg, int part, int n_parts)
{
    vw_gemm_multiply(arg, part, n_parts);
}

/* As many parts as threads, unless waking them costs more than they save. */
static int n_parts(const cpu_gemm *g, const vw_gemm_job *job)
{
    int64_t work = 0, threads = g->host->n_threads(g->host->core);
    for (int i = 0; i < job->n_weights; i++)
        work += (job->m + 3) * job->k * job->w[i].source.n;
    work = work / 100000 + 1;
    return (int)(work < threads ? work : threads);
}

static void compute(const cpu_gemm *g, vw_gemm_job *job)
{
    int parts = n_parts(g, job);
    if (vw_gemm_needs_prepare(job)) {
        if (parts == 1 || job->m <= job->kernels->rows)
            vw_gemm_prepare(job, 0, 1);
        else
            g->host->parallel_for(g->host->core, parts, prepare_part, job);
    }
    if (parts == 1)
        vw_gemm_multiply(job, 0, 1);
    else
        g->host->parallel_for(g->host->core, parts, multiply_part, job);
}

/* How activations are laid out for a weight. */
typedef enum way { AS_F32, AS_ROWS, AS_BLOCKS, N_WAYS } way;

static way way_of(const cpu_gemm *g, const vw_gemm_operand *w)
{
    if (g->config.activations == F32_ACTIVATIONS)
        return AS_F32;
    return w->layout == VW_GEMM_PANEL_S8       ? AS_ROWS
           : w->layout == VW_GEMM_PANEL_BLOCKS ? AS_BLOCKS
                                               : AS_F32;
}

static void set_way(const cpu_gemm *g, vw_gemm_job *job, way to)
{
    const int is_int7 = g->config.activations == INT7_ACTIVATIONS;
    job->codes = to != AS_ROWS ? NULL : is_int7 ? &g->kernels->s7 : &g->kernels->s8;
    job->blocks = to == AS_BLOCKS ? &g->kernels->blocks[is_int7] : NULL;
}

/* Weights that take different ways all run as f32 here. */
static void set_weights(const cpu_gemm *g, vw_gemm_job *job, const vw_gemm_problem *p,
                        const vw_gemm_weight *const *weights)
{
    way all = N_WAYS;
    for (int i = 0; i < p->n_weights; i++) {
        job->w[i] = operand(g, weights[i], p->op);
        way one = way_of(g, &job->w[i]);
        all = i == 0 || all == one ? one : AS_F32;
    }
    set_way(g, job, all);
    job->n_weights = p->n_weights;
    job->k = job->w[0].source.k;
}

/* Each result by itself does not mind: a product for every way, unless two weights make one result. */
static void compute_ways(const cpu_gemm *g, const vw_gemm_job *job)
{
    for (way one = AS_F32; one < N_WAYS; one++) {
        vw_gemm_job part = *job;
        part.n_weights = 0;
        for (int i = 0; i < job->n_weights; i++) {
            int is_part = job->finish == VW_GEMM_FINISH_GATED
                              ? one == (job->blocks ? AS_BLOCKS : job->codes ? AS_ROWS : AS_F32)
                              : one == way_of(g, &job->w[i]);
            if (!is_part)
                continue;
            part.w[part.n_weights] = job->w[i];
            part.y[part.n_weights] = job->y[i];
            part.y_stride[part.n_weights++] = job->y_stride[i];
        }
        set_way(g, &part, one);
        if (part.n_weights)
            compute(g, &part);
    }
}

static void set_rows(vw_gemm_job *job, const vw_gemm_problem *p, const vw_tensor *x,
                     const vw_tensor *y, int64_t first, int64_t m)
{
    job->m = m;
    job->x = (const float *)x->data + first * x->stride[0];
    job->x_stride = x->stride[0];
    for (int i = 0; i < n_results(p); i++) {
        job->y[i] = (float *)y[i].data + first * y[i].stride[0];
        job->y_stride[i] = y[i].stride[0];
    }
}

vw_gemm_job cpu_job(const cpu_gemm *g, const vw_gemm_problem *p,
                    const vw_gemm_weight *const *weights, const vw_tensor *x, const vw_tensor *y,
                    int64_t first, int64_t m, void *workspace)
{
    vw_gemm_job job = {.kernels = g->kernels,
                       .x_step = 1,
                       .finish = (vw_gemm_finish)p->epilogue,
                       .act = (vw_gemm_act)p->activation,
                       .cap = p->cap,
                       .is_one_path = p->is_batch_invariant,
                       .workspace = workspace};
    set_weights(g, &job, p, weights);
    set_rows(&job, p, x, y, first, m);
    return job;
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    cpu_gemm *g = self;
    const plan_weights *kept = p->state;
    int64_t m;
    (void)stream;
    vw_status s = check_run(p, kept->list, &x, weights, y, &m, err);
    if (s != VW_OK || m == 0)
        return s;
    if (cpu_is_product(&p->problem, m)) {
        cpu_run_product(g, &p->problem, &x, weights, y, workspace);
        return VW_OK;
    }
    vw_gemm_job job = cpu_job(g, &p->problem, weights, &x, y, 0, m, workspace);
    compute_ways(g, &job);
    return VW_OK;
}

/* All groups at once: threads meet once, or twice where rows are laid out first. */
static vw_status run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err)
{
    cpu_gemm *g = self;
    group_walk walk, again;
    (void)stream;
    vw_status s = group_walk_begin(&walk, p, weights, groups, &x, y, err);
    if (s != VW_OK)
        return s;
    again = walk;
    while (group_walk_next(&walk))
        if (walk.group < 0)
            clear_group_rows(&walk, &p->problem);
    cpu_run_groups(g, &p->problem, again, weights, workspace);
    return VW_OK;
}

typedef struct gather_job {
    const vw_gemm_operand *weight;
    const int32_t *rows;
    int64_t n;
    float scale;
    vw_tensor y;
} gather_job;

static void gather_part(void *arg, int part, int n_parts)
{
    const gather_job *g = arg;
    int64_t from = g->y.shape[0] * part / n_parts, to = g->y.shape[0] * (part + 1) / n_parts;
    for (int64_t i = from; i < to; i++) {
        float *out = (float *)g->y.data + i * g->y.stride[0];
        if (g->rows[i] < 0 || g->rows[i] >= g->n)
            memset(out, 0, (size_t)g->y.shape[1] * sizeof *out);
        else
            vw_gemm_gather_row(g->weight, g->rows[i], g->scale, out);
    }
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    int64_t n = matrix_n(&w->stored), k = matrix_k(&w->stored);
    const cpu_gemm *g = self;
    vw_gemm_operand o = operand(self, w, VW_GEMM_FORWARD);
    gather_job job = {&o, rows, n, scale, y};
    (void)stream;
    if (!is_rows_f32(&y, y.shape[0], k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)k);
    if (y.shape[0] * k > WORTH_SPREADING)
        g->host->parallel_for(g->host->core, g->host->n_threads(g->host->core), gather_part, &job);
    else
        gather_part(&job, 0, 1);
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
    .run_wgrad = cpu_run_wgrad,
    .run_grouped_wgrad = cpu_run_grouped_wgrad,
    .gather = gather,
};

static const vw_option options[] = {
    {.key = "pack", .type = VW_OPTION_BOOL, .def = "no", .offset = offsetof(cpu_config, pack),
     .help = "copy f32, bf16, f16 and int8 weights into the order in which they are read"},
    {.key = "activations", .type = VW_OPTION_ENUM, .def = "f32", .choices = activations,
     .offset = offsetof(cpu_config, activations),
     .help = "int8, int7: quantise each row of activations where weights are int8, each 32 values "
             "where they are Q8_0, Q4_0, Q4_K, Q6_K or int4; faster, less exact; "
             "int7 rounds twice as coarsely and is faster still where the CPU has no VNNI"},
    VW_OPTION_END,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_GEMM,
    .ops_major = VW_GEMM_OPS_MAJOR,
    .ops_minor = VW_GEMM_OPS_MINOR,
    .name = "cpu",
    .summary = "matrix products with AVX2, AVX-512 or VNNI, chosen at run time; weights in place",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_PREFERRED,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .config_size = sizeof(cpu_config),
    .options = options,
    .probe = probe,
    .open = open_cpu,
    .close = close_cpu,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, cpu)
{
    return &description;
}
