/* experts.c - the experts of each layer as one handle.
 *
 * A model lists every expert's matrices as parameters, because its files do; a block works on all
 * of a layer's at once.  The handle holds what a grouped product takes, made once.  Beside them lie
 * the counts of what each expert got in inference, which the device keeps as it lines tokens up.
 */
#include "core/engine.h"
#include "core/expert_cache.h"
#include "core/sized.h"

#include <string.h>

static void link_experts(vw_experts *x)
{
    for (int32_t i = 0; i < x->n; i++) {
        vw_param *const *p = x->params + 3 * (size_t)i;
        vw_tensor *d[3] = {x->d_gate, x->d_up, x->d_down};
        x->gate[i] = x->gate_up[2 * i] = &p[0]->weight;
        x->up[i] = x->gate_up[2 * i + 1] = &p[1]->weight;
        x->down[i] = &p[2]->weight;
        for (int j = 0; j < 3; j++)
            d[j][i] = vw_tensor_2d(p[j]->gradient, VW_F32, p[j]->spec->rows, p[j]->spec->cols);
    }
}

/* ---- adapters -------------------------------------------------------------------------------- */

static const vw_adapter *adapter_of(const vw_experts *x, int32_t expert, int matrix)
{
    return x->params[3 * (size_t)expert + (size_t)matrix]->adapter;
}

/* A grouped product takes all experts' at once, so all have one, of one rank. */
static vw_status check_alike(const vw_experts *x, int matrix, vw_error *err)
{
    const vw_adapter *first = adapter_of(x, 0, matrix);
    for (int32_t i = 0; i < x->n; i++) {
        const vw_adapter *its = adapter_of(x, i, matrix);
        bool is_alike = !first == !its &&
                        (!its || (its->down->spec->rows == first->down->spec->rows &&
                                  its->scale == first->scale));
        if (!is_alike)
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "the adapters of \"%s\" and \"%s\" differ; all experts of a layer are "
                           "adapted alike, with one rank, or none is",
                           x->params[matrix]->spec->name,
                           x->params[3 * (size_t)i + (size_t)matrix]->spec->name);
    }
    return VW_OK;
}

static vw_status link_adapters(vw_engine *e, vw_experts *x, int matrix, vw_error *err)
{
    expert_adapters *a = &x->adapters[matrix];
    size_t n = (size_t)x->n;
    vw_status st = check_alike(x, matrix, err);
    if (st || !(a->first = adapter_of(x, 0, matrix)))
        return st;
    a->down = vw_core_alloc(e->core, 2 * n * sizeof *a->down);
    a->d_down = vw_core_alloc(e->core, 2 * n * sizeof *a->d_down);
    if (!a->down || !a->d_down)
        return vw_fail(err, VW_E_NOMEM, "no memory for the adapters of %d experts", x->n);
    a->up = a->down + n;
    a->d_up = a->d_down + n;
    for (size_t i = 0; i < n; i++) {
        const vw_adapter *its = adapter_of(x, (int32_t)i, matrix);
        const vw_param *down = its->down, *up = its->up;
        a->down[i] = &down->weight;
        a->up[i] = &up->weight;
        a->d_down[i] = vw_tensor_2d(down->gradient, VW_F32, down->spec->rows, down->spec->cols);
        a->d_up[i] = vw_tensor_2d(up->gradient, VW_F32, up->spec->rows, up->spec->cols);
    }
    return VW_OK;
}

static vw_status check_list(const vw_engine *e, const vw_experts_spec *s, vw_error *err)
{
    size_t end = s->first_param + 3 * (size_t)(s->n_experts > 0 ? s->n_experts : 0);
    if (s->n_experts < 1 || end > e->info->n_params || s->bias > e->info->n_params)
        return vw_fail(err, VW_E_INVALID,
                       "the model lists %d experts from parameter %zu on, but has "
                       "%zu parameters",
                       s->n_experts, s->first_param, e->info->n_params);
    for (size_t i = s->first_param; i < end; i++)
        if (!e->param_list[i])
            return vw_fail(err, VW_E_FORMAT,
                           "the checkpoint lacks \"%s\", which is part of a layer's "
                           "experts",
                           e->info->params[i].name);
    return VW_OK;
}

/* ---- counts ---------------------------------------------------------------------------------- */

static vw_status open_counts(vw_engine *e, vw_error *err)
{
    for (int32_t l = 0; l < e->info->n_experts; l++)
        if (e->experts[l].n > e->widest_experts)
            e->widest_experts = e->experts[l].n;
    size_t bytes = (size_t)e->info->n_experts * (size_t)e->widest_experts * sizeof(int64_t);
    if (!bytes)
        return VW_OK;
    vw_status st = e->dev->alloc(e->device->self, bytes, &e->expert_loads, err);
    return st ? st : e->dev->fill(e->device->self, e->stream, e->expert_loads.data, 0, bytes, err);
}

vw_status vw_engine_expert_loads(vw_engine *e, int32_t layer, uint64_t *loads, int32_t room,
                                 int32_t *n, vw_error *err)
{
    int64_t *host;
    void *dev = e->device->self;
    if (layer < 0 || layer >= e->info->n_experts)
        return vw_fail(err, VW_E_INVALID, "layer %d with experts of %d", layer, e->info->n_experts);
    *n = e->experts[layer].n;
    size_t row = (size_t)layer * (size_t)e->widest_experts, bytes = (size_t)*n * sizeof *host;
    if (!(host = vw_core_alloc(e->core, bytes)))
        return vw_fail(err, VW_E_NOMEM, "no memory for the loads of %d experts", *n);
    vw_status st =
        e->dev->download(dev, e->stream, host, (int64_t *)e->expert_loads.data + row, bytes, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    for (int32_t i = 0; i < *n && i < room && !st; i++)
        loads[i] = (uint64_t)host[i];
    vw_core_release(e->core, host);
    return st;
}

void vw_engine_expert_stats(const vw_engine *e, vw_expert_stats *stats)
{
    vw_expert_stats s = {.size = sizeof s};
    if (e->cache)
        vw_expert_cache_get_stats(e->cache, &s);
    vw_sized_give(stats, &s, sizeof s);
}

/* ---- handles --------------------------------------------------------------------------------- */

vw_status vw_experts_open(vw_engine *e, vw_error *err)
{
    size_t layers = (size_t)e->info->n_experts;
    e->experts = vw_core_alloc(e->core, layers * sizeof *e->experts + 1);
    if (!e->experts)
        return vw_fail(err, VW_E_NOMEM, "no memory for experts");
    memset(e->experts, 0, layers * sizeof *e->experts);
    for (size_t l = 0; l < layers; l++) {
        const vw_experts_spec *s = &e->info->experts[l];
        vw_experts *x = &e->experts[l];
        vw_status st = check_list(e, s, err);
        if (st)
            return st;
        size_t n = (size_t)s->n_experts;
        const vw_gemm_weight **pointers = vw_core_alloc(e->core, 5 * n * sizeof *pointers);
        vw_tensor *tensors = vw_core_alloc(e->core, 3 * n * sizeof *tensors);
        *x = (vw_experts){.n = s->n_experts,
                          .params = e->param_list + s->first_param,
                          .gate_up = pointers,
                          .d_gate = tensors};
        if (!pointers || !tensors)
            return vw_fail(err, VW_E_NOMEM, "no memory for %d experts", s->n_experts);
        x->gate = pointers + 2 * n;
        x->up = pointers + 3 * n;
        x->down = pointers + 4 * n;
        x->d_up = tensors + n;
        x->d_down = tensors + 2 * n;
        link_experts(x);
        for (int j = 0; j < 3 && !st; j++)
            st = link_adapters(e, x, j, err);
        if (st)
            return st;
    }
    return open_counts(e, err);
}

void vw_experts_close(vw_engine *e)
{
    for (int32_t l = 0; e->experts && l < e->info->n_experts; l++) {
        vw_core_release(e->core, e->experts[l].gate_up);
        vw_core_release(e->core, e->experts[l].d_gate);
        for (int j = 0; j < 3; j++) {
            vw_core_release(e->core, e->experts[l].adapters[j].down);
            vw_core_release(e->core, e->experts[l].adapters[j].d_down);
        }
    }
    if (e->dev)
        e->dev->free(e->device->self, &e->expert_loads);
    vw_core_release(e->core, e->experts);
    e->experts = NULL;
}
