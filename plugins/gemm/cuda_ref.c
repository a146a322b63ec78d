/* cuda_ref.c - gemm/cuda_ref: every stored format on an NVIDIA device, plainly.
 *
 * What gemm/ref is on the host: one kernel for all dtypes, layouts and scales, against which others
 * are measured; f32 activations and f32 sums, in an order that depends on K alone, so that a row
 * has the same bits in any batch and any group.  Few rows of X (decoding) have a kernel of their
 * own that reads the weight once, at the memory's pace.  Weights run as they are stored; only the
 * re-quantised formats have a pack, made on the host as gemm/ref would quantise.
 *
 * The arrays of a grouped product stay on the device and are never looked at here: what is wrong in
 * them (a group that is not there) is left out by the kernels.
 */
#include "plugins/cuda/driver.h"
#include "plugins/gemm/cuda_weights.h"
#include "plugins/gemm/groups.h"

extern const unsigned long long vw_fatbin_gemm[], vw_fatbin_gemm_gather[];

typedef enum kernel { ROW, ROWS, COLS, TILE, GATHER, N_KERNELS } kernel;

static const char *const names[N_KERNELS * VW_TYPE_COUNT] = {
#define EACH_TYPE(kernel)                                                                          \
    "vw_gemm_" kernel "_f32", "vw_gemm_" kernel "_bf16", "vw_gemm_" kernel "_f16",                 \
        "vw_gemm_" kernel "_i8", "vw_gemm_" kernel "_e4m3", "vw_gemm_" kernel "_e5m2"
    EACH_TYPE("row"), EACH_TYPE("rows"), EACH_TYPE("cols"), EACH_TYPE("tile"), EACH_TYPE("gather"),
#undef EACH_TYPE
};

typedef struct cuda_gemm {
    const vw_host *host;
    vw_cuda cuda;
    CUmodule products, rows;
    CUfunction function[N_KERNELS * VW_TYPE_COUNT];
} cuda_gemm;

/* ---- plans ----------------------------------------------------------------------------------- */

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    (void)self;
    return weight_pack_size(stored, format, pack_bytes, layout, err);
}

static vw_status pack(void *self, const vw_matrix *stored, vw_gemm_format format, int64_t first,
                      int64_t n, void *memory, vw_error *err)
{
    const cuda_gemm *g = self;
    float *row = g->host->alloc(g->host->core, (size_t)stored->cols * sizeof *row);
    if (!row)
        return vw_fail(err, VW_E_NOMEM, "no memory to pack rows of %lld", (long long)stored->cols);
    weight_pack(stored, format, first, n, memory, row);
    g->host->free(g->host->core, row);
    return VW_OK;
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    (void)self;
    vw_status s = check_problem(p, err);
    if (s == VW_OK)
        s = check_no_rounding(p, err);
    for (int i = 0; s == VW_OK && p->op != VW_GEMM_WGRAD && i < p->n_weights; i++)
        s = check_weight(&p->weights[i]->stored, p->weights[i]->format, err);
    if (s == VW_OK && p->max_m > INT32_MAX - VW_GEMM_TILE)
        return vw_fail(err, VW_E_UNSUPPORTED, "%lld rows are too many for this gemm",
                       (long long)p->max_m);
    return s;
}

static vw_status plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    const cuda_gemm *g = self;
    vw_status s = supports(self, p, err);
    if (s != VW_OK)
        return s;
    plan_weights *kept = g->host->alloc(g->host->core, sizeof *kept);
    if (!kept)
        return vw_fail(err, VW_E_NOMEM, "no memory for a plan");
    memset(out, 0, sizeof *out);
    keep_weights(kept, out, p);
    out->state = kept;
    return VW_OK;
}

static void plan_free(void *self, vw_gemm_plan *out)
{
    const cuda_gemm *g = self;
    g->host->free(g->host->core, out->state);
    memset(out, 0, sizeof *out);
}

/* ---- products -------------------------------------------------------------------------------- */

static vw_status launch(const cuda_gemm *g, vw_stream *stream, kernel k, vw_dtype type,
                        vw_cuda_shape shape, const void *args, size_t bytes, vw_error *err)
{
    CUfunction function = g->function[k * VW_TYPE_COUNT + kernel_type(type)];
    return vw_cuda_launch(&g->cuda, stream, function, &shape, args, bytes, "gemm/cuda_ref", err);
}

static int64_t blocks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* Sums of x with weight i into result y: a gated product is two of them, of which the second finds
 * the first in y. */
static vw_gemm_args product_of(const vw_gemm_problem *p, int i, const vw_gemm_weight *weight,
                               const vw_tensor *x, const vw_tensor *y)
{
    vw_matrix m = run_matrix(weight);
    return (vw_gemm_args){
        .x = x->data,
        .y = y->data,
        .x_stride = x->stride[0],
        .y_stride = y->stride[0],
        .m = (int32_t)x->shape[0],
        .epilogue = p->epilogue == VW_GEMM_GATED && i == 0 ? VW_GEMM_STORE : p->epilogue,
        .activation = p->activation,
        .cap = p->cap,
        .matrix = matrix_of(&m, p->op, x),
        .bytes = bytes_of(&m),
    };
}

static vw_status run_tile(const cuda_gemm *g, vw_stream *stream, vw_dtype type,
                          const vw_gemm_tile_args *a, vw_error *err)
{
    vw_cuda_shape shape = {.grid_x = blocks(a->product.matrix.n, VW_GEMM_TILE),
                           .grid_y = blocks(a->product.m, VW_GEMM_TILE), .block_x = 256};
    return launch(g, stream, TILE, type, shape, a, sizeof *a, err);
}

static vw_status run_product(const cuda_gemm *g, vw_stream *stream, vw_dtype type,
                             const vw_gemm_args *a, vw_error *err)
{
    int is_few = a->m <= VW_GEMM_FEW;
    if (is_few && a->matrix.is_in_out)
        return launch(g, stream, COLS, type,
                      (vw_cuda_shape){.grid_x = blocks(a->matrix.n, VW_GEMM_COLS_OUTPUTS),
                                      .block_x = 256}, a, sizeof *a, err);
    if (is_few)
        return launch(g, stream, a->m == 1 ? ROW : ROWS, type,
                      (vw_cuda_shape){.grid_x = blocks(a->matrix.n, VW_GEMM_ROWS_OUTPUTS),
                                      .block_x = 128}, a, sizeof *a, err);
    vw_gemm_tile_args tile = {.product = *a, .form = VW_GEMM_DENSE, .n_here = 1};
    tile.group[0] = a->bytes;
    return run_tile(g, stream, type, &tile, err);
}

static vw_dtype run_dtype(const vw_gemm_weight *w)
{
    return w->format == VW_GEMM_STORED ? w->stored.dtype : VW_I8;
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const plan_weights *kept = p->state;
    const vw_gemm_problem *problem = &p->problem;
    int64_t m;
    (void)workspace;
    vw_status s = check_run(p, kept->list, &x, weights, y, &m, err);
    for (int i = 0; s == VW_OK && m > 0 && i < problem->n_weights; i++) {
        const vw_tensor *to = &y[problem->epilogue == VW_GEMM_GATED ? 0 : i];
        vw_gemm_args a = product_of(problem, i, weights[i], &x, to);
        s = run_product(self, stream, run_dtype(weights[i]), &a, err);
    }
    return s;
}

/* Weight i of every group, as many groups a launch as its parameters hold. */
static vw_status run_groups(const cuda_gemm *g, vw_stream *stream, const group_walk *w, int i,
                            const vw_gemm_problem *p, const vw_gemm_weight *const *weights,
                            vw_error *err)
{
    const vw_tensor *to = &w->y[p->epilogue == VW_GEMM_GATED ? 0 : i];
    const vw_gemm_weight *first = w->groups->n_groups > 0 ? weights[i] : p->weights[i];
    vw_gemm_tile_args a = {
        .product = product_of(p, i, first, &w->x, to),
        .form = (int32_t)w->groups->form,
        .n_groups = w->groups->n_groups,
        .rows_a_group = (int32_t)w->rows_a_group,
        .rows = w->groups->rows,
    };
    vw_status s = VW_OK;
    do {
        int32_t left = a.n_groups - a.first_group;
        a.n_here = left < VW_GEMM_GROUPS_A_LAUNCH ? left : VW_GEMM_GROUPS_A_LAUNCH;
        a.product.matrix.is_vector = 1;
        for (int32_t j = 0; j < a.n_here; j++) {
            vw_matrix m = run_matrix(weights[(a.first_group + j) * p->n_weights + i]);
            a.group[j] = bytes_of(&m);
            a.product.matrix.is_vector &= matrix_of(&m, p->op, &w->x).is_vector;
        }
        s = run_tile(g, stream, run_dtype(first), &a, err);
        a.first_group += VW_GEMM_GROUPS_A_LAUNCH;
    } while (s == VW_OK && a.first_group < a.n_groups);
    return s;
}

static vw_status run_grouped(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                             const vw_gemm_weight *const *weights, const vw_groups *groups,
                             const vw_tensor *y, void *workspace, vw_error *err)
{
    group_walk walk;
    (void)workspace;
    if (p->problem.op != VW_GEMM_FORWARD)
        return vw_fail(err, VW_E_UNSUPPORTED, "groups go forward alone on this device");
    vw_status s = group_walk_check(&walk, p, weights, groups, &x, y, err);
    if (s == VW_OK && walk.n_rows > INT32_MAX - VW_GEMM_TILE)
        return vw_fail(err, VW_E_INVALID, "%lld rows are too many", (long long)walk.n_rows);
    for (int i = 0; s == VW_OK && walk.n_rows > 0 && i < p->problem.n_weights; i++)
        s = run_groups(self, stream, &walk, i, &p->problem, weights, err);
    return s;
}

/* dW[N,K] (+)= dY^T X is a product whose inputs are rows: X' = dY read downwards, W' = X. */
static vw_status run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                           vw_tensor x, vw_tensor dw, void *workspace, vw_error *err)
{
    int64_t m = x.shape[0], n = dy.shape[1], k = x.shape[1];
    (void)workspace;
    vw_status s = check_wgrad(&p->problem, &dy, &x, &dw, 1, err);
    if (s != VW_OK)
        return s;
    if (m > INT32_MAX - VW_GEMM_TILE || n > INT32_MAX - VW_GEMM_TILE ||
        k > INT32_MAX - VW_GEMM_TILE)
        return vw_fail(err, VW_E_INVALID, "wgrad of more rows or columns than an int holds");
    vw_gemm_tile_args a = {
        .product = {.x = dy.data, .y = dw.data, .x_stride = dy.stride[0], .y_stride = dw.stride[0],
                    .m = (int32_t)n, .epilogue = p->problem.epilogue,
                    .matrix = {.n = (int32_t)k, .k = (int32_t)m, .row_stride = x.stride[0],
                               .is_in_out = 1}},
        .is_x_transposed = 1,
        .form = VW_GEMM_DENSE,
        .n_here = 1,
    };
    a.group[0].data = x.data;
    return n > 0 ? run_tile(self, stream, VW_F32, &a, err) : VW_OK;
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    int64_t k = matrix_k(&w->stored);
    vw_matrix m = run_matrix(w);
    if (!is_rows_f32(&y, y.shape[0], k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)k);
    vw_gemm_gather_args a = {.matrix = matrix_of(&m, VW_GEMM_FORWARD, NULL), .bytes = bytes_of(&m),
                             .rows = rows, .y = y.data, .y_stride = y.stride[0], .scale = scale};
    if (k == 0)
        return VW_OK;
    return launch(self, stream, GATHER, run_dtype(w),
                  (vw_cuda_shape){.grid_x = y.shape[0], .grid_y = blocks(k, 256), .block_x = 256},
                  &a, sizeof a, err);
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    return vw_cuda_probe(why, why_bytes) > 0;
}

static void close_gemm(void *self)
{
    cuda_gemm *g = self;
    const vw_host *host = g->host;
    vw_cuda_unload(&g->cuda, g->products);
    vw_cuda_unload(&g->cuda, g->rows);
    vw_cuda_close(&g->cuda);
    host->free(host->core, g);
}

static vw_status open_gemm(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config;
    cuda_gemm *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for gemm/cuda_ref");
    memset(g, 0, sizeof *g);
    g->host = host;
    vw_status s = vw_cuda_open_beside(&g->cuda, host, NULL, err);
    if (s == VW_OK)
        s = vw_cuda_load(&g->cuda, vw_fatbin_gemm, names, GATHER * VW_TYPE_COUNT, &g->products,
                         g->function, err);
    if (s == VW_OK)
        s = vw_cuda_load(&g->cuda, vw_fatbin_gemm_gather, names + GATHER * VW_TYPE_COUNT,
                         VW_TYPE_COUNT, &g->rows, g->function + GATHER * VW_TYPE_COUNT, err);
    if (s != VW_OK) {
        close_gemm(g);
        return s;
    }
    *self = g;
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
    .run_wgrad = run_wgrad,
    .gather = gather,
};

static const char *const needs[] = {"device", NULL};
static const char *const devices[] = {"cuda", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_GEMM,
    .ops_major = VW_GEMM_OPS_MAJOR,
    .ops_minor = VW_GEMM_OPS_MINOR,
    .name = "cuda_ref",
    .summary = "matrix products on NVIDIA devices, every stored format exactly: the reference",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .needs = needs,
    .devices = devices,
    .probe = probe,
    .open = open_gemm,
    .close = close_gemm,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, cuda_ref)
{
    return &description;
}
