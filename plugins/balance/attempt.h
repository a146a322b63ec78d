/* attempt.h - balance/vishwamai: one placement of a layer while it is worked on.
 *
 * A layer is one domain (all devices), or one for each node where groups stay on nodes.  An attempt
 * says which groups each domain has and which expert each slot holds; searching it loads one domain
 * into a field (search.h), works there and stores the outcome back.
 *
 * Letters: E experts, R slots, P devices, G groups, N domains.
 */
#ifndef VW_BALANCE_ATTEMPT_H
#define VW_BALANCE_ATTEMPT_H

#include "plugins/balance/search.h"

#include <vishwamai/balance.h>

typedef struct attempt {
    int32_t *group;  /* [G] by domains: G/N each */
    int32_t *expert; /* [R] -1: none yet */
    double *time;    /* [N] largest time of a device; from the last attempt_*() on that domain */
    double *bound;   /* [N] lower bound of it, with these groups */
} attempt;

/* What all attempts of one layer share. */
typedef struct layer {
    const vw_balance_problem *p;
    int n_domains, n_groups;       /* 1 and 1 when nodes mean nothing */
    const int32_t *first;          /* [P + 1] first slot of each device */
    const double *load;            /* [E] */
    const int32_t *previous;       /* [R], or NULL */
    int64_t budget;                /* looks that are left for this layer */
    int64_t max_moves;             /* for the whole layer */

    field field;                   /* of the domain at hand; the rest is its memory */
    double *domain_load;           /* [E/N] */
    int32_t *domain_first;         /* [P/N + 1] */
    int32_t *local;                /* [E] number of an expert in the domain at hand, or -1 */
    uint8_t *domain_had;           /* [E/N][P/N] */
    int32_t *held;                 /* [N][G] scratch */
    void *scratch;                 /* of bound.h */
} layer;

size_t attempt_bytes(const layer *l);
void attempt_lay_out(attempt *a, const layer *l, void *memory);
void attempt_copy(attempt *to, const attempt *from, const layer *l);

/* Start from the groups and experts of a whole placement, as far as they keep the rules.  Domains
 * get the groups of which they hold most.  With `repair`, empty slots are filled. */
void attempt_from(attempt *a, layer *l, const int32_t *expert);

/* How a domain is searched. */
enum {
    FROM_NOTHING = 1, /* fill it anew instead of repairing what is there */
    STICKY = 2        /* steps that keep what the previous placement has come first, and the moves of
                         the layer are limited */
};

/* Work on a domain: steps down to `target`, with random changes when `patience` is above 0. Returns
 * its largest time. */
double attempt_search(attempt *a, layer *l, int domain, double target, int patience, int how);
void attempt_settle(attempt *a, layer *l, int domain, double target);

/* The largest time of all domains, and of which. */
double attempt_time(const attempt *a, const layer *l, int *domain);

/* Exchange two groups between domains; the slots of their experts are filled anew. */
void attempt_exchange(attempt *a, layer *l, int g, int h);

/* Sum of the loads of group g. */
double group_load(const layer *l, int g);

/* Number domains and devices so that as many experts as possible stay where they were. */
void attempt_rename(attempt *a, layer *l);

/* Slots of a device in such an order that what stays on it stays in its slot. */
void attempt_arrange(const attempt *a, const layer *l, int32_t *expert);

#endif
