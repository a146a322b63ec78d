/* cuda.h - the CUDA C++ that kernels here are written in, for the device's compiler and the host's.
 *
 * Every .cu is compiled twice: by nvcc for devices, and as plain C++ for t/cuda-sim, which runs it
 * on the processor, one fiber a thread, so that a kernel's logic is tested where there is no
 * device.  So a kernel may use what both know:
 *
 *   __global__ __device__ __shared__ __restrict__ __launch_bounds__; threadIdx blockIdx blockDim
 *   gridDim; __syncthreads __syncwarp __shfl_sync __shfl_xor_sync __shfl_up_sync __shfl_down_sync
 *   __ballot_sync __any_sync __all_sync; atomicAdd atomicMax atomicMin atomicCAS on int, unsigned,
 *   unsigned long long (and atomicAdd on float); __ldg; float2 float4 int2 int4 uint2 uint4 and
 *   their make_ functions; __float_as_uint and friends; __popc __clz __ffs; fminf fmaxf expf logf tanhf
 *   erff erfcf sqrtf rsqrtf rintf fabsf fmaf sincospif and their doubles; and what is below.
 *
 * Types of one .cu stand in an unnamed namespace: all files meet in one library of the simulation.
 * __shared__ stands only inside a kernel, never in a function or a template that it calls: hand the
 * array on.  Shared memory whose size the launch gives is VW_DYNAMIC_SHARED.  No kernel of another,
 * no printf, no malloc, no recursion, and no function with a slow path that needs a stack (sinf and
 * cosf; use sincospif): t/cuda-kernels.t refuses stack frames and spills.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <stdint.h>

#ifdef __CUDACC__
#define VW_DYNAMIC_SHARED(type, name)                                                              \
    extern __shared__ __align__(16) unsigned char vw_dynamic_shared[];                             \
    type *name = (type *)vw_dynamic_shared
#elif !defined VW_CUDA_SIM /* t/cuda-sim/device.h, included first, stands in for the compiler */
#error "kernels/cuda is compiled by nvcc, or through t/cuda-sim"
#endif

enum { VW_WARP = 32 };

#define VW_FULL_WARP 0xFFFFFFFFu

#endif
