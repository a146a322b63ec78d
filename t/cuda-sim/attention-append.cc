/* attention-append.cc - kernels/cuda/attention-append.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/attention-append.cu"

SIM_KERNEL(vw_attention_append_f32)
SIM_KERNEL(vw_attention_append_bf16)
SIM_KERNEL(vw_attention_append_f16)
SIM_KERNEL(vw_attention_append_i8)
