/* parts.cc - kernels/cuda/parts.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/parts.cu"

SIM_KERNEL(vw_parts_bf16)
SIM_KERNEL(vw_parts_f16)
SIM_KERNEL(vw_parts_e4m3)
SIM_KERNEL(vw_parts_join)
