/* cpu_pointwise.c - norms, rope and the elementwise operations of device/cpu.
 *
 * Each operation checks its tensors, fills a job, and runs it in units: rows where a row must be
 * seen whole, stretches of a row where each value stands alone.
 */
#include "plugins/device/cpu.h"

_Static_assert((int)VW_ACT_GELU_TANH == VW_POINTWISE_GELU_TANH &&
                   (int)VW_ACT_GELU_ERF == VW_POINTWISE_GELU_ERF &&
                   (int)VW_ACT_SILU == VW_POINTWISE_SILU && (int)VW_ACT_RELU == VW_POINTWISE_RELU,
               "the kernels number the activations as device.h does");

/* ---- row by row ------------------------------------------------------------------------------ */

typedef struct norm_job {
    const vw_pointwise *pw;
    vw_tensor x, residual, y;
    const float *w;
    float w_offset, eps;
} norm_job;

static void norm_units(const void *arg, int64_t from, int64_t to)
{
    const norm_job *job = arg;
    for (int64_t t = from; t < to; t++)
        job->pw->rms_norm(job->x.shape[1], cpu_row(&job->x, t),
                          job->residual.data ? cpu_row(&job->residual, t) : NULL, job->w,
                          job->w_offset, job->eps, cpu_row(&job->y, t));
}

vw_status cpu_rms_norm(void *self, vw_stream *s, vw_tensor x, vw_tensor residual, vw_tensor w,
                       float w_offset, float eps, vw_tensor y, vw_error *err)
{
    const cpu_device *dev = self;
    int64_t rows = x.shape[0], n = x.shape[1];
    (void)s;
    vw_status st = device_check("rms_norm", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("rms_norm", "y", &y, VW_F32, rows, n, err);
    if (st == VW_OK && residual.data)
        st = device_check("rms_norm", "residual", &residual, VW_F32, rows, n, err);
    if (st != VW_OK)
        return st;
    if (w.data && (w.dtype != VW_F32 || vw_tensor_bytes(&w) != (size_t)n * sizeof(float)))
        return vw_fail(err, VW_E_INVALID, "rms_norm: w must be f32 [%lld], as wide as x",
                       (long long)n);
    norm_job job = {dev->pw, x, residual, y, w.data, w_offset, eps};
    cpu_split(dev, rows, n, norm_units, &job);
    return VW_OK;
}

typedef struct rope_job {
    const vw_pointwise *pw;
    vw_tensor x;
    const int32_t *positions;
    vw_pointwise_rope rope;
} rope_job;

static void rope_units(const void *arg, int64_t from, int64_t to)
{
    const rope_job *job = arg;
    for (int64_t t = from; t < to; t++)
        job->pw->rope(&job->rope, job->positions[t], cpu_row(&job->x, t));
}

/* A rotation that fits x, as the kernels take it. */
vw_status cpu_check_rope(const char *op, const vw_tensor *x, const vw_rope_desc *r,
                         vw_pointwise_rope *rope, vw_error *err)
{
    if (r->dims < 0 || r->dims % 2 || r->first < 0 || r->first + r->dims > r->head_dim)
        return vw_fail(err, VW_E_INVALID, "%s: values %d to %d of a head of %d are no even part", op,
                       r->first, r->first + r->dims, r->head_dim);
    *rope = (vw_pointwise_rope){r->pairing == VW_ROPE_PAIRS, r->heads, r->head_dim, r->first,
                                r->dims, r->inv_freq, r->scale};
    return device_check(op, "x", x, VW_F32, -1, (int64_t)r->heads * r->head_dim, err);
}

vw_status cpu_rope(void *self, vw_stream *s, vw_tensor x, const int32_t *positions,
                   const vw_rope_desc *r, vw_error *err)
{
    const cpu_device *dev = self;
    rope_job job = {.pw = dev->pw, .x = x, .positions = positions};
    (void)s;
    vw_status st = cpu_check_rope("rope", &x, r, &job.rope, err);
    if (st == VW_OK)
        cpu_split(dev, x.shape[0], x.shape[1], rope_units, &job);
    return st;
}

typedef struct softmax_job {
    const vw_pointwise *pw;
    vw_tensor x;
} softmax_job;

static void softmax_units(const void *arg, int64_t from, int64_t to)
{
    const softmax_job *job = arg;
    for (int64_t t = from; t < to; t++)
        job->pw->softmax(job->x.shape[1], cpu_row(&job->x, t));
}

vw_status cpu_softmax(void *self, vw_stream *s, vw_tensor x, vw_error *err)
{
    const cpu_device *dev = self;
    (void)s;
    vw_status st = device_check("softmax", "x", &x, VW_F32, -1, -1, err);
    if (st != VW_OK)
        return st;
    softmax_job job = {dev->pw, x};
    cpu_split(dev, x.shape[0], x.shape[1], softmax_units, &job);
    return VW_OK;
}

/* ---- value by value -------------------------------------------------------------------------- */

enum { STRETCH = 8192 }; /* values of a row in one unit */

typedef enum each_op { EACH_GATE, EACH_AXPBY, EACH_SOFTCAP } each_op;

typedef struct each_job {
    const vw_pointwise *pw;
    each_op op;
    vw_pointwise_act act;
    float a, b;
    vw_tensor x, up, y;
    int64_t stretches; /* of a row */
} each_job;

static void each_stretch(const each_job *job, int64_t row, int64_t col, int64_t n)
{
    float *x = cpu_row(&job->x, row) + col, *y = cpu_row(&job->y, row) + col;
    switch (job->op) {
    case EACH_GATE:
        job->pw->gate(job->act, n, x, job->up.data ? cpu_row(&job->up, row) + col : NULL, y);
        break;
    case EACH_AXPBY:
        job->pw->axpby(n, job->a, x, job->b, y);
        break;
    case EACH_SOFTCAP:
        job->pw->softcap(n, job->a, x);
        break;
    }
}

static void each_units(const void *arg, int64_t from, int64_t to)
{
    const each_job *job = arg;
    for (int64_t unit = from; unit < to; unit++) {
        int64_t col = unit % job->stretches * STRETCH, left = job->x.shape[1] - col;
        each_stretch(job, unit / job->stretches, col, left < STRETCH ? left : STRETCH);
    }
}

static void run_each(const cpu_device *dev, each_job *job)
{
    int64_t n = job->x.shape[1];
    job->pw = dev->pw;
    job->stretches = (n + STRETCH - 1) / STRETCH;
    cpu_split(dev, job->x.shape[0] * job->stretches, n < STRETCH ? n : STRETCH, each_units, job);
}

vw_status cpu_gate(void *self, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up,
                   vw_tensor y, vw_error *err)
{
    (void)s;
    if ((unsigned)act > VW_ACT_RELU)
        return vw_fail(err, VW_E_UNSUPPORTED, "gate: activation %d is not known", (int)act);
    vw_status st = device_check("gate", "gate", &gate, VW_F32, -1, -1, err);
    if (st == VW_OK && up.data)
        st = device_check("gate", "up", &up, VW_F32, gate.shape[0], gate.shape[1], err);
    if (st == VW_OK)
        st = device_check("gate", "y", &y, VW_F32, gate.shape[0], gate.shape[1], err);
    if (st != VW_OK)
        return st;
    each_job job = {.op = EACH_GATE, .act = (vw_pointwise_act)act, .x = gate, .up = up, .y = y};
    run_each(self, &job);
    return VW_OK;
}

vw_status cpu_activate(void *self, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor y,
                       vw_error *err)
{
    vw_tensor no_up = {0};
    return cpu_gate(self, s, act, x, no_up, y, err);
}

vw_status cpu_axpby(void *self, vw_stream *s, float a, vw_tensor x, float b, vw_tensor y,
                    vw_error *err)
{
    (void)s;
    vw_status st = device_check("axpby", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("axpby", "y", &y, VW_F32, x.shape[0], x.shape[1], err);
    if (st != VW_OK)
        return st;
    each_job job = {.op = EACH_AXPBY, .a = a, .b = b, .x = x, .y = y};
    run_each(self, &job);
    return VW_OK;
}

vw_status cpu_softcap(void *self, vw_stream *s, float cap, vw_tensor x, vw_error *err)
{
    (void)s;
    if (!(cap > 0))
        return vw_fail(err, VW_E_INVALID, "softcap: the cap must be above 0, not %g", (double)cap);
    vw_status st = device_check("softcap", "x", &x, VW_F32, -1, -1, err);
    if (st != VW_OK)
        return st;
    each_job job = {.op = EACH_SOFTCAP, .a = cap, .x = x, .y = x};
    run_each(self, &job);
    return VW_OK;
}
