/* attention-prefill.cc - kernels/cuda/attention-prefill.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/attention-prefill.cu"

SIM_KERNEL(vw_attention_prefill_256_f32)
SIM_KERNEL(vw_attention_prefill_256_bf16)
SIM_KERNEL(vw_attention_prefill_256_f16)
SIM_KERNEL(vw_attention_prefill_256_i8)
SIM_KERNEL(vw_attention_prefill_512_f32)
SIM_KERNEL(vw_attention_prefill_512_bf16)
SIM_KERNEL(vw_attention_prefill_512_f16)
SIM_KERNEL(vw_attention_prefill_512_i8)
