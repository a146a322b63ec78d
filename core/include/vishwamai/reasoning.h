/* reasoning.h - the reasoning kind: ways to get from a problem to an answer with a model.
 *
 * Provisional until more than `direct` exist.  One solve at a time per instance.
 */
#ifndef VISHWAMAI_REASONING_H
#define VISHWAMAI_REASONING_H

#include <vishwamai/generate.h>
#include <vishwamai/host.h>
#include <vishwamai/verifier.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_REASONING_OPS_MAJOR 0
#define VW_REASONING_OPS_MINOR 1

typedef enum vw_event_kind {
    VW_EVENT_THOUGHT = 1, VW_EVENT_SCORE, VW_EVENT_PRUNE, VW_EVENT_ANSWER
} vw_event_kind;

/* One thing that happened in the search; thoughts form a tree by parent. */
typedef struct vw_reasoning_event {
    vw_event_kind kind;
    int32_t id, parent; /* of the thought; -1: the problem itself */
    const char *text;
    double score;
} vw_reasoning_event;

/* Return nonzero to stop the search. */
typedef int (*vw_reasoning_sink)(void *arg, const vw_reasoning_event *event);

typedef struct vw_reasoning_problem {
    size_t size;
    const char *text;
    int64_t max_tokens; /* budget over all requests */
    double max_seconds; /* 0: none */
    uint64_t seed;
    vw_generator *generator;
    const vw_generate_service *generate;
    const vw_component *verifier; /* or NULL */
} vw_reasoning_problem;

typedef struct vw_reasoning_ops {
    size_t size;
    /* The answer is written as text of at most `room` bytes, 0-terminated.  Required. */
    vw_status (*solve)(void *self, const vw_reasoning_problem *problem, vw_reasoning_sink sink,
                       void *arg, char *answer, size_t room, vw_error *err);
} vw_reasoning_ops;

#ifdef __cplusplus
}
#endif
#endif
