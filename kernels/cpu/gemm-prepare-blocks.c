/* gemm-prepare-blocks.c - activations quantised in blocks of 32, laid out for the tiles with the sums
 * that they need: gemm-blocks.h has the layout.
 */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

/* What lies in places 0 and 1 of the fours, and in 2 and 3, as s16, times a number; all of it. */
VW_INLINE int put_sums(vi sum, int times, char *out)
{
    int32_t lane[VL];
    int sums[2] = {0, 0};
    i_store(lane, sum);
    for (int i = 0; i < VL; i++)
        sums[i / 2 % 2] += lane[i];
    int16_t pair[2] = {(int16_t)(times * sums[0]), (int16_t)(times * sums[1])};
    memcpy(out, pair, sizeof pair);
    return sums[0] + sums[1];
}

/* The largest of 32 magnitudes. */
VW_INLINE float largest(const float *x)
{
    vi top = i_zero();
    int32_t lane[VL], best = 0;
    VW_UNROLL
    for (int j = 0; j < VW_GEMM_BLOCK; j += VL)
        top = i_max(top, i_and(i_bits(v_load(x + j)), i_set1(0x7FFFFFFF)));
    i_store(lane, top);
    for (int i = 0; i < VL; i++)
        best = lane[i] > best ? lane[i] : best;
    return vw_bits_f32((uint32_t)best);
}

/* One block of one row: vw_ref_quantise_int of its 32 values. */
VW_INLINE void quantise_block(const float most, const float *x, int rows, char *out)
{
    float amax = largest(x), ratio = most / amax;
    int is_finite = isfinite(amax) != 0, is_used = is_finite && ratio <= 0x1p127f;
    float scale = is_used ? amax / most : is_finite ? 0 : vw_bits_f32(0x7FC00000);
    vi sum = i_zero(), half = sum; /* VL is a multiple of 4, so each lane has its place in the fours */
    VW_UNROLL
    for (int j = 0; j < VW_GEMM_BLOCK; j += VL) {
        vi c = is_used ? v_to_int(v_mul(v_load(x + j), v_set1(ratio))) : i_zero();
        int32_t fours[VL / 4];
        half = j == VW_GEMM_BLOCK / 2 ? sum : half;
        sum = i_add(sum, c);
        i_store_s8(fours, c);
        VW_UNROLL
        for (int i = 0; i < VL / 4; i++)
            memcpy(out + (8 + j + 4 * i) * rows, &fours[i], 4);
    }
    float all = scale * (float)put_sums(sum, -8, out);
    put_sums(half, -32, out + 40 * rows);
    memcpy(out + 4 * rows, &scale, sizeof scale);
    memcpy(out + 44 * rows, &all, sizeof all);
}

VW_INLINE void pack_x(const float most, const float *x, int64_t x_stride, int rows, int64_t k,
                      char *out)
{
    for (int i = 0; i < rows; i++)
        for (int64_t b = 0; b < k / VW_GEMM_BLOCK; b++)
            quantise_block(most, x + i * x_stride + b * VW_GEMM_BLOCK, rows,
                           out + b * rows * VW_GEMM_X_BLOCK_BYTES + 4 * i);
}

void VW_ISA_NAME(vw_gemm_pack_x_blocks_8)(const float *x, int64_t x_stride, int rows, int64_t k,
                                          void *out)
{
    pack_x(127, x, x_stride, rows, k, out);
}

void VW_ISA_NAME(vw_gemm_pack_x_blocks_7)(const float *x, int64_t x_stride, int rows, int64_t k,
                                          void *out)
{
    pack_x(63, x, x_stride, rows, k, out);
}
