/* pipeline.h - the pipeline kind: the order in which a rank works on its micro-batches.
 *
 * A schedule is data: for every rank a list of steps, which the core's trainer executes in order
 * and which simulations and drawings read.  It is a pure function of the problem: the same input
 * gives the same lists on every machine, so each rank may ask for its own alone.
 *
 * The model is cut into stages, 0 first.  A rank holds one or more chunks, each a copy of one
 * stage; several ranks may hold copies of the same stage (their gradients are summed after the
 * last step).  Micro-batches are numbered 0 .. n_micro - 1 over the whole optimiser step; they
 * belong to directions in equal, consecutive parts: with two directions, the second half of them
 * enters the pipeline where the first half leaves it.  What a rank must be given follows from its
 * list: inputs for the forwards of stage 0, labels for the backwards of the last stage.
 *
 * How steps are executed (the core's rules, and those of vw_schedule_check()):
 *
 * - Steps of a rank run one after another, in the order of its list.
 * - F needs the output of the stage before for the same micro-batch, B and I the gradient of the
 *   stage behind: received, or computed by another chunk of the same rank.
 * - B and I need the forward of their own chunk.  I leaves the gradients of the weights to a W; W's
 *   of a chunk come in the order of its I's, so that a queue is enough to keep what they need.
 * - A pair overlaps a forward and a backward that do not need each other.
 * - A send hands over what its chunk has computed and goes on at once; a receive waits for its
 *   message.  A message is told from others by sender, receiver, kind, chunk and micro-batch, not
 *   by its place in a sequence.
 * - A list must not rely on more than VW_PIPELINE_BUFFERS messages that wait between one rank and
 *   another: a send may wait while there are so many.
 * - An activation lives from its F to its B or W.
 */
#ifndef VISHWAMAI_PIPELINE_H
#define VISHWAMAI_PIPELINE_H

#include <vishwamai/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_PIPELINE_OPS_MAJOR 1
#define VW_PIPELINE_OPS_MINOR 0

/* Messages under way from one rank to another that every executor has room for. */
#define VW_PIPELINE_BUFFERS 4

/* New kinds are added at the end; a core refuses a list with a kind that it does not know. */
typedef enum vw_step_kind {
    VW_STEP_FORWARD = 1,      /* F */
    VW_STEP_BACKWARD,         /* B: the gradients of input and weights together */
    VW_STEP_INPUT_GRAD,       /* I: of the input alone */
    VW_STEP_WEIGHT_GRAD,      /* W: of the weights, for the chunk's oldest I that has none yet */
    VW_STEP_OVERLAP,          /* F of (chunk, micro) with B of (other_chunk, other_micro) */
    VW_STEP_SEND_FORWARD,     /* the output of `chunk`, to the stage behind */
    VW_STEP_RECEIVE_FORWARD,  /* the input of `chunk`, from the stage before */
    VW_STEP_SEND_BACKWARD,    /* the gradient of the input of `chunk`, to the stage before */
    VW_STEP_RECEIVE_BACKWARD  /* the gradient of the output of `chunk`, from the stage behind */
} vw_step_kind;

typedef struct vw_step {
    vw_step_kind kind;
    int32_t chunk, micro;             /* of this rank, from 0; micro-batch number */
    int32_t other_chunk, other_micro; /* for OVERLAP, else -1 */
    int32_t peer;                     /* rank, for sends and receives, else -1 */
} vw_step;

/* What steps take, in any one unit of time. */
typedef struct vw_pipeline_costs {
    size_t size;
    double forward;     /* F of a chunk */
    double backward;    /* B */
    double weight;      /* W, at most B; I takes the rest, B - W */
    double overlap;     /* a pair */
    double comm;        /* a message, from the end of the step before its send to its arrival */
    const double *edge; /* [n_ranks][n_ranks], from and to, in place of comm; NULL: comm for all */
} vw_pipeline_costs;

/* What is assumed where nothing was measured: a backward is two forwards, half of it for the
 * weights, and overlapping saves a sixth. */
#define VW_PIPELINE_COSTS_ASSUMED {sizeof(vw_pipeline_costs), 1, 2, 1, 2.5, 0, NULL}

typedef struct vw_pipeline_problem {
    size_t size;
    int32_t n_ranks, n_micro;
    int32_t max_activations; /* live at a time on a rank, counted in stages; 0: no limit is given */
    const vw_pipeline_costs *costs; /* NULL: not known.  Hints: most schedules do not look */
} vw_pipeline_problem;

typedef struct vw_pipeline_layout {
    size_t size;          /* set by the caller */
    int32_t n_chunks;     /* of each rank */
    int32_t n_stages;     /* of the model; every one is held somewhere */
    int32_t n_directions; /* divides n_micro */
} vw_pipeline_layout;

/* All are required.  Thread rule: as the description's caps say.  Nothing is written on failure. */
typedef struct vw_pipeline_ops {
    size_t size;

    /* How the stages lie on the ranks.
     *
     * Since 1.0.  VW_E_INVALID for a problem that has no sense (fewer than one rank or
     * micro-batch), VW_E_UNSUPPORTED for one that this schedule cannot do; the sentence says what
     * would be right, such as an even number of ranks.  A problem that passes here gets a schedule
     * below. */
    vw_status (*layout)(void *self, const vw_pipeline_problem *problem,
                        vw_pipeline_layout *layout, vw_error *err);

    /* The stage of chunk `chunk` of rank `rank`, both within what layout() said.  The chunks of a
     * rank hold different stages.  Since 1.0. */
    int32_t (*stage)(void *self, const vw_pipeline_problem *problem, int32_t rank, int32_t chunk);

    /* The steps of one rank: up to `room` of them (`steps` may be NULL when it is 0), and the full
     * count to *n.  Since 1.0.  Refuses what layout() refuses, and a rank outside [0, n_ranks) with
     * VW_E_INVALID. */
    vw_status (*schedule)(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err);
} vw_pipeline_ops;

#ifdef __cplusplus
}
#endif
#endif
