/* trainee-linear.h - what a test may make of the linear trainee. */
#ifndef VW_T_TRAINEE_LINEAR_H
#define VW_T_TRAINEE_LINEAR_H

#include <stdint.h>

typedef struct linear_trainee_fault {
    int64_t n_learnt;     /* micro-batches so far */
    int64_t at_learn;     /* before this one on_learn is called; 0: never */
    void (*on_learn)(void *arg);
    void *arg;
    int64_t nan_at_learn; /* this one leaves a gradient that is no number */
} linear_trainee_fault;

extern linear_trainee_fault linear_fault;

#endif
