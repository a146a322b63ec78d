/* verifier.h - the verifier kind: is an answer, or a partial one, right?
 *
 * Provisional until a second one exists.  A pure function of its texts.  Any thread.
 */
#ifndef VISHWAMAI_VERIFIER_H
#define VISHWAMAI_VERIFIER_H

#include <vishwamai/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_VERIFIER_OPS_MAJOR 0
#define VW_VERIFIER_OPS_MINOR 1

typedef enum vw_verdict {
    VW_VERDICT_UNKNOWN = 0, /* this verifier cannot tell */
    VW_VERDICT_RIGHT, VW_VERDICT_WRONG,
    VW_VERDICT_POSSIBLE     /* a partial state that may still become right */
} vw_verdict;

typedef struct vw_verifier_ops {
    size_t size;
    /* Judge `answer` to `problem`; `expected` is the known answer or NULL.  `reason` gets one
     * sentence.  Required. */
    vw_status (*check)(void *self, const char *problem, const char *answer, const char *expected,
                       vw_verdict *verdict, char *reason, size_t reason_bytes, vw_error *err);
} vw_verifier_ops;

#ifdef __cplusplus
}
#endif
#endif
