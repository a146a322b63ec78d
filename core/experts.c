/* experts.c - the experts of each layer as one handle.
 *
 * A model lists every expert's matrices as parameters, because its files do; a block works on all
 * of a layer's at once.  The handle holds what a grouped product takes, made once.
 */
#include "core/engine.h"

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
    }
    return VW_OK;
}

void vw_experts_close(vw_engine *e)
{
    for (int32_t l = 0; e->experts && l < e->info->n_experts; l++) {
        vw_core_release(e->core, e->experts[l].gate_up);
        vw_core_release(e->core, e->experts[l].d_gate);
    }
    vw_core_release(e->core, e->experts);
    e->experts = NULL;
}
