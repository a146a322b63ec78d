/* gemm-gather.cc - kernels/cuda/gemm-gather.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/gemm-gather.cu"

SIM_KERNEL(vw_gemm_gather_f32)
SIM_KERNEL(vw_gemm_gather_bf16)
SIM_KERNEL(vw_gemm_gather_f16)
SIM_KERNEL(vw_gemm_gather_i8)
SIM_KERNEL(vw_gemm_gather_e4m3)
SIM_KERNEL(vw_gemm_gather_e5m2)
