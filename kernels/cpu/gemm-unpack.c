/* gemm-unpack.c - panels of Q4_K, Q6_K and int4 as bytes under the scales of each 32 values: done once
 * for all rows, so that the inner loop of their tiles is that of the simplest format.
 */
#include "kernels/cpu/gemm-block-load.h"

enum { CODES = VW_GEMM_RECORD_PARAMS, RECORD = VW_GEMM_RECORD_BYTES };

/* The codes of one block of a unit. */
VW_INLINE void put_codes(const int form, const char *words, int half, const int run, char *record)
{
    VW_UNROLL
    for (int s = 0; s < STEPS; s++) {
        VW_UNROLL
        for (int j = 0; j < VECTORS; j++)
            i_store(record + CODES + s * LINE + j * VL * 4,
                    load_codes(form, words + j * VL * 4, half, run, s));
    }
}

VW_INLINE void unpack_units(const int form, const vw_gemm_operand *w, int64_t panel, int64_t first,
                            int64_t n, char *records)
{
    const char *unit = vw_gemm_blocks_panel(w, panel) + vw_gemm_blocks_at(&w->source, first);
    for (; n > 0; n -= 8, unit += unit_bytes(form), records += 8 * RECORD) {
        const char *words = unit + words_at(form);
        unit_params(form, unit, (float *)(void *)records, RECORD / 4);
        for (int half = 0; half < 2; half++) {
            char *to = records + half * 4 * RECORD;
            put_codes(form, words, half, 0, to);
            put_codes(form, words, half, 1, to + RECORD);
            put_codes(form, words, half, 2, to + 2 * RECORD);
            put_codes(form, words, half, 3, to + 3 * RECORD);
        }
    }
}

void VW_ISA_NAME(vw_gemm_unpack_q4_k)(const vw_gemm_operand *w, int64_t panel, int64_t first,
                                      int64_t n, char *records)
{
    unpack_units(Q4_K, w, panel, first, n, records);
}

void VW_ISA_NAME(vw_gemm_unpack_q6_k)(const vw_gemm_operand *w, int64_t panel, int64_t first,
                                      int64_t n, char *records)
{
    unpack_units(Q6_K, w, panel, first, n, records);
}

void VW_ISA_NAME(vw_gemm_unpack_int4)(const vw_gemm_operand *w, int64_t panel, int64_t first,
                                      int64_t n, char *records)
{
    const vw_gemm_source *s = &w->source;
    const int64_t group = vw_gemm_group(s) / VW_GEMM_BLOCK;
    const char *from = vw_gemm_blocks_panel(w, panel);
    for (int64_t b = first; b < first + n; b++, records += RECORD) {
        const char *scales = from + vw_gemm_blocks_at(s, b / group * group);
        const char *words = from + vw_gemm_blocks_at(s, b) +
                            (b % group ? 0 : vw_gemm_scale_bytes(s) * VW_GEMM_PANEL);
        for (int j = 0; j < VECTORS; j++)
            v_store((float *)(void *)records + j * VL, int4_scale(s->scale_dtype, scales, j));
        put_codes(INT4, words, 0, 0, records);
    }
}
