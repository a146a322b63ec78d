/* pipeline.h - the pipeline kind: the order in which a rank works on its micro-batches.
 *
 * A pure function: the core executes the list, tests and drawings read it.  Provisional until its
 * first schedules come.  Any thread.
 */
#ifndef VISHWAMAI_PIPELINE_H
#define VISHWAMAI_PIPELINE_H

#include <vishwamai/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_PIPELINE_OPS_MAJOR 0
#define VW_PIPELINE_OPS_MINOR 1

typedef enum vw_step_kind {
    VW_STEP_FORWARD = 1,    /* F */
    VW_STEP_BACKWARD,       /* B: input and weight gradients together */
    VW_STEP_INPUT_GRAD,     /* I */
    VW_STEP_WEIGHT_GRAD,    /* W: of the oldest queued item of the chunk */
    VW_STEP_OVERLAP,        /* F of `micro` with B of `other_micro`, overlapped */
    VW_STEP_SEND_FORWARD, VW_STEP_RECEIVE_FORWARD,
    VW_STEP_SEND_BACKWARD, VW_STEP_RECEIVE_BACKWARD
} vw_step_kind;

typedef struct vw_step {
    vw_step_kind kind;
    int32_t chunk, micro;             /* model chunk on this rank, micro-batch number */
    int32_t other_chunk, other_micro; /* for OVERLAP, else -1 */
    int32_t peer;                     /* for sends and receives, else -1 */
} vw_step;

typedef struct vw_pipeline_ops {
    size_t size;

    /* Model chunks a rank holds (1; 2 for bidirectional or interleaved schedules).  Required. */
    int32_t (*n_chunks)(void *self);
    /* Which stage (0 first) chunk `chunk` of `rank` computes.  Required. */
    int32_t (*stage)(void *self, int32_t n_ranks, int32_t rank, int32_t chunk);
    /* The steps of one rank.  Writes up to `room`, the full count to *n.  VW_E_UNSUPPORTED names
     * what the schedule needs, such as an even number of ranks.  Required. */
    vw_status (*schedule)(void *self, int32_t n_ranks, int32_t n_micro, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err);
} vw_pipeline_ops;

#ifdef __cplusplus
}
#endif
#endif
