/* memory.h - the simulated device's memory, which the host cannot touch. */
#ifndef CUDA_SIM_MEMORY_H
#define CUDA_SIM_MEMORY_H

#include <stddef.h>

/* Device memory: every allocation ends at a page that nobody may touch, and is open only while work
 * of a stream runs.  `device` says whose it is.  NULL when there is not that much left. */
void *sim_memory_new(int device, size_t bytes);
/* 0, or -1 when there is no such allocation or something was written behind its end. */
int sim_memory_free(void *at);
size_t sim_memory_total(void), sim_memory_used(int device);

/* Give up all that a device still has. */
void sim_memory_forget(int device);

/* Is [at, at + bytes) within one allocation of that device? */
int sim_memory_has(int device, const void *at, size_t bytes);

/* Pinned memory of the host. */
void *sim_pinned_new(size_t bytes);
int sim_pinned_free(void *at);
int sim_pinned_has(const void *at);

/* Let the work that follows touch device memory; and no more. */
void sim_memory_open(void);
void sim_memory_close(void);

#endif
