/* ceiling.h - what this machine can do at best, so that a speed can be told as a share of it.
 *
 * Measured with the same threads and in the same run as what it is compared with: the fastest of
 * several patterns and repeats, since a ceiling is what nothing exceeds.  On a machine that others
 * share the ceilings move from second to second; a look, short enough to be had before every round,
 * tells where they are now.
 */
#ifndef VW_TOOLS_CEILING_H
#define VW_TOOLS_CEILING_H

#include "core/json_write.h"

#include <vishwamai/vishwamai.h>

typedef struct ceilings {
    const char *device; /* NULL: the processor.  Of another device `read` alone is known: bytes a
                           second of a copy within its memory, read plus written */
    int threads;
    const char *isa; /* of the arithmetic loops: "avx512", "avx2", "baseline" */
    double read;     /* bytes a second, from memory */
    double f32;      /* multiply-adds count two */
    double int8;     /* the same, of bytes with 32-bit sums */
    double when;     /* now_seconds() of the last measurement */
    char *memory;    /* that is read, kept for the next time */
} ceilings;

/* Zeros on entry, or an earlier measurement: the larger figure of both is kept.  Does nothing when
 * the last one is younger than `seconds`. */
vw_status ceilings_measure(vw_core *core, ceilings *c, double seconds, vw_error *err);

/* Multiply-adds a second in f32 alone, counted two; takes no memory. */
double ceiling_of_f32(vw_core *core);

/* After a measurement: the figures of this moment, in about 50 milliseconds. */
ceilings ceilings_look(vw_core *core, const ceilings *measured);

/* Give the memory back; the figures stay. */
void ceilings_release(ceilings *c);

void ceilings_print(const ceilings *c);
void ceilings_add_json(vw_json_writer *w, const ceilings *c);

#endif
