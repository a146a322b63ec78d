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

/* Four codes of one row at one step of K.  For products of u8 with s8 they are offset by 128. */
VW_INLINE void put_codes(char *to, const int32_t *code)
{
#ifdef VW_HAS_DOT4
    uint8_t u[4];
    for (int i = 0; i < 4; i++)
        u[i] = (uint8_t)(code[i] + 128);
    memcpy(to, u, sizeof u);
#else
    int16_t s[4] = {(int16_t)code[0], (int16_t)code[2], (int16_t)code[1], (int16_t)code[3]};
    memcpy(to, s, sizeof s);
#endif
}

/* The definition is vw_ref_quantise_int8: amax / 127, times 127 / amax, to nearest even. */
static float quantise_row(const float *x, int64_t k, int64_t k4, int rows, char *out)
{
#ifdef VW_HAS_DOT4
    enum { BYTES = 4 };
#else
    enum { BYTES = 8 };
#endif
    float amax = vw_bits_f32((uint32_t)largest_bits(x, k)), ratio = 127.0f / amax;
    int is_finite = isfinite(amax) != 0, is_zero = !is_finite || !(ratio <= 0x1p127f);
    vf times = v_set1(is_zero ? 0.0f : ratio);
    for (int64_t step = 0; step < k4; step += VL / 4) {
        int32_t code[VL] = {0};
        int64_t j = step * 4;
        if (!is_zero && j < k) {
            vf v = j + VL <= k ? v_load(x + j) : v_load_part(x + j, k - j);
            i_store(code, v_to_int(v_mul(v, times)));
        }
        for (int s = 0; s < VL / 4 && step + s < k4; s++)
            put_codes(out + (step + s) * rows * BYTES, code + 4 * s);
    }
    return !is_finite ? vw_bits_f32(0x7FC00000) : is_zero ? 0.0f : amax / 127.0f;
}

void VW_ISA_NAME(vw_gemm_pack_x_s8)(const float *x, int64_t x_stride, int rows, int64_t k,
                                    int64_t k4, void *out, float *scales)
{
#ifdef VW_HAS_DOT4
    enum { BYTES = 4 };
#else
    enum { BYTES = 8 };
#endif
    for (int i = 0; i < rows; i++)
        scales[i] = quantise_row(x + i * x_stride, k, k4, rows, (char *)out + i * BYTES);
}
