/* split.c - the best quotas, exactly, in whole tokens.
 *
 * Tokens flow from experts to the devices that hold a copy; device d takes floor(T speed[d]).  T is
 * feasible when everything flows, so the smallest T is wanted.  We begin with the mean, which no T
 * is below, and augment along shortest paths.  What cannot flow then shows why: the experts that
 * are reachable from it have all their copies on devices that are reachable and full, so T must
 * rise until those devices together take what those experts and they have.  That is again a bound
 * which no T is below; the flow stays valid and grows on.  The last bound is reached, hence the
 * optimum. (Maximum flow and minimum cut of Ford and Fulkerson; the rise of T is Newton's method of
 * parametric flow.)  No solver is needed, and the tokens stay whole.
 */
#include "plugins/balance/split.h"

typedef struct flow {
    const vw_balance_problem *p;
    const int32_t *expert;
    int64_t *quota;    /* [R] */
    int64_t *left;     /* [E] tokens that do not flow yet */
    int64_t *used;     /* [P] tokens on the device */
    int64_t *limit;    /* [P] what it takes */
    int32_t *device;   /* [R] of each slot */
    int32_t *first;    /* [P + 1] first slot of each device */
    int32_t *from;     /* [E + 1] where in slots[] an expert's begin */
    int32_t *slots;    /* [R] by experts */
    int32_t *to_device;/* [P] slot by which the search came to the device; -1: it did not */
    int32_t *to_expert;/* [E] slot by which it came to the expert; -2: it began there; -1: no */
    int32_t *queue;    /* [E] experts to go on from */
} flow;

size_t split_bytes(const vw_balance_problem *p)
{
    size_t e = (size_t)p->n_experts, r = (size_t)p->n_replicas, d = (size_t)p->n_devices;

    return (e + 2 * d) * sizeof(int64_t) + (2 * r + 2 * d + 1 + 3 * e + 1) * sizeof(int32_t);
}

static flow lay_out(const vw_balance_problem *p, const int32_t *expert, int64_t *quota,
                    void *memory)
{
    flow f = {.p = p, .expert = expert, .quota = quota, .left = memory};

    f.used = f.left + p->n_experts;
    f.limit = f.used + p->n_devices;
    f.device = (int32_t *)(f.limit + p->n_devices);
    f.slots = f.device + p->n_replicas;
    f.first = f.slots + p->n_replicas;
    f.to_device = f.first + p->n_devices + 1;
    f.from = f.to_device + p->n_devices;
    f.to_expert = f.from + p->n_experts + 1;
    f.queue = f.to_expert + p->n_experts;
    return f;
}

static double speed(const flow *f, int32_t d)
{
    return f->p->speed ? f->p->speed[d] : 1;
}

/* ---- the graph ------------------------------------------------------------------------------- */

static void index_slots(flow *f)
{
    const vw_balance_problem *p = f->p;
    int32_t slot = 0;

    for (int32_t d = 0; d < p->n_devices; d++) {
        f->first[d] = slot;
        for (int32_t k = vw_balance_slots(p, d); k > 0; k--)
            f->device[slot++] = d;
    }
    f->first[p->n_devices] = slot;
    memset(f->from, 0, ((size_t)p->n_experts + 1) * sizeof *f->from);
    for (int32_t s = 0; s < p->n_replicas; s++)
        f->from[f->expert[s] + 1]++;
    for (int32_t e = 0; e < p->n_experts; e++) {
        f->from[e + 1] += f->from[e];
        f->queue[e] = f->from[e];
    }
    for (int32_t s = 0; s < p->n_replicas; s++)
        f->slots[f->queue[f->expert[s]]++] = s;
}

static vw_status check(const vw_balance_problem *p, const int32_t *expert, const int64_t *tokens,
                       int32_t *seen, vw_error *err)
{
    int64_t total = 0;

    memset(seen, 0, (size_t)p->n_experts * sizeof *seen);
    for (int32_t s = 0; s < p->n_replicas; s++) {
        if (expert[s] < 0 || expert[s] >= p->n_experts)
            return vw_fail(err, VW_E_INVALID, "slot %d holds expert %d; experts are 0 to %d", s,
                           expert[s], p->n_experts - 1);
        seen[expert[s]] = 1;
    }
    for (int32_t e = 0; e < p->n_experts; e++) {
        if (!seen[e])
            return vw_fail(err, VW_E_INVALID, "expert %d has no slot in the placement", e);
        if (tokens[e] < 0 || tokens[e] > ((int64_t)1 << 52) - total)
            return vw_fail(err, VW_E_INVALID,
                           "expert %d: %lld tokens; they must be 0 or more, and fewer than 2^52 in "
                           "a layer",
                           e, (long long)tokens[e]);
        total += tokens[e];
    }
    return VW_OK;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* From expert e on, breadth first, to a device with room; that device, or -1. */
static int32_t find_room(flow *f, int32_t e)
{
    const vw_balance_problem *p = f->p;
    int32_t n = 0;

    for (int32_t d = 0; d < p->n_devices; d++)
        f->to_device[d] = -1;
    for (int32_t k = 0; k < p->n_experts; k++)
        f->to_expert[k] = -1;
    f->to_expert[e] = -2;
    f->queue[n++] = e;
    for (int32_t i = 0; i < n; i++) {
        int32_t x = f->queue[i];
        for (int32_t k = f->from[x]; k < f->from[x + 1]; k++) {
            int32_t d = f->device[f->slots[k]];
            if (f->to_device[d] >= 0)
                continue;
            f->to_device[d] = f->slots[k];
            if (f->used[d] < f->limit[d])
                return d;
            for (int32_t s = f->first[d]; s < f->first[d + 1]; s++)
                if (f->quota[s] > 0 && f->to_expert[f->expert[s]] == -1) {
                    f->to_expert[f->expert[s]] = s;
                    f->queue[n++] = f->expert[s];
                }
        }
    }
    return -1;
}

/* As many tokens as the path to device d lets through. */
static void augment(flow *f, int32_t d)
{
    int64_t amount = f->limit[d] - f->used[d];
    int32_t x, s;

    for (x = f->expert[f->to_device[d]]; (s = f->to_expert[x]) >= 0;
         x = f->expert[f->to_device[f->device[s]]])
        amount = f->quota[s] < amount ? f->quota[s] : amount;
    amount = f->left[x] < amount ? f->left[x] : amount;
    f->used[d] += amount;
    f->quota[f->to_device[d]] += amount;
    for (x = f->expert[f->to_device[d]]; (s = f->to_expert[x]) >= 0;
         x = f->expert[f->to_device[f->device[s]]]) {
        f->quota[s] -= amount;
        f->quota[f->to_device[f->device[s]]] += amount;
    }
    f->left[x] -= amount;
}

/* ---- the largest time ------------------------------------------------------------------------ */

/* The smallest time, not below `time`, at which the devices that are in the set take `tokens`. */
static double time_for(const flow *f, int64_t tokens, double time, int is_everything)
{
    double speeds = 0;
    int64_t taken;

    for (int32_t d = 0; d < f->p->n_devices; d++)
        speeds += is_everything || f->to_device[d] >= 0 ? speed(f, d) : 0;
    time = fmax(time, (double)tokens / speeds);
    for (;;) { /* whole tokens: at most one more step for each device */
        double next = INFINITY;
        taken = 0;
        for (int32_t d = 0; d < f->p->n_devices; d++) {
            int64_t whole = (int64_t)floor(time * speed(f, d) * (1 + 1e-15));
            if (!is_everything && f->to_device[d] < 0)
                continue;
            taken += whole;
            next = fmin(next, (double)(whole + 1) / speed(f, d));
        }
        if (taken >= tokens)
            return time;
        time = next;
    }
}

static void set_limits(flow *f, double time)
{
    for (int32_t d = 0; d < f->p->n_devices; d++) {
        int64_t whole = (int64_t)floor(time * speed(f, d) * (1 + 1e-15));
        f->limit[d] = whole > f->limit[d] ? whole : f->limit[d];
    }
}

/* What the devices that the last search reached hold, and what could not flow to them. */
static int64_t tokens_of_cut(const flow *f)
{
    int64_t sum = 0;

    for (int32_t d = 0; d < f->p->n_devices; d++)
        sum += f->to_device[d] >= 0 ? f->used[d] : 0;
    for (int32_t e = 0; e < f->p->n_experts; e++)
        sum += f->to_expert[e] != -1 ? f->left[e] : 0;
    return sum;
}

vw_status split_layer(const vw_balance_problem *p, const int32_t *expert, const int64_t *tokens,
                      int64_t *quota, void *memory, vw_error *err)
{
    flow f = lay_out(p, expert, quota, memory);
    vw_status status = check(p, expert, tokens, f.to_expert, err);
    int64_t total = 0;
    double time;

    if (status != VW_OK)
        return status;
    index_slots(&f);
    memset(quota, 0, (size_t)p->n_replicas * sizeof *quota);
    memset(f.used, 0, (size_t)p->n_devices * sizeof *f.used);
    memset(f.limit, 0, (size_t)p->n_devices * sizeof *f.limit);
    for (int32_t e = 0; e < p->n_experts; e++)
        total += f.left[e] = tokens[e];
    time = time_for(&f, total, 0, 1);
    set_limits(&f, time);
    for (int32_t e = 0; e < p->n_experts; e++)
        while (f.left[e] > 0) {
            int32_t d = find_room(&f, e);
            if (d >= 0) {
                augment(&f, d);
                continue;
            }
            time = time_for(&f, tokens_of_cut(&f), time, 0);
            set_limits(&f, time);
        }
    return VW_OK;
}
