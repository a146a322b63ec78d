/* schedule_run.h - the machine that runs a schedule without a model. */
#ifndef VW_CORE_SCHEDULE_RUN_H
#define VW_CORE_SCHEDULE_RUN_H

#include <vishwamai/schedule.h>

/* Run all ranks to their ends.  `n_buffers` as in vw_schedule_check().  With `out`, whose arrays
 * are there and zero, the times by `costs`; both NULL: the verdict alone. */
vw_status vw_schedule_run(const vw_schedule *schedule, int32_t n_buffers,
                          const vw_pipeline_costs *costs, vw_simulation *out, vw_error *err);

#endif
