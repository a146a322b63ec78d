/* trainer_loads.c - what each expert got since the last line of the log.
 *
 * Two numbers are told of them: the fullest expert's share of the mean, of the layer where it is
 * worst (1: all alike; the number of experts: one has everything), and how many got nothing.  The
 * counts belong to the state of a run, so that a line is the same whether the run was stopped
 * before it or not.
 */
#include "core/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t vw_trainer_n_loads(const vw_trainer *t)
{
    return (size_t)t->info.n_routers * (size_t)t->info.n_experts;
}

vw_status vw_trainer_open_loads(vw_trainer *t, vw_error *err)
{
    size_t n = vw_trainer_n_loads(t), room = n + (size_t)t->info.n_experts; /* a row to read into */
    if (n && !(t->expert_loads = calloc(room, sizeof *t->expert_loads)))
        return vw_fail(err, VW_E_NOMEM, "no memory for the loads of %zu experts", n);
    return VW_OK;
}

vw_status vw_trainer_take_loads(vw_trainer *t, vw_error *err)
{
    uint64_t *counts = t->expert_loads + vw_trainer_n_loads(t);
    vw_status st = VW_OK;
    for (int32_t r = 0; r < t->info.n_routers && !st; r++) {
        uint64_t *sum = t->expert_loads + (size_t)r * (size_t)t->info.n_experts;
        int32_t n = 0;
        st = vw_trainee_loads(t->trainee, r, counts, t->info.n_experts, &n, err);
        for (int32_t e = 0; e < n && !st; e++)
            sum[e] += counts[e];
    }
    return st;
}

void vw_trainer_describe_loads(vw_trainer *t)
{
    t->event.load_imbalance = NAN;
    t->event.idle_experts = t->info.n_routers ? 0 : -1;
    for (int32_t r = 0; r < t->info.n_routers; r++) {
        const uint64_t *loads = t->expert_loads + (size_t)r * (size_t)t->info.n_experts;
        int32_t n = t->info.model->experts[r].n_experts;
        uint64_t sum = 0, most = 0;
        for (int32_t e = 0; e < n; e++) {
            sum += loads[e];
            most = loads[e] > most ? loads[e] : most;
            t->event.idle_experts += loads[e] == 0;
        }
        double imbalance = sum ? (double)most * n / (double)sum : NAN;
        if (!(t->event.load_imbalance >= imbalance))
            t->event.load_imbalance = imbalance;
    }
    if (isnan(t->event.load_imbalance)) /* no step yet */
        t->event.idle_experts = -1;
}

void vw_trainer_clear_loads(vw_trainer *t)
{
    if (t->expert_loads)
        memset(t->expert_loads, 0, vw_trainer_n_loads(t) * sizeof *t->expert_loads);
}
