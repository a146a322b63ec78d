/* gemm-prepare.c - activations laid out for the tiles: the rows of a tile interleaved.
 *
 * A tile reads one number of each of its rows at every step of K.  Interleaved, these are one short
 * run of memory, whatever the distance between the rows of X; rows a power of two apart would
 * otherwise fight for the same few cache sets.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

void VW_ISA_NAME(vw_gemm_pack_x)(const float *x, int64_t x_stride, int64_t x_step, int rows,
                                 int64_t k, float *out)
{
    for (int i = 0; i < rows; i++) {
        const float *in = x + i * x_stride;
        float *to = out + i;
        for (int64_t j = 0; j < k; j++)
            to[j * rows] = in[j * x_step];
    }
}

/* The largest magnitude as bits, which order like integers; NaN and inf come out on top. */
static int32_t largest_bits(const float *x, int64_t k)
{
    const vi magnitude = i_set1(0x7FFFFFFF);
    vi most = i_zero();
    int64_t j = 0;
    for (; j + VL <= k; j += VL)
        most = i_max(most, i_and(i_bits(v_load(x + j)), magnitude));
    if (j < k)
        most = i_max(most, i_and(i_bits(v_load_part(x + j, k - j)), magnitude));
    int32_t lane[VL], best = 0;
    i_store(lane, most);
    for (int i = 0; i < VL; i++)
        best = lane[i] > best ? lane[i] : best;
    return best;
}

/* VL codes of one row, four at each step of K: offset to be unsigned bytes, or as s16, of which 0
 * and 2 are a pair and 1 and 3. */
VW_INLINE void put_codes(const int offset, char *to, int64_t step_bytes, int64_t steps, vi code)
{
    if (offset) {
        uint32_t four[VL / 4];
        i_store_s8(four, offset < 128 ? i_add(code, i_set1(offset)) : code);
        for (int s = 0; s < VL / 4 && s < steps; s++, to += step_bytes) {
            four[s] ^= offset < 128 ? 0 : 0x80808080;
            memcpy(to, &four[s], sizeof four[s]);
        }
    } else {
        const uint64_t low = 0x0000FFFF0000FFFF;
        uint64_t pair[VL / 2];
        i_store(pair, code);
        for (int s = 0; s < VL / 4 && s < steps; s++, to += step_bytes) {
            uint64_t four = (pair[2 * s] & low) | (pair[2 * s + 1] & low) << 16;
            memcpy(to, &four, sizeof four);
        }
    }
}

/* The definition is vw_ref_quantise_int: amax / most, times most / amax, to nearest even. */
VW_INLINE float quantise_row(const int offset, const float most, const float *x, int64_t k,
                             int64_t k4, int rows, char *out)
{
    const int bytes = offset ? 4 : 8;
    float amax = vw_bits_f32((uint32_t)largest_bits(x, k)), ratio = most / amax;
    int is_finite = isfinite(amax) != 0, is_zero = !is_finite || !(ratio <= 0x1p127f);
    vf times = v_set1(is_zero ? 0.0f : ratio);
    for (int64_t step = 0; step < k4; step += VL / 4) {
        int64_t j = step * 4;
        vi code = i_zero();
        if (!is_zero && j < k) {
            vf v = j + VL <= k ? v_load(x + j) : v_load_part(x + j, k - j);
            code = v_to_int(v_mul(v, times));
        }
        put_codes(offset, out + step * rows * bytes, rows * bytes, k4 - step, code);
    }
    return !is_finite ? vw_bits_f32(0x7FC00000) : is_zero ? 0.0f : amax / most;
}

VW_INLINE void quantise_rows(const int offset, const float most, const float *x, int64_t x_stride,
                             int rows, int64_t k, int64_t k4, char *out, float *scales)
{
    for (int i = 0; i < rows; i++)
        scales[i] = quantise_row(offset, most, x + i * x_stride, k, k4, rows,
                                 out + i * (offset ? 4 : 8));
}

void VW_ISA_NAME(vw_gemm_pack_x_s8)(const float *x, int64_t x_stride, int rows, int64_t k,
                                    int64_t k4, void *out, float *scales)
{
    quantise_rows(VW_GEMM_S8_OFFSET, 127, x, x_stride, rows, k, k4, out, scales);
}

void VW_ISA_NAME(vw_gemm_pack_x_s7)(const float *x, int64_t x_stride, int rows, int64_t k,
                                    int64_t k4, void *out, float *scales)
{
    quantise_rows(VW_GEMM_S7_OFFSET, 63, x, x_stride, rows, k, k4, out, scales);
}
