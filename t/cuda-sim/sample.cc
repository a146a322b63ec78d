/* sample.cc - kernels/cuda/sample.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/sample.cu"

SIM_KERNEL(vw_sample)
