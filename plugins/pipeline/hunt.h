/* hunt.h - looking for a good schedule of a problem. */
#ifndef VW_PIPELINE_HUNT_H
#define VW_PIPELINE_HUNT_H

#include "plugins/pipeline/greedy.h"

/* Simulate about `effort` steps and write the lists of the shortest schedule seen to steps
 * [P][GREEDY_STEPS] and n_steps [P].  VW_E_INVALID when durations are such that nothing ends. */
vw_status hunt(const vw_host *host, const greedy_problem *p, double effort, greedy_step *steps,
               int32_t *n_steps, vw_error *err);

#endif
