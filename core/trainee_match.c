/* trainee_match.c - the projections through which a student's hidden states are compared with its
 * teacher's, and where a teacher's are taken.
 */
#include "core/trainee.h"

#include <math.h>
#include <string.h>

static vw_status allocate(vw_trainee *t, size_t n, vw_error *err)
{
    t->projections = vw_core_alloc(t->core, n * sizeof *t->projections);
    t->projection_list = vw_core_alloc(t->core, n * sizeof *t->projection_list);
    t->projection_specs = vw_core_alloc(t->core, n * sizeof *t->projection_specs);
    t->projection_names = vw_core_alloc(t->core, n * sizeof *t->projection_names);
    if (!t->projections || !t->projection_list || !t->projection_specs || !t->projection_names)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu projections", n);
    memset(t->projections, 0, n * sizeof *t->projections);
    vw_engine *e = t->engine;
    return t->is_estimate ? VW_OK
                          : e->dev->alloc(e->device->self, n * sizeof(double), &t->misses, err);
}

/* They begin normal with deviation 1 / sqrt(inputs), as an adapter's first factor does. */
vw_status vw_trainee_add_projections(vw_trainee *t, vw_error *err)
{
    const vw_model_info *info = t->engine->info;
    int32_t width = t->options.hidden_width;
    if (width <= 0 || t->options.is_frozen)
        return VW_OK;
    size_t n = (size_t)info->n_layers;
    vw_status st = allocate(t, n, err);
    for (size_t b = 0; b < n && !st; b++) {
        snprintf(t->projection_names[b], sizeof *t->projection_names,
                 "distill.projection.%zu.weight", b);
        t->projection_specs[b] = (vw_param_spec){.name = t->projection_names[b],
                                                 .rows = width,
                                                 .cols = info->width,
                                                 .init = VW_INIT_NORMAL,
                                                 .init_std = 1 / sqrt((double)info->width),
                                                 .decay_group = 1};
        t->projections[b].spec = &t->projection_specs[b];
        t->projection_list[b] = t->params[t->n_params++] = &t->projections[b];
        t->n_projections++;
    }
    return st;
}

void vw_trainee_free_projections(vw_trainee *t)
{
    t->engine->dev->free(t->engine->device->self, &t->misses);
    vw_core_release(t->core, t->projection_names);
    vw_core_release(t->core, t->projection_specs);
    vw_core_release(t->core, t->projection_list);
    vw_core_release(t->core, t->projections);
}

vw_status vw_trainee_collect_misses(vw_trainee *t, int64_t n_tokens, vw_losses *losses,
                                    vw_error *err)
{
    vw_engine *e = t->engine;
    size_t n = t->n_projections;
    double *misses = vw_core_alloc(t->core, n * sizeof *misses), sum = 0;
    if (!misses)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu numbers", n);
    vw_status st = e->dev->download(e->device->self, e->stream, misses, t->misses.data,
                                    n * sizeof *misses, err);
    if (!st)
        st = e->dev->synchronize(e->device->self, e->stream, err);
    for (size_t b = 0; b < n && !st; b++)
        sum += misses[b];
    vw_core_release(t->core, misses);
    losses->hidden =
        sum / (double)n / (double)n_tokens / t->options.hidden_width * (double)losses->n_scored;
    losses->is_finite = losses->is_finite && isfinite(losses->hidden);
    return st;
}

void vw_trainee_tap(vw_trainee *t, int32_t n, const int32_t *after, float *const *to)
{
    t->n_taps = n;
    t->tapped = after;
    t->taps = to;
}
