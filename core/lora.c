/* lora.c - which matrices of a model in training get adapters, and how they are merged.
 */
#include "core/trainee.h"

#include <string.h>

bool vw_lora_is_on(const vw_trainee *t)
{
    return t->options.lora.rank > 0;
}

/* ---- attaching ------------------------------------------------------------------------------- */

static bool is_target(const vw_engine *e, size_t param, const char *const *targets)
{
    char block[192], last[64];
    if (!vw_adaptable(e, param))
        return false;
    vw_adapter_block(e->info->params[param].name, block, sizeof block, last, sizeof last);
    for (const char *const *target = targets; target && *target; target++)
        if (strcmp(*target, last) == 0)
            return true;
    return !targets;
}

/* A target that no block has is a mistake, not a wish to adapt less. */
static vw_status check_targets(const vw_trainee *t, vw_error *err)
{
    const vw_engine *e = t->engine;
    for (const char *const *target = t->options.lora.targets; target && *target; target++) {
        const char *const one[] = {*target, NULL};
        size_t found = 0;
        for (size_t i = 0; i < e->info->n_params; i++)
            found += is_target(e, i, one);
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
        if (is_target(e, i, lora->targets))
            vw_adapters_attach(e, e->param_list[i], lora->rank, lora->alpha, lora->dropout);
    for (size_t i = 0; i < 2 * e->adapters.n; i++) {
        const vw_param_spec *s = &e->adapters.specs[i];
        t->params[t->n_params++] = &e->adapters.params[i];
        t->parameters += (uint64_t)s->rows * (uint64_t)s->cols;
    }
    return VW_OK;
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

vw_status vw_lora_merge_rows(vw_trainee *t, const vw_param *w, int64_t first, int64_t n,
                             float *rows, vw_error *err)
{
    const vw_adapter *a = w->adapter;
    int64_t rank = a->down->spec->rows, cols = w->spec->cols;
    float *down = fetch(t, a->down, 0, rank, err);
    float *up = down ? fetch(t, a->up, first, n, err) : NULL;
    for (int64_t i = 0; i < n && up; i++)
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t r = 0; r < rank; r++)
                sum += (double)up[i * rank + r] * (double)down[r * cols + j];
            rows[i * cols + j] += (float)((double)a->scale * sum);
        }
    vw_status st = up ? VW_OK : VW_E_NOMEM;
    vw_core_release(t->core, up);
    vw_core_release(t->core, down);
    return st;
}
