/* cpu_backward.c - the backward operations of device/cpu, each value or row alone, and dropout.
 *
 * What sums over rows is in cpu_reduce.c.
 */
#include "plugins/device/cpu.h"

/* VW_OK if all tensors are f32 of the first one's shape; names and tensors in turn, ended by NULL. */
typedef struct named {
    const char *name;
    const vw_tensor *t;
} named;

static vw_status check_same(const char *op, const named *all, int n, vw_error *err)
{
    vw_status st = device_check(op, all[0].name, all[0].t, VW_F32, -1, -1, err);
    for (int i = 1; st == VW_OK && i < n; i++)
        st = device_check(op, all[i].name, all[i].t, VW_F32, all[0].t->shape[0], all[0].t->shape[1],
                          err);
    return st;
}

/* ---- value by value -------------------------------------------------------------------------- */

typedef enum back_op { BACK_ACTIVATE, BACK_GATE, BACK_SOFTCAP, BACK_SOFTMAX, BACK_DROPOUT } back_op;

typedef struct back_job {
    const vw_gradients *grads;
    back_op op;
    vw_pointwise_act act;
    int is_added;
    float cap;
    vw_tensor x, up, d_y, d_x, d_up;
    /* dropout */
    uint64_t seed, stream;
    uint32_t least;
    float scale;
} back_job;

static void back_units(const void *arg, int64_t from, int64_t to)
{
    const back_job *job = arg;
    const vw_gradients *g = job->grads;
    int64_t n = job->x.shape[1];
    for (int64_t t = from; t < to; t++) {
        const float *x = cpu_row(&job->x, t);
        float *d_x = cpu_row(&job->d_x, t);
        switch (job->op) {
        case BACK_ACTIVATE:
            g->activate(job->act, n, x, cpu_row(&job->d_y, t), job->is_added, d_x);
            break;
        case BACK_GATE:
            g->gate(job->act, n, x, cpu_row(&job->up, t), cpu_row(&job->d_y, t), d_x,
                    cpu_row(&job->d_up, t));
            break;
        case BACK_SOFTCAP:
            g->softcap(n, job->cap, x, d_x);
            break;
        case BACK_SOFTMAX:
            g->softmax(n, x, d_x);
            break;
        case BACK_DROPOUT:
            g->dropout(n, job->seed, job->stream, (uint64_t)t * (uint64_t)n, job->least,
                       job->scale, x, d_x);
            break;
        }
    }
}

static vw_status run_back(const cpu_device *dev, back_job *job)
{
    job->grads = dev->grads;
    cpu_split(dev, job->x.shape[0], job->x.shape[1], back_units, job);
    return VW_OK;
}

static vw_status check_activation(const char *op, vw_activation act, vw_error *err)
{
    if ((unsigned)act > VW_ACT_RELU)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: activation %d is not known", op, (int)act);
    return VW_OK;
}

vw_status cpu_activate_backward(void *self, vw_stream *s, vw_activation act, vw_tensor x,
                                vw_tensor d_y, vw_tensor d_x, int32_t is_added, vw_error *err)
{
    const named all[] = {{"x", &x}, {"d_y", &d_y}, {"d_x", &d_x}};
    (void)s;
    vw_status st = check_activation("activate_backward", act, err);
    if (st == VW_OK)
        st = check_same("activate_backward", all, 3, err);
    back_job job = {.op = BACK_ACTIVATE, .act = (vw_pointwise_act)act, .is_added = is_added,
                    .x = x, .d_y = d_y, .d_x = d_x};
    return st != VW_OK ? st : run_back(self, &job);
}

vw_status cpu_gate_backward(void *self, vw_stream *s, vw_activation act, vw_tensor gate,
                            vw_tensor up, vw_tensor d_y, vw_tensor d_gate, vw_tensor d_up,
                            vw_error *err)
{
    const named all[] = {
        {"gate", &gate}, {"up", &up}, {"d_y", &d_y}, {"d_gate", &d_gate}, {"d_up", &d_up}};
    (void)s;
    vw_status st = check_activation("gate_backward", act, err);
    if (st == VW_OK)
        st = check_same("gate_backward", all, 5, err);
    back_job job = {.op = BACK_GATE, .act = (vw_pointwise_act)act, .x = gate, .up = up,
                    .d_y = d_y, .d_x = d_gate, .d_up = d_up};
    return st != VW_OK ? st : run_back(self, &job);
}

vw_status cpu_softcap_backward(void *self, vw_stream *s, float cap, vw_tensor y, vw_tensor d_y,
                               vw_error *err)
{
    const named all[] = {{"y", &y}, {"d_y", &d_y}};
    (void)s;
    if (!(cap > 0))
        return vw_fail(err, VW_E_INVALID, "softcap_backward: the cap must be above 0, not %g",
                       (double)cap);
    vw_status st = check_same("softcap_backward", all, 2, err);
    back_job job = {.op = BACK_SOFTCAP, .cap = cap, .x = y, .d_x = d_y};
    return st != VW_OK ? st : run_back(self, &job);
}

vw_status cpu_softmax_backward(void *self, vw_stream *s, vw_tensor y, vw_tensor d_y, vw_error *err)
{
    const named all[] = {{"y", &y}, {"d_y", &d_y}};
    (void)s;
    vw_status st = check_same("softmax_backward", all, 2, err);
    back_job job = {.op = BACK_SOFTMAX, .x = y, .d_x = d_y};
    return st != VW_OK ? st : run_back(self, &job);
}

vw_status cpu_dropout(void *self, vw_stream *s, float p, uint64_t seed, uint64_t stream,
                      vw_tensor x, vw_tensor y, vw_error *err)
{
    const named all[] = {{"x", &x}, {"y", &y}};
    (void)s;
    if (!(p >= 0 && p < 1))
        return vw_fail(err, VW_E_INVALID, "dropout: a share of %g; 0 up to, not with, 1 is one",
                       (double)p);
    vw_status st = check_same("dropout", all, 2, err);
    /* Rounded up, so that a word of at least p 2^32 is one of at least this. */
    back_job job = {.op = BACK_DROPOUT, .x = x, .d_x = y, .seed = seed, .stream = stream,
                    .least = (uint32_t)ceil((double)p * 4294967296.0),
                    .scale = (float)(1 / (1 - (double)p))};
    return st != VW_OK ? st : run_back(self, &job);
}

/* ---- rope ------------------------------------------------------------------------------------ */

typedef struct turn_job {
    const vw_pointwise *pw;
    vw_tensor x;
    const int32_t *positions;
    vw_pointwise_rope rope;
} turn_job;

/* Back is the rotation by the opposite position. */
static void turn_units(const void *arg, int64_t from, int64_t to)
{
    const turn_job *job = arg;
    for (int64_t t = from; t < to; t++)
        job->pw->rope(&job->rope, -job->positions[t], cpu_row(&job->x, t));
}

vw_status cpu_rope_backward(void *self, vw_stream *s, vw_tensor d_x, const int32_t *positions,
                            const vw_rope_desc *r, vw_error *err)
{
    const cpu_device *dev = self;
    turn_job job = {.pw = dev->pw, .x = d_x, .positions = positions};
    (void)s;
    vw_status st = cpu_check_rope("rope_backward", &d_x, r, &job.rope, err);
    if (st == VW_OK)
        cpu_split(dev, d_x.shape[0], d_x.shape[1], turn_units, &job);
    return st;
}

/* ---- cross-entropy --------------------------------------------------------------------------- */

typedef struct loss_job {
    const vw_pointwise *pw;
    const vw_gradients *grads;
    const vw_loss_desc *loss;
    vw_tensor logits;
    const int32_t *labels;
    float *ce, *kl;
} loss_job;

static vw_gradient_row loss_row(const loss_job *job, int64_t t)
{
    const vw_loss_desc *l = job->loss;
    vw_gradient_row row = {.smoothing = l->smoothing, .cap = l->cap, .scale = l->scale,
                           .is_backward = l->is_backward};
    if (!l->teacher.data)
        return row;
    row.alpha = l->alpha;
    row.temperature = l->temperature;
    row.k = l->teacher.shape[1];
    row.teacher = cpu_row(&l->teacher, t);
    if (l->teacher_ids.data)
        row.ids = (const int32_t *)l->teacher_ids.data + t * l->teacher_ids.stride[0];
    row.teacher_lse = l->teacher_lse && row.ids ? l->teacher_lse + t : NULL;
    return row;
}

static int ids_exist(const vw_gradient_row *row, int64_t n)
{
    for (int64_t j = 0; row->ids && j < row->k; j++)
        if (row->ids[j] < 0 || row->ids[j] >= n)
            return 0;
    return 1;
}

/* A row without a loss (0), or with one that does not exist (NaN). */
static void fill_row(const loss_job *job, int64_t t, float value)
{
    float *z = cpu_row(&job->logits, t);
    for (int64_t i = 0; job->loss->is_backward && i < job->logits.shape[1]; i++)
        z[i] = value;
    if (job->ce)
        job->ce[t] = value;
    if (job->kl)
        job->kl[t] = value;
}

static void loss_units(const void *arg, int64_t from, int64_t to)
{
    const loss_job *job = arg;
    int64_t n = job->logits.shape[1];
    for (int64_t t = from; t < to; t++) {
        vw_gradient_row row = loss_row(job, t);
        if (job->labels[t] < 0)
            fill_row(job, t, 0);
        else if (job->labels[t] >= n || !ids_exist(&row, n))
            fill_row(job, t, NAN);
        else
            vw_gradient_cross_entropy(job->pw, job->grads, n, &row, cpu_row(&job->logits, t),
                                      job->labels[t], job->ce ? job->ce + t : NULL,
                                      job->kl ? job->kl + t : NULL);
    }
}

static vw_status check_teacher(const vw_loss_desc *l, const vw_tensor *logits, vw_error *err)
{
    int64_t rows = logits->shape[0], k = l->teacher.shape[1];
    vw_status st;
    if (!(l->temperature > 0))
        return vw_fail(err, VW_E_INVALID, "cross_entropy: a temperature of %g; it must be above 0",
                       (double)l->temperature);
    if (!l->teacher_ids.data)
        return device_check("cross_entropy", "teacher", &l->teacher, VW_F32, rows, logits->shape[1],
                            err);
    if (k < 1 || k > VW_GRADIENT_MAX_IDS || k > logits->shape[1])
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "cross_entropy: %lld logits of the teacher a row; 1 to %d of %lld are possible",
                       (long long)k, VW_GRADIENT_MAX_IDS, (long long)logits->shape[1]);
    st = device_check("cross_entropy", "teacher", &l->teacher, VW_F32, rows, k, err);
    if (st == VW_OK)
        st = device_check("cross_entropy", "teacher_ids", &l->teacher_ids, VW_I32, rows, k, err);
    return st;
}

vw_status cpu_cross_entropy(void *self, vw_stream *s, const vw_loss_desc *loss, vw_tensor logits,
                            const int32_t *labels, float *ce, float *kl, vw_error *err)
{
    const cpu_device *dev = self;
    (void)s;
    if (!(loss->smoothing >= 0 && loss->smoothing < 1))
        return vw_fail(err, VW_E_INVALID, "cross_entropy: a smoothing of %g; 0 up to, not with, 1",
                       (double)loss->smoothing);
    vw_status st = device_check("cross_entropy", "logits", &logits, VW_F32, -1, -1, err);
    if (st == VW_OK && loss->teacher.data)
        st = check_teacher(loss, &logits, err);
    if (st != VW_OK)
        return st;
    loss_job job = {dev->pw, dev->grads, loss, logits, labels, ce, kl};
    cpu_split(dev, logits.shape[0], 4 * logits.shape[1], loss_units, &job);
    return VW_OK;
}
