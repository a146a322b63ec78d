/* cpus.h - the processors that this process may really use.
 *
 * A container shows the machine's processors and grants a share of them: the affinity mask says
 * which ones, the control group's quota how many at a time.
 */
#ifndef VW_CORE_CPUS_H
#define VW_CORE_CPUS_H

#include <stdbool.h>

enum { VW_MAX_CPUS = 1024 };

typedef struct vw_cpus {
    int n;                /* processors in the mask */
    int usable;           /* threads that can run at a time: n, or the quota where that is less */
    int list[VW_MAX_CPUS];
} vw_cpus;

void vw_cpus_find(vw_cpus *cpus);

/* Keep the calling thread on one processor.  False where the system does not let us. */
bool vw_cpus_pin(int cpu);

#endif
