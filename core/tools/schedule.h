/* schedule.h - a schedule that was asked for, judged and timed, and the ways to show it. */
#ifndef VW_TOOLS_SCHEDULE_H
#define VW_TOOLS_SCHEDULE_H

#include "svg.h"

#include <vishwamai/schedule.h>

typedef struct timed_schedule {
    const char *name;
    vw_schedule schedule;
    vw_simulation times;
    vw_pipeline_costs costs;
} timed_schedule;

void timed_schedule_free(timed_schedule *t);

/* The largest peak of all ranks, in activations of a stage. */
int32_t timed_schedule_peak(const timed_schedule *t);

/* A line for each rank, of at most `columns` characters, to standard output, with a scale. */
void timeline_print(const timed_schedule *t, int columns);

/* A drawing of `n` schedules, one below the other on the same scale of time. */
void schedule_draw(svg *s, const timed_schedule *all, int n);

#endif
