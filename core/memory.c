/* memory.c - aligned blocks and their account. */
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static void count(vw_memory *memory, int made, int live)
{
    for (; memory; memory = memory->above) {
        atomic_fetch_add_explicit(&memory->allocations, (uint64_t)made, memory_order_relaxed);
        atomic_fetch_add_explicit(&memory->live, live, memory_order_relaxed);
    }
}

void *vw_memory_alloc(vw_memory *memory, size_t bytes)
{
    void *block;

    if (posix_memalign(&block, ALIGNMENT, bytes ? bytes : 1) != 0)
        return NULL;
    count(memory, 1, 1);
    return block;
}

void *vw_memory_zalloc(vw_memory *memory, size_t bytes)
{
    void *block = vw_memory_alloc(memory, bytes);

    if (block)
        memset(block, 0, bytes);
    return block;
}

void vw_memory_free(vw_memory *memory, void *block)
{
    if (!block)
        return;
    count(memory, 0, -1);
    free(block);
}
