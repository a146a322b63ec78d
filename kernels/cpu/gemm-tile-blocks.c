/* gemm-tile-blocks.c - weights in blocks times quantised activations: exact integer sums of 32 values,
 * one float step for each.
 *
 * Panels were opened (gemm-open.c): codes as bytes that can be multiplied at once, scales as f32.
 * Codes of fewer than eight bits are unsigned and so small that the pairs of a block, or of the halves
 * of Q6_K, which have scales of their own, fit 16 bits: 15 * 127 * 16 for Q4_K; with what is subtracted
 * first, 8 * 127 * 16 for nibbles and 32 * 127 * 8 for Q6_K, whatever wraps on the way; two
 * instructions for four products rather than three.  The sum of a block of Q6_K with its two scales is
 * an integer below 2^24, so that it makes no difference whether these are multiplied as integers or as
 * floats.
 *
 * The minimum of a block of Q4_K goes to every value alike: it is multiplied by the sum of the
 * activations, a number that their layout has.
 */
#include "kernels/cpu/gemm-block-load.h"

enum { MOST_WIDE = VECTORS * VW_GEMM_MAX_PANELS };

/* Steps [from, to) of a block of all rows; w: the opened blocks of the panels. */
VW_INLINE void steps(const int form, const int rows, const int panels, const char *const *w,
                     const int from, const int to, const char *x, vi sum[][MOST_WIDE])
{
    VW_UNROLL
    for (int s = from; s < to; s++) {
        vi v[MOST_WIDE];
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++)
            v[j] = i_load(w[j / VECTORS] + VW_GEMM_OPEN_CODES + s * LINE + j % VECTORS * VL * 4);
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            vi xi = i_broadcast(x + 8 * rows + (s * rows + i) * 4);
            VW_UNROLL
            for (int j = 0; j < panels * VECTORS; j++) {
                sum[i][j] = multiply(form, sum[i][j], v[j], xi);
                VW_KEEP(sum[i][j]); /* or all broadcasts are done first and registers run out */
            }
        }
    }
}

/* Of an opened block. */
VW_INLINE vi param(const char *const *w, int j, const int n)
{
    return i_load(w[j / VECTORS] + n * LINE + j % VECTORS * VL * 4);
}

/* A half of a block of Q6_K times its scale, added to the others: an integer, or a float that is. */
VW_INLINE vi scaled(vi sum, vi pair, vi others)
{
    if (PAIRS)
        return i_dot2(others, sum, pair);
    return i_bits(v_fma(v_from_int(sum), v_from_int(i_sar(pair, 16)), v_bits(others)));
}

VW_INLINE void begin(const int form, const int rows, const int panels, const int half, const char *x,
                     vi sum[][MOST_WIDE])
{
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        vi from = start(form, rows, x, i, half);
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++)
            sum[i][j] = from;
    }
}

/* sum * scale + others. */
VW_INLINE void end_half(const int rows, const int panels, const int half, const char *const *w,
                        vi others[][MOST_WIDE], vi sum[][MOST_WIDE])
{
    VW_UNROLL
    for (int j = 0; j < panels * VECTORS; j++) {
        vi pair = param(w, j, 1 + half);
        VW_UNROLL
        for (int i = 0; i < rows; i++)
            sum[i][j] = scaled(sum[i][j], pair, half ? others[i][j] : i_zero());
    }
}

VW_INLINE void block_sums(const int form, const int rows, const int panels, const char *const *w,
                          const char *x, vi sum[][MOST_WIDE])
{
    vi first[VW_GEMM_TILE_ROWS][MOST_WIDE];
    if (form != Q6_K) {
        begin(form, rows, panels, 0, x, sum);
        steps(form, rows, panels, w, 0, STEPS, x, sum);
        return;
    }
    begin(form, rows, panels, 0, x, first);
    steps(form, rows, panels, w, 0, STEPS / 2, x, first);
    end_half(rows, panels, 0, w, first, first);
    begin(form, rows, panels, 1, x, sum);
    steps(form, rows, panels, w, STEPS / 2, STEPS, x, sum);
    end_half(rows, panels, 1, w, first, sum);
}

VW_INLINE vf as_float(const int form, vi sum)
{
    return form != Q6_K ? v_from_int(whole_of(form, sum)) : PAIRS ? v_from_int(sum) : v_bits(sum);
}

VW_INLINE void tile(const int form, const int rows, const int panels, const vw_gemm_tile *t)
{
    const int64_t blocks = t->k, c_stride = t->c_stride; /* the stores below might change *t */
    const char *x = t->x, *w[VW_GEMM_MAX_PANELS];
    float *const sums = t->c;
    VW_UNROLL
    for (int p = 0; p < panels; p++)
        w[p] = t->w[p];
    for (int i = 0; t->is_first && i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++)
            v_store(sums + i * c_stride + j * VL, v_zero());
    for (int64_t b = 0; b < blocks; b++, x += rows * VW_GEMM_X_BLOCK_BYTES) {
        vi sum[VW_GEMM_TILE_ROWS][MOST_WIDE];
        block_sums(form, rows, panels, w, x, sum);
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++) {
            vf scale = v_bits(param(w, j, 0)), min = v_bits(param(w, j, 1));
            VW_UNROLL
            for (int i = 0; i < rows; i++) {
                float *c = sums + i * c_stride + j * VL;
                vf both = v_mul(scale, x_scale(rows, x, i)), to = v_load(c);
                if (form == Q4_K)
                    to = v_fma(min, x_sum(rows, x, i), to);
                v_store(c, v_fma(as_float(form, sum[i][j]), both, to));
            }
        }
        VW_UNROLL
        for (int p = 0; p < panels; p++)
            w[p] += VW_GEMM_OPEN_BYTES;
    }
}

/* ---- the formats ---- */

VW_INLINE void tile_of(const int form, const vw_gemm_tile *t)
{
#define CASE(n)                                                                                    \
    if (t->rows == n)                                                                              \
        tile(form, n, VW_GEMM_TILE_PANELS, t);
    VW_GEMM_EACH_TILE(CASE)
}

static void tile_q8_8(const vw_gemm_tile *t) { tile_of(BYTES_8, t); }
static void tile_q8_7(const vw_gemm_tile *t) { tile_of(BYTES_7, t); }
static void tile_u4(const vw_gemm_tile *t) { tile_of(U4, t); }
static void tile_q4_k(const vw_gemm_tile *t) { tile_of(Q4_K, t); }
static void tile_q6_k(const vw_gemm_tile *t) { tile_of(Q6_K, t); }

/* Only bytes care how many bits the activations have. */
#define FORMATS(bits)                                                                              \
    {                                                                                              \
        {VW_ISA_NAME(vw_gemm_open_q8_##bits), tile_q8_##bits, VW_ISA_NAME(vw_gemm_one_q8_##bits)}, \
        {VW_ISA_NAME(vw_gemm_open_u4), tile_u4, VW_ISA_NAME(vw_gemm_one_u4)},                      \
        {VW_ISA_NAME(vw_gemm_open_q4_k), tile_q4_k, VW_ISA_NAME(vw_gemm_one_q4_k)},                \
        {VW_ISA_NAME(vw_gemm_open_q6_k), tile_q6_k, VW_ISA_NAME(vw_gemm_one_q6_k)},                \
    }

const vw_gemm_blocks VW_ISA_NAME(vw_gemm_blocks)[2] = {
    {127, VW_ISA_NAME(vw_gemm_pack_x_blocks_8), FORMATS(8)},
    {63, VW_ISA_NAME(vw_gemm_pack_x_blocks_7), FORMATS(7)},
};
