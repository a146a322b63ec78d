/* quantise.h - floats into the codes that checkpoints are stored in, and stored matrices back into
 * floats: what `convert` is made of.
 *
 * A value is worth code x scale; scales are chosen so that the largest magnitude of their group is
 * reached.  The int8 and e4m3 codes are those of kernels/ref/quant.h, bit for bit (t/convert.c).
 */
#ifndef VW_CORE_QUANTISE_H
#define VW_CORE_QUANTISE_H

#include <vishwamai/tensor.h>

#include <stdbool.h>

/* Groups of `rows` x `cols` values of x [n, k] (rows k apart); scales [ceil(n / rows)][ceil(k / cols)].
 * int8: scale amax / 127; e4m3: max(amax, 1e-4) / 448.  All to nearest even. */
void vw_quantise_int8(const float *x, int64_t n, int64_t k, int64_t rows, int64_t cols, int8_t *codes,
                      float *scales);
void vw_quantise_e4m3(const float *x, int64_t n, int64_t k, int64_t rows, int64_t cols,
                      uint8_t *codes, float *scales);

/* One row of k values as int4, ceil(k / 8) int32 with eight codes each, and one bf16 scale for `group`
 * values, of two candidates the one that leaves less error: amax / 7, and that which makes the value
 * of largest magnitude code -8. */
void vw_quantise_int4(const float *x, int64_t k, int64_t group, uint32_t *words, uint16_t *scales);

/* GGUF's blocks of 32: Q8_0 with scale amax / 127, Q4_0 with the value of largest magnitude at -8. */
void vw_quantise_q8_0(const float *x, int64_t n_blocks, uint8_t *blocks);
void vw_quantise_q4_0(const float *x, int64_t n_blocks, uint8_t *blocks);

/* What they are worth: block formats' dequantisers. */
void vw_q8_0_values(const void *blocks, int64_t n_blocks, float *out);
void vw_q4_0_values(const void *blocks, int64_t n_blocks, float *out);

/* Output `row` of a stored matrix, its inputs as f32; out has room for whole blocks of its format. */
void vw_dequantise_row(const vw_matrix *m, int64_t row, float *out);

#endif
