/* driver.h - what the files of the simulated driver share: how each of its functions begins and
 * ends. */
#ifndef CUDA_SIM_DRIVER_H
#define CUDA_SIM_DRIVER_H

#include <cuda.h>

#include "t/cuda-sim/queue.h"

enum {
    SIM_CONTEXT = 1,   /* the calling thread must have a current context, without an error */
    SIM_NO_CAPTURE = 2 /* forbidden while this thread captures a stream */
};

/* Take the driver's lock, and say what stands against the call; every sim_begin has its sim_end,
 * whatever it answered. */
CUresult sim_begin(int needs);
CUresult sim_end(CUresult result);

/* Of the current context: its device; keep the error of work that was run; count what lives. */
typedef enum sim_live {
    SIM_LIVE_MEMORY,
    SIM_LIVE_PINNED,
    SIM_LIVE_STREAM,
    SIM_LIVE_EVENT,
    SIM_LIVE_MODULE,
    SIM_LIVE_GRAPH,
    SIM_LIVE_COUNT
} sim_live;
int sim_device(void);
CUcontext sim_context(int device);
CUresult sim_worked(CUresult result);
void sim_count(sim_live what, int n);
void sim_captures(int n);

/* One line on standard error. */
void sim_explain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
