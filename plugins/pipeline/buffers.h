/* buffers.h - do lists get by with the buffers that every executor has? */
#ifndef VW_PIPELINE_BUFFERS_H
#define VW_PIPELINE_BUFFERS_H

#include "plugins/pipeline/greedy.h"

/* Bytes of memory that buffers_suffice() works in. */
size_t buffers_bytes(const greedy_problem *p);

/* Can the steps of the last run be executed if a send waits while VW_PIPELINE_BUFFERS messages are
 * under way on its link? */
bool buffers_suffice(const greedy *g, const greedy_problem *p, void *memory);

#endif
