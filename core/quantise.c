/* quantise.c - floats into codes, and back. */
#include "core/quantise.h"

static float amax_of(const float *x, int64_t n, int64_t k, int64_t stride)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < k; j++)
            most = fmaxf(most, fabsf(x[i * stride + j]));
    return most;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Of values so small that 1 / scale is no number every code is zero. */
static float finite_or_0(float inverse) { return isfinite(inverse) ? inverse : 0; }

void vw_quantise_int8(const float *x, int64_t n, int64_t k, int64_t rows, int64_t cols, int8_t *codes,
                      float *scales)
{
    for (int64_t r = 0; r < n; r += rows)
        for (int64_t c = 0; c < k; c += cols) {
            int64_t height = least(rows, n - r), width = least(cols, k - c);
            float most = amax_of(x + r * k + c, height, width, k);
            float inverse = most > 0 ? finite_or_0(127.0f / most) : 0;
            *scales++ = most / 127.0f;
            for (int64_t i = r; i < r + height; i++)
                for (int64_t j = c; j < c + width; j++)
                    codes[i * k + j] = (int8_t)nearbyintf(x[i * k + j] * inverse);
        }
}

void vw_quantise_e4m3(const float *x, int64_t n, int64_t k, int64_t rows, int64_t cols,
                      uint8_t *codes, float *scales)
{
    for (int64_t r = 0; r < n; r += rows)
        for (int64_t c = 0; c < k; c += cols) {
            int64_t height = least(rows, n - r), width = least(cols, k - c);
            float scale = fmaxf(amax_of(x + r * k + c, height, width, k), 1e-4f) / 448.0f;
            float inverse = 1.0f / scale;
            *scales++ = scale;
            for (int64_t i = r; i < r + height; i++)
                for (int64_t j = c; j < c + width; j++)
                    codes[i * k + j] = vw_f32_to_e4m3(x[i * k + j] * inverse);
        }
}

/* ---- four bits ------------------------------------------------------------------------------- */

/* The value of largest magnitude, with its sign. */
static float extreme_of(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    return most;
}

static int int4_code(float x, float scale)
{
    float q = scale != 0 ? nearbyintf(x / scale) : 0;
    return q < -8 ? -8 : q > 7 ? 7 : (int)q;
}

static double int4_error(const float *x, int64_t n, float scale)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)scale * int4_code(x[i], scale);
        sum += d * d;
    }
    return sum;
}

void vw_quantise_int4(const float *x, int64_t k, int64_t group, uint32_t *words, uint16_t *scales)
{
    memset(words, 0, (size_t)((k + 7) / 8) * sizeof *words);
    for (int64_t c = 0; c < k; c += group) {
        int64_t n = least(group, k - c);
        float extreme = extreme_of(x + c, n);
        uint16_t even = vw_f32_to_bf16(fabsf(extreme) / 7), whole = vw_f32_to_bf16(extreme / -8);
        bool is_even = int4_error(x + c, n, vw_bf16_to_f32(even)) <
                       int4_error(x + c, n, vw_bf16_to_f32(whole));
        *scales = is_even ? even : whole;
        float scale = vw_bf16_to_f32(*scales++);
        for (int64_t j = c; j < c + n; j++)
            words[j / 8] |= (uint32_t)(int4_code(x[j], scale) + 8) << (j % 8 * 4);
    }
    for (int64_t j = k; j % 8; j++) /* zeros */
        words[j / 8] |= 8u << (j % 8 * 4);
}

/* ---- GGUF's blocks --------------------------------------------------------------------------- */

void vw_quantise_q8_0(const float *x, int64_t n_blocks, uint8_t *blocks)
{
    for (; n_blocks > 0; n_blocks--, x += 32, blocks += 34) {
        float d = fabsf(extreme_of(x, 32)) / 127, inverse = d > 0 ? finite_or_0(1 / d) : 0;
        uint16_t half = vw_f32_to_f16(d);
        memcpy(blocks, &half, 2);
        for (int j = 0; j < 32; j++)
            blocks[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inverse);
    }
}

static uint8_t q4_0_code(float x, float inverse)
{
    int q = (int)(x * inverse + 8.5f);
    return (uint8_t)(q < 15 ? q : 15);
}

void vw_quantise_q4_0(const float *x, int64_t n_blocks, uint8_t *blocks)
{
    for (; n_blocks > 0; n_blocks--, x += 32, blocks += 18) {
        float d = extreme_of(x, 32) / -8, inverse = d != 0 ? finite_or_0(1 / d) : 0;
        uint16_t half = vw_f32_to_f16(d);
        memcpy(blocks, &half, 2);
        for (int j = 0; j < 16; j++)
            blocks[2 + j] = (uint8_t)(q4_0_code(x[j], inverse) | q4_0_code(x[j + 16], inverse) << 4);
    }
}

void vw_q8_0_values(const void *blocks, int64_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += 34, out += 32)
        for (size_t j = 0; j < 32; j++)
            out[j] = (float)vw_dtype_get(VW_I8, p + 2, j) * (float)vw_dtype_get(VW_F16, p, 0);
}

void vw_q4_0_values(const void *blocks, int64_t n_blocks, float *out)
{
    const uint8_t *p = blocks;
    for (; n_blocks > 0; n_blocks--, p += 18, out += 32)
        for (int j = 0; j < 16; j++) {
            float d = (float)vw_dtype_get(VW_F16, p, 0);
            out[j] = (float)((p[2 + j] & 15) - 8) * d;
            out[j + 16] = (float)((p[2 + j] >> 4) - 8) * d;
        }
}

/* ---- back ------------------------------------------------------------------------------------ */

/* An output that is a column of what is stored. */
static void dequantise_column(const vw_matrix *m, int64_t column, float *out)
{
    const vw_scales *s = &m->scales;
    for (int64_t k = 0; k < m->rows; k++) {
        out[k] = (float)vw_dtype_get(m->dtype, m->data, (size_t)(k * m->row_stride + column));
        if (s->rows > 0)
            out[k] *= (float)vw_dtype_get(s->dtype, s->data, (size_t)(k / s->rows * s->row_stride +
                                                                      column / s->cols));
    }
}

void vw_dequantise_row(const vw_matrix *m, int64_t row, float *out)
{
    const vw_scales *s = &m->scales;
    if (m->layout == VW_IN_OUT) {
        dequantise_column(m, row, out);
        return;
    }
    if (m->format) {
        int64_t blocks = m->row_stride / m->format->elements;
        m->format->dequantise((const char *)m->data + row * blocks * m->format->bytes, blocks, out);
    } else {
        for (int64_t k = 0; k < m->cols; k++)
            out[k] = (float)vw_dtype_get(m->dtype, m->data, (size_t)(row * m->row_stride + k));
    }
    for (int64_t c = 0; s->rows > 0 && c < m->cols; c += s->cols) {
        float scale = (float)vw_dtype_get(s->dtype, s->data,
                                          (size_t)(row / s->rows * s->row_stride + c / s->cols));
        for (int64_t k = c; k < least(c + s->cols, m->cols); k++)
            out[k] *= scale;
    }
}
