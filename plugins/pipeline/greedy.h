/* greedy.h - a schedule made by time: whenever a rank is free it takes the best step that is ready.
 *
 * What is best is a policy, a few numbers; search.c looks for good ones.
 *
 * Letters: P ranks.
 */
#ifndef VW_PIPELINE_GREEDY_H
#define VW_PIPELINE_GREEDY_H

#include "plugins/pipeline/steps.h"

#include <stdbool.h>

/* A compute step of a rank; numbers count from 0 within the chunk. */
typedef struct greedy_step {
    vw_step_kind kind;
    int32_t chunk, number, other_chunk, other_number;
} greedy_step;

/* When a backward is cut in I and W. */
typedef enum splitting {
    SPLIT_NEVER,
    SPLIT_ALWAYS,
    SPLIT_WHEN_WAITING,   /* when another rank waits for the gradient and no forward is ready here */
    SPLIT_AT_THE_END,     /* when the rank has no forward left */
    N_SPLITTINGS
} splitting;

typedef struct policy {
    double ahead;           /* forwards that a chunk may be ahead of its backwards: for stage s of */
    int32_t more;           /* S, ahead x (S - s) + more */
    splitting split;
    bool pairs;             /* overlap a ready F and a ready B where that saves time */
    bool prefers_forward;   /* of a ready F and a ready B that make no pair */
    bool prefers_far;       /* of two chunks' forwards that of the later stage; else the earlier */
    bool prefers_far_back;  /* the same for backwards */
    double patience;        /* how long to wait for the other half of a pair */
    const int32_t *shift;   /* [P] added to `more` on each rank */
    const uint8_t *twist;   /* [P][GREEDY_STEPS] what to do against the rules, by step; or NULL */
} policy;

/* Steps of a rank at most: F, I and W of everything. */
#define GREEDY_STEPS(p) (3 * (size_t)(p)->n_chunks * (size_t)(p)->n_each)

/* Against the rules of a policy, for one decision. */
typedef enum twist {
    TWIST_NONE,
    TWIST_ALONE,        /* no pair; the other one of F and B first */
    TWIST_CHUNK,        /* the other chunk's forward */
    TWIST_CHUNK_BACK,   /* the other chunk's backward */
    TWIST_SPLIT,        /* cut a backward that would be whole, and the other way round */
    TWIST_WEIGHT,       /* a W first, if there is one */
    TWIST_WAIT,         /* let the next thing arrive */
    N_TWISTS
} twist;

/* What is to be scheduled; the same for all policies. */
typedef struct greedy_problem {
    placement where;
    int32_t n_ranks, n_micro, n_chunks, n_stages;
    int32_t n_each;         /* micro-batches that a chunk sees */
    int32_t max_live;       /* activations of a rank at a time, at least 2 with two chunks */
    double forward, backward, weight, overlap;
    const double *edge;     /* [P][P], or NULL: comm */
    double comm;
} greedy_problem;

/* Memory for one run; made once for a problem. */
typedef struct greedy greedy;
size_t greedy_bytes(const greedy_problem *p);
greedy *greedy_init(void *memory, const greedy_problem *p);

/* Schedule by a policy.  Returns the makespan, or a negative number when it leads nowhere: a rank
 * has filled its memory with what it cannot finish. */
double greedy_run(greedy *g, const policy *by);

/* The same by lists that are given, [P] with their lengths: when is all done, or a negative number
 * when that is impossible within the memory. */
double greedy_follow(greedy *g, const greedy_step *const *steps, const int32_t *n_steps);

/* The steps of a rank in the last run, and when the last of them ended. */
const greedy_step *greedy_steps(const greedy *g, int32_t rank, int32_t *n, double *end);

#endif
