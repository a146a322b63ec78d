/* gemm-round.c - packed operands rounded to a narrower format and back, on the way into a product.
 *
 * Loops without a branch, for the compiler to make vectors of.  e4m3 values are those of
 * vw_ref_round_e4m3() to the bit: a product, a rounding on bits, a product.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/ref/quant.h"

void VW_ISA_NAME(vw_gemm_round)(vw_dtype dtype, int64_t n, float *x)
{
    if (dtype == VW_BF16)
        for (int64_t i = 0; i < n; i++)
            x[i] = vw_bf16_to_f32(vw_f32_to_bf16(x[i]));
    else
        for (int64_t i = 0; i < n; i++)
            x[i] = vw_f16_to_f32(vw_f32_to_f16(x[i]));
}

/* The bits of a finite value's magnitude, which are ordered like the values; 0 for what is not. */
VW_INLINE int32_t magnitude(float x)
{
    int32_t a = (int32_t)(vw_f32_bits(x) & 0x7FFFFFFF);
    return a < 0x7F800000 ? a : 0;
}

/* To the nearest value of e4m3, as vw_f32_to_e4m3 rounds.  Below 2^-6 the step is 2^-9, which is
 * that of f32 from 2^14 on. */
VW_INLINE float e4m3(float x)
{
    uint32_t u = vw_f32_bits(x);
    int32_t a = (int32_t)(u & 0x7FFFFFFF);
    int32_t normal = (int32_t)(((uint32_t)a + 0x7FFFF + ((uint32_t)a >> 20 & 1)) & 0xFFF00000);
    float raised = vw_bits_f32((uint32_t)a) + 0x1p14f;
    int32_t low = (int32_t)vw_f32_bits(raised - 0x1p14f);
    int32_t r = a < 0x3C800000 ? low : normal;
    r = a >= 0x43E00000 ? 0x43E00000 : r;
    r = a > 0x7F800000 ? 0x7FC00000 : r;
    return vw_bits_f32((u & 0x80000000) | (uint32_t)r);
}

float VW_ISA_NAME(vw_gemm_amax)(const float *x, int64_t stride, int64_t rows, int64_t cols)
{
    int32_t most = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            int32_t a = magnitude(x[i * stride + j]);
            most = a > most ? a : most;
        }
    return vw_bits_f32((uint32_t)most);
}

void VW_ISA_NAME(vw_gemm_round_by)(float scale, int64_t n, float *x)
{
    float inverse = 1.0f / scale;
    for (int64_t i = 0; i < n; i++)
        x[i] = e4m3(x[i] * inverse) * scale;
}

VW_INLINE void round_group(float *x, int64_t n, const int wide)
{
    int32_t most[VW_GEMM_PANEL] = {0};
    float scale[VW_GEMM_PANEL], inverse[VW_GEMM_PANEL];
    for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < wide; i++) {
            int32_t a = magnitude(x[j * wide + i]);
            most[i] = a > most[i] ? a : most[i];
        }
    for (int i = 0; i < wide; i++) {
        scale[i] = vw_ref_e4m3_scale(vw_bits_f32((uint32_t)most[i]));
        inverse[i] = 1.0f / scale[i];
    }
    for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < wide; i++)
            x[j * wide + i] = e4m3(x[j * wide + i] * inverse[i]) * scale[i];
}

void VW_ISA_NAME(vw_gemm_round_groups)(float *x, int64_t k, int wide)
{
    for (int64_t n; k > 0; k -= n, x += n * wide) {
        n = k < VW_GEMM_SCALE_GROUP ? k : VW_GEMM_SCALE_GROUP;
#define CASE(rows)    \
    if (wide == rows) \
        round_group(x, n, rows);
        VW_GEMM_EACH_TILE(CASE)
        CASE(VW_GEMM_PANEL)
#undef CASE
    }
}
