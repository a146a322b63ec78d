/* queue.h - streams, events and graphs of the simulated driver: work waits until somebody needs it.
 *
 * A device may run queued work at any time between the call and the synchronisation.  Here it
 * always runs at the last moment: host memory that is reused too early, or a result that is read
 * too soon, gives a wrong value every time.
 */
#ifndef CUDA_SIM_QUEUE_H
#define CUDA_SIM_QUEUE_H

#include <cuda.h>

#include "t/cuda-sim/run.h"

typedef enum sim_op_kind { SIM_COPY, SIM_SET, SIM_KERNEL_RUN, SIM_RECORD, SIM_WAIT } sim_op_kind;

typedef struct sim_op {
    sim_op_kind kind;
    void *to;
    const void *from; /* copy */
    unsigned char value;
    size_t bytes; /* of a copy or set; shared memory of a kernel */
    const sim_kernel *kernel;
    sim_dim grid, block;
    void *args; /* a copy, owned */
    CUevent event;
    unsigned long turn; /* which recording of the event */
    struct sim_op *next;
} sim_op;

struct CUgraph_st {
    sim_op *first, **last;
};

struct CUgraphExec_st {
    sim_op *first;
};

struct CUstream_st {
    int device;
    sim_op *first, **last;
    CUgraph graph;  /* not NULL while it captures */
    int is_invalid; /* the capture was broken */
    struct CUstream_st *next;
};

struct CUevent_st {
    int device, is_captured;
    CUstream stream;           /* of the last recording */
    unsigned long asked, done; /* recordings asked for, and reached */
    double seconds;            /* when */
};

/* Queue a copy of `op`, or add it to the stream's capture.  Its args are copied. */
CUresult sim_enqueue(CUstream stream, const sim_op *op);

/* Run all work of a stream; or until an event's recording is reached; or everything. */
CUresult sim_run_stream(CUstream stream);
CUresult sim_run_until(CUevent event, unsigned long turn);
CUresult sim_run_all(void);
/* Run one piece of the work before an event. */
CUresult sim_run_step(CUevent event);

CUstream sim_stream_new(int device);
void sim_stream_free(CUstream stream);
void sim_streams_forget(int device);
int sim_is_stream(CUstream stream);

CUgraph sim_graph_new(void);
void sim_ops_free(sim_op *first);
sim_op *sim_ops_copy(const sim_op *first);

#endif
