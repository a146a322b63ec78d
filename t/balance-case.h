/* balance-case.h - what tests of placements share: figures that are computed the plain way. */
#ifndef VW_T_BALANCE_CASE_H
#define VW_T_BALANCE_CASE_H

#include "t/mock_host.h"

#include <vishwamai/balance.h>

enum { CASE_EXPERTS = 512, CASE_SLOTS = 1024 };

/* A plugin of the kind, opened. */
typedef struct balancer {
    mock_host mock;
    mock_instance it;
    const vw_balance_ops *ops;
    void *self;
} balancer;

/* Open balance/NAME with settings; the test ends as skipped when it is not built. */
void balancer_open(balancer *b, const char *name, const char *const *settings);
void balancer_close(balancer *b);

/* Place one layer; a failure is an assertion's. */
void balancer_place(balancer *b, const vw_balance_problem *p, int32_t *expert, double *bound);

/* Of one layer: the largest time of a device over the mean; slots whose expert the device did not
 * hold before; devices that hold an expert twice. */
double case_max_over_mean(const vw_balance_problem *p, const int32_t *expert);
int case_moves(const vw_balance_problem *p, const int32_t *before, const int32_t *after);
int case_doubles(const vw_balance_problem *p, const int32_t *expert);

/* Repeatable random numbers: [0, 1), normal ones, 0 .. n - 1. */
typedef struct case_random {
    uint64_t state;
} case_random;
double case_uniform(case_random *r);
double case_normal(case_random *r);
int case_below(case_random *r, int n);

/* Is there any placement of a layer, without two copies of an expert on one device, whose largest
 * load is below `load`?  Tries all of them, pruned by nothing but the load itself; 1 yes, 0 no, -1
 * when that takes more than `effort` steps.  Devices are alike. */
int case_is_possible(const vw_balance_problem *p, double load, long effort);

#endif
