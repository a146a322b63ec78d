/* gemm-tile.h - the shape of the tiles, one for each width of vector, and what each instruction set
 * offers to its table. */
#ifndef KERNELS_CPU_GEMM_TILE_H
#define KERNELS_CPU_GEMM_TILE_H

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"

#define VW_GEMM_TILES_2(f) f(1) f(2)
#define VW_GEMM_TILES_6(f) VW_GEMM_TILES_2(f) f(3) f(4) f(5) f(6)
#define VW_GEMM_TILES_14(f) VW_GEMM_TILES_6(f) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14)

#if defined(__AVX512F__) || defined(VW_EMULATE_AVX512)
#define VW_GEMM_TILE_ROWS 14
#define VW_GEMM_TILE_PANELS 2
#define VW_GEMM_DOT_ROWS 4
#define VW_GEMM_EACH_TILE VW_GEMM_TILES_14
#elif defined(__AVX2__)
#define VW_GEMM_TILE_ROWS 6
#define VW_GEMM_TILE_PANELS 1
#define VW_GEMM_DOT_ROWS 3
#define VW_GEMM_EACH_TILE VW_GEMM_TILES_6
#else
#define VW_GEMM_TILE_ROWS 2
#define VW_GEMM_TILE_PANELS 1
#define VW_GEMM_DOT_ROWS 3
#define VW_GEMM_EACH_TILE VW_GEMM_TILES_2
#endif

/* What is added to the codes of quantised activations, of 8 and of 7 bits, to multiply them as
 * unsigned bytes; 0: they are multiplied as s16. */
#if defined(VW_HAS_DOT4)
#define VW_GEMM_S8_OFFSET 128
#define VW_GEMM_S7_OFFSET 128
#elif defined(VW_HAS_DOT4_U7)
#define VW_GEMM_S8_OFFSET 0
#define VW_GEMM_S7_OFFSET 64
#else
#define VW_GEMM_S8_OFFSET 0
#define VW_GEMM_S7_OFFSET 0
#endif

extern void (*const VW_ISA_NAME(vw_gemm_tiles)[])(const vw_gemm_tile *);
extern void (*const VW_ISA_NAME(vw_gemm_tiles_s8)[])(const vw_gemm_tile *);
extern void (*const VW_ISA_NAME(vw_gemm_tiles_s7)[])(const vw_gemm_tile *);
extern const vw_gemm_blocks VW_ISA_NAME(vw_gemm_blocks)[];
void VW_ISA_NAME(vw_gemm_one_s8)(const vw_gemm_tile *t);
void VW_ISA_NAME(vw_gemm_one_s7)(const vw_gemm_tile *t);

void VW_ISA_NAME(vw_gemm_open_q8_8)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out);
void VW_ISA_NAME(vw_gemm_open_q8_7)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out);
void VW_ISA_NAME(vw_gemm_open_u4)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                  char *out);
void VW_ISA_NAME(vw_gemm_open_q4_k)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out);
void VW_ISA_NAME(vw_gemm_open_q6_k)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out);
void VW_ISA_NAME(vw_gemm_one_q8_8)(const vw_gemm_tile *t);
void VW_ISA_NAME(vw_gemm_one_q8_7)(const vw_gemm_tile *t);
void VW_ISA_NAME(vw_gemm_one_u4)(const vw_gemm_tile *t);
void VW_ISA_NAME(vw_gemm_one_q4_k)(const vw_gemm_tile *t);
void VW_ISA_NAME(vw_gemm_one_q6_k)(const vw_gemm_tile *t);
void VW_ISA_NAME(vw_gemm_pack_x_blocks_8)(const float *x, int64_t x_stride, int rows, int64_t k,
                                          void *out);
void VW_ISA_NAME(vw_gemm_pack_x_blocks_7)(const float *x, int64_t x_stride, int rows, int64_t k,
                                          void *out);

void VW_ISA_NAME(vw_gemm_pack_x)(const float *x, int64_t x_stride, int64_t x_step, int rows,
                                 int64_t k, float *out);
void VW_ISA_NAME(vw_gemm_pack_tile)(const float *a, int64_t row, int64_t step, int rows, int64_t k,
                                    int64_t readable, float *out);
void VW_ISA_NAME(vw_gemm_round)(vw_dtype dtype, int64_t n, float *x);
float VW_ISA_NAME(vw_gemm_amax)(const float *x, int64_t stride, int64_t rows, int64_t cols);
void VW_ISA_NAME(vw_gemm_round_by)(float scale, int64_t n, float *x);
void VW_ISA_NAME(vw_gemm_round_groups)(float *x, int64_t k, int wide);
void VW_ISA_NAME(vw_gemm_pack_x_s8)(const float *x, int64_t x_stride, int rows, int64_t k,
                                    int64_t k4, void *out, float *scales);
void VW_ISA_NAME(vw_gemm_pack_x_s7)(const float *x, int64_t x_stride, int rows, int64_t k,
                                    int64_t k4, void *out, float *scales);
void VW_ISA_NAME(vw_gemm_expand)(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k,
                                 float *out);
void VW_ISA_NAME(vw_gemm_quantise)(const float *panel, int64_t k, int64_t scale_k, int64_t group,
                                   int is_kept, void *codes, float *scales, int32_t *sums);
void VW_ISA_NAME(vw_gemm_dot_block)(const vw_gemm_source *w, int64_t first, int64_t n,
                                    const float *x, int64_t x_stride, int m, float *c,
                                    int64_t c_stride);
void VW_ISA_NAME(vw_gemm_expand_block)(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k,
                                       float *out);
void VW_ISA_NAME(vw_gemm_dot)(const vw_gemm_source *w, int64_t first, int64_t n, const float *x,
                              int64_t x_stride, int m, float *c, int64_t c_stride);
void VW_ISA_NAME(vw_gemm_stream)(const vw_gemm_operand *w, int64_t panel, int64_t n_panels,
                                 const float *x, int64_t x_stride, int m, float *c,
                                 int64_t c_stride);
void VW_ISA_NAME(vw_gemm_finish)(const vw_gemm_job *job, const float *c, const float *up,
                                 int64_t c_stride, int64_t m, int64_t n, float *y,
                                 int64_t y_stride);

#endif
