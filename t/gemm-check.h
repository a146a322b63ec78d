/* gemm-check.h - the tests of one set of CPU matrix kernels, run for each instruction set there is
 * and, emulated, for those there are not. */
#ifndef T_GEMM_CHECK_H
#define T_GEMM_CHECK_H

#include "kernels/cpu/gemm.h"

void check_kernels(const vw_gemm_kernels *kernels);
/* Of GGUF's blocks. */
void check_blocks(const vw_gemm_kernels *kernels);

#endif
