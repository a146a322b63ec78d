/* run.h - how one launch of a kernel is run on the processor.
 *
 * Blocks run one after another.  The threads of a block are fibers, each with a stack of its own,
 * that change only where CUDA lets them meet: a barrier, or a warp's exchange.  A thread that never
 * waits costs a function call.  Everything here is used under the driver's one lock.
 *
 * What is refused, where a device would hang or give nonsense: a barrier that some threads never
 * reach, a warp exchange whose mask names a lane that does not come or comes with another
 * operation, reading a lane that takes no part, and an access outside of the device's memory.
 */
#ifndef CUDA_SIM_RUN_H
#define CUDA_SIM_RUN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sim_dim {
    unsigned x, y, z;
} sim_dim;

/* The built-in variables of the thread that runs now. */
extern sim_dim sim_thread_index, sim_block_index, sim_block_size, sim_grid_size;

/* A kernel, as its source file registers it (kernel.h). */
typedef struct sim_kernel {
    const char *name;
    size_t args_bytes;
    void (*run)(const void *args);
    struct sim_kernel *next;
} sim_kernel;

void sim_register(sim_kernel *kernel);
const sim_kernel *sim_find_kernel(const char *name);

/* Run a launch to its end.  0, or -1 after a line on standard error that says what went wrong. */
int sim_launch(const sim_kernel *kernel, sim_dim grid, sim_dim block, size_t shared_bytes,
               const void *args);

/* Is a kernel's thread running right now? */
int sim_is_running(void);

/* ---- what kernels call, through device.h ---------------------------------------------------- */

typedef enum sim_meeting { SIM_SYNC_WARP = 1, SIM_SHUFFLE, SIM_VOTE } sim_meeting;

void sim_barrier(void);

/* Wait for all lanes of `mask`, each giving a value; returns the 32 values, good until the calling
 * thread's next exchange. */
const uint64_t *sim_exchange(sim_meeting what, uint32_t mask, uint64_t value);

unsigned sim_lane(void);

/* The launch's dynamic shared memory. */
void *sim_dynamic_shared(void);

/* Give up the launch: a sentence about the thread that runs now. */
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#ifdef __cplusplus
}
#endif
#endif
