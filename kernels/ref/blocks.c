/* blocks.c - the dequantisers of GGUF's block formats, plainly. */
#include "kernels/ref/blocks.h"

#include <vishwamai/dtype.h>

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return vw_f16_to_f32(h);
}

static uint32_t word_at(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

/* ---- 32 values: byte j holds value j in its low half and j + 16 in its high ---- */

void vw_ref_q4_0(const void *blocks, int64_t n, float *out)
{
    const uint8_t *p = blocks;
    for (; n-- > 0; p += 18, out += 32) {
        float d = half_at(p);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)((p[2 + j] & 15) - 8) * d;
            out[j + 16] = (float)((p[2 + j] >> 4) - 8) * d;
        }
    }
}

void vw_ref_q4_1(const void *blocks, int64_t n, float *out)
{
    const uint8_t *p = blocks;
    for (; n-- > 0; p += 20, out += 32) {
        float d = half_at(p), m = half_at(p + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)(p[4 + j] & 15) * d + m;
            out[j + 16] = (float)(p[4 + j] >> 4) * d + m;
        }
    }
}

void vw_ref_q5_0(const void *blocks, int64_t n, float *out)
{
    const uint8_t *p = blocks;
    for (; n-- > 0; p += 22, out += 32) {
        float d = half_at(p);
        uint32_t high = word_at(p + 2);
        for (int j = 0; j < 16; j++) {
            int low = (p[6 + j] & 15) | (int)(high >> j & 1) << 4;
            int upper = p[6 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
            out[j] = (float)(low - 16) * d;
            out[j + 16] = (float)(upper - 16) * d;
        }
    }
}

void vw_ref_q5_1(const void *blocks, int64_t n, float *out)
{
    const uint8_t *p = blocks;
    for (; n-- > 0; p += 24, out += 32) {
        float d = half_at(p), m = half_at(p + 2);
        uint32_t high = word_at(p + 4);
        for (int j = 0; j < 16; j++) {
            int low = (p[8 + j] & 15) | (int)(high >> j & 1) << 4;
            int upper = p[8 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
            out[j] = (float)low * d + m;
            out[j + 16] = (float)upper * d + m;
        }
    }
}

void vw_ref_q8_0(const void *blocks, int64_t n, float *out)
{
    const uint8_t *p = blocks;
    for (; n-- > 0; p += 34, out += 32) {
        float d = half_at(p);
        for (int j = 0; j < 32; j++)
            out[j] = (float)(int8_t)p[2 + j] * d;
    }
}

/* ---- 256 values ---- */

/* Scale and minimum j of the eight that 12 bytes hold in 6 bits each. */
static void scale_and_min(const uint8_t *s, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *min = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

/* Q4_K, and Q5_K with 32 bytes of fifth bits in front of the nibbles. */
static void q45_k(const uint8_t *p, const uint8_t *high, const uint8_t *q, float *out)
{
    float d = half_at(p), dmin = half_at(p + 2);
    for (int j = 0; j < 8; j++) {
        int scale, min;
        scale_and_min(p + 4, j, &scale, &min);
        float ds = d * (float)scale, dm = dmin * (float)min;
        for (int l = 0; l < 32; l++) {
            int code = q[j / 2 * 32 + l] >> (j % 2 * 4) & 15;
            if (high)
                code |= (high[l] >> j & 1) << 4;
            out[j * 32 + l] = ds * (float)code - dm;
        }
    }
}

void vw_ref_q4_k(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n-- > 0; p += 144, out += 256)
        q45_k(p, NULL, p + 16, out);
}

void vw_ref_q5_k(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n-- > 0; p += 176, out += 256)
        q45_k(p, p + 16, p + 48, out);
}

void vw_ref_q6_k(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n-- > 0; p += 210, out += 256) {
        float d = half_at(p + 208);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, run = i % 128 / 32, l = i % 32;
            int low = p[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
            int high = p[128 + half * 32 + l] >> (2 * run) & 3;
            float ds = d * (float)(int8_t)p[192 + half * 8 + run * 2 + l / 16];
            out[i] = ds * (float)((low | high << 4) - 32);
        }
    }
}

static const char *const names[VW_BLOCK_KINDS] = {NULL,   "q4_0", "q4_1", "q5_0", "q5_1",
                                                  "q8_0", "q4_k", "q5_k", "q6_k",
                                                  "int4"};

vw_block_kind vw_block_kind_of(const char *name)
{
    for (int k = 1; name && k < VW_BLOCK_KINDS; k++)
        if (!strcmp(names[k], name))
            return (vw_block_kind)k;
    return VW_BLOCK_OTHER;
}
