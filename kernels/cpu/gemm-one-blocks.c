/* gemm-one-blocks.c - one row of quantised activations against packs of blocks: decoding, which memory
 * should bound.
 *
 * Four panels are read at once, a stream each.  The float steps are those of the tiles
 * (gemm-tile-blocks.c), in their order.
 */
#include "kernels/cpu/gemm-block-load.h"

enum { WIDE = VW_GEMM_MAX_PANELS, AHEAD = 1536 };

VW_INLINE void clear(const int panels, const vw_gemm_tile *t)
{
    for (int p = 0; t->is_first && p < panels; p++)
        for (int j = 0; j < VECTORS; j++)
            v_store(t->c + p * t->c_panel + j * VL, v_zero());
}

/* ---- Q8_0 ---- */

VW_INLINE void q8(const int form, const int panels, const vw_gemm_tile *t)
{
    const char *x = t->x, *w[WIDE];
    for (int p = 0; p < panels; p++)
        w[p] = t->w[p];
    clear(panels, t);
    for (int64_t b = 0; b < t->k; b++, x += VW_GEMM_X_BLOCK_BYTES) {
        vi sum[WIDE * VECTORS];
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++)
            sum[j] = start(form, 1, x, 0, 0);
        VW_UNROLL
        for (int s = 0; s < STEPS; s++) {
            vi xs = i_broadcast(x + 8 + 4 * s);
            VW_UNROLL
            for (int j = 0; j < panels * VECTORS; j++) {
                const char *line = w[j / VECTORS] + Q8_CODES + s * LINE;
                if (j % VECTORS == 0)
                    VW_PREFETCH(line + AHEAD);
                sum[j] = multiply(form, sum[j], load_bytes(form, line + j % VECTORS * VL * 4), xs);
                VW_KEEP(sum[j]); /* or all broadcasts are done first and registers run out */
            }
        }
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++) {
            float *c = t->c + j / VECTORS * t->c_panel + j % VECTORS * VL;
            vf scale = v_mul(v_load_f16(w[j / VECTORS] + j % VECTORS * VL * 2), x_scale(1, x, 0));
            v_store(c, v_fma(v_from_int(whole_of(form, sum[j])), scale, v_load(c)));
        }
        for (int p = 0; p < panels; p++)
            w[p] += Q8_UNIT;
    }
}

/* ---- Q4_0 and int4 ---- */

/* The activations of a block, which stay in registers while the outputs go by. */
VW_INLINE void load_x(const char *x, vi *v)
{
    VW_UNROLL
    for (int s = 0; s < STEPS; s++)
        v[s] = i_broadcast(x + 8 + 4 * s);
}

/* Lines of a panel, a stretch ahead. */
VW_INLINE void fetch(const char *p, const int lines)
{
    VW_UNROLL
    for (int i = 0; i < lines; i++)
        VW_PREFETCH(p + i * LINE);
}

VW_INLINE void u4_block(const int panels, const char **words, const float (*scales)[VW_GEMM_PANEL],
                          const char *x, const vw_gemm_tile *t)
{
    vi v[STEPS], from = start(U4, 1, x, 0, 0);
    load_x(x, v);
    for (int p = 0; p < panels; p++, words++) {
        float *c = t->c + p * t->c_panel;
        fetch(*words + AHEAD, U4_BLOCK / LINE);
        VW_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            vi sum = from;
            VW_UNROLL
            for (int s = 0; s < STEPS / 2; s++) {
                vi word = i_load(*words + s * LINE + j * VL * 4);
                sum = multiply(U4, sum, nibbles(word, 0), v[s]);
                sum = multiply(U4, sum, nibbles(word, 1), v[s + STEPS / 2]);
            }
            vf scale = v_mul(v_load(scales[p] + j * VL), x_scale(1, x, 0));
            v_store(c + j * VL, v_fma(v_from_int(whole_of(U4, sum)), scale, v_load(c + j * VL)));
        }
        *words += U4_BLOCK;
    }
}

VW_INLINE void u4(const int panels, const vw_gemm_tile *t)
{
    const int scale_bytes = (t->scale_dtype == VW_F32 ? 4 : 2) * VW_GEMM_PANEL;
    float scales[WIDE][VW_GEMM_PANEL];
    const char *words[WIDE], *x = t->x;
    for (int p = 0; p < panels; p++)
        words[p] = t->w[p];
    clear(panels, t);
    for (int64_t b = 0; b < t->k; b += t->group_k) {
        for (int p = 0; p < panels; p++) {
            for (int j = 0; j < VECTORS; j++)
                v_store(scales[p] + j * VL, u4_scale(t->scale_dtype, words[p], j));
            words[p] += scale_bytes;
        }
        for (int64_t i = b; i < t->k && i < b + t->group_k; i++, x += VW_GEMM_X_BLOCK_BYTES)
            u4_block(panels, words, (const float (*)[VW_GEMM_PANEL])scales, x, t);
    }
}

/* ---- Q4_K ---- */

VW_INLINE void q4_k_block(const int panels, const int is_high, const char *const *words,
                          const float (*params)[2 * VW_GEMM_PANEL], const char *x,
                          const vw_gemm_tile *t)
{
    vi v[STEPS];
    load_x(x, v);
    for (int p = 0; p < panels; p++) {
        float *c = t->c + p * t->c_panel;
        fetch(words[p] + Q4_K_UNIT + is_high * (STEPS / 2 * LINE), STEPS / 2);
        VW_UNROLL
        for (int j = 0; j < VECTORS; j++) {
            const float *own = params[p] + j * VL;
            vi sum = i_zero();
            VW_UNROLL
            for (int s = 0; s < STEPS; s++)
                sum = multiply(Q4_K, sum, nibbles(i_load(words[p] + s * LINE + j * VL * 4), is_high), v[s]);
            vf to = v_fma(v_load(own + VW_GEMM_PANEL), x_sum(1, x, 0), v_load(c + j * VL));
            vf scale = v_mul(v_load(own), x_scale(1, x, 0));
            v_store(c + j * VL, v_fma(v_from_int(whole_of(Q4_K, sum)), scale, to));
        }
    }
}

VW_INLINE void q4_k(const int panels, const vw_gemm_tile *t)
{
    float params[8][WIDE][2 * VW_GEMM_PANEL];
    const char *words[WIDE], *x = t->x;
    clear(panels, t);
    for (int64_t b = 0; b < t->k; b += 8) {
        for (int p = 0; p < panels; p++) {
            const char *unit = (const char *)t->w[p] + b / 8 * Q4_K_UNIT;
            fetch(unit + Q4_K_UNIT, Q4_K_CODES / LINE);
            for (int j = 0; j < VECTORS; j++)
                q4_k_params(unit, j, params[0][p] + j * VL, sizeof *params / sizeof(float));
            words[p] = unit + Q4_K_CODES;
        }
        for (int i = 0; i < 8; i += 2, x += 2 * VW_GEMM_X_BLOCK_BYTES) {
            q4_k_block(panels, 0, words, (const float (*)[2 * VW_GEMM_PANEL])params[i], x, t);
            q4_k_block(panels, 1, words, (const float (*)[2 * VW_GEMM_PANEL])params[i + 1],
                       x + VW_GEMM_X_BLOCK_BYTES, t);
            for (int p = 0; p < panels; p++)
                words[p] += STEPS * LINE;
        }
    }
}

/* ---- Q6_K ---- */

/* Sixteen values times their scale: an integer. */
VW_INLINE vf q6_k_half(const char *words, const char *scales, vi from, const vi *x, vf others)
{
    vi code[4], sum = from;
    load_sixes(words, code);
    VW_UNROLL
    for (int s = 0; s < 4; s++)
        sum = multiply(Q6_K, sum, code[s], x[s]);
    return v_fma(v_from_int(whole_of(Q6_K, sum)), v_load_s8(scales), others);
}

VW_INLINE void q6_k(const int panels, const vw_gemm_tile *t)
{
    const char *x = t->x;
    clear(panels, t);
    for (int64_t b = 0; b < t->k; b++, x += VW_GEMM_X_BLOCK_BYTES) {
        vi v[STEPS], first = start(Q6_K, 1, x, 0, 0), second = start(Q6_K, 1, x, 0, 1);
        vf scale = x_scale(1, x, 0);
        load_x(x, v);
        for (int p = 0; p < panels; p++) {
            const char *unit = (const char *)t->w[p] + b / 8 * Q6_K_UNIT;
            const char *words = unit + Q6_K_CODES + b % 8 * 6 * LINE;
            const char *scales = unit + Q6_K_SCALES + b % 8 * 2 * VW_GEMM_PANEL;
            float *c = t->c + p * t->c_panel;
            fetch(words + Q6_K_UNIT, 6);
            if (b % 8 == 0)
                fetch(unit + Q6_K_UNIT, 5);
            VW_UNROLL
            for (int j = 0; j < VECTORS; j++) {
                vf both = v_mul(v_load_f16(unit + j * VL * 2), scale);
                vf sum = q6_k_half(words + j * VL * 4, scales + j * VL, first, v, v_zero());
                sum = q6_k_half(words + 3 * LINE + j * VL * 4, scales + VW_GEMM_PANEL + j * VL, second,
                                v + 4, sum);
                v_store(c + j * VL, v_fma(sum, both, v_load(c + j * VL)));
            }
        }
    }
}

/* ---- four panels, or one ---- */

VW_INLINE void q8_of(const int form, const vw_gemm_tile *t)
{
    if (t->panels == WIDE)
        q8(form, WIDE, t);
    else
        q8(form, 1, t);
}

void VW_ISA_NAME(vw_gemm_one_q8_8)(const vw_gemm_tile *t) { q8_of(BYTES_8, t); }
void VW_ISA_NAME(vw_gemm_one_q8_7)(const vw_gemm_tile *t) { q8_of(BYTES_7, t); }

#define ONE(name)                                                \
    void VW_ISA_NAME(vw_gemm_one_##name)(const vw_gemm_tile *t)  \
    {                                                            \
        if (t->panels == WIDE)                                   \
            name(WIDE, t);                                       \
        else                                                     \
            name(1, t);                                          \
    }
ONE(u4)
ONE(q4_k)
ONE(q6_k)
