/* reasoning.h - the reasoning kind: ways to get from a problem to an answer with a model.
 *
 * Provisional until more than `direct` exist.  One solve at a time per instance.  Texts are UTF-8,
 * 0-terminated.
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
    const char *text;   /* of the thought or answer, the reason of a prune, or NULL; valid, as the
                           event is, until the sink returns */
    double score;
} vw_reasoning_event;

/* Called in the thread that called solve(), before solve() returns, one event at a time.  It must
 * not call solve() or the generator.  Return nonzero to stop the search: solve() makes no further
 * requests, and gives the best answer that it has. */
typedef int (*vw_reasoning_sink)(void *arg, const vw_reasoning_event *event);

typedef struct vw_reasoning_problem {
    size_t size;
    const char *text;
    int64_t max_tokens; /* at least 1: new tokens over all requests; none begins beyond it */
    double max_seconds; /* no request begins after them; one that runs is not cut; 0: no limit */
    uint64_t seed;
    vw_generator *generator;
    const vw_generate_service *generate;
    const vw_component *verifier; /* or NULL */
} vw_reasoning_problem;

typedef struct vw_reasoning_ops {
    size_t size;
    /* Search, telling the sink (which may be NULL) what happens, and write the answer to `answer`,
     * memory of `room` bytes, at least 1.  A longer answer is cut to whole characters that fit with
     * their 0, which the log tells; its event carries it whole.
     *
     * A budget that ends the search, or a sink that does, is no error: the best answer so far is
     * given, an empty text where there is none.  VW_E_INVALID for a problem that is not complete or
     * a budget of nothing; errors of the generator and the verifier are passed on.  `answer` is
     * written on success only.  Keeps no pointer of the problem.  Required.  Since reasoning
     * 0.1. */
    vw_status (*solve)(void *self, const vw_reasoning_problem *problem, vw_reasoning_sink sink,
                       void *arg, char *answer, size_t room, vw_error *err);
} vw_reasoning_ops;

#ifdef __cplusplus
}
#endif
#endif
