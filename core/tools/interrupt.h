/* interrupt.h - Ctrl-C as a flag that loops look at.
 *
 * The first SIGINT sets the flag; work ends at its next step and what came is kept.  Until the flag
 * is cleared a second one ends the program at once, for work that does not look; not in a program
 * that has more to lose than its work, which says so with interrupt_outlive(). */
#ifndef VW_TOOLS_INTERRUPT_H
#define VW_TOOLS_INTERRUPT_H

#include <vishwamai/vishwamai.h>

/* Watch from now on, and clear the flag.  `engine` (or NULL) is told to stop as well, so that a
 * long prompt ends between two chunks. */
void interrupt_watch(vw_engine *engine);
/* The same for other work: stop(arg), which must be safe in a signal handler, is called by SIGINT and
 * by SIGTERM too, since such work saves what it has. */
void interrupt_call(void (*stop)(void *arg), void *arg);
/* From now on no number of SIGINTs ends the program while it watches. */
void interrupt_outlive(void);
void interrupt_unwatch(void); /* Ctrl-C ends the program again; before the engine is closed */
int interrupt_seen(void);

#endif
