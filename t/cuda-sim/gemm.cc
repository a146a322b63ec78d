/* gemm.cc - kernels/cuda/gemm.cu for the simulated driver. */
#include "t/cuda-sim/device.h"

#include "kernels/cuda/gemm.cu"

SIM_KERNEL(vw_gemm_row_f32)
SIM_KERNEL(vw_gemm_row_bf16)
SIM_KERNEL(vw_gemm_row_f16)
SIM_KERNEL(vw_gemm_row_i8)
SIM_KERNEL(vw_gemm_row_e4m3)
SIM_KERNEL(vw_gemm_row_e5m2)
SIM_KERNEL(vw_gemm_rows_f32)
SIM_KERNEL(vw_gemm_rows_bf16)
SIM_KERNEL(vw_gemm_rows_f16)
SIM_KERNEL(vw_gemm_rows_i8)
SIM_KERNEL(vw_gemm_rows_e4m3)
SIM_KERNEL(vw_gemm_rows_e5m2)
SIM_KERNEL(vw_gemm_cols_f32)
SIM_KERNEL(vw_gemm_cols_bf16)
SIM_KERNEL(vw_gemm_cols_f16)
SIM_KERNEL(vw_gemm_cols_i8)
SIM_KERNEL(vw_gemm_cols_e4m3)
SIM_KERNEL(vw_gemm_cols_e5m2)
SIM_KERNEL(vw_gemm_tile_f32)
SIM_KERNEL(vw_gemm_tile_bf16)
SIM_KERNEL(vw_gemm_tile_f16)
SIM_KERNEL(vw_gemm_tile_i8)
SIM_KERNEL(vw_gemm_tile_e4m3)
SIM_KERNEL(vw_gemm_tile_e5m2)
