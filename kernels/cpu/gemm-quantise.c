/* gemm-quantise.c - a panel of f32 weights as int8 with scales: sixteen outputs at a time.
 *
 * The definition is vw_ref_quantise_int8 for each output and group; these are its bits.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

enum { VECTORS = VW_GEMM_PANEL / VL };

/* Scale and 127 / amax of each output over k values. */
static void find_scales(const float *panel, int64_t k, float *scale, float *ratio)
{
    vi most[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        most[v] = i_zero();
    for (int64_t j = 0; j < k; j++)
        for (int v = 0; v < VECTORS; v++) {
            vi bits = i_bits(v_load(panel + j * VW_GEMM_PANEL + v * VL));
            most[v] = i_max(most[v], i_and(bits, i_set1(0x7FFFFFFF)));
        }
    for (int v = 0; v < VECTORS; v++) {
        int32_t lane[VL];
        i_store(lane, most[v]);
        for (int i = 0; i < VL; i++) {
            float amax = vw_bits_f32((uint32_t)lane[i]), r = 127.0f / amax;
            int is_finite = isfinite(amax) != 0, is_used = is_finite && r <= 0x1p127f;
            ratio[v * VL + i] = is_used ? r : 0;
            scale[v * VL + i] = is_used ? amax / 127.0f : is_finite ? 0 : vw_bits_f32(0x7FC00000);
        }
    }
}

/* Four steps of K of VL outputs, which share a group. */
VW_INLINE vi four_codes(const float *p, int64_t k, const float *ratio, vi *sum)
{
    vi four = i_zero(), byte = i_set1(255);
    for (int i = 0; i < 4 && i < k; i++) {
        int32_t lane[VL];
        vi code = v_to_int(v_mul(v_load(p + i * VW_GEMM_PANEL), v_load(ratio)));
        i_store(lane, code);
        for (int j = 0; j < VL; j++) /* what is not finite has no code */
            lane[j] = ratio[j] > 0 ? lane[j] : 0;
        code = i_load(lane);
        *sum = i_add(*sum, code);
        code = i_and(code, byte);
        four = i_or(four, i == 0 ? code : i == 1 ? i_shl(code, 8) : i == 2 ? i_shl(code, 16)
                                                                           : i_shl(code, 24));
    }
    return four;
}

/* Codes and sums of [from, end), one group. */
static void quantise_group(const float *panel, int64_t from, int64_t end, const float *ratio,
                           void *codes, int32_t *sums)
{
    for (int v = 0; v < VECTORS; v++) {
        vi sum = i_zero();
        for (int64_t j = from; j < end; j += 4)
            i_store((char *)codes + j / 4 * 64 + v * VL * 4,
                    four_codes(panel + j * VW_GEMM_PANEL + v * VL, end - j, ratio + v * VL, &sum));
        i_store(sums + v * VL, sum);
    }
}

void VW_ISA_NAME(vw_gemm_quantise)(const float *panel, int64_t k, int64_t scale_k, int64_t group,
                                   int is_kept, void *codes, float *scales, int32_t *sums)
{
    float ratio[VW_GEMM_PANEL], scale[VW_GEMM_PANEL];
    for (int i = 0; i < VW_GEMM_PANEL; i++)
        ratio[i] = 1.0f;
    for (int64_t from = 0; from < k; from += group) {
        int64_t end = k - from < group ? k : from + group;
        if (!is_kept && from % scale_k == 0) {
            int64_t len = k - from < scale_k ? k - from : scale_k;
            find_scales(panel + from * VW_GEMM_PANEL, len, scale, ratio);
        }
        quantise_group(panel, from, end, ratio, codes, sums);
        if (!is_kept)
            memcpy(scales, scale, sizeof scale);
        scales += VW_GEMM_PANEL;
        sums += VW_GEMM_PANEL;
    }
}
