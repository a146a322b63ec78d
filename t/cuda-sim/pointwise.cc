/* pointwise.cc - kernels/cuda/pointwise.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/pointwise.cu"

SIM_KERNEL(vw_rms_norm)
SIM_KERNEL(vw_softmax)
SIM_KERNEL(vw_rope)
SIM_KERNEL(vw_gate)
SIM_KERNEL(vw_axpby)
SIM_KERNEL(vw_softcap)
