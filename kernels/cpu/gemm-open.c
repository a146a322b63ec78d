/* gemm-open.c - panels of blocks as bytes under the scales of each 32 values: done once for all rows, so
 * that the inner loop of every tile is that of the simplest format.
 */
#include "kernels/cpu/gemm-block-load.h"

enum { CODES = VW_GEMM_OPEN_CODES, OPEN = VW_GEMM_OPEN_BYTES, UNIT = 256 / VW_GEMM_BLOCK };

static const char *find(const vw_gemm_operand *w, int64_t panel, int64_t block)
{
    return vw_gemm_blocks_panel(w, panel) + vw_gemm_blocks_at(&w->source, block);
}

VW_INLINE void open_q8(const int form, const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                       char *out)
{
    for (const char *unit = find(w, panel, first); n > 0; n--, unit += Q8_UNIT, out += OPEN) {
        for (int j = 0; j < VECTORS; j++)
            v_store((float *)(void *)out + j * VL, v_load_f16(unit + j * VL * 2));
        for (int i = 0; i < STEPS * LINE; i += VL * 4)
            i_store(out + CODES + i, load_bytes(form, unit + Q8_CODES + i));
    }
}

void VW_ISA_NAME(vw_gemm_open_q8_8)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out)
{
    open_q8(BYTES_8, w, panel, first, n, out);
}

void VW_ISA_NAME(vw_gemm_open_q8_7)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out)
{
    open_q8(BYTES_7, w, panel, first, n, out);
}

void VW_ISA_NAME(vw_gemm_open_q4_k)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out)
{
    for (const char *unit = find(w, panel, first); n > 0; n -= UNIT, unit += Q4_K_UNIT) {
        for (int j = 0; j < VECTORS; j++)
            q4_k_params(unit, j, (float *)(void *)out + j * VL, OPEN / 4);
        for (int b = 0; b < UNIT; b += 2, out += 2 * OPEN)
            for (int i = 0; i < STEPS * LINE; i += VL * 4) {
                vi word = i_load(unit + Q4_K_CODES + b / 2 * STEPS * LINE + i);
                i_store(out + CODES + i, nibbles(word, 0));
                i_store(out + OPEN + CODES + i, nibbles(word, 1));
            }
    }
}

/* A scale of eight bits as two s16. */
static void put_pairs(const char *scales, char *out)
{
    for (int j = 0; j < VECTORS; j++) {
        vi scale = v_to_int(v_load_s8(scales + j * VL));
        i_store(out + j * VL * 4, i_or(i_and(scale, i_set1(0xFFFF)), i_shl(scale, 16)));
    }
}

void VW_ISA_NAME(vw_gemm_open_q6_k)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                    char *out)
{
    const char *unit = find(w, panel, first);
    for (; n > 0; n -= UNIT, unit += Q6_K_UNIT)
        for (int b = 0; b < UNIT; b++, out += OPEN) {
            for (int j = 0; j < VECTORS; j++)
                v_store((float *)(void *)out + j * VL, v_load_f16(unit + j * VL * 2));
            for (int h = 0; h < 2; h++) {
                const char *words = unit + Q6_K_CODES + (2 * b + h) * 3 * LINE;
                char *to = out + CODES + h * 4 * LINE;
                put_pairs(unit + Q6_K_SCALES + (2 * b + h) * VW_GEMM_PANEL, out + (h + 1) * LINE);
                for (int i = 0; i < LINE; i += VL * 4) {
                    vi code[4];
                    load_sixes(words + i, code);
                    for (int s = 0; s < 4; s++)
                        i_store(to + s * LINE + i, code[s]);
                }
            }
        }
}

void VW_ISA_NAME(vw_gemm_open_u4)(const vw_gemm_operand *w, int64_t panel, int64_t first, int64_t n,
                                  char *out)
{
    const int64_t group = vw_gemm_group(&w->source) / VW_GEMM_BLOCK;
    const vw_dtype dtype = vw_gemm_scale_dtype(&w->source);
    const int64_t scale_bytes = vw_gemm_scale_bytes(&w->source) * VW_GEMM_PANEL;
    for (int64_t b = first; b < first + n; b++, out += OPEN) {
        const char *scales = find(w, panel, b / group * group);
        const char *words = find(w, panel, b) + (b % group ? 0 : scale_bytes);
        for (int j = 0; j < VECTORS; j++)
            v_store((float *)(void *)out + j * VL, u4_scale(dtype, scales, j));
        for (int i = 0; i < U4_BLOCK; i += VL * 4) {
            i_store(out + CODES + i, nibbles(i_load(words + i), 0));
            i_store(out + CODES + U4_BLOCK + i, nibbles(i_load(words + i), 1));
        }
    }
}
