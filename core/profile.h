/* profile.h - what took how long, as a trace that browsers draw (Chrome's trace event format).
 *
 * Spans nest and are recorded by one thread, the one that trains; those of the loop (data, forward
 * and backward, gradient norm, optimizer, validation, checkpoint) and within them those of the blocks
 * (nn_profile.c), with the bytes that each must move.  A NULL profile records nothing and costs a test.
 */
#ifndef VW_CORE_PROFILE_H
#define VW_CORE_PROFILE_H

#include <vishwamai/status.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct vw_profile vw_profile;

/* Spans are kept in memory, at most `room` of them. */
vw_status vw_profile_new(size_t room, vw_profile **profile, vw_error *err);
void vw_profile_free(vw_profile *profile);

/* Recording begins switched off. */
void vw_profile_switch(vw_profile *profile, bool is_on);

/* A span from begin to end; `name` is constant.  bytes: memory that it must read and write, flops:
 * its arithmetic; 0: not told. */
size_t vw_profile_begin(vw_profile *profile, const char *name);
void vw_profile_end(vw_profile *profile, size_t span, uint64_t bytes, uint64_t flops);

/* Write all of it as {"traceEvents": [...]}, whole or not at all. */
vw_status vw_profile_write(const vw_profile *profile, const char *path, vw_error *err);

#endif
