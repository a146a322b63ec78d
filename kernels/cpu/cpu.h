/* cpu.h - which instruction set the kernels run on.
 *
 * Decided when the program runs, from what the CPU and the operating system offer and what this build
 * holds.  The environment variable VW_CPU = baseline | avx2 | avx512 | vnni asks for one, so that
 * every path can be tested, and valgrind can run, on one machine.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include <stddef.h>

typedef enum vw_cpu_isa {
    VW_CPU_BASELINE = 0,
    VW_CPU_AVX2,   /* with FMA and F16C */
    VW_CPU_AVX512, /* F, BW, DQ, VL */
    VW_CPU_VNNI,   /* AVX-512 with 8-bit dot products */
    VW_CPU_ISAS
} vw_cpu_isa;

/* "baseline", "avx2" ...: the words of VW_CPU. */
const char *vw_cpu_isa_name(vw_cpu_isa isa);

/* The best instruction set, or the one that VW_CPU asks for.  Returns 1; or 0 with a sentence in
 * `why` when VW_CPU is not a known word or names what is not to be had.  Any thread. */
int vw_cpu_choose(vw_cpu_isa *isa, char *why, size_t why_bytes);

#endif
