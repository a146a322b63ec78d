/* expert_cache.h - experts that lie in the file and come into memory when a router asks for them.
 *
 *     open     once the parameters are known: where each expert lies, memory for as many as fit
 *     want     the router has spoken: what is missing is queued, all of it at once
 *     next     some of the wanted experts are there; waits while none is
 *     release  they were multiplied with: their memory may be used again
 *
 * An expert's matrices run where they were read to, in the file's form.  While an expert is not in
 * memory its parameters point at the mapped file, which nobody reads.
 */
#ifndef VW_CORE_EXPERT_CACHE_H
#define VW_CORE_EXPERT_CACHE_H

#include "core/engine.h"

typedef struct vw_expert_cache vw_expert_cache;

/* For the experts of every layer of an engine whose parameters are loaded and whose handles are
 * open; e->cache is then set. */
vw_status vw_expert_cache_open(vw_engine *e, vw_error *err);
void vw_expert_cache_close(vw_engine *e);

/* Of layer `layer` those experts are wanted that have rows: expert i has offsets[i + 1] - offsets[i].
 * Ends what was wanted before. */
void vw_expert_cache_want(vw_expert_cache *c, int32_t layer, const int32_t *offsets);

/* Wanted experts that are in memory and were not given yet: all of [*first, *last) that have rows.
 * *first = *last when every one was given.  VW_E_IO names file and expert. */
vw_status vw_expert_cache_next(vw_expert_cache *c, int32_t *first, int32_t *last, vw_error *err);

/* They are not in use any more; and none is, because something failed. */
void vw_expert_cache_release(vw_expert_cache *c, int32_t first, int32_t last);
void vw_expert_cache_abandon(vw_expert_cache *c);

void vw_expert_cache_get_stats(const vw_expert_cache *c, vw_expert_stats *stats);

#endif
