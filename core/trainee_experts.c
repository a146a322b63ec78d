/* trainee_experts.c - how the experts are loaded, and what is done about it.
 *
 * The device counts the slots of a micro-batch; they are read with its losses, which costs nothing,
 * and added up here until somebody resets them.
 */
#include "core/trainee.h"

#include <math.h>
#include <string.h>

static int32_t experts_of(const vw_trainee *t, int32_t router)
{
    return t->engine->info->experts[router].n_experts;
}

vw_status vw_trainee_open_loads(vw_trainee *t, vw_error *err)
{
    const vw_model_info *info = t->engine->info;
    t->n_routers = info->n_experts;
    for (int32_t r = 0; r < t->n_routers; r++)
        if (experts_of(t, r) > t->n_experts)
            t->n_experts = experts_of(t, r);
    size_t bytes = (size_t)t->n_routers * (size_t)t->n_experts * sizeof *t->loads + 1;
    t->loads = vw_core_alloc(t->core, bytes);
    if (!t->loads)
        return vw_fail(err, VW_E_NOMEM, "no memory for the loads of %d routers", t->n_routers);
    memset(t->loads, 0, bytes);
    return VW_OK;
}

void vw_trainee_close_loads(vw_trainee *t)
{
    vw_core_release(t->core, t->loads);
}

/* a E sum f_e P_e, f the share of the slots and P the mean of the router's shares. */
static double balance_loss(const int64_t *loads, const float *shares, int32_t n, int64_t n_tokens)
{
    double sum = 0, slots = 0;
    for (int32_t e = 0; e < n; e++)
        slots += (double)loads[e];
    for (int32_t e = 0; e < n && slots > 0; e++)
        sum += (double)loads[e] / slots * (double)shares[e] / (double)n_tokens;
    return n * sum;
}

static uint64_t dropped(const int64_t *loads, int32_t n, double capacity)
{
    double slots = 0, lost = 0;
    for (int32_t e = 0; e < n; e++)
        slots += (double)loads[e];
    double most = ceil(capacity * slots / n);
    for (int32_t e = 0; e < n; e++)
        lost += (double)loads[e] > most ? (double)loads[e] - most : 0;
    return (uint64_t)lost;
}

vw_status vw_trainee_count(vw_trainee *t, int64_t n_tokens, int64_t n_scored, vw_losses *losses,
                           vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    size_t all = (size_t)t->n_routers * (size_t)t->n_experts;
    if (!all)
        return VW_OK;
    vw_status st = e->dev->download(dev, e->stream, t->counts_host, t->counts.data,
                                    all * (sizeof(int64_t) + sizeof(float)), err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    if (st)
        return st;
    const float *shares = (const float *)(t->counts_host + all);
    for (int32_t r = 0; r < t->n_routers; r++) {
        const vw_experts_spec *s = &e->info->experts[r];
        size_t at = (size_t)r * (size_t)t->n_experts;
        for (int32_t i = 0; i < s->n_experts; i++)
            t->loads[at + (size_t)i] += (uint64_t)t->counts_host[at + (size_t)i];
        if (s->balance > 0)
            losses->balance +=
                s->balance * (double)n_scored *
                balance_loss(t->counts_host + at, shares + at, s->n_experts, n_tokens);
        if (s->capacity > 0)
            t->n_dropped += dropped(t->counts_host + at, s->n_experts, s->capacity);
    }
    return VW_OK;
}

vw_status vw_trainee_loads(vw_trainee *t, int32_t router, uint64_t *counts, int32_t room,
                           int32_t *n, vw_error *err)
{
    if (router < 0 || router >= t->n_routers)
        return vw_fail(err, VW_E_INVALID, "router %d of %d", router, t->n_routers);
    *n = experts_of(t, router) < room ? experts_of(t, router) : room;
    memcpy(counts, t->loads + (size_t)router * (size_t)t->n_experts, (size_t)*n * sizeof *counts);
    return VW_OK;
}

uint64_t vw_trainee_dropped(const vw_trainee *t)
{
    return t->n_dropped;
}

void vw_trainee_reset_loads(vw_trainee *t)
{
    memset(t->loads, 0, (size_t)t->n_routers * (size_t)t->n_experts * sizeof *t->loads);
    t->n_dropped = 0;
}

static void steer(const uint64_t *loads, int32_t n, double gamma, float *bias)
{
    double mean = 0;
    for (int32_t e = 0; e < n; e++)
        mean += (double)loads[e] / n;
    for (int32_t e = 0; e < n; e++) {
        double off = mean - (double)loads[e];
        bias[e] += (float)(off > 0 ? gamma : off < 0 ? -gamma : 0);
    }
}

vw_status vw_trainee_balance(vw_trainee *t, double gamma, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    float *bias = (float *)t->counts_host; /* room for i64 of every expert */
    vw_status st = VW_OK;
    for (int32_t r = 0; r < t->n_routers && !st; r++) {
        const vw_experts_spec *s = &e->info->experts[r];
        vw_param *p = s->bias ? e->param_list[s->bias - 1] : NULL;
        size_t bytes = (size_t)s->n_experts * sizeof *bias;
        if (!p || !p->values)
            continue;
        if (!(st = e->dev->download(dev, e->stream, bias, p->values, bytes, err)))
            st = e->dev->synchronize(dev, e->stream, err);
        if (st)
            break;
        steer(t->loads + (size_t)r * (size_t)t->n_experts, s->n_experts, gamma, bias);
        if (!(st = e->dev->upload(dev, e->stream, p->values, bias, bytes, err)))
            st = e->dev->synchronize(dev, e->stream, err);
    }
    vw_trainee_reset_loads(t);
    return st;
}
