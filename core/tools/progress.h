/* progress.h - a bar on standard error for work that takes long.
 *
 * Drawn only when standard error is a terminal, at most ten times a second, not in the first half
 * second, and wiped when the work is done, so that a log or a pipe never sees it. */
#ifndef VW_TOOLS_PROGRESS_H
#define VW_TOOLS_PROGRESS_H

#include <stdint.h>

/* Show `done` of `total`; a vw_progress callback.  Nonzero when Ctrl-C was pressed. */
int progress_show(void *arg, const char *what, uint64_t done, uint64_t total, const char *unit);

/* Wipe the bar, if there is one. */
void progress_end(void);

/* Seconds of a clock that only moves forward. */
double now_seconds(void);

#endif
