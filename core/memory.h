/* memory.h - host memory that is counted.
 *
 * Decoding may not allocate; a test proves it by reading these counters, so all that the core and
 * the plugins allocate for work on tokens comes through here.  Blocks are aligned to 64 bytes, a
 * cache line and the widest vector.  Any thread.
 */
#ifndef VW_CORE_MEMORY_H
#define VW_CORE_MEMORY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Zeros are a fresh account.  `above` also counts what is allocated here; NULL for none. */
typedef struct vw_memory {
    struct vw_memory *above;
    _Atomic uint64_t allocations; /* ever made */
    _Atomic int64_t live;         /* made and not freed */
} vw_memory;

/* NULL when there is none; 0 bytes is a block like any other. */
void *vw_memory_alloc(vw_memory *memory, size_t bytes);
void *vw_memory_zalloc(vw_memory *memory, size_t bytes);
void vw_memory_free(vw_memory *memory, void *block); /* NULL is accepted */

#endif
