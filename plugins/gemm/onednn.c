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
#include "plugins/gemm/onednn.h"

#include "kernels/cpu/cpu.h"

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    const dnnl_version_t *v = dnnl_version();
    (void)about;
    snprintf(why, why_bytes, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return 50;
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
        return onednn_failed(s, "making an engine", err);
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
        s = onednn_pack_size(self, &p->weights[i]->stored, p->weights[i]->format, &bytes, &layout,
                             err);
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
        s = onednn_packed_layout(g, w->layout == PACKED_S8, n, k, &to->w, err);
    else if (dnnl_memory_desc_init_by_strides(&to->w, 2, dims, dnnl_f32,
                                              w->stored.layout == VW_OUT_IN ? out_in : in_out))
        s = vw_fail(err, VW_E_UNSUPPORTED, "oneDNN does not take rows %lld apart", (long long)stride);
    for (int j = 0; s == VW_OK && j < plan->n_sizes; j++) {
        dnnl_status_t made = onednn_make(g, w->layout == PACKED_S8, plan->size[j], n, k, &to->w,
                                         &to->x[j], &to->y[j], &to->primitive[j]);
        if (made != dnnl_success)
            s = onednn_failed(made, "making a product", err);
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

static const vw_gemm_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .pack_size = onednn_pack_size,
    .pack = onednn_pack,
    .plan = plan,
    .plan_free = plan_free,
    .run = onednn_run,
    .run_grouped = onednn_run_grouped,
    .gather = onednn_gather,
};

static const vw_option options[] = {
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
