/* bench_gemm_blocks.c - weights in block formats to race with: random codes under scales of one size,
 * so that values are about as large as those of the other dtypes.
 */
#include "bench_gemm_case.h"

#include <string.h>

/* Half precision at p, times x. */
static float times_half(const uint8_t *p, int x)
{
    return (float)vw_dtype_get(VW_F16, p, 0) * (float)x;
}

static void q8_0_values(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n > 0; n--, p += 34, out += 32)
        for (int j = 0; j < 32; j++)
            out[j] = times_half(p, (int8_t)p[2 + j]);
}

static void q4_0_values(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n > 0; n--, p += 18, out += 32)
        for (int j = 0; j < 32; j++)
            out[j] = times_half(p, (p[2 + j % 16] >> (j / 16 * 4) & 15) - 8);
}

/* Eight scales and minima of 6 bits in 12 bytes, then nibbles, 32 values of each half of 32 bytes. */
static void q4_k_values(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n > 0; n--, p += 144, out += 256)
        for (int j = 0; j < 256; j++) {
            const uint8_t *s = p + 4 + j / 32 % 4;
            int is_late = j >= 128, scale = s[0] & 63, min = s[4] & 63;
            if (is_late) {
                scale = (s[8] & 15) | s[0] >> 6 << 4;
                min = s[8] >> 4 | s[4] >> 6 << 4;
            }
            int code = p[16 + j / 64 * 32 + j % 32] >> (j / 32 % 2 * 4) & 15;
            out[j] = times_half(p, scale) * (float)code - times_half(p + 2, min);
        }
}

static void q6_k_values(const void *blocks, int64_t n, float *out)
{
    for (const uint8_t *p = blocks; n > 0; n--, p += 210, out += 256)
        for (int j = 0; j < 256; j++) {
            int half = j / 128, run = j % 128 / 32;
            int low = p[half * 64 + j % 64] >> (run / 2 * 4) & 15;
            int high = p[128 + half * 32 + j % 32] >> (2 * run) & 3;
            out[j] = times_half(p + 208, (int8_t)p[192 + j / 16]) * (float)((low | high << 4) - 32);
        }
}

/* Where a block holds numbers of half precision, and about how large they are when values are 1. */
typedef struct bench_blocks {
    vw_block_format format;
    int n_halves, halves_at;
    float size;
} bench_blocks;

static const bench_blocks known[] = {
    {{sizeof(vw_block_format), "q8_0", 32, 34, q8_0_values}, 1, 0, 1.0f / 127},
    {{sizeof(vw_block_format), "q4_0", 32, 18, q4_0_values}, 1, 0, 1.0f / 8},
    {{sizeof(vw_block_format), "q4_k", 256, 144, q4_k_values}, 2, 0, 1.0f / 400},
    {{sizeof(vw_block_format), "q6_k", 256, 210, q6_k_values}, 1, 208, 1.0f / 2000},
    {{sizeof(vw_block_format), "int4", 8, 4, vw_int4_values}, 0, 0, 1.0f / 8},
};

const vw_block_format *gemm_block_format(const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].format.name, name) == 0)
            return &known[i].format;
    return NULL;
}

void gemm_fill_blocks(const vw_block_format *format, size_t n_blocks, void *blocks)
{
    const bench_blocks *b = (const bench_blocks *)(const void *)format;
    bench_random r = {n_blocks};
    uint8_t *p = blocks;
    for (size_t i = 0; i < n_blocks; i++, p += format->bytes) {
        for (int j = 0; j < format->bytes; j++)
            p[j] = (uint8_t)bench_random_bits(&r);
        for (int j = 0; j < b->n_halves; j++) {
            uint16_t half = vw_f32_to_f16(b->size * (1 + 0.1f * bench_random_real(&r)));
            memcpy(p + b->halves_at + 2 * j, &half, 2);
        }
    }
}
