/* cpu_reduce.c - the operations of device/cpu that sum over rows.
 *
 * Rows are cut into chunks of a fixed size, whose sums lie side by side in the workspace and are added
 * up in the order of the chunks: the bits do not depend on how many threads there are.
 */
#include "plugins/device/cpu.h"

enum {
    CHUNK_ROWS = 32,    /* of a sum over rows */
    CHUNK_VALUES = 8192 /* of a sum over everything */
};

static int64_t n_chunks(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

size_t cpu_reduce_bytes(void *self, int64_t rows, int64_t cols)
{
    size_t columns = (size_t)(n_chunks(rows, CHUNK_ROWS) + 1) * (size_t)cols * sizeof(float);
    size_t values = (size_t)rows * (size_t)n_chunks(cols, CHUNK_VALUES) * sizeof(double);
    (void)self;
    return ((columns > values ? columns : values) + 255) / 256 * 256;
}

/* ---- sums over rows -------------------------------------------------------------------------- */

typedef struct columns_job {
    const cpu_device *dev;
    vw_tensor x, d_y, d_x; /* d_y no data: plain sums of x */
    const float *w;
    float w_offset, eps;
    int is_added;
    float *part; /* [chunks][D], or NULL */
    float *sum;  /* [D] */
} columns_job;

static void chunk_units(const void *arg, int64_t from, int64_t to)
{
    const columns_job *job = arg;
    int64_t n = job->x.shape[1], rows = job->x.shape[0];
    for (int64_t c = from; c < to; c++) {
        float *part = job->part ? job->part + c * n : NULL;
        int64_t last = rows < (c + 1) * CHUNK_ROWS ? rows : (c + 1) * CHUNK_ROWS;
        if (part)
            memset(part, 0, (size_t)n * sizeof *part);
        for (int64_t t = c * CHUNK_ROWS; t < last; t++)
            if (job->d_y.data)
                job->dev->grads->rms_norm(n, cpu_row(&job->x, t), job->w, job->w_offset, job->eps,
                                          cpu_row(&job->d_y, t), job->is_added,
                                          cpu_row(&job->d_x, t), part);
            else
                job->dev->pw->axpby(n, 1, cpu_row(&job->x, t), 1, part);
    }
}

static void run_columns(const columns_job *job)
{
    int64_t n = job->x.shape[1], chunks = n_chunks(job->x.shape[0], CHUNK_ROWS);
    cpu_split(job->dev, chunks, CHUNK_ROWS * n, chunk_units, job);
    for (int64_t c = 0; job->part && c < chunks; c++)
        job->dev->pw->axpby(n, 1, job->part + c * n, 1, job->sum);
}

static vw_status check_vector(const char *op, const char *name, const vw_tensor *v, int64_t n,
                              vw_error *err)
{
    if (v->dtype != VW_F32 || vw_tensor_bytes(v) != (size_t)n * sizeof(float))
        return vw_fail(err, VW_E_INVALID, "%s: %s must be f32 [%lld], as wide as x", op, name,
                       (long long)n);
    return VW_OK;
}

vw_status cpu_rms_norm_backward(void *self, vw_stream *s, vw_tensor x, vw_tensor w, float w_offset,
                                float eps, vw_tensor d_y, vw_tensor d_x, int32_t is_added,
                                vw_tensor d_w, void *workspace, vw_error *err)
{
    int64_t rows = x.shape[0], n = x.shape[1];
    (void)s;
    vw_status st = device_check("rms_norm_backward", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("rms_norm_backward", "d_y", &d_y, VW_F32, rows, n, err);
    if (st == VW_OK)
        st = device_check("rms_norm_backward", "d_x", &d_x, VW_F32, rows, n, err);
    if (st == VW_OK && w.data)
        st = check_vector("rms_norm_backward", "w", &w, n, err);
    if (st == VW_OK && d_w.data)
        st = check_vector("rms_norm_backward", "d_w", &d_w, n, err);
    if (st != VW_OK)
        return st;
    columns_job job = {.dev = self, .x = x, .d_y = d_y, .d_x = d_x, .w = w.data,
                       .w_offset = w_offset, .eps = eps, .is_added = is_added,
                       .part = d_w.data ? workspace : NULL, .sum = d_w.data};
    run_columns(&job);
    return VW_OK;
}

vw_status cpu_sum_rows(void *self, vw_stream *s, vw_tensor x, vw_tensor y, void *workspace,
                       vw_error *err)
{
    (void)s;
    vw_status st = device_check("sum_rows", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = check_vector("sum_rows", "y", &y, x.shape[1], err);
    columns_job job = {.dev = self, .x = x, .part = workspace, .sum = y.data};
    if (st == VW_OK)
        run_columns(&job);
    return st;
}

/* ---- a sum over everything ------------------------------------------------------------------- */

typedef struct squares_job {
    const vw_gradients *grads;
    vw_tensor x;
    int64_t chunks; /* of a row */
    double *part;   /* [rows][chunks] */
} squares_job;

static void squares_units(const void *arg, int64_t from, int64_t to)
{
    const squares_job *job = arg;
    for (int64_t unit = from; unit < to; unit++) {
        int64_t col = unit % job->chunks * CHUNK_VALUES, left = job->x.shape[1] - col;
        job->part[unit] =
            job->grads->sum_squares(left < CHUNK_VALUES ? left : CHUNK_VALUES,
                                    cpu_row(&job->x, unit / job->chunks) + col);
    }
}

/* A tensor without gaps is one long row. */
static void flatten(vw_tensor *x)
{
    if (x->n_dims == 1)
        *x = vw_tensor_2d(x->data, x->dtype, 1, x->shape[0]);
    else if (x->n_dims == 2 && x->stride[0] == x->shape[1])
        *x = vw_tensor_2d(x->data, x->dtype, 1, x->shape[0] * x->shape[1]);
}

vw_status cpu_sum_squares(void *self, vw_stream *s, vw_tensor x, double *result, void *workspace,
                          vw_error *err)
{
    const cpu_device *dev = self;
    double total = 0;
    (void)s;
    flatten(&x);
    vw_status st = device_check("sum_squares", "x", &x, VW_F32, -1, -1, err);
    if (st != VW_OK)
        return st;
    squares_job job = {dev->grads, x, n_chunks(x.shape[1], CHUNK_VALUES), workspace};
    int64_t units = x.shape[0] * job.chunks;
    cpu_split(dev, units, x.shape[1] < CHUNK_VALUES ? x.shape[1] : CHUNK_VALUES, squares_units,
              &job);
    for (int64_t i = 0; i < units; i++)
        total += job.part[i];
    *result = total;
    return VW_OK;
}
