/* rows.cc - kernels/cuda/rows.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/rows.cu"

SIM_KERNEL(vw_gather)
SIM_KERNEL(vw_scatter_add)
SIM_KERNEL(vw_top_k)
SIM_KERNEL(vw_convert)
SIM_KERNEL(vw_quantise)
SIM_KERNEL(vw_dequantise)
