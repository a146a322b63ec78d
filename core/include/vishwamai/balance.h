/* balance.h - the balance kind: which experts are copied, and on which device each copy lives.
 *
 * A pure function of its arguments: the same input gives the same placement on every machine, from
 * any thread, in any order of calls.  Layers are independent of each other.  Who measures loads,
 * averages them and moves the weights is the caller.
 *
 * Letters: L layers, E experts of a layer, R replicas (slots for copies of experts, all devices
 * together), G expert groups, N nodes, P devices.
 */
#ifndef VISHWAMAI_BALANCE_H
#define VISHWAMAI_BALANCE_H

#include <vishwamai/host.h>

#include <math.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_BALANCE_OPS_MAJOR 1
#define VW_BALANCE_OPS_MINOR 0

/* Slots are numbered through: first all of device 0, then those of device 1 ...; device d has
 * slots[d] of them, or R/P where `slots` is NULL.  Devices are numbered through the nodes, P/N each.
 *
 * The load of a device is the sum over its slots of load / copies of the slot's expert, as if
 * tokens were dealt evenly to the copies; its time is load / speed.  What is to be small is the
 * largest time, relative to the mean (all loads / all speeds): "max over mean", 1 at best, and 1 by
 * definition where no expert has a load. */
typedef struct vw_balance_problem {
    size_t size;
    int32_t n_layers, n_experts;
    int32_t n_replicas; /* at least n_experts */
    int32_t n_groups;   /* a divisor of n_experts: group g is experts g E/G .. (g + 1) E/G - 1 */
    int32_t n_nodes;    /* a divisor of n_devices */
    int32_t n_devices;  /* a divisor of n_replicas, unless `slots` is given */

    const double *load;      /* [L][E] tokens per expert, or what is proportional; finite, >= 0 */
    const int32_t *previous; /* [L][R] the expert in each slot until now; NULL: nothing is there */
    const double *speed;     /* [P] relative, finite, > 0; NULL: all alike */
    const int32_t *slots;    /* [P] experts that fit in each device, >= 1, R in all; NULL: R/P */
} vw_balance_problem;

/* What comes out.  All but `expert` may be NULL. */
typedef struct vw_balance_placement {
    size_t size;
    int32_t *expert; /* [L][R] the expert in each slot; every expert has at least one */
    int32_t *copy;   /* [L][R] which copy of its expert that is: 0 .. copies - 1, each once */
    double *bound;   /* [L] no placement that keeps this plugin's rules has a lower max over mean;
                        1 where nothing more is known */
} vw_balance_placement;

typedef struct vw_balance_ops {
    size_t size;

    /* Place the experts of every layer.  Where vw_balance_keeps_groups(), all copies of a group
     * stay on one node and each node gets G/N groups, unless an option of the plugin says
     * otherwise; else nodes and groups mean nothing.
     *
     * Required.  Since balance 1.0.  Any thread.  Outputs are written on success only.
     * VW_E_INVALID with the sentence of vw_balance_check(); VW_E_UNSUPPORTED for speeds or slots
     * that differ, if the plugin cannot regard them. */
    vw_status (*place)(void *self, const vw_balance_problem *problem,
                       const vw_balance_placement *placement, vw_error *err);

    /* Deal one batch: tokens[L][E] of each expert become quota[L][R] of each slot, so that the
     * largest time is as small as the plugin can make it.  `expert` [L][R] is a placement of the
     * problem, whose loads and previous placement mean nothing here.  The quotas of an expert's
     * slots sum to its tokens exactly; 0 is a quota.
     *
     * Optional: without it tokens are dealt evenly.  Since balance 1.0.  Any thread.  VW_E_INVALID
     * for a slot without an expert, an expert without a slot, or tokens below 0. */
    vw_status (*split)(void *self, const vw_balance_problem *problem, const int32_t *expert,
                       const int64_t *tokens, int64_t *quota, vw_error *err);
} vw_balance_ops;

/* Must the experts of a group stay on one node? */
static inline int vw_balance_keeps_groups(const vw_balance_problem *p)
{
    return p->n_nodes > 1 && p->n_groups % p->n_nodes == 0;
}

/* The slots of device d; the first of them is the sum of those before. */
static inline int32_t vw_balance_slots(const vw_balance_problem *p, int32_t d)
{
    return p->slots ? p->slots[d] : p->n_replicas / p->n_devices;
}

/* ---- what is wrong with a problem: the same sentences from every plugin ---------------------- */

static inline vw_status vw_balance_check_speeds(const vw_balance_problem *p, vw_error *err)
{
    for (int32_t d = 0; d < p->n_devices; d++)
        if (!(p->speed[d] > 0) || !isfinite(p->speed[d]))
            return vw_fail(err, VW_E_INVALID,
                           "device %d: a speed of %g; speeds must be finite and above 0", d,
                           p->speed[d]);
    return VW_OK;
}

static inline vw_status vw_balance_check_slots(const vw_balance_problem *p, vw_error *err)
{
    int64_t sum = 0, of_node = 0;
    int32_t per_node = p->n_devices / p->n_nodes, least = p->n_experts / p->n_nodes;

    for (int32_t d = 0; d < p->n_devices; d++) {
        if (p->slots[d] < 1)
            return vw_fail(err, VW_E_INVALID, "device %d: %d slots; a device has at least 1", d,
                           p->slots[d]);
        sum += p->slots[d];
        of_node += p->slots[d];
        if ((d + 1) % per_node)
            continue;
        if (vw_balance_keeps_groups(p) && of_node < least)
            return vw_fail(err, VW_E_INVALID,
                           "node %d: %lld slots cannot hold the %d experts of its groups; at least "
                           "%d are needed",
                           d / per_node, (long long)of_node, least, least);
        of_node = 0;
    }
    if (sum != p->n_replicas)
        return vw_fail(err, VW_E_INVALID,
                       "the devices have %lld slots together; with these slots the replicas must "
                       "be %lld, not %d",
                       (long long)sum, (long long)sum, p->n_replicas);
    return VW_OK;
}

static inline vw_status vw_balance_check_sizes(const vw_balance_problem *p, vw_error *err)
{
    if (p->size < sizeof *p || !p->load)
        return vw_fail(err, VW_E_INVALID, "the problem has no loads, or is of an older version");
    if (p->n_layers < 1 || p->n_experts < 1 || p->n_groups < 1 || p->n_nodes < 1 ||
        p->n_devices < 1)
        return vw_fail(err, VW_E_INVALID,
                       "%d layers, %d experts, %d groups, %d nodes, %d devices: each must be at "
                       "least 1",
                       p->n_layers, p->n_experts, p->n_groups, p->n_nodes, p->n_devices);
    if (p->n_replicas < p->n_experts)
        return vw_fail(err, VW_E_INVALID,
                       "%d replicas cannot hold %d experts; at least %d replicas are needed",
                       p->n_replicas, p->n_experts, p->n_experts);
    if (!p->slots && p->n_replicas % p->n_devices)
        return vw_fail(err, VW_E_INVALID,
                       "%d replicas do not divide among %d devices; the next number that does is "
                       "%lld",
                       p->n_replicas, p->n_devices,
                       (p->n_replicas / p->n_devices + 1LL) * p->n_devices);
    if (p->n_devices % p->n_nodes)
        return vw_fail(err, VW_E_INVALID,
                       "%d devices do not divide among %d nodes; the next number that does is %lld",
                       p->n_devices, p->n_nodes,
                       (p->n_devices / p->n_nodes + 1LL) * p->n_nodes);
    if (p->n_experts % p->n_groups)
        return vw_fail(err, VW_E_INVALID,
                       "%d experts do not divide into %d groups; the number of groups must be a "
                       "divisor of the experts",
                       p->n_experts, p->n_groups);
    if (p->speed && vw_balance_check_speeds(p, err) != VW_OK)
        return VW_E_INVALID;
    return p->slots ? vw_balance_check_slots(p, err) : VW_OK;
}

/* VW_E_INVALID with a sentence that says what would be right; VW_OK: the problem is in order. */
static inline vw_status vw_balance_check(const vw_balance_problem *p, vw_error *err)
{
    vw_status status = vw_balance_check_sizes(p, err);

    for (int32_t l = 0; l < p->n_layers && status == VW_OK; l++) {
        const double *load = p->load + (size_t)l * (size_t)p->n_experts;
        const int32_t *before = p->previous;
        double sum = 0;

        for (int32_t e = 0; e < p->n_experts; e++) {
            sum += load[e];
            if (!(load[e] >= 0) || !isfinite(sum))
                return vw_fail(err, VW_E_INVALID,
                               "layer %d, expert %d: a load of %g; loads must be finite, also in "
                               "sum, and not negative",
                               l, e, load[e]);
        }
        for (int32_t s = 0; before && s < p->n_replicas; s++) {
            int32_t e = before[(size_t)l * (size_t)p->n_replicas + (size_t)s];
            if (e < 0 || e >= p->n_experts)
                return vw_fail(err, VW_E_INVALID,
                               "layer %d, slot %d: the previous placement names expert %d; experts "
                               "are 0 to %d",
                               l, s, e, p->n_experts - 1);
        }
    }
    return status;
}

#ifdef __cplusplus
}
#endif
#endif
