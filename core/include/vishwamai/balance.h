/* balance.h - the balance kind: which experts are replicated, and where each replica lives.
 *
 * A pure function of its arguments: the same input gives the same placement on every machine.
 * Provisional until its first algorithms come.  Any thread.
 *
 * Letters: L MoE layers, E logical experts, R replicas (physical slots) in all, ranks in nodes.
 */
#ifndef VISHWAMAI_BALANCE_H
#define VISHWAMAI_BALANCE_H

#include <vishwamai/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_BALANCE_OPS_MAJOR 0
#define VW_BALANCE_OPS_MINOR 1

typedef struct vw_balance_problem {
    size_t size;
    int32_t n_layers, n_experts, n_replicas; /* n_replicas >= n_experts, a multiple of n_ranks */
    int32_t n_groups;                        /* expert groups of group-limited routing; 1: none */
    int32_t n_nodes, n_ranks;                /* ranks in all; a multiple of n_nodes */
    const double *load;                      /* [L][E], tokens per expert, >= 0 and finite */
    const int32_t *previous;                 /* [L][R] expert in each slot before, or NULL */
} vw_balance_problem;

typedef struct vw_balance_ops {
    size_t size;

    /* placement [L][R]: the expert in each slot; slot s lives on rank s / (R / n_ranks).  Every
     * expert has at least one slot.  Required. */
    vw_status (*place)(void *self, const vw_balance_problem *problem, int32_t *placement,
                       vw_error *err);
} vw_balance_ops;

#ifdef __cplusplus
}
#endif
#endif
