/* quant.c - the plain quantisers. */
#include "kernels/ref/quant.h"

/* The next power of two not below s, on bits: exponent plus one if any mantissa bit is set. */
static float power_of_two_up(float s)
{
    uint32_t bits = vw_f32_bits(s), exponent = (bits >> 23) + ((bits & 0x7FFFFF) != 0);
    exponent = exponent < 1 ? 1 : exponent > 254 ? 254 : exponent;
    return vw_bits_f32(exponent << 23);
}

float vw_ref_e4m3_scale(float amax)
{
    return (amax > 1e-4f ? amax : 1e-4f) / 448.0f;
}

float vw_ref_amax(const float *x, int64_t n)
{
    float amax = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        amax = isfinite(a) && a > amax ? a : amax;
    }
    return amax;
}

void vw_ref_round_e4m3(float *x, int64_t n, float scale)
{
    float inverse = 1.0f / scale;
    for (int64_t i = 0; i < n; i++)
        x[i] = vw_e4m3_to_f32(vw_f32_to_e4m3(x[i] * inverse)) * scale;
}

static int64_t quantise_group(const float *x, int64_t x_stride, int64_t m, int64_t n,
                              int is_power_of_two, uint8_t *codes, int64_t stride, float *scale)
{
    float amax = 0;
    int64_t n_odd = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float a = fabsf(x[i * x_stride + j]);
            if (!isfinite(a))
                n_odd++;
            else if (a > amax)
                amax = a;
        }
    float s = vw_ref_e4m3_scale(amax);
    if (is_power_of_two)
        s = power_of_two_up(s);
    float inverse = 1.0f / s;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            codes[i * stride + j] = vw_f32_to_e4m3(x[i * x_stride + j] * inverse);
    *scale = s;
    return n_odd;
}

int64_t vw_ref_quantise_e4m3(const float *x, int64_t x_stride, int64_t m, int64_t k, int64_t rows,
                             int64_t cols, int is_power_of_two, uint8_t *codes, float *scales)
{
    int64_t n_odd = 0;
    for (int64_t i = 0; i < m; i += rows)
        for (int64_t j = 0; j < k; j += cols)
            n_odd += quantise_group(x + i * x_stride + j, x_stride, m - i < rows ? m - i : rows,
                                    k - j < cols ? k - j : cols, is_power_of_two,
                                    codes + i * k + j, k, scales++);
    return n_odd;
}

/* The scale of a group, and most / amax in *inverse: 0 for a group whose codes are all zero. */
static float int_scale(const float *x, int64_t n, float most, float *inverse)
{
    float amax = 0;
    int is_finite = 1;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        is_finite &= isfinite(a) != 0;
        amax = a > amax ? a : amax;
    }
    *inverse = 0;
    if (!is_finite)
        return vw_bits_f32(0x7FC00000);
    /* most / amax overflows when amax is next to nothing: such a group counts as zeros. */
    float ratio = most / amax;
    if (!(ratio <= 0x1p127f))
        return 0.0f;
    *inverse = ratio;
    return amax / most;
}

float vw_ref_quantise_int(const float *x, int64_t n, int most, int8_t *codes)
{
    float inverse, scale = int_scale(x, n, (float)most, &inverse);
    for (int64_t i = 0; i < n; i++)
        codes[i] = inverse > 0 ? (int8_t)nearbyintf(x[i] * inverse) : 0;
    return scale;
}

float vw_ref_quantise_int8(const float *x, int64_t n, int8_t *codes)
{
    return vw_ref_quantise_int(x, n, 127, codes);
}

void vw_ref_round_int(float *x, int64_t n, int most)
{
    float inverse, scale = int_scale(x, n, (float)most, &inverse);
    for (int64_t i = 0; i < n; i++)
        x[i] = inverse > 0 ? nearbyintf(x[i] * inverse) * scale : 0 * scale;
}

void vw_ref_round_int8(float *x, int64_t n)
{
    vw_ref_round_int(x, n, 127);
}
