/* schedule.h - pipeline schedules as data: asked for, checked, timed.
 *
 * For whoever plans a training run, writes a schedule or draws one; the rules by which a schedule
 * is judged are those of pipeline.h.  Functions are pure: any thread, no state.
 *
 *     vw_core_plugin(core, VW_KIND_PIPELINE, "dualpipe", &component, err)
 *     vw_schedule_get(component, &problem, &schedule, err)
 *     vw_schedule_check(&schedule, VW_PIPELINE_BUFFERS, err)
 *     vw_schedule_simulate(&schedule, &costs, &simulation, err)
 *     vw_simulation_free(&simulation);  vw_schedule_free(&schedule);
 */
#ifndef VISHWAMAI_SCHEDULE_H
#define VISHWAMAI_SCHEDULE_H

#include <vishwamai/pipeline.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All ranks' lists.  May be read, changed and checked again; freed by vw_schedule_free(). */
typedef struct vw_schedule {
    size_t size;
    int32_t n_ranks, n_micro;
    int32_t n_chunks, n_stages, n_directions;
    int32_t *stage;   /* [n_ranks][n_chunks] */
    vw_step **steps;  /* [n_ranks], each [n_steps of the rank] */
    size_t *n_steps;  /* [n_ranks] */
} vw_schedule;

/* Ask a component of the kind pipeline for everybody's steps.
 *
 * The component's own refusals come as they are, with its name in front.  VW_E_INVALID when its
 * answers have no sense (a stage that nobody holds, a list that changes between two calls); whether
 * the lists are right is for vw_schedule_check(). */
vw_status vw_schedule_get(const vw_component *pipeline, const vw_pipeline_problem *problem,
                          vw_schedule *schedule, vw_error *err);
void vw_schedule_free(vw_schedule *schedule);

/* Can the lists be executed, and do they compute the right thing?
 *
 * Every dependency is there when a step begins; every micro-batch goes once through every stage,
 * forwards, backwards, and for its weights; every send has its receive with the same peer, kind,
 * stage and micro-batch; nobody waits for ever, if a send waits while `n_buffers` messages are
 * under way from its rank to the receiver's (0: it never waits).  VW_E_INVALID says which rank and
 * step is wrong and how. */
vw_status vw_schedule_check(const vw_schedule *schedule, int32_t n_buffers, vw_error *err);

/* The name of a step: F3, B1, I0, W0, F3+B1; ' behind the number for chunk 1, '' for chunk 2, and
 * numbers from 0 in each direction.  Messages: "send F3 to 2", "receive B1' from 0".  Cut at
 * `room`; 64 bytes are always enough. */
void vw_step_text(const vw_schedule *schedule, const vw_step *step, char *text, size_t room);

/* One step in a simulation. */
typedef struct vw_step_time {
    double start, end; /* of a receive: when it began to wait, when the message was there */
    int32_t live;      /* activations of the rank while the step runs; a pair counts both of its */
} vw_step_time;

typedef struct vw_simulation {
    size_t size;
    int32_t n_ranks;
    double makespan;           /* from the first start, at 0, to the last end */
    double bubble;             /* idle time / (n_ranks x makespan), 0 when nothing takes time */
    double *busy;              /* [n_ranks] time in compute steps; a pair counts as `overlap` */
    int32_t *peak_activations; /* [n_ranks] */
    vw_step_time **steps;      /* [n_ranks][step], parallel to the schedule's */
} vw_simulation;

/* When does every step run?
 *
 * A step starts when its rank has ended the one before and what it waits for is there; sends take
 * no time of the rank and never wait; both results of a pair are there at its end.  Checks the
 * schedule on the way, as vw_schedule_check() without a limit of buffers.  VW_E_INVALID also for
 * costs that are negative, not finite, or have a weight above backward. */
vw_status vw_schedule_simulate(const vw_schedule *schedule, const vw_pipeline_costs *costs,
                               vw_simulation *simulation, vw_error *err);
void vw_simulation_free(vw_simulation *simulation);

#ifdef __cplusplus
}
#endif
#endif
