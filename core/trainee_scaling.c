/* trainee_scaling.c - fp8 with delayed scaling: one scale a tensor, known before the tensor is.
 *
 * Of each matrix's products the input, the matrix itself and the gradient of the output have a
 * scale for all of an update, made of the largest magnitudes of the updates before (Micikevicius et
 * al. 2022, section 3.2, and the delayed scaling of NVIDIA's Transformer Engine); what is larger
 * saturates.  The first update has none and scales each tensor by its own.  Products read a copy of
 * the matrix, which is rounded once an update; inputs and gradients are rounded by the blocks
 * (vw_scaled).
 */
#include "core/trainee.h"

#include <string.h>

static const float least_amax = 1e-4f, most_e4m3 = 448; /* of the quantiser, gemm.md section 4 */

static size_t copied(const vw_param *p)
{
    return (size_t)(p->spec->rows * p->spec->cols + 15) / 16 * 16;
}

static bool is_scaled(const vw_param *p)
{
    return p->values && p->spec->rows && !p->spec->is_exact;
}

static vw_status check_capacity(const vw_trainee *t, vw_error *err)
{
    const vw_model_info *info = t->engine->info;
    for (int32_t l = 0; l < info->n_experts; l++)
        if (info->experts[l].capacity > 0)
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "delayed scaling needs experts without a capacity: places that no token "
                           "has would count; set train.fp8_scaling = current, or capacity = 0");
    return VW_OK;
}

static size_t n_records(const vw_trainee *t)
{
    return t->n_scaled * VW_OPERANDS;
}

static vw_status take_memory(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    size_t bytes = n_records(t) * 2 * sizeof(float) + 1;
    size_t kept = n_records(t) * (size_t)t->options.fp8_history * sizeof(float) + 1;
    t->records_host = vw_core_alloc(t->core, bytes);
    t->history = vw_core_alloc(t->core, kept);
    if (!t->records_host || !t->history)
        return vw_fail(err, VW_E_NOMEM, "no memory for the scales of %zu matrices", t->n_scaled);
    memset(t->history, 0, kept);
    vw_status st = e->dev->alloc(dev, bytes, &t->records, err);
    if (!st)
        st = e->dev->alloc(dev, t->n_copied * sizeof(float) + 1, &t->copies, err);
    return st;
}

vw_status vw_scaling_open(vw_trainee *t, vw_error *err)
{
    vw_status st = VW_OK;
    if (t->options.precision != VW_PRECISION_FP8)
        t->options.fp8_history = 0;
    if (!t->options.fp8_history || (st = check_capacity(t, err)))
        return st;
    for (size_t i = 0; i < t->n_params; i++)
        if (is_scaled(t->params[i])) {
            t->n_scaled++;
            t->n_copied += copied(t->params[i]);
        }
    if (!t->is_estimate && (st = take_memory(t, err)))
        return st;
    float *record = t->is_estimate ? (float *)16 : t->records.data; /* not read while measuring */
    float *copy = t->is_estimate ? (float *)16 : t->copies.data;
    for (size_t i = 0; i < t->n_params; i++) {
        vw_param *p = t->params[i];
        if (!is_scaled(p))
            continue;
        p->scaling = record;
        p->weight.stored.data = copy;
        record += VW_OPERANDS * 2;
        copy += copied(p);
    }
    return VW_OK;
}

void vw_scaling_close(vw_trainee *t)
{
    vw_engine *e = t->engine;
    e->dev->free(e->device->self, &t->records);
    e->dev->free(e->device->self, &t->copies);
    vw_core_release(t->core, t->records_host);
    vw_core_release(t->core, t->history);
}

/* The scale that a history gives; 0 where it is empty. */
static float scale_of(const vw_trainee *t, const float *history)
{
    float amax = 0;
    for (int32_t i = 0; i < t->options.fp8_history; i++)
        amax = history[i] > amax ? history[i] : amax;
    if (amax == 0)
        return 0;
    amax *= 1 + (float)t->options.fp8_margin;
    return (amax > least_amax ? amax : least_amax) / most_e4m3;
}

static vw_status copy_weights(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    vw_status st = VW_OK;
    for (size_t i = 0; i < t->n_params && !st; i++) {
        const vw_param *p = t->params[i];
        const vw_param_spec *s = p->spec;
        if (p->scaling)
            st = e->dev->round_e4m3(
                e->device->self, e->stream, vw_tensor_2d(p->values, VW_F32, s->rows, s->cols),
                p->scaling + 2 * VW_OPERAND_WEIGHT, 1,
                vw_tensor_2d((void *)(uintptr_t)p->weight.stored.data, VW_F32, s->rows, s->cols),
                err);
    }
    return st;
}

vw_status vw_trainee_rescale(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    size_t n = n_records(t), deep = (size_t)t->options.fp8_history;
    if (!n || !t->records.data)
        return VW_OK;
    for (size_t i = 0; i < n; i++) {
        t->records_host[2 * i] = scale_of(t, t->history + i * deep);
        t->records_host[2 * i + 1] = 0;
    }
    vw_status st = e->dev->upload(dev, e->stream, t->records.data, t->records_host,
                                  2 * n * sizeof(float), err);
    if (!st)
        st = copy_weights(t, err);
    return st ? st : e->dev->synchronize(dev, e->stream, err);
}

/* What the update before left is the newest of each history. */
vw_status vw_trainee_updated(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    size_t n = n_records(t), deep = (size_t)t->options.fp8_history;
    if (!n)
        return VW_OK; /* products round what they read; there is no second copy */
    vw_status st = e->dev->download(dev, e->stream, t->records_host, t->records.data,
                                    2 * n * sizeof(float), err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    for (size_t i = 0; i < n && !st; i++) {
        float *h = t->history + i * deep;
        memmove(h + 1, h, (deep - 1) * sizeof *h);
        h[0] = t->records_host[2 * i + 1];
    }
    return st ? st : vw_trainee_rescale(t, err);
}

float *vw_trainee_history(vw_trainee *t, int64_t *n)
{
    *n = (int64_t)n_records(t) * t->options.fp8_history;
    return *n ? t->history : NULL;
}
