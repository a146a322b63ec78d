/* cublaslt.c - gemm/cublaslt: the vendor's matrix products, on tensor cores.
 *
 * Activations are f32 and stay exact: beside weights of 16 bits a row of them becomes two or three
 * rows of that format whose sum it is (kernels/cuda/parts.h), one product runs over all of them and
 * reads the weight once, and what follows adds the parts, applies scales and the epilogue.  So few
 * rows cost what reading the weight costs, and many cost two or three products of 16 bits, which is
 * still several times faster than one of f32.  With `activations = rounded` a row is one part, in
 * the weight's format; 8-bit weights run only so, with one scale a row.
 *
 * Plain f32, and parts that need nothing afterwards, go straight into Y.  What the library chooses
 * depends on M, so nothing here is batch invariant.
 */
#include "kernels/cuda/parts.h"
#include "plugins/gemm/cublaslt_product.h"
#include "plugins/gemm/cublaslt_way.h"

extern const unsigned long long vw_fatbin_parts[], vw_fatbin_gemm_gather[];

enum { EXACT, ROUNDED };
static const char *const activations[] = {"exact", "rounded", NULL};

typedef struct lt_config {
    int32_t activations;
    int32_t tf32;
    uint64_t workspace;
} lt_config;

static const vw_option options[] = {
    {.key = "activations", .type = VW_OPTION_ENUM, .def = "exact", .choices = activations,
     .offset = offsetof(lt_config, activations),
     .help = "rounded: to the weight's format, which is faster; fp8 weights run only so"},
    {.key = "tf32", .type = VW_OPTION_BOOL, .def = "no", .offset = offsetof(lt_config, tf32),
     .help = "multiply f32 by f32 weights with 10 bits of their fractions, on tensor cores"},
    {.key = "workspace", .type = VW_OPTION_SIZE, .def = "32M", .min = 0, .max = 0x1p32,
     .offset = offsetof(lt_config, workspace), .flags = VW_OPTION_RANGE | VW_OPTION_ADVANCED,
     .help = "device memory the library may use during a product"},
    VW_OPTION_END,
};

static const char *const names[N_KERNELS] = {"vw_parts_bf16", "vw_parts_f16", "vw_parts_e4m3",
                                             "vw_parts_join"};
static const char *const row_names[VW_TYPE_COUNT] = {
    "vw_gemm_gather_f32", "vw_gemm_gather_bf16", "vw_gemm_gather_f16",
    "vw_gemm_gather_i8",  "vw_gemm_gather_e4m3", "vw_gemm_gather_e5m2"};

typedef struct lt_gemm {
    const vw_host *host;
    lt_config config;
    vw_cuda cuda;
    CUmodule parts, rows;
    CUfunction function[N_KERNELS], row_function[VW_TYPE_COUNT];
    lt_library lt;
} lt_gemm;

static int is_exact(const lt_gemm *g)
{
    return g->config.activations == EXACT;
}

static vw_status supports(void *self, const vw_gemm_problem *p, vw_error *err)
{
    const lt_gemm *g = self;
    vw_status s = check_problem(p, err);
    if (s == VW_OK)
        s = check_no_rounding(p, err);
    for (int i = 0; s == VW_OK && p->op != VW_GEMM_WGRAD && i < p->n_weights; i++)
        s = check_lt_weight(is_exact(g), &g->cuda, p->weights[i], p->op, err);
    if (s == VW_OK && p->is_batch_invariant && p->op != VW_GEMM_WGRAD)
        return vw_fail(err, VW_E_UNSUPPORTED, "cublasLt chooses by the number of rows: it is not "
                                              "batch invariant");
    if (s == VW_OK && p->max_m > INT32_MAX / VW_PARTS_MOST)
        return vw_fail(err, VW_E_UNSUPPORTED, "%lld rows are too many for this gemm",
                       (long long)p->max_m);
    return s;
}

static vw_status pack_size(void *self, const vw_matrix *stored, vw_gemm_format format,
                           size_t *pack_bytes, uint32_t *layout, vw_error *err)
{
    const lt_gemm *g = self;
    const vw_gemm_weight w = {.stored = *stored, .format = format};
    *pack_bytes = 0;
    *layout = 0;
    return check_lt_weight(is_exact(g), &g->cuda, &w, VW_GEMM_FORWARD, err);
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* The workspace: the library's own, then parts of a slab of rows, their scales, their products. */
typedef struct lt_plan {
    plan_weights kept;
    int64_t k, slab; /* inputs of a sum; rows at a time */
    size_t parts_at, scales_at, products_at;
} lt_plan;

/* A slab's products fill the cache and no more, unless that would make the slab too thin. */
enum { LEAST_SLAB = 64, PRODUCT_BYTES = 32 << 20 };

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static int64_t n_outputs(const vw_gemm_problem *p, int i)
{
    const vw_matrix *w = &p->weights[i]->stored;
    return p->op == VW_GEMM_DGRAD ? matrix_k(w) : matrix_n(w);
}

static int64_t n_inputs(const vw_gemm_problem *p)
{
    const vw_matrix *w = &p->weights[0]->stored;
    return p->op == VW_GEMM_DGRAD ? matrix_n(w) : matrix_k(w);
}

/* Rows of parts and of products are 16 bytes apart, and of fp8 there are multiples of 16. */
static int64_t parts_stride(const lt_plan *kept)
{
    return (kept->k + 15) / 16 * 16;
}

static int64_t product_stride(int64_t n)
{
    return (n + 3) / 4 * 4;
}

static int64_t product_rows(int64_t m)
{
    return (m * VW_PARTS_MOST + 15) / 16 * 16;
}

static void lay_out(const lt_gemm *g, lt_plan *kept, vw_gemm_plan *out, const vw_gemm_problem *p)
{
    int64_t most = 1, rows;
    kept->k = n_inputs(p);
    for (int i = 0; i < p->n_weights; i++)
        most = n_outputs(p, i) > most ? n_outputs(p, i) : most;
    kept->slab = PRODUCT_BYTES / (VW_PARTS_MOST * 4 * product_stride(most));
    kept->slab = kept->slab < LEAST_SLAB ? LEAST_SLAB : kept->slab;
    kept->slab = kept->slab > p->max_m ? p->max_m : kept->slab;
    rows = product_rows(kept->slab);
    kept->parts_at = round_up(g->config.workspace, 256);
    kept->scales_at = kept->parts_at + round_up((size_t)(rows * parts_stride(kept)) * 2, 256);
    kept->products_at = kept->scales_at + round_up((size_t)kept->slab * sizeof(float), 256);
    out->workspace_bytes =
        kept->products_at + (size_t)(rows * product_stride(most)) * sizeof(float);
}

static vw_status plan(void *self, const vw_gemm_problem *p, vw_gemm_plan *out, vw_error *err)
{
    const lt_gemm *g = self;
    vw_status s = supports(self, p, err);
    if (s != VW_OK)
        return s;
    lt_plan *kept = g->host->alloc(g->host->core, sizeof *kept);
    if (!kept)
        return vw_fail(err, VW_E_NOMEM, "no memory for a plan");
    memset(kept, 0, sizeof *kept);
    memset(out, 0, sizeof *out);
    keep_weights(&kept->kept, out, p);
    out->state = kept;
    out->workspace_bytes = g->config.workspace;
    if (p->op != VW_GEMM_WGRAD)
        lay_out(g, kept, out, p);
    return VW_OK;
}

static void plan_free(void *self, vw_gemm_plan *out)
{
    const lt_gemm *g = self;
    g->host->free(g->host->core, out->state);
    memset(out, 0, sizeof *out);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Rows [first, first + m) of a call on their way. */
typedef struct slab {
    lt_gemm *g;
    const vw_gemm_problem *problem;
    const lt_plan *plan;
    vw_stream *stream;
    char *workspace;
    const float *x; /* of the slab's first row */
    int64_t x_stride, first, m;
    kernel split;   /* the parts that lie in the workspace; NO_SPLIT: none yet */
} slab;

static vw_status launch(const slab *s, kernel k, int64_t blocks_x, int64_t blocks_y,
                        const void *args, size_t bytes, vw_error *err)
{
    vw_cuda_shape shape = {.grid_x = blocks_x, .grid_y = blocks_y, .block_x = VW_PARTS_THREADS};
    return vw_cuda_launch(&s->g->cuda, s->stream, s->g->function[k], &shape, args, bytes,
                          "gemm/cublaslt", err);
}

static vw_status split(slab *s, const way *w, vw_error *err)
{
    int64_t stride = parts_stride(s->plan);
    vw_parts_split_args a = {
        .x = s->x,
        .x_stride = s->x_stride,
        .parts = s->workspace + s->plan->parts_at,
        .stride = stride,
        .part_stride = s->m * stride,
        .scale = (float *)(void *)(s->workspace + s->plan->scales_at),
        .k = (int32_t)s->plan->k,
        .n_parts = w->n_parts,
    };
    if (w->split == NO_SPLIT || w->split == s->split)
        return VW_OK;
    s->split = w->split;
    return launch(s, w->split, s->m, 1, &a, sizeof a, err);
}

/* D = the weight by all parts of the slab, or by its f32 rows (+ D). */
static vw_status multiply(const slab *s, const way *w, const vw_matrix *matrix, int64_t n,
                          float beta, float *d, int64_t ldd, vw_error *err)
{
    int is_in_out = (matrix->layout == VW_IN_OUT) != (s->problem->op == VW_GEMM_DGRAD);
    int is_split = w->split != NO_SPLIT;
    int64_t rows = s->m * w->n_parts;
    lt_shape shape;
    memset(&shape, 0, sizeof shape);
    shape.m = n;
    shape.n = (rows + w->granule - 1) / w->granule * w->granule;
    shape.k = s->plan->k;
    shape.lda = matrix->row_stride;
    shape.ldb = is_split ? parts_stride(s->plan) : s->x_stride;
    shape.ldd = ldd;
    shape.a_type = w->a;
    shape.b_type = w->b;
    shape.compute = w->split == NO_SPLIT && s->g->config.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                              : CUBLAS_COMPUTE_32F;
    shape.transpose_a = !is_in_out;
    return lt_multiply(&s->g->lt, &shape, matrix->data,
                       is_split ? (const void *)(s->workspace + s->plan->parts_at) : s->x, beta, d,
                       s->workspace, s->stream, err);
}

/* Y = epilogue(scales * sum of the parts' products). */
static vw_status join(const slab *s, const way *w, int n_parts, const vw_matrix *matrix, int64_t n,
                      const vw_tensor *y, int epilogue, vw_error *err)
{
    int64_t stride = product_stride(n);
    vw_parts_join_args a = {
        .product = (const float *)(const void *)(s->workspace + s->plan->products_at),
        .stride = stride,
        .part_stride = s->m * stride,
        .y = (float *)y->data + s->first * y->stride[0],
        .y_stride = y->stride[0],
        .row_scale = w->is_row_scaled && n_parts
                         ? (const float *)(const void *)(s->workspace + s->plan->scales_at)
                         : NULL,
        .scale = matrix->scales.rows > 0 && n_parts ? matrix->scales.data : NULL,
        .scale_stride = is_one_scale(matrix) ? 0 : matrix->scales.row_stride,
        .scale_type = kernel_type(matrix->scales.dtype),
        .scale_rows = matrix->scales.rows > 0 ? at_most_i32(matrix->scales.rows) : 1,
        .n = (int32_t)n,
        .n_parts = n_parts,
        .epilogue = epilogue,
        .activation = s->problem->activation,
        .cap = s->problem->cap,
    };
    return launch(s, JOIN, s->m, (n + VW_PARTS_COLUMNS - 1) / VW_PARTS_COLUMNS, &a, sizeof a, err);
}

static vw_status run_weight(slab *s, int i, const vw_gemm_weight *weight, const vw_tensor *y,
                            vw_error *err)
{
    const vw_gemm_problem *p = s->problem;
    const vw_matrix *m = &weight->stored;
    way w = way_of(is_exact(s->g), m->dtype);
    int64_t n = n_outputs(p, i);
    int epilogue = p->epilogue == VW_GEMM_GATED && i == 0 ? VW_GEMM_STORE : (int)p->epilogue;
    int is_direct = w.n_parts == 1 && !w.is_row_scaled && m->scales.rows == 0 &&
                    (epilogue == VW_GEMM_STORE || epilogue == VW_GEMM_ADD);
    if (n == 0)
        return VW_OK;
    if (s->plan->k == 0)
        return join(s, &w, 0, m, n, y, epilogue, err);
    if (w.granule > 1 && !is_aligned(m->data, 16))
        return vw_fail(err, VW_E_INVALID, "an fp8 weight at %p; cublasLt reads 16 bytes at a time",
                       m->data);
    vw_status st = split(s, &w, err);
    if (st == VW_OK && is_direct)
        return multiply(s, &w, m, n, epilogue == VW_GEMM_ADD ? 1.0f : 0.0f,
                        (float *)y->data + s->first * y->stride[0],
                        y->stride[0] < n ? n : y->stride[0], err);
    if (st == VW_OK)
        st = multiply(s, &w, m, n, 0.0f,
                      (float *)(void *)(s->workspace + s->plan->products_at), product_stride(n),
                      err);
    return st ? st : join(s, &w, w.n_parts, m, n, y, epilogue, err);
}

static vw_status run(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace,
                     vw_error *err)
{
    const lt_plan *kept = p->state;
    const vw_gemm_problem *problem = &p->problem;
    int64_t m;
    slab s = {.g = self, .problem = problem, .plan = kept, .stream = stream,
              .workspace = workspace};
    vw_status st = check_run(p, kept->kept.list, &x, weights, y, &m, err);
    if (st == VW_OK && m > 0)
        st = vw_cuda_enter(&s.g->cuda, err);
    s.x_stride = x.stride[0] < kept->k ? kept->k : x.stride[0];
    for (; st == VW_OK && s.first < m; s.first += s.m) {
        s.m = m - s.first < kept->slab ? m - s.first : kept->slab;
        s.x = (const float *)x.data + s.first * s.x_stride;
        s.split = NO_SPLIT;
        for (int i = 0; st == VW_OK && i < problem->n_weights; i++)
            st = run_weight(&s, i, weights[i],
                            &y[problem->epilogue == VW_GEMM_GATED ? 0 : i], err);
    }
    return st;
}

/* dW[N,K] = the sum over no row. */
static vw_status store_zeros(lt_gemm *g, const vw_gemm_plan *p, vw_stream *stream,
                             const vw_tensor *dw, void *workspace, vw_error *err)
{
    const slab s = {.g = g, .problem = &p->problem, .plan = p->state, .stream = stream,
                    .workspace = workspace, .m = dw->shape[0]};
    const way none = {.split = NO_SPLIT};
    return join(&s, &none, 0, &p->problem.weights[0]->stored, dw->shape[1], dw, VW_GEMM_STORE, err);
}

/* dW[N,K] (+)= dY[M,N]^T X[M,K]: to the library, columns of X by columns of dY, summed over M. */
static vw_status run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                           vw_tensor x, vw_tensor dw, void *workspace, vw_error *err)
{
    lt_gemm *g = self;
    int64_t m = x.shape[0], n = dy.shape[1], k = x.shape[1];
    int is_added = p->problem.epilogue == VW_GEMM_ADD;
    lt_shape shape;
    vw_status s = check_wgrad(&p->problem, &dy, &x, &dw, 1, err);
    if (s == VW_OK && (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX))
        return vw_fail(err, VW_E_INVALID, "wgrad of more rows or columns than an int holds");
    if (s != VW_OK || n == 0 || k == 0 || (m == 0 && is_added))
        return s;
    s = vw_cuda_enter(&g->cuda, err);
    if (s != VW_OK || m == 0)
        return s ? s : store_zeros(g, p, stream, &dw, workspace, err);
    memset(&shape, 0, sizeof shape);
    shape.m = k;
    shape.n = n;
    shape.k = m;
    shape.lda = x.stride[0] < k ? k : x.stride[0];
    shape.ldb = dy.stride[0] < n ? n : dy.stride[0];
    shape.ldd = dw.stride[0] < k ? k : dw.stride[0];
    shape.a_type = shape.b_type = CUDA_R_32F;
    shape.compute = g->config.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    shape.transpose_b = 1;
    return lt_multiply(&g->lt, &shape, x.data, dy.data, is_added ? 1.0f : 0.0f, dw.data, workspace,
                       stream, err);
}

static vw_status gather(void *self, vw_stream *stream, const vw_gemm_weight *w,
                        const int32_t *rows, float scale, vw_tensor y, vw_error *err)
{
    const lt_gemm *g = self;
    int64_t k = matrix_k(&w->stored);
    if (!is_rows_f32(&y, y.shape[0], k))
        return vw_fail(err, VW_E_INVALID, "gathered rows need %lld columns", (long long)k);
    vw_gemm_gather_args a = {.matrix = matrix_of(&w->stored, VW_GEMM_FORWARD, NULL),
                             .bytes = bytes_of(&w->stored), .rows = rows, .y = y.data,
                             .y_stride = y.stride[0], .scale = scale};
    vw_cuda_shape shape = {.grid_x = y.shape[0], .grid_y = (k + 255) / 256, .block_x = 256};
    if (k == 0)
        return VW_OK;
    return vw_cuda_launch(&g->cuda, stream, g->row_function[kernel_type(w->stored.dtype)], &shape,
                          &a, sizeof a, "gemm/cublaslt", err);
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    vw_error err;
    (void)about;
    if (vw_cuda_probe(why, why_bytes) <= 0)
        return 0;
    if (lt_look(why, why_bytes, &err) == VW_OK)
        return 1;
    snprintf(why, why_bytes, "%s", err.text);
    vw_text_trim(why);
    return 0;
}

static void close_gemm(void *self)
{
    lt_gemm *g = self;
    const vw_host *host = g->host;
    if (g->cuda.context && vw_cuda_enter(&g->cuda, NULL) == VW_OK) {
        lt_close(&g->lt);
        vw_cuda_unload(&g->cuda, g->parts);
        vw_cuda_unload(&g->cuda, g->rows);
    }
    vw_cuda_close(&g->cuda);
    host->free(host->core, g);
}

static vw_status open_gemm(const vw_host *host, const void *config, void **self, vw_error *err)
{
    lt_gemm *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for gemm/cublaslt");
    memset(g, 0, sizeof *g);
    g->host = host;
    g->config = *(const lt_config *)config;
    vw_status s = vw_cuda_open_beside(&g->cuda, host, NULL, err);
    if (s == VW_OK)
        s = vw_cuda_load(&g->cuda, vw_fatbin_parts, names, N_KERNELS, &g->parts, g->function, err);
    if (s == VW_OK)
        s = vw_cuda_load(&g->cuda, vw_fatbin_gemm_gather, row_names, VW_TYPE_COUNT, &g->rows,
                         g->row_function, err);
    if (s == VW_OK)
        s = lt_open(&g->lt, g->config.workspace, err);
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
    .plan = plan,
    .plan_free = plan_free,
    .run = run,
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
    .name = "cublaslt",
    .summary = "matrix products on NVIDIA devices by cublasLt, on tensor cores",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NEVER,
    .caps = VW_CAP_THREAD_SAFE,
    .needs = needs,
    .devices = devices,
    .config_size = sizeof(lt_config),
    .options = options,
    .probe = probe,
    .open = open_gemm,
    .close = close_gemm,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(gemm, cublaslt)
{
    return &description;
}
