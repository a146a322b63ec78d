/* trainee-linear.c - the smallest thing that can be trained: a table of logits for each token.
 *
 * Behind the interface of core/training.h, so that the loop is tested on its own: what it asks for,
 * in which order, what it saves and how it goes on.  The loss of next tokens under the softmax of
 * row `id` of the table has a minimum that is known, the data's conditional entropy, and
 * everything is computed in a fixed order.
 */
#include "core/training.h"

#include <math.h>
#include <stdlib.h>

#include "core/checkpoint.h"
#include "core/dataset.h"
#include "t/trainee-linear.h"

struct vw_trainee {
    vw_core *core;
    const vw_component *device;
    const vw_device_ops *dev;
    vw_stream *stream;
    int32_t vocab;
    vw_buffer values, gradients;
    vw_model_info model;
    double *row;
};

linear_trainee_fault linear_fault;

vw_status vw_trainee_open(vw_core *core, const vw_trainee_options *o, vw_trainee **trainee,
                          vw_error *err)
{
    vw_trainee *t = calloc(1, sizeof *t);
    t->core = core;
    t->vocab = o->vocab_size;
    t->row = calloc((size_t)t->vocab, sizeof *t->row);
    t->model = (vw_model_info){.size = sizeof t->model,
                               .family = "linear",
                               .description = "a table",
                               .vocab_size = t->vocab,
                               .max_positions = o->max_positions,
                               .bos = -1,
                               .eos = -1,
                               .pad = -1};
    vw_status st = vw_core_component(core, VW_KIND_DEVICE, NULL, NULL, &t->device, err);
    if (!st) {
        size_t bytes = (size_t)t->vocab * (size_t)t->vocab * sizeof(float);
        t->dev = t->device->ops;
        if (!(st = t->dev->stream_new(t->device->self, &t->stream, err)) &&
            !(st = t->dev->alloc(t->device->self, bytes, &t->values, err)))
            st = t->dev->alloc(t->device->self, bytes, &t->gradients, err);
    }
    *trainee = t;
    return st;
}

void vw_trainee_close(vw_trainee *t)
{
    if (!t)
        return;
    t->dev->free(t->device->self, &t->values);
    t->dev->free(t->device->self, &t->gradients);
    t->dev->stream_free(t->device->self, t->stream);
    free(t->row);
    free(t);
}

vw_status vw_trainee_estimate(vw_core *core, const vw_trainee_options *o, vw_training_memory *m,
                              uint64_t *trained, vw_error *err)
{
    (void)core;
    (void)err;
    *trained = (uint64_t)o->vocab_size * (uint64_t)o->vocab_size;
    *m = (vw_training_memory){.weights = 4 * *trained,
                              .gradients = 4 * *trained,
                              .activations = 64 * (uint64_t)o->max_tokens};
    m->total = m->weights + m->gradients + m->activations;
    return VW_OK;
}

void vw_trainee_get_info(const vw_trainee *t, vw_trainee_info *info)
{
    uint64_t n = (uint64_t)t->vocab * (uint64_t)t->vocab;
    *info = (vw_trainee_info){.model = &t->model,
                              .n_params = 1,
                              .parameters = n,
                              .n_values = n,
                              .n_trained = n,
                              .values = t->values.data,
                              .gradients = t->gradients.data,
                              .flops_per_token = 6.0 * t->vocab};
}

void vw_trainee_get_param(const vw_trainee *t, size_t i, vw_trainee_param *p)
{
    (void)i;
    *p = (vw_trainee_param){
        "table.weight", t->vocab,          t->vocab, (int64_t)t->vocab * t->vocab,
        t->values.data, t->gradients.data, 1,        true};
}

const vw_component *vw_trainee_device(const vw_trainee *t)
{
    return t->device;
}
vw_stream *vw_trainee_stream(const vw_trainee *t)
{
    return t->stream;
}

vw_status vw_trainee_engine(vw_trainee *t, vw_engine **engine, vw_error *err)
{
    (void)t;
    (void)engine;
    return vw_fail(err, VW_E_UNSUPPORTED, "a table writes no text");
}

void vw_losses_add(vw_losses *sum, const vw_losses *one)
{
    sum->n_scored += one->n_scored;
    sum->cross_entropy += one->cross_entropy;
    sum->is_finite = sum->is_finite && one->is_finite;
}

vw_status vw_trainee_zero(vw_trainee *t, vw_error *err)
{
    (void)err;
    memset(t->gradients.data, 0, t->gradients.bytes);
    return VW_OK;
}

/* Loss of one label, and its gradient times `scale` if that is not 0. */
static double one_token(vw_trainee *t, int32_t id, int32_t label, double scale)
{
    const float *z = (float *)t->values.data + (size_t)id * (size_t)t->vocab;
    float *g = (float *)t->gradients.data + (size_t)id * (size_t)t->vocab;
    double top = -INFINITY, sum = 0;
    for (int32_t i = 0; i < t->vocab; i++)
        top = fmax(top, z[i]);
    for (int32_t i = 0; i < t->vocab; i++)
        sum += t->row[i] = exp(z[i] - top);
    for (int32_t i = 0; i < t->vocab && scale != 0; i++)
        g[i] += (float)(scale * (t->row[i] / sum - (i == label)));
    return log(sum) + top - z[label];
}

static vw_status go(vw_trainee *t, const vw_micro_batch *m, double scale, vw_losses *losses)
{
    *losses = (vw_losses){.is_finite = true};
    for (int64_t i = 0; i < m->n_tokens; i++)
        if (m->labels[i] >= 0) {
            losses->cross_entropy += one_token(t, m->ids[i], m->labels[i], scale);
            losses->n_scored++;
        }
    return VW_OK;
}

vw_status vw_trainee_learn(vw_trainee *t, const vw_micro_batch *m, vw_losses *losses, vw_error *err)
{
    linear_fault.n_learnt++;
    if (linear_fault.at_learn == linear_fault.n_learnt && linear_fault.on_learn)
        linear_fault.on_learn(linear_fault.arg);
    vw_status st = go(t, m, m->loss_scale / m->divisor, losses);
    if (linear_fault.nan_at_learn == linear_fault.n_learnt)
        ((float *)t->gradients.data)[3] = NAN;
    (void)err;
    return st;
}

vw_status vw_trainee_evaluate(vw_trainee *t, const vw_micro_batch *m, vw_losses *losses,
                              vw_error *err)
{
    (void)err;
    return go(t, m, 0, losses);
}

vw_status vw_trainee_updated(vw_trainee *t, vw_error *err)
{
    (void)t;
    (void)err;
    return VW_OK;
}

float *vw_trainee_history(vw_trainee *t, int64_t *n)
{
    (void)t;
    *n = 0;
    return NULL;
}

vw_status vw_trainee_rescale(vw_trainee *t, vw_error *err)
{
    (void)t;
    (void)err;
    return VW_OK;
}

vw_status vw_trainee_loads(vw_trainee *t, int32_t router, uint64_t *counts, int32_t room,
                           int32_t *n, vw_error *err)
{
    (void)t, (void)counts, (void)room, (void)n;
    return vw_fail(err, VW_E_INVALID, "router %d of 0", router);
}

void vw_trainee_profile(vw_trainee *t, vw_profile *profile)
{
    (void)t, (void)profile;
}

void vw_trainee_tap(vw_trainee *t, int32_t n, const int32_t *after, float *const *to)
{
    (void)t, (void)n, (void)after, (void)to;
}

vw_status vw_trainee_save_projections(vw_trainee *t, const char *folder, vw_error *err)
{
    (void)t, (void)folder, (void)err;
    return VW_OK;
}

vw_status vw_trainee_load_projections(vw_trainee *t, const char *folder, vw_error *err)
{
    (void)t, (void)folder, (void)err;
    return VW_OK;
}

void vw_trainee_reset_loads(vw_trainee *t)
{
    (void)t;
}

vw_status vw_trainee_balance(vw_trainee *t, double gamma, vw_error *err)
{
    (void)t;
    (void)gamma;
    (void)err;
    return VW_OK;
}

vw_status vw_trainee_save(vw_trainee *t, const char *folder, vw_dtype dtype, vw_error *err)
{
    char path[4096];
    (void)dtype;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    return vw_file_write(path, t->values.data, t->values.bytes, err);
}

vw_status vw_trainee_save_adapter(vw_trainee *t, const char *folder, vw_error *err)
{
    return vw_trainee_save(t, folder, VW_F32, err);
}

vw_status vw_trainee_load(vw_trainee *t, const char *folder, vw_error *err)
{
    char path[4096], *data;
    size_t bytes;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    vw_status st = vw_file_read_dup(path, &data, &bytes, err);
    if (st)
        return st;
    if (bytes == t->values.bytes)
        memcpy(t->values.data, data, bytes);
    else
        st = vw_fail(err, VW_E_FORMAT, "%s: another table", path);
    free(data);
    return st;
}

vw_status vw_trainee_logits(vw_trainee *t, const vw_micro_batch *m, vw_trainee_rows rows, void *arg,
                            vw_error *err)
{
    (void)t;
    (void)m;
    (void)rows;
    (void)arg;
    return vw_fail(err, VW_E_UNSUPPORTED, "a table teaches nobody");
}
