/* steps.h - a rank's list under construction: what to compute, with its messages around it.
 *
 * All schedules here lie on the ranks in one of three ways, which need the same few facts:
 *
 *     straight    rank r holds stage r
 *     crossed     and, for a second direction, stage P - 1 - r of a second copy of the model
 *     folded      P ranks hold 2P stages: r, and 2P - 1 - r on the way back
 *
 * Chunk 0 goes on to rank r + 1 and chunk 1 to rank r - 1, in all of them.  Where that rank does
 * not exist there is no message: it is the first stage or the last one, or the turn of a fold,
 * where a rank hands over to itself.
 *
 * Letters: P ranks, r rank, c chunk, s stage, m micro-batch.
 */
#ifndef VW_PIPELINE_STEPS_H
#define VW_PIPELINE_STEPS_H

#include <vishwamai/pipeline.h>

typedef enum placement { STRAIGHT, CROSSED, FOLDED } placement;

/* The layout of a placement on P ranks. */
static inline void placement_layout(placement where, int32_t n_ranks, vw_pipeline_layout *layout)
{
    layout->n_chunks = where == STRAIGHT ? 1 : 2;
    layout->n_stages = where == FOLDED ? 2 * n_ranks : n_ranks;
    layout->n_directions = where == CROSSED ? 2 : 1;
}

static inline int32_t placement_stage(placement where, int32_t n_ranks, int32_t rank, int32_t chunk)
{
    if (chunk == 0)
        return rank;
    return (where == FOLDED ? 2 * n_ranks : n_ranks) - 1 - rank;
}

/* What does not fit into the room is counted only. */
typedef struct step_list {
    int32_t n_ranks, rank;
    vw_step *steps;
    size_t room, n;
} step_list;

static inline void step_put(step_list *l, vw_step step)
{
    if (l->n < l->room)
        l->steps[l->n] = step;
    l->n++;
}

/* A message with the rank that is `hops` further along the chunk's way, if there is one. */
static inline void step_message(step_list *l, vw_step_kind kind, int32_t chunk, int32_t micro,
                                int32_t hops)
{
    int32_t peer = l->rank + (chunk == 0 ? hops : -hops);

    if (peer >= 0 && peer < l->n_ranks)
        step_put(l, (vw_step){kind, chunk, micro, -1, -1, peer});
}

/* F, B, I or W, between what it receives and what it sends. */
static inline void step_add(step_list *l, vw_step_kind kind, int32_t chunk, int32_t micro)
{
    int is_forward = kind == VW_STEP_FORWARD, has_messages = kind != VW_STEP_WEIGHT_GRAD;

    if (has_messages)
        step_message(l, is_forward ? VW_STEP_RECEIVE_FORWARD : VW_STEP_RECEIVE_BACKWARD, chunk,
                     micro, is_forward ? -1 : 1);
    step_put(l, (vw_step){kind, chunk, micro, -1, -1, -1});
    if (has_messages)
        step_message(l, is_forward ? VW_STEP_SEND_FORWARD : VW_STEP_SEND_BACKWARD, chunk, micro,
                     is_forward ? 1 : -1);
}

/* F of one overlapped with B of the other: receives both before, sends both at its end. */
static inline void step_add_pair(step_list *l, int32_t chunk, int32_t micro, int32_t other_chunk,
                                 int32_t other_micro)
{
    step_message(l, VW_STEP_RECEIVE_FORWARD, chunk, micro, -1);
    step_message(l, VW_STEP_RECEIVE_BACKWARD, other_chunk, other_micro, 1);
    step_put(l, (vw_step){VW_STEP_OVERLAP, chunk, micro, other_chunk, other_micro, -1});
    step_message(l, VW_STEP_SEND_FORWARD, chunk, micro, 1);
    step_message(l, VW_STEP_SEND_BACKWARD, other_chunk, other_micro, -1);
}

/* The errors that all schedules have in common; a layout is asked for no rank: pass 0. */
static inline vw_status check_problem(const vw_pipeline_problem *problem, int32_t rank,
                                      vw_error *err)
{
    if (problem->n_ranks < 1 || problem->n_micro < 1)
        return vw_fail(err, VW_E_INVALID,
                       "%d ranks and %d micro-batches: at least one of each is needed",
                       problem->n_ranks, problem->n_micro);
    if (rank < 0 || rank >= problem->n_ranks)
        return vw_fail(err, VW_E_INVALID, "there is no rank %d among %d; they count from 0", rank,
                       problem->n_ranks);
    return VW_OK;
}

/* ---- stages straight on, any number of ranks and micro-batches ------------------------------- */

static inline vw_status straight_layout(void *self, const vw_pipeline_problem *problem,
                                        vw_pipeline_layout *layout, vw_error *err)
{
    vw_status status = check_problem(problem, 0, err);

    (void)self;
    if (status == VW_OK)
        placement_layout(STRAIGHT, problem->n_ranks, layout);
    return status;
}

static inline int32_t straight_stage(void *self, const vw_pipeline_problem *problem, int32_t rank,
                                     int32_t chunk)
{
    (void)self;
    return placement_stage(STRAIGHT, problem->n_ranks, rank, chunk);
}

static inline int32_t straight_probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "any number of ranks and micro-batches");
    return 1;
}

/* ---- components without state ---------------------------------------------------------------- */

static inline vw_status open_nothing(const vw_host *host, const void *config, void **self,
                                     vw_error *err)
{
    (void)host, (void)config, (void)err;
    *self = NULL;
    return VW_OK;
}

static inline void close_nothing(void *self)
{
    (void)self;
}

#endif
