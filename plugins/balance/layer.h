/* layer.h - balance/vishwamai: placing the experts of one layer. */
#ifndef VW_BALANCE_LAYER_H
#define VW_BALANCE_LAYER_H

#include <vishwamai/balance.h>

typedef struct layer_rules {
    int keeps_groups;  /* groups stay on nodes */
    int64_t effort;    /* looks at possible steps, at most */
    int64_t max_moves; /* copies that may be fetched in a layer; INT64_MAX: any number */
    double slack;      /* largest time over the best that was found, given up for fewer moves */
} layer_rules;

/* Working memory; 0: it is more than can be counted. */
size_t layer_bytes(const vw_balance_problem *p, const layer_rules *rules);

/* Place layer i: expert[R] and, where they are not NULL, copy[R] and *bound. */
void layer_place(const vw_balance_problem *p, const layer_rules *rules, size_t i, int32_t *expert,
                 int32_t *copy, double *bound, void *memory);

#endif
