/* gemm-table.c - the kernels of one instruction set, gathered. */
#include "kernels/cpu/gemm-tile.h"

/* VNNI differs from AVX-512 in the int8 products alone and takes the rest from there. */
#ifdef VW_HAS_DOT4
#ifndef VW_ISA_SHARED
#define VW_ISA_SHARED avx512
#endif
#else
#define VW_ISA_SHARED VW_ISA
#endif
#define SHARED(name) VW_ISA_PASTE(name, VW_ISA_SHARED)

extern void (*const SHARED(vw_gemm_tiles)[])(const vw_gemm_tile *);
void SHARED(vw_gemm_expand)(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k,
                            float *out);
void SHARED(vw_gemm_quantise)(const float *panel, int64_t k, int64_t scale_k, int64_t group,
                              int is_kept, void *codes, float *scales, int32_t *sums);
void SHARED(vw_gemm_dot)(const vw_gemm_source *w, int64_t first, int64_t n, const float *x,
                         int64_t x_stride, int m, float *c, int64_t c_stride);
void SHARED(vw_gemm_pack_tile)(const float *a, int64_t row, int64_t step, int rows, int64_t k,
                               int64_t readable, float *out);
void SHARED(vw_gemm_round)(vw_dtype dtype, int64_t n, float *x);
float SHARED(vw_gemm_amax)(const float *x, int64_t stride, int64_t rows, int64_t cols);
void SHARED(vw_gemm_round_by)(float scale, int64_t n, float *x);
void SHARED(vw_gemm_round_groups)(float *x, int64_t k, int wide);
void SHARED(vw_gemm_stream)(const vw_gemm_operand *w, int64_t panel, int64_t n_panels,
                            const float *x, int64_t x_stride, int m, float *c, int64_t c_stride);
void SHARED(vw_gemm_finish)(const vw_gemm_job *job, const float *c, const float *up,
                            int64_t c_stride, int64_t m, int64_t n, float *y, int64_t y_stride);

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const vw_gemm_kernels VW_ISA_NAME(vw_gemm_kernels) = {
    .name = TEXT(VW_ISA),
    .rows = VW_GEMM_TILE_ROWS,
    .panels = VW_GEMM_TILE_PANELS,
    .dot_rows = VW_GEMM_DOT_ROWS,
    .tile = SHARED(vw_gemm_tiles),
    .s8 = {127, VW_GEMM_S8_OFFSET ? 4 : 8, VW_ISA_NAME(vw_gemm_pack_x_s8),
           VW_ISA_NAME(vw_gemm_tiles_s8), VW_ISA_NAME(vw_gemm_one_s8)},
    .s7 = {63, VW_GEMM_S7_OFFSET ? 4 : 8, VW_ISA_NAME(vw_gemm_pack_x_s7),
           VW_ISA_NAME(vw_gemm_tiles_s7), VW_ISA_NAME(vw_gemm_one_s7)},
    .blocks = VW_ISA_NAME(vw_gemm_blocks),
    .pack_x = VW_ISA_NAME(vw_gemm_pack_x),
    .pack_tile = SHARED(vw_gemm_pack_tile),
    .round = SHARED(vw_gemm_round),
    .amax = SHARED(vw_gemm_amax),
    .round_by = SHARED(vw_gemm_round_by),
    .round_groups = SHARED(vw_gemm_round_groups),
    .expand = SHARED(vw_gemm_expand),
    .quantise = SHARED(vw_gemm_quantise),
    .dot = SHARED(vw_gemm_dot),
    .stream = SHARED(vw_gemm_stream),
    .finish = SHARED(vw_gemm_finish),
};
