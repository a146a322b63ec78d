/* schedule_simulate.c - what is asked of a schedule's run: whether it is right, or its times too. */
#include "core/schedule_run.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

vw_status vw_schedule_check(const vw_schedule *schedule, int32_t n_buffers, vw_error *err)
{
    return vw_schedule_run(schedule, n_buffers, NULL, NULL, err);
}

static vw_status check_costs(const vw_schedule *s, const vw_pipeline_costs *c, vw_error *err)
{
    const double all[] = {c->forward, c->backward, c->weight, c->overlap, c->comm};
    size_t n = (size_t)s->n_ranks * (size_t)s->n_ranks;
    bool is_bad = false;

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        is_bad |= !isfinite(all[i]) || all[i] < 0;
    for (size_t i = 0; c->edge && i < n; i++)
        is_bad |= !isfinite(c->edge[i]) || c->edge[i] < 0;
    if (is_bad)
        return vw_fail(err, VW_E_INVALID, "a step or a message cannot take a negative or an "
                       "infinite time");
    if (c->weight > c->backward)
        return vw_fail(err, VW_E_INVALID, "the weights' part of a backward, %g, is longer than the "
                       "whole, %g; it is a part of it", c->weight, c->backward);
    return VW_OK;
}

static vw_status simulation_new(const vw_schedule *s, vw_simulation *out, vw_error *err)
{
    size_t n = (size_t)s->n_ranks;
    bool is_whole;

    *out = (vw_simulation){.size = sizeof *out, .n_ranks = s->n_ranks};
    out->busy = calloc(n, sizeof *out->busy);
    out->peak_activations = calloc(n, sizeof *out->peak_activations);
    out->steps = calloc(n, sizeof *out->steps);
    is_whole = out->busy && out->peak_activations && out->steps;
    for (size_t r = 0; r < n && is_whole; r++) {
        out->steps[r] = calloc(s->n_steps[r] + 1, sizeof *out->steps[r]);
        is_whole = out->steps[r] != NULL;
    }
    return is_whole ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the times of the steps");
}

/* Makespan and bubble from the times. */
static void sum_up(const vw_schedule *s, vw_simulation *out)
{
    double busy = 0;

    for (int32_t r = 0; r < s->n_ranks; r++) {
        if (s->n_steps[r] > 0)
            out->makespan = fmax(out->makespan, out->steps[r][s->n_steps[r] - 1].end);
        busy += out->busy[r];
    }
    if (out->makespan > 0)
        out->bubble = fmax(0, 1 - busy / (s->n_ranks * out->makespan));
}

vw_status vw_schedule_simulate(const vw_schedule *schedule, const vw_pipeline_costs *costs,
                               vw_simulation *simulation, vw_error *err)
{
    vw_simulation out = {.size = sizeof out};
    vw_status status = check_costs(schedule, costs, err);

    if (status == VW_OK)
        status = simulation_new(schedule, &out, err);
    if (status == VW_OK)
        status = vw_schedule_run(schedule, 0, costs, &out, err);
    if (status != VW_OK) {
        vw_simulation_free(&out);
        return status;
    }
    sum_up(schedule, &out);
    *simulation = out;
    return VW_OK;
}

void vw_simulation_free(vw_simulation *simulation)
{
    if (!simulation)
        return;
    for (int32_t r = 0; simulation->steps && r < simulation->n_ranks; r++)
        free(simulation->steps[r]);
    free(simulation->steps);
    free(simulation->busy);
    free(simulation->peak_activations);
    *simulation = (vw_simulation){.size = sizeof *simulation};
}
