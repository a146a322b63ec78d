/* schedule.h - a schedule that was asked for, judged and timed, and the ways to show it. */
#ifndef VW_TOOLS_SCHEDULE_H
#define VW_TOOLS_SCHEDULE_H

#include "answer.h"
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

enum { MAX_SCHEDULES = 64 };

/* The words of the command line, and what came of them. */
typedef struct schedule_job {
    choices c;
    int64_t n_ranks, n_micro, max_activations;
    double forward, backward, weight, overlap;
    const char *comm;     /* one number, or one for each link between neighbours */
    const char *svg_path;
    int is_comparing;
    const char *name;     /* of the one schedule */
    opened o;
    double comm_all, *edge; /* [n_ranks][n_ranks], or NULL */
    const char *names[MAX_SCHEDULES]; /* copies */
    int n_names;
    timed_schedule all[MAX_SCHEDULES];
    char refusal[MAX_SCHEDULES][320]; /* why there is none */
    double share[MAX_SCHEDULES];      /* of a rank's part of the model in one of its stages */
    int n;
} schedule_job;

/* The one that is named; or all that are installed, where those that refuse or are wrong stay in
 * the list with the sentence why; an error if nobody is left.  The core is open. */
vw_status schedule_get_one(schedule_job *j, vw_error *err);
vw_status schedule_get_all(schedule_job *j, vw_error *err);

/* A line for each rank, of at most `columns` characters, to standard output, with a scale. */
void timeline_print(const timed_schedule *t, int columns);

/* A drawing of `n` schedules, one below the other on the same scale of time. */
void schedule_draw(svg *s, const timed_schedule *all, int n);

#endif
