/* quant.h - the quantisers, each defined once for the whole project.
 *
 * Every quantiser of a faster path must give these bytes and these scales (gemm.md, section 4).
 * Compile without fast-math: a reciprocal for the division or a fused multiply changes bits.
 */
#ifndef KERNELS_REF_QUANT_H
#define KERNELS_REF_QUANT_H

#include <vishwamai/dtype.h>

/* e4m3 in groups of rows x cols, form A: s = max(amax, 1e-4) / 448, code = e4m3(x * (1 / s)).
 *
 * x [m, k], codes [m, k] (rows k apart), scales [ceil(m / rows)][ceil(k / cols)].  With
 * is_power_of_two the scale is rounded up to a power of two first.  amax is taken over the finite
 * values; NaN becomes code 0x7F, an infinity saturates.  Returns how many values were not finite. */
int64_t vw_ref_quantise_e4m3(const float *x, int64_t x_stride, int64_t m, int64_t k, int64_t rows,
                             int64_t cols, int is_power_of_two, uint8_t *codes, float *scales);

/* The scale of a group whose largest finite magnitude is amax: max(amax, 1e-4) / 448. */
float vw_ref_e4m3_scale(float amax);

/* The largest finite magnitude of n values. */
float vw_ref_amax(const float *x, int64_t n);

/* Replace n values by code * scale, one rounding: what they are worth after quantising to e4m3. */
void vw_ref_round_e4m3(float *x, int64_t n, float scale);

/* int8 of n values with one scale: s = amax / 127, code = x * (127 / amax) to nearest even.
 *
 * A group with a value that is not finite gets codes 0 and scale NaN, so that everything computed
 * from it is NaN and nothing is silently wrong.  An all-zero group has scale 0.  Returns the scale. */
float vw_ref_quantise_int8(const float *x, int64_t n, int8_t *codes);

/* The same with codes of at most `most`, from 1 to 127, in place of 127. */
float vw_ref_quantise_int(const float *x, int64_t n, int most, int8_t *codes);

/* Replace the values of one group by code * scale: what they are worth after quantising. */
void vw_ref_round_int8(float *x, int64_t n);
void vw_ref_round_int(float *x, int64_t n, int most);

#endif
