/* faulty.h - kernels that a device would hang on or be corrupted by: what the simulation must
 * refuse.
 */
#ifndef CUDA_SIM_FAULTY_H
#define CUDA_SIM_FAULTY_H

#include <stdint.h>

typedef enum fault {
    FAULT_NONE,          /* out[i] = i, and a sum through shared memory in out[0] */
    FAULT_OUTSIDE,       /* writes behind the end */
    FAULT_BARRIER,       /* half of the block returns before a barrier */
    FAULT_LANE,          /* a shuffle reads a lane that takes no part */
    FAULT_MASK,          /* an exchange with a mask that leaves its own lane out */
    FAULT_ABSENT,        /* an exchange that waits for lanes which never come */
    FAULT_RACE,          /* reads what its neighbour writes, without a barrier */
    FAULT_UNWRITTEN,     /* reads shared memory that nobody wrote */
    FAULT_NULL
} fault;

typedef struct vw_faulty_args {
    float *out;
    int32_t n, fault;
} vw_faulty_args;

#endif
