/* attention-decode.cc - kernels/cuda/attention-decode.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/attention-decode.cu"

SIM_KERNEL(vw_attention_decode_256_f32)
SIM_KERNEL(vw_attention_decode_256_bf16)
SIM_KERNEL(vw_attention_decode_256_f16)
SIM_KERNEL(vw_attention_decode_256_i8)
SIM_KERNEL(vw_attention_decode_512_f32)
SIM_KERNEL(vw_attention_decode_512_bf16)
SIM_KERNEL(vw_attention_decode_512_f16)
SIM_KERNEL(vw_attention_decode_512_i8)
SIM_KERNEL(vw_attention_combine)
