/* ceiling_loops.h - the loops that reach a machine's limits, one set for each instruction set. */
#ifndef VW_TOOLS_CEILING_LOOPS_H
#define VW_TOOLS_CEILING_LOOPS_H

#include <stddef.h>
#include <stdint.h>

typedef struct ceiling_loops {
    const char *isa;
    /* Do `rounds` rounds of `ops` operations each; the result only keeps the compiler honest. */
    double (*f32)(int64_t rounds);
    double f32_ops;
    double (*int8)(int64_t rounds);
    double int8_ops;
    /* Read bytes (a multiple of 4096) in one stream, and in four with prefetching. */
    uint64_t (*read1)(const void *data, size_t bytes);
    uint64_t (*read4)(const void *data, size_t bytes);
} ceiling_loops;

/* The widest set that this processor has. */
const ceiling_loops *ceiling_loops_here(void);

#endif
