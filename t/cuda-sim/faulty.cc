/* faulty.cc - see faulty.h. */
#include "t/cuda-sim/device.h"

#include "t/cuda-sim/faulty.h"

static void __device__ good(float *out, int n, float *shared)
{
    int i = (int)threadIdx.x;
    shared[i] = (float)i;
    __syncthreads();
    float sum = 0;
    for (int j = 0; j < (int)blockDim.x; j++)
        sum += shared[j];
    for (int with = 16; with > 0; with /= 2)
        sum = fmaxf(sum, __shfl_xor_sync(0xFFFFFFFFu, sum, with));
    if (i < n)
        out[i] = i ? (float)i : sum;
}

extern "C" __global__ void vw_faulty(const vw_faulty_args a)
{
    __shared__ float shared[1024];
    int i = (int)threadIdx.x, last = (int)blockDim.x - 1;
    switch (a.fault) {
    case FAULT_OUTSIDE:
        a.out[a.n + 64 + i] = 1;
        return;
    case FAULT_BARRIER:
        if (i % 2)
            return;
        __syncthreads();
        return;
    case FAULT_LANE:
        if (i < 16)
            a.out[i] = __shfl_sync(0xFFFFu, (float)i, 20);
        return;
    case FAULT_MASK:
        __ballot_sync(0xFFFEu, 1);
        return;
    case FAULT_ABSENT:
        if (i < 16)
            a.out[i] = __shfl_sync(0xFFFFFFFFu, (float)i, 3);
        return;
    case FAULT_RACE:
        shared[i] = (float)i;
        a.out[i] = shared[last - i];
        return;
    case FAULT_UNWRITTEN:
        a.out[i] = shared[i];
        return;
    case FAULT_NULL:
        *(volatile float *)nullptr = 1;
        return;
    default:
        good(a.out, a.n, shared);
    }
}

SIM_KERNEL(vw_faulty)
