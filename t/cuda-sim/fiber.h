/* fiber.h - a stack of its own for each thread that waits. */
#ifndef CUDA_SIM_FIBER_H
#define CUDA_SIM_FIBER_H

#include <stddef.h>

typedef struct sim_fiber sim_fiber;

/* A fiber that runs fn(arg) when it is switched to first; fn never returns.  Fibers are kept and
 * reset, never freed.  NULL without memory. */
sim_fiber *sim_fiber_new(void);
void sim_fiber_reset(sim_fiber *fiber, void (*fn)(void *arg), void *arg);

/* The one that stands for the caller's own stack. */
sim_fiber *sim_fiber_main(void);

/* Leave `from`, which is running, for `to`; returns when somebody switches back. */
void sim_fiber_switch(sim_fiber *from, sim_fiber *to);

/* The same for good: `from` is reset before anybody switches to it again. */
_Noreturn void sim_fiber_leave(sim_fiber *from, sim_fiber *to);

#endif
