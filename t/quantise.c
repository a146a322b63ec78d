/* quantise.c - what `convert` quantises with, against the plain quantisers and dequantisers of the
 * kernels: the same codes, and errors no larger than half a step.
 */
#include "core/quantise.h"

#include "kernels/ref/blocks.h"
#include "kernels/ref/quant.h"
#include "t/tap/tap.h"

#include <stdlib.h>

enum { N = 300, K = 200, BLOCK = 128, ROW_BLOCKS = 3, COL_BLOCKS = 2 };

static float x[N * K];

/* Near normal, with rows of zeros, a row of one value, and magnitudes far apart. */
static void fill(void)
{
    uint32_t state = 1;
    for (int i = 0; i < N * K; i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++) {
            state = state * 1664525u + 1013904223u;
            sum += (float)(state >> 8) * 0x1p-24f - 0.5f;
        }
        x[i] = sum * (i / K % 7 == 3 ? 1e-6f : 0.05f);
    }
    for (int j = 0; j < K; j++) {
        x[5 * K + j] = 0;
        x[6 * K + j] = -0.25f;
    }
}

static void test_int8(void)
{
    static int8_t codes[N * K], want[K];
    static float scales[N], blocks[ROW_BLOCKS * COL_BLOCKS];
    int n_codes = 0, n_scales = 0, n_far = 0;
    vw_quantise_int8(x, N, K, 1, K, codes, scales);
    for (int i = 0; i < N; i++) {
        n_scales += vw_ref_quantise_int8(x + i * K, K, want) == scales[i];
        n_codes += !memcmp(want, codes + i * K, K);
    }
    is_int(n_scales, N, "int8 by rows: the scales of the kernels' quantiser");
    is_int(n_codes, N, "and its codes");
    vw_quantise_int8(x, N, K, BLOCK, BLOCK, codes, blocks);
    for (int i = 0; i < N * K; i++) {
        float scale = blocks[i / K / BLOCK * COL_BLOCKS + i % K / BLOCK];
        n_far += !(fabsf(x[i] - scale * (float)codes[i]) <= 0.5001f * scale);
    }
    is_int(n_far, 0, "int8 in blocks: each value within half a step, blocks cut short too");
}

static void test_e4m3(void)
{
    static uint8_t codes[N * K], want[N * K];
    float scales[ROW_BLOCKS * COL_BLOCKS], same[ROW_BLOCKS * COL_BLOCKS];
    vw_quantise_e4m3(x, N, K, BLOCK, BLOCK, codes, scales);
    vw_ref_quantise_e4m3(x, K, N, K, BLOCK, BLOCK, 0, want, same);
    is_mem(scales, same, sizeof scales, "e4m3 in blocks: the scales of the kernels' quantiser");
    is_mem(codes, want, sizeof codes, "and its codes");
}

static void test_int4(void)
{
    enum { GROUP = 32, GROUPS = 7, WORDS = K / 8 };
    static const vw_block_format format = {sizeof format, "int4", 8, 4, vw_int4_values};
    uint32_t words[WORDS];
    uint16_t scales[GROUPS];
    float row[K];
    int n_far = 0, n_extreme = 0, n_worse = 0;
    for (int i = 0; i < N; i++) {
        vw_quantise_int4(x + i * K, K, GROUP, words, scales);
        vw_matrix m = {.data = words, .dtype = VW_BLOCK, .rows = 1, .cols = K, .row_stride = K,
                       .scales = {scales, VW_BF16, 1, GROUP, GROUPS}, .format = &format};
        vw_dequantise_row(&m, 0, row);
        for (int c = 0; c < K; c += GROUP) {
            int n = K - c < GROUP ? K - c : GROUP;
            float scale = fabsf(vw_bf16_to_f32(scales[c / GROUP])), most = 0;
            double off = 0, even = 0;
            for (int j = c; j < c + n; j++)
                most = fmaxf(most, fabsf(x[i * K + j]));
            for (int j = c; j < c + n; j++) {
                double d = (double)row[j] - x[i * K + j], step = most / 7;
                double q = step > 0 ? nearbyint(x[i * K + j] / step) * step - x[i * K + j] : 0;
                off += d * d;
                even += q * q;
                n_far += !(fabs(d) <= 1.016 * scale + 1e-12); /* +8 has no code; 8 x 2^-9 */
                n_extreme += fabsf(x[i * K + j]) == most && fabs(d) > 0.15 * most;
            }
            n_worse += off > 1.05 * even + 1e-15;
        }
    }
    is_int(n_far, 0, "int4: each value within a step");
    is_int(n_extreme, 0, "the largest within an eighth of itself");
    is_int(n_worse, 0, "no group worse than with amax / 7, but for the rounding of its scale");
    const float seven[] = {7, -7, 0, 1, 2, 3, -1};
    vw_quantise_int4(seven, 7, 32, words, scales);
    is_int(words[0], 0x87BA981Fu, "eight codes of an int32, the first lowest, the last filled up");
    is_int(scales[0], vw_f32_to_bf16(1), "and their scale");
}

static void test_gguf(void)
{
    static uint8_t blocks[N * K / 32 * 34];
    static float got[N * K], same[N * K];
    int n_far = 0;
    int64_t n = N * K / 32;
    vw_quantise_q8_0(x, n, blocks);
    vw_ref_q8_0(blocks, n, got);
    vw_q8_0_values(blocks, n, same);
    is_mem(same, got, (size_t)n * 128, "q8_0: dequantised as the kernels do");
    for (int i = 0; i < n * 32; i++) {
        uint16_t h;
        memcpy(&h, blocks + i / 32 * 34, 2);
        /* half a step, and what rounding d to f16 does to 127 of them */
        n_far += !(fabsf(x[i] - got[i]) <= 0.57f * vw_f16_to_f32(h) + 127 * 0x1p-25f);
    }
    is_int(n_far, 0, "each value within half a step");
    vw_quantise_q4_0(x, n, blocks);
    vw_ref_q4_0(blocks, n, got);
    vw_q4_0_values(blocks, n, same);
    is_mem(same, got, (size_t)n * 128, "q4_0: dequantised as the kernels do");
    n_far = 0;
    for (int i = 0; i < n * 32; i++) {
        uint16_t h;
        memcpy(&h, blocks + i / 32 * 18, 2);
        n_far += !(fabsf(x[i] - got[i]) <= 1.01f * fabsf(vw_f16_to_f32(h)) + 8 * 0x1p-25f);
    }
    is_int(n_far, 0, "each value within a step: +8 has no code");
}

/* Values for which 1 / scale overflows: zeros, whatever the form. */
static void test_tiny(void)
{
    float tiny[32];
    int8_t codes[32];
    uint8_t q8[34], q4[18];
    float scale;
    int n_zero = 0;
    for (int i = 0; i < 32; i++)
        tiny[i] = i % 2 ? 1e-38f : -1e-40f;
    vw_quantise_int8(tiny, 1, 32, 1, 32, codes, &scale);
    vw_quantise_q8_0(tiny, 1, q8);
    vw_quantise_q4_0(tiny, 1, q4);
    for (int i = 0; i < 32; i++)
        n_zero += codes[i] == 0 && q8[2 + i] == 0 && (i > 15 || q4[2 + i] == 0x88);
    is_int(n_zero, 32, "values too small for a scale have the code of zero");
}

int main(void)
{
    fill();
    test_tiny();
    test_int8();
    test_e4m3();
    test_int4();
    test_gguf();
    return done_testing();
}
