/* bound.c - lower bounds of the largest time.
 *
 * Each says what no placement can avoid; the largest counts.
 *
 *     mean      all loads over all speeds
 *     share     a copy lies whole on some device: the largest share at the best choice of counts,
 *               which giving the next copy to the largest share finds, on the fastest device
 *     node      with k groups on every node: of the j N + 1 heaviest groups some node has j + 1, so
 *               it holds at least the j + 1 lightest of those and k - j - 1 of the lightest at all
 *     group     the share bound for one group's experts, with the slots of the largest node that the
 *               other groups there can leave it
 */
#include "plugins/balance/bound.h"

#include <stdlib.h>

size_t bound_scratch_bytes(const vw_balance_problem *p)
{
    return (size_t)p->n_experts * 2 * sizeof(double);
}

double bound_share(const double *load, int n, int64_t slots, int64_t most, void *scratch)
{
    double *share = scratch, *count = share + n;
    int best = 0;

    for (int e = 0; e < n; e++) {
        share[e] = load[e];
        count[e] = 1;
    }
    for (int64_t spare = slots - n;; spare--) {
        best = 0;
        for (int e = 1; e < n; e++)
            if (share[e] > share[best])
                best = e;
        if (spare <= 0 || count[best] >= (double)most || share[best] <= 0)
            return share[best];
        count[best]++;
        share[best] = load[best] / count[best];
    }
}

/* What a node can be at best: its slots, its devices' speeds together, its fastest device. */
typedef struct best_node {
    int64_t slots, most;
    double speeds, fastest;
} best_node;

static best_node find_best(const vw_balance_problem *p, int n_nodes, int n_experts)
{
    int per_node = p->n_devices / n_nodes;
    best_node best = {0, 0, 0, 0};

    if (!p->speed && !p->slots) {
        int slots = p->n_replicas / p->n_devices;
        return (best_node){p->n_replicas / n_nodes,
                           (int64_t)per_node * ((slots + n_experts - 1) / n_experts), per_node, 1};
    }
    for (int node = 0; node < n_nodes; node++) {
        int64_t slots = 0, most = 0;
        double speeds = 0;
        for (int d = node * per_node; d < (node + 1) * per_node; d++) {
            double v = p->speed ? p->speed[d] : 1;
            slots += vw_balance_slots(p, d);
            most += (vw_balance_slots(p, d) + n_experts - 1) / n_experts;
            speeds += v;
            best.fastest = fmax(best.fastest, v);
        }
        best.slots = slots > best.slots ? slots : best.slots;
        best.most = most > best.most ? most : best.most;
        best.speeds = fmax(best.speeds, speeds);
    }
    return best;
}

static int falling(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x < y) - (x > y);
}

/* The node bound: sums[G], which it sorts. */
static double least_of_nodes(double *sum, int n_groups, int n_nodes)
{
    int per_node = n_groups / n_nodes;
    double bound = 0;

    qsort(sum, (size_t)n_groups, sizeof *sum, falling);
    for (int j = 0; j < per_node; j++) {
        double least = 0;
        for (int i = 0; i <= j; i++) /* the lightest of the j N + 1 heaviest */
            least += sum[j * n_nodes - i];
        for (int i = 0; i < per_node - j - 1; i++)
            least += sum[n_groups - 1 - i];
        bound = fmax(bound, least);
    }
    return bound;
}

static double of_groups(const vw_balance_problem *p, const double *load, int doubles, void *scratch)
{
    int size = p->n_experts / p->n_groups, per_node = p->n_groups / p->n_nodes;
    best_node best = find_best(p, p->n_nodes, p->n_experts / p->n_nodes);
    int64_t slots = best.slots - (int64_t)(per_node - 1) * size;
    double bound = 0, *sum = scratch;

    for (int g = 0; g < p->n_groups; g++) {
        double share = bound_share(load + (size_t)g * (size_t)size, size, slots,
                                   doubles ? slots : best.most, scratch);
        bound = fmax(bound, share / best.fastest);
    }
    for (int g = 0; g < p->n_groups; g++) {
        sum[g] = 0;
        for (int i = 0; i < size; i++)
            sum[g] += load[(size_t)g * (size_t)size + (size_t)i];
    }
    return fmax(bound, least_of_nodes(sum, p->n_groups, p->n_nodes) / best.speeds);
}

double bound_mean(const vw_balance_problem *p, const double *load)
{
    double total = 0, speeds = 0;

    for (int e = 0; e < p->n_experts; e++)
        total += load[e];
    for (int d = 0; d < p->n_devices; d++)
        speeds += p->speed ? p->speed[d] : 1;
    return total / speeds;
}

double bound_of_layer(const vw_balance_problem *p, const double *load, int keeps_groups,
                      int doubles, void *scratch)
{
    double mean = bound_mean(p, load), share;
    best_node best;

    if (keeps_groups)
        return fmax(mean, of_groups(p, load, doubles, scratch));
    best = find_best(p, 1, p->n_experts);
    share = bound_share(load, p->n_experts, p->n_replicas, doubles ? p->n_replicas : best.most,
                        scratch);
    return fmax(mean, share / best.fastest);
}

double bound_over_mean(const vw_balance_problem *p, const double *load, int keeps_groups,
                       int doubles, void *scratch)
{
    double mean = bound_mean(p, load);

    return mean > 0 ? bound_of_layer(p, load, keeps_groups, doubles, scratch) / mean : 1;
}
