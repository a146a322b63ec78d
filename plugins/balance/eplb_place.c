/* eplb_place.c - group packing, replication and replica packing as published.
 *
 * One rounding more or less moves a whole placement, so everything is float32 and summed in the
 * order of the visits: no wider sums, no contraction, no reassociation.  Ties: a sort keeps the
 * order of indices, an argmax takes the first, a bin with the lower index wins.
 *
 * The policy is hierarchical where the groups divide among the nodes; the global one is the same
 * with one group and one node.  Items: n to pack into m bins, n/m each.
 */
#include "plugins/balance/eplb_place.h"

#include <float.h>

/* What the steps hand to each other. */
typedef struct work {
    int n_experts, n_replicas, n_groups, n_nodes, n_devices;
    float *weight;     /* [E] in the order of the nodes */
    float *copy_share; /* [E] weight / copies */
    float *item;       /* [R] what is packed */
    float *bin_sum;    /* [m] */
    int32_t *bin_used; /* [m] */
    int32_t *bin;      /* [R] of each item */
    int32_t *order;    /* [R] of its arrival in the bin */
    int32_t *logical;  /* [E] expert at each place in the order of the nodes */
    int32_t *local;    /* [R] what the replicas of one node are copies of */
    int32_t *rank;     /* [R] and which copy */
    int32_t *copies;   /* [E] */
    uint64_t *key;     /* [R] twice: for sorting */
} work;

size_t eplb_scratch_bytes(const vw_balance_problem *p)
{
    size_t n = (size_t)p->n_replicas; /* no fewer than experts, groups or devices */

    return n * (2 * sizeof(uint64_t) + 4 * sizeof(float) + 7 * sizeof(int32_t));
}

static work lay_out(const vw_balance_problem *p, void *scratch)
{
    int is_global = !vw_balance_keeps_groups(p);
    size_t n = (size_t)p->n_replicas;
    work w = {
        .n_experts = p->n_experts,
        .n_replicas = p->n_replicas,
        .n_groups = is_global ? 1 : p->n_groups,
        .n_nodes = is_global ? 1 : p->n_nodes,
        .n_devices = p->n_devices,
    };

    w.key = scratch;
    w.weight = (float *)(w.key + 2 * n);
    w.copy_share = w.weight + n;
    w.item = w.copy_share + n;
    w.bin_sum = w.item + n;
    w.bin_used = (int32_t *)(w.bin_sum + n);
    w.bin = w.bin_used + n;
    w.order = w.bin + n;
    w.logical = w.order + n;
    w.local = w.logical + n;
    w.rank = w.local + n;
    w.copies = w.rank + n;
    return w;
}

int eplb_can_add(const vw_balance_problem *p, const double *load)
{
    double sum = 0;

    for (int32_t e = 0; e < p->n_experts; e++)
        sum += load[e];
    return sum < (double)FLT_MAX / 2;
}

/* ---- packing --------------------------------------------------------------------------------- */

/* Smaller keys first, by merging; n keys at `key`, room for as many behind them. */
static void sort_keys(uint64_t *key, int n)
{
    uint64_t *from = key, *to = key + n;

    for (int width = 1; width < n; width *= 2) {
        for (int low = 0; low < n; low += 2 * width) {
            int middle = low + width < n ? low + width : n;
            int high = low + 2 * width < n ? low + 2 * width : n;
            for (int i = low, k = middle, out = low; out < high; out++)
                to[out] = k >= high || (i < middle && from[i] < from[k]) ? from[i++] : from[k++];
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != key)
        memcpy(key, from, (size_t)n * sizeof *key);
}

/* Items by falling weight, equal ones by index.  The bits of floats that are not negative order as
 * they do. */
static void sort_items(work *w, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &w->item[i], sizeof bits);
        w->key[i] = (uint64_t)~bits << 32 | (uint32_t)i;
    }
    sort_keys(w->key, n);
}

/* The heaviest item first, each into the lightest of m bins that has room. */
static void pack(work *w, int n, int m)
{
    int room = n / m;

    if (room == 1) {
        for (int i = 0; i < n; i++) {
            w->bin[i] = i;
            w->order[i] = 0;
        }
        return;
    }
    sort_items(w, n);
    for (int b = 0; b < m; b++) {
        w->bin_sum[b] = 0;
        w->bin_used[b] = 0;
    }
    for (int k = 0; k < n; k++) {
        int i = (int)(uint32_t)w->key[k], best = -1;
        for (int b = 0; b < m; b++)
            if (w->bin_used[b] < room && (best < 0 || w->bin_sum[b] < w->bin_sum[best]))
                best = b;
        w->bin[i] = best;
        w->order[i] = w->bin_used[best]++;
        w->bin_sum[best] = w->bin_sum[best] + w->item[i];
    }
}

/* ---- the three steps ------------------------------------------------------------------------- */

/* Groups to nodes by their sums; then logical[] lists the experts node after node. */
static void place_groups(work *w, const double *load)
{
    int group_size = w->n_experts / w->n_groups, per_node = w->n_groups / w->n_nodes;

    for (int g = 0; g < w->n_groups; g++) {
        float sum = 0;
        for (int i = 0; i < group_size; i++)
            sum = sum + ((float)load[g * group_size + i] + 0.0f);
        w->item[g] = sum;
    }
    pack(w, w->n_groups, w->n_nodes);
    for (int g = 0; g < w->n_groups; g++) {
        int at = (w->bin[g] * per_node + w->order[g]) * group_size;
        for (int i = 0; i < group_size; i++)
            w->logical[at + i] = g * group_size + i;
    }
    for (int i = 0; i < w->n_experts; i++)
        w->weight[i] = (float)load[w->logical[i]] + 0.0f; /* no negative zero */
}

/* One copy of each of n experts, then one more of whatever has the largest share. */
static void replicate(work *w, const float *weight, int n, int n_slots)
{
    for (int i = 0; i < n; i++) {
        w->copies[i] = 1;
        w->copy_share[i] = weight[i];
        w->local[i] = i;
        w->rank[i] = 0;
    }
    for (int s = n; s < n_slots; s++) {
        int best = 0;
        for (int i = 1; i < n; i++)
            if (w->copy_share[i] > w->copy_share[best])
                best = i;
        w->local[s] = best;
        w->rank[s] = w->copies[best]++;
        w->copy_share[best] = weight[best] / (float)w->copies[best];
    }
}

void eplb_place_layer(const vw_balance_problem *p, const double *load, int32_t *expert,
                      int32_t *copy, void *scratch)
{
    work w = lay_out(p, scratch);
    int n = w.n_experts / w.n_nodes, n_slots = w.n_replicas / w.n_nodes;
    int n_devices = w.n_devices / w.n_nodes, per_device = n_slots / n_devices;

    place_groups(&w, load);
    for (int node = 0; node < w.n_nodes; node++) {
        replicate(&w, w.weight + node * n, n, n_slots);
        for (int s = 0; s < n_slots; s++)
            w.item[s] = w.copy_share[w.local[s]];
        pack(&w, n_slots, n_devices);
        for (int s = 0; s < n_slots; s++) {
            int at = node * n_slots + w.bin[s] * per_device + w.order[s];
            expert[at] = w.logical[node * n + w.local[s]];
            copy[at] = w.rank[s];
        }
    }
}
