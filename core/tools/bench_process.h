/* bench_process.h - measuring in a process of its own.
 *
 * What a whole model needs - time to load, peak memory, time to the first token - can only be told
 * by a process that does nothing else, and an outside program is one anyway.
 */
#ifndef VW_TOOLS_BENCH_PROCESS_H
#define VW_TOOLS_BENCH_PROCESS_H

#include <vishwamai/vishwamai.h>

/* Run fn in a child; what it writes to `result` comes back.  The child's error does, too. */
vw_status in_child(vw_status (*fn)(void *arg, void *result, vw_error *err), void *arg, void *result,
                   size_t result_bytes, vw_error *err);

/* Peak resident bytes of this process so far. */
uint64_t peak_memory(void);

/* Run a shell command: its wall seconds, peak resident bytes, and what it printed (freed by the
 * caller).  A status that is not 0 is an error. */
vw_status run_outside(const char *command, double *seconds, uint64_t *peak_bytes, char **output,
                      vw_error *err);

#endif
