/* bound.h - how low the largest time of a placement can be at all. */
#ifndef VW_BALANCE_BOUND_H
#define VW_BALANCE_BOUND_H

#include <vishwamai/balance.h>

/* Bytes of the scratch that these take. */
size_t bound_scratch_bytes(const vw_balance_problem *p);

/* The least possible largest share of one copy: n loads, `slots` copies in all, at most `most` of
 * one expert. */
double bound_share(const double *load, int n, int64_t slots, int64_t most, void *scratch);

/* All loads of a layer over all speeds. */
double bound_mean(const vw_balance_problem *p, const double *load);

/* A lower bound of the largest time of a layer, over all placements.  `keeps_groups`: the groups of
 * the problem stay on nodes.  `doubles`: a device may hold two copies of an expert, so that copies
 * beyond the number of devices count. */
double bound_of_layer(const vw_balance_problem *p, const double *load, int keeps_groups,
                      int doubles, void *scratch);

/* The same as max over mean. */
double bound_over_mean(const vw_balance_problem *p, const double *load, int keeps_groups,
                       int doubles, void *scratch);

#endif
