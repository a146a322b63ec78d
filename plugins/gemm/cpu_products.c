/* cpu_products.c - gemm/cpu: products whose sides are both packed on the way, and the groups of a
 * mixture of experts.
 *
 * One product is cut into as many parts as threads.  Many products of one call, such as experts with a
 * few rows each, are cut into tasks of about equal work, which threads take one after another, so they
 * meet once a call, however many experts there are.  No cut changes a bit of a result.
 */
#include "plugins/gemm/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>

/* ---- which products -------------------------------------------------------------------------- */

static int is_in_place(const vw_gemm_problem *p)
{
    for (int i = 0; i < p->n_weights; i++)
        if (p->weights[i]->pack || p->weights[i]->format != VW_GEMM_STORED)
            return 0;
    return 1;
}

/* Sums that are added to something start from it, which is right for gradients; a residual is often
 * much larger than what is added and would cost them digits, so forward goes this way to store. */
int cpu_is_product(const vw_gemm_problem *p, int64_t m)
{
    if (p->op != VW_GEMM_FORWARD || p->rounding != VW_GEMM_ROUND_NONE)
        return 1;
    return m > VW_GEMM_FEW_ROWS && p->epilogue == VW_GEMM_STORE && is_in_place(p);
}

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

/* One run of rows of one group: its tasks begin at `before`. */
typedef struct run_of_rows {
    int32_t group;
    int32_t is_product;
    int64_t first, m;
    int64_t before;
    vw_product_cut cut; /* not a product: cols parts */
    size_t prepared_at; /* of a run whose rows are laid out first */
} run_of_rows;

typedef struct tasks {
    const cpu_gemm *g;
    const vw_gemm_problem *p;
    const vw_gemm_weight *const *weights;
    const vw_tensor *x, *y; /* y: results, or of wgrad one a group */
    const vw_tensor *dy;    /* of wgrad */
    run_of_rows *runs;
    int64_t n_runs, n_tasks, n_rows;
    char *scratch;
    size_t scratch_bytes;
    char *prepared;         /* rows laid out */
    size_t prepared_bytes;  /* in use */
    atomic_llong next;
} tasks;

static size_t thread_bytes(const cpu_gemm *g, const vw_gemm_problem *p)
{
    vw_gemm_source w = matrix_source(&p->weights[0]->stored, p->op);
    int is_wgrad = p->op == VW_GEMM_WGRAD;
    size_t product = vw_product_scratch(g->kernels, is_wgrad ? w.n : p->max_m,
                                        is_wgrad ? p->max_m : w.k);
    size_t tiles = vw_gemm_scratch_bytes(p->max_m, p->epilogue == VW_GEMM_GATED);
    return round_up(product > tiles ? product : tiles);
}

static size_t prepared_bytes(const cpu_gemm *g, int64_t m, int64_t k)
{
    return vw_gemm_workspace(g->kernels, m, k, 0, 0);
}

/* A run's rows are rounded up on their own, so many runs of one row are the worst. */
static size_t most_prepared(const cpu_gemm *g, const vw_gemm_problem *p)
{
    int64_t k = matrix_source(&p->weights[0]->stored, p->op).k;
    return p->op == VW_GEMM_FORWARD ? (size_t)p->max_m * prepared_bytes(g, 1, k) : 0;
}

static size_t runs_bytes(const vw_gemm_problem *p)
{
    return round_up((size_t)(p->max_m + 1) * sizeof(run_of_rows));
}

size_t cpu_product_bytes(const cpu_gemm *g, const vw_gemm_problem *p)
{
    return runs_bytes(p) + (size_t)g->host->n_threads(g->host->core) * thread_bytes(g, p) +
           most_prepared(g, p);
}

static vw_product forward_product(const tasks *t, const run_of_rows *r)
{
    const vw_gemm_problem *p = t->p;
    const vw_gemm_weight *const *weights = t->weights + r->group * p->n_weights;
    vw_product q = {.kernels = t->g->kernels, .m = r->m, .n_weights = p->n_weights,
                    .a = (const float *)t->x->data + r->first * t->x->stride[0],
                    .a_row = t->x->stride[0], .a_step = 1, .is_add = p->epilogue == VW_GEMM_ADD};
    for (int i = 0; i < p->n_weights; i++) {
        q.w[i].source = matrix_source(&weights[i]->stored, p->op);
        q.c[i] = (float *)t->y[i].data + r->first * t->y[i].stride[0];
        q.c_stride[i] = t->y[i].stride[0];
    }
    q.k = q.w[0].source.k;
    return q;
}

/* dW[N,K] = dY^T X: dY's columns are the rows, X is stored [in, out]. */
static vw_product wgrad_product(const tasks *t, const run_of_rows *r)
{
    const vw_tensor *dy = t->dy, *x = t->x, *dw = &t->y[r->group];
    vw_product q = {.kernels = t->g->kernels, .m = dy->shape[1], .k = r->m, .n_weights = 1,
                    .a = (const float *)dy->data + r->first * dy->stride[0], .a_row = 1,
                    .a_step = dy->stride[0], .is_add = t->p->epilogue == VW_GEMM_ADD};
    q.w[0].source = (vw_gemm_source){
        .data = (const float *)x->data + r->first * x->stride[0], .dtype = VW_F32, .is_in_out = 1,
        .n = x->shape[1], .k = r->m, .row_stride = x->stride[0]};
    q.c[0] = dw->data;
    q.c_stride[0] = dw->stride[0];
    return q;
}

static const vw_dtype round_to[] = {
    [VW_GEMM_ROUND_NONE] = VW_F32,
    [VW_GEMM_ROUND_BF16] = VW_BF16,
    [VW_GEMM_ROUND_F16] = VW_F16,
    [VW_GEMM_ROUND_E4M3] = VW_E4M3,
};

static vw_product product_of(const tasks *t, const run_of_rows *r)
{
    vw_product q = t->p->op == VW_GEMM_WGRAD ? wgrad_product(t, r) : forward_product(t, r);
    q.round_to = round_to[t->p->rounding];
    q.is_b_in_blocks = t->p->op != VW_GEMM_WGRAD;
    return q;
}

static double work_of(const tasks *t, const run_of_rows *r)
{
    vw_product q = product_of(t, r);
    double few = r->is_product ? 0 : 4; /* rows that reading the weights alone would cost */
    return (vw_product_work(&q) / (double)(q.m ? q.m : 1)) * ((double)q.m + few);
}

static vw_gemm_job job_of(const tasks *t, const run_of_rows *r)
{
    return cpu_job(t->g, t->p, t->weights + r->group * t->p->n_weights, t->x, t->y, r->first, r->m,
                   t->prepared + r->prepared_at);
}

/* Every thread lays out a share of every run; which share goes round, since many have one tile. */
static void prepare_part(void *arg, int part, int n_parts)
{
    const tasks *t = arg;
    for (int64_t i = 0; i < t->n_runs; i++) {
        const run_of_rows *r = &t->runs[i];
        if (r->is_product)
            continue;
        vw_gemm_job job = job_of(t, r);
        if (vw_gemm_needs_prepare(&job))
            vw_gemm_prepare(&job, (int)((part + i) % n_parts), n_parts);
    }
}

static void run_task(tasks *t, const run_of_rows *r, int64_t part, char *scratch)
{
    if (r->is_product) {
        vw_product q = product_of(t, r);
        vw_product_run(&q, r->cut, (int)part, scratch);
    } else {
        vw_gemm_job job = job_of(t, r);
        vw_gemm_multiply_in(&job, (int)part, r->cut.cols, scratch);
    }
}

static void task_part(void *arg, int part, int n_parts)
{
    tasks *t = arg;
    char *scratch = t->scratch + (size_t)part * t->scratch_bytes;
    int64_t run = 0;
    (void)n_parts;
    for (int64_t task; (task = atomic_fetch_add(&t->next, 1)) < t->n_tasks;) {
        while (run + 1 < t->n_runs && t->runs[run + 1].before <= task)
            run++;
        run_task(t, &t->runs[run], task - t->runs[run].before, scratch);
    }
}

/* Cut the runs into tasks and do them.  A lone run is cut for the threads; many are cut so that no
 * task is more than a quarter of a thread's share. */
static void do_tasks(tasks *t)
{
    const vw_host *host = t->g->host;
    int threads = host->n_threads(host->core);
    double total = 0;
    atomic_store(&t->next, 0);
    for (int64_t i = 0; i < t->n_runs; i++)
        total += work_of(t, &t->runs[i]);
    if (total < 2500 * 2) /* about two microseconds */
        threads = 1;
    double share = total / threads / (t->n_runs > 1 ? 4 : 1);
    t->n_tasks = 0;
    for (int64_t i = 0; i < t->n_runs; i++) {
        run_of_rows *r = &t->runs[i];
        double parts = threads > 1 ? ceil(work_of(t, r) / share * 0.999) : 1;
        int most = parts < threads ? (int)parts : threads;
        vw_product q = product_of(t, r);
        r->before = t->n_tasks;
        r->cut = r->is_product ? vw_product_cut_for(&q, most > 1 ? most : 1)
                               : (vw_product_cut){1, most > 1 ? most : 1};
        t->n_tasks += r->cut.rows * r->cut.cols;
    }
    if (t->prepared_bytes && threads > 1)
        host->parallel_for(host->core, threads, prepare_part, t);
    else if (t->prepared_bytes)
        prepare_part(t, 0, 1);
    threads = t->n_tasks < threads ? (int)t->n_tasks : threads;
    if (threads > 1)
        host->parallel_for(host->core, threads, task_part, t);
    else if (t->n_tasks > 0)
        task_part(t, 0, 1);
}

static tasks new_tasks(const cpu_gemm *g, const vw_gemm_problem *p, void *workspace)
{
    tasks t = {.g = g, .p = p, .runs = workspace, .scratch_bytes = thread_bytes(g, p),
               .scratch = (char *)workspace + runs_bytes(p)};
    t.prepared = t.scratch + (size_t)g->host->n_threads(g->host->core) * t.scratch_bytes;
    return t;
}

/* ---- calls ----------------------------------------------------------------------------------- */

void cpu_run_product(const cpu_gemm *g, const vw_gemm_problem *p, const vw_tensor *x,
                     const vw_gemm_weight *const *weights, const vw_tensor *y, void *workspace)
{
    tasks t = new_tasks(g, p, workspace);
    t.weights = weights, t.x = x, t.y = y;
    t.n_runs = 1;
    t.runs[0] = (run_of_rows){.is_product = 1, .m = x->shape[0]};
    do_tasks(&t);
}

/* The array of runs is as long as there can be rows; groups with a mask, or without rows, can be
 * more: then what is there is done first.  So can masked rows, all groups together. */
static void add_run(tasks *t, int32_t group, int is_product, int64_t first, int64_t m)
{
    bool is_full = t->n_runs > t->p->max_m ||
                   (!is_product && t->n_rows + m > t->p->max_m);
    if (is_full) {
        do_tasks(t);
        t->n_runs = 0;
        t->prepared_bytes = 0;
        t->n_rows = 0;
    }
    t->n_rows += m;
    run_of_rows *r = &t->runs[t->n_runs++];
    *r = (run_of_rows){group, is_product, first, m, 0, {0, 0}, t->prepared_bytes};
    if (is_product)
        return;
    vw_gemm_job job = job_of(t, r);
    if (vw_gemm_needs_prepare(&job))
        t->prepared_bytes += prepared_bytes(t->g, m, job.k);
}

void cpu_run_groups(const cpu_gemm *g, const vw_gemm_problem *p, group_walk walk,
                    const vw_gemm_weight *const *weights, void *workspace)
{
    tasks t = new_tasks(g, p, workspace);
    t.weights = weights, t.x = &walk.x, t.y = walk.y;
    while (group_walk_next(&walk))
        if (walk.group >= 0)
            add_run(&t, walk.group, cpu_is_product(p, walk.m), walk.first, walk.m);
    do_tasks(&t);
}

vw_status cpu_run_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                        vw_tensor x, vw_tensor dw, void *workspace, vw_error *err)
{
    (void)stream;
    vw_status s = check_wgrad(&p->problem, &dy, &x, &dw, 1, err);
    if (s != VW_OK)
        return s;
    tasks t = new_tasks(self, &p->problem, workspace);
    t.x = &x, t.y = &dw, t.dy = &dy;
    add_run(&t, 0, 1, 0, x.shape[0]);
    do_tasks(&t);
    return VW_OK;
}

vw_status cpu_run_grouped_wgrad(void *self, const vw_gemm_plan *p, vw_stream *stream, vw_tensor dy,
                                vw_tensor x, const vw_groups *groups, const vw_tensor *dw,
                                void *workspace, vw_error *err)
{
    (void)stream;
    vw_status s = check_grouped_wgrad(&p->problem, groups, &dy, &x, dw, err);
    if (s != VW_OK)
        return s;
    tasks t = new_tasks(self, &p->problem, workspace);
    t.x = &x, t.y = dw, t.dy = &dy;
    for (int32_t i = 0; i < groups->n_groups; i++)
        add_run(&t, i, 1, groups->rows[i], groups->rows[i + 1] - groups->rows[i]);
    do_tasks(&t);
    return VW_OK;
}
