/* gemm-unpack.c - panels of Q4_K, Q6_K and int4 as bytes under the scales of each 32 values: done once
 * for all rows, so that the inner loop of their tiles is that of the simplest format.
 */
#include "kernels/cpu/gemm-block-load.h"

enum { CODES = VW_GEMM_RECORD_PARAMS, RECORD = VW_GEMM_RECORD_BYTES, UNIT = 256 / VW_GEMM_BLOCK };

static const char *find(const vw_gemm_operand *w, int64_t panel, int64_t block)
{
    return vw_gemm_blocks_panel(w, panel) + vw_gemm_blocks_at(&w->source, block);
}

void VW_ISA_NAME(vw_gemm_unpack_q4_k)(const vw_gemm_operand *w, int64_t panel, int64_t first,
                                      int64_t n, char *records)
{
    for (const char *unit = find(w, panel, first); n > 0; n -= UNIT, unit += Q4_K_UNIT) {
        for (int j = 0; j < VECTORS; j++)
            q4_k_params(unit, j, (float *)(void *)records + j * VL, RECORD / 4);
        for (int b = 0; b < UNIT; b += 2, records += 2 * RECORD)
            for (int i = 0; i < STEPS * LINE; i += VL * 4) {
                vi word = i_load(unit + Q4_K_CODES + b / 2 * STEPS * LINE + i);
                i_store(records + CODES + i, nibbles(word, 0));
                i_store(records + RECORD + CODES + i, nibbles(word, 1));
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

void VW_ISA_NAME(vw_gemm_unpack_q6_k)(const vw_gemm_operand *w, int64_t panel, int64_t first,
                                      int64_t n, char *records)
{
    const char *unit = find(w, panel, first);
    for (; n > 0; n -= UNIT, unit += Q6_K_UNIT)
        for (int b = 0; b < UNIT; b++, records += RECORD) {
            for (int j = 0; j < VECTORS; j++)
                v_store((float *)(void *)records + j * VL, v_load_f16(unit + j * VL * 2));
            for (int h = 0; h < 2; h++) {
                const char *words = unit + Q6_K_CODES + (2 * b + h) * 3 * LINE;
                char *to = records + CODES + h * 4 * LINE;
                put_pairs(unit + Q6_K_SCALES + (2 * b + h) * VW_GEMM_PANEL, records + (h + 1) * LINE);
                for (int i = 0; i < LINE; i += VL * 4) {
                    vi code[4];
                    load_sixes(words + i, code);
                    for (int s = 0; s < 4; s++)
                        i_store(to + s * LINE + i, code[s]);
                }
            }
        }
}

void VW_ISA_NAME(vw_gemm_unpack_int4)(const vw_gemm_operand *w, int64_t panel, int64_t first,
                                      int64_t n, char *records)
{
    const vw_gemm_source *s = &w->source;
    const int64_t group = vw_gemm_group(s) / VW_GEMM_BLOCK;
    for (int64_t b = first; b < first + n; b++, records += RECORD) {
        const char *scales = find(w, panel, b / group * group);
        const char *words = find(w, panel, b) +
                            (b % group ? 0 : vw_gemm_scale_bytes(s) * VW_GEMM_PANEL);
        for (int j = 0; j < VECTORS; j++)
            v_store((float *)(void *)records + j * VL, int4_scale(s->scale_dtype, scales, j));
        for (int i = 0; i < INT4_BLOCK; i += VL * 4) {
            i_store(records + CODES + i, nibbles(i_load(words + i), 0));
            i_store(records + CODES + INT4_BLOCK + i, nibbles(i_load(words + i), 1));
        }
    }
}
