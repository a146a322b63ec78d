/* pool.h - threads that wait for work a microsecond away.
 *
 * Decoding one token runs hundreds of parallel loops of tens of microseconds each.  A thread that
 * has to be woken by the system costs as much as such a loop, so idle threads watch for work for a
 * while before they sleep, and the caller takes a share of every loop itself.
 */
#ifndef VW_CORE_POOL_H
#define VW_CORE_POOL_H

#include <vishwamai/host.h>

typedef struct vw_pool vw_pool;

/* A pool of `threads` threads, the calling one included; 0: as many as the process may use. */
vw_status vw_pool_new(int threads, vw_pool **pool, vw_error *err);
void vw_pool_free(vw_pool *pool);

int vw_pool_threads(const vw_pool *pool);

/* fn(arg, part, n_parts) for every part, part p by thread p mod threads, threads at most `cap` (0:
 * all).  Returns when all are done.  Calls from several threads take turns; a call from within a
 * part runs its parts one after another.  Allocates nothing. */
void vw_pool_run(vw_pool *pool, int cap, int n_parts, vw_part_fn fn, void *arg);

#endif
