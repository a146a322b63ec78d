/* lora.c - which matrices of a model in training get adapters, and how they are merged.
 */
#include "core/trainee.h"

#include <string.h>

bool vw_lora_is_on(const vw_trainee *t)
{
    return t->options.lora.rank > 0;
}

/* ---- attaching ------------------------------------------------------------------------------- */

static bool is_target(const vw_engine *e, size_t param, adapter_site site,
                      const char *const *targets)
{
    if (!vw_adaptable(e, param, site))
        return false;
    adapter_block block = vw_adapter_block(e, e->param_list[param], site);
    for (const char *const *target = targets; target && *target; target++)
        if (strcmp(*target, block.last) == 0)
            return true;
    return !targets && site == ADAPTS_PRODUCT;
}

/* A target that no block has is a mistake, not a wish to adapt less. */
static vw_status check_targets(const vw_trainee *t, vw_error *err)
{
    const vw_engine *e = t->engine;
    for (const char *const *target = t->options.lora.targets; target && *target; target++) {
        const char *const one[] = {*target, NULL};
        size_t found = 0;
        for (size_t i = 0; i < e->info->n_params; i++)
            for (adapter_site site = 0; site < ADAPTER_SITES; site++)
                found += is_target(e, i, site, one);
        if (!found)
            return vw_fail(err, VW_E_CONFIG,
                           "an adapter for \"%s\": this model has no block of that "
                           "name that can have one",
                           *target);
    }
    return VW_OK;
}

vw_status vw_lora_attach(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    const vw_lora *lora = &t->options.lora;
    vw_status st;
    if (!vw_lora_is_on(t))
        return VW_OK;
    if ((st = check_targets(t, err)) || (st = vw_adapters_open(e, err)))
        return st;
    for (size_t i = 0; i < e->info->n_params; i++)
        for (adapter_site site = 0; site < ADAPTER_SITES; site++)
            if (is_target(e, i, site, lora->targets))
                vw_adapters_attach(e, e->param_list[i], site, lora->rank, lora->alpha,
                                   site == ADAPTS_LOOKUP ? 0 : lora->dropout);
    for (size_t i = 0; i < 2 * e->adapters.n; i++) {
        const vw_param_spec *s = &e->adapters.specs[i];
        t->params[t->n_params++] = &e->adapters.params[i];
        t->parameters += (uint64_t)s->rows * (uint64_t)s->cols;
    }
    return lora->is_merged ? vw_lora_check_merge(t, err) : VW_OK;
}

/* ---- merging --------------------------------------------------------------------------------- */

static float *fetch(vw_trainee *t, const vw_param *p, int64_t first, int64_t n, vw_error *err)
{
    vw_engine *e = t->engine;
    size_t bytes = (size_t)n * (size_t)p->spec->cols * sizeof(float);
    float *host = vw_core_alloc(t->core, bytes);
    vw_status st = host ? e->dev->download(e->device->self, e->stream, host,
                                           p->values + first * p->spec->cols, bytes, err)
                        : vw_fail(err, VW_E_NOMEM, "no memory to merge an adapter");
    if (!st)
        st = e->dev->synchronize(e->device->self, e->stream, err);
    if (!st)
        return host;
    vw_core_release(t->core, host);
    return NULL;
}

/* One table cannot be two. */
vw_status vw_lora_check_merge(const vw_trainee *t, vw_error *err)
{
    const vw_engine *e = t->engine;
    for (size_t i = 0; i < e->adapters.n; i++) {
        size_t param = (size_t)(e->adapters.adapted[i]->spec - e->info->params);
        if (vw_adaptable(e, param, ADAPTS_LOOKUP) && vw_adaptable(e, param, ADAPTS_HEAD))
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "this model's head is its embedding, so an adapter of one of them cannot "
                           "be merged into the other; keep it beside the model (train.final = no, "
                           "and model.adapter = FOLDER to run it), or leave %s out of lora.targets",
                           vw_adapter_block(e, e->adapters.adapted[i], e->adapters.sites[i]).last);
    }
    return VW_OK;
}

/* rows[i, j] += scale sum over r of left[first + i, r] right[j, r], or right[r, j]. */
static vw_status merge(vw_trainee *t, const vw_adapter *a, bool is_lookup, const vw_param *w,
                       int64_t first, int64_t n, float *rows, vw_error *err)
{
    const vw_param *left = is_lookup ? a->down : a->up, *right = is_lookup ? a->up : a->down;
    int64_t rank = left->spec->cols, cols = w->spec->cols;
    int64_t step = is_lookup ? 1 : cols, from = is_lookup ? rank : 1;
    float *r = fetch(t, right, 0, right->spec->rows, err);
    float *l = r ? fetch(t, left, first, n, err) : NULL;
    for (int64_t i = 0; i < n && l; i++)
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t k = 0; k < rank; k++)
                sum += (double)l[i * rank + k] * (double)r[k * step + j * from];
            rows[i * cols + j] += (float)((double)a->scale * sum);
        }
    vw_status st = l ? VW_OK : VW_E_NOMEM;
    vw_core_release(t->core, l);
    vw_core_release(t->core, r);
    return st;
}

vw_status vw_lora_merge_rows(vw_trainee *t, const vw_param *w, int64_t first, int64_t n,
                             float *rows, vw_error *err)
{
    vw_status st = w->adapter ? merge(t, w->adapter, false, w, first, n, rows, err) : VW_OK;
    return st || !w->lookup ? st : merge(t, w->lookup, true, w, first, n, rows, err);
}
