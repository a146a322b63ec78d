/* gemm-tile-unpacked.c - Q4_K, Q6_K and int4 times quantised activations: exact integer sums of 32
 * values, one float step for each.
 *
 * Codes of weights are unsigned and so small that the pairs of a block, or of the halves of Q6_K,
 * which have scales of their own, fit 16 bits: 15 * 127 * 16 for Q4_K; with what is subtracted first,
 * 8 * 127 * 16 for int4 and 32 * 127 * 8 for Q6_K, whatever wraps on the way.  The sum of a block of
 * Q6_K with its two scales is an integer below 2^24, so that it makes no difference whether these
 * are multiplied as integers or as floats.
 *
 * The minimum of a block of Q4_K goes to every value alike: it is multiplied by the sum of the
 * activations, a number that their layout has.
 */
#include "kernels/cpu/gemm-block-load.h"

#if defined(VW_HAS_DOT4_U7) && !defined(VW_HAS_DOT4)
enum { PAIRS = 1 }; /* sums are pairs of 16 bits until the block, or its half, ends */
#else
enum { PAIRS = 0 };
#endif

VW_INLINE vi multiply(vi acc, vi w, vi x)
{
#if defined(VW_HAS_DOT4)
    return i_dot4(acc, w, x);
#elif defined(VW_HAS_DOT4_U7)
    return i_add16(acc, i_pairs_u8(w, x));
#else
    return i_dot2(i_dot2(acc, i_even16(w), i_even16(x)), i_odd16(w), i_odd16(x));
#endif
}

/* acc - offset * sums of activations, as pairs or as their sum. */
VW_INLINE vi take_off(vi acc, const int offset, const char *sums)
{
    const vi times = i_set1((int32_t)((uint32_t)-offset << 16 | (-offset & 0xFFFF)));
#if defined(VW_HAS_DOT4_U7) && !defined(VW_HAS_DOT4)
    return i_add16(acc, i_mul16(i_broadcast(sums), times));
#else
    return i_dot2(acc, i_broadcast(sums), times);
#endif
}

/* What the sums of row i start from, or those of the second half of a block of Q6_K. */
VW_INLINE vi start(const int form, const int rows, const char *x, int i, const int half)
{
    const char *all = x + 4 * i, *first = x + (40 * rows + 4 * i);
    if (form == INT4)
        return take_off(i_zero(), 8, all);
    if (form == Q6_K && half)
        return take_off(take_off(i_zero(), -32, first), 32, all);
    return form == Q6_K ? take_off(i_zero(), 32, first) : i_zero();
}

/* Where the weights of a block are: in records, or in units of a pack. */
typedef struct place {
    const char *w[VW_GEMM_MAX_PANELS]; /* codes of the record, or words of the unit ... */
    int half;                          /* ... of which this is one of blocks 4 * half + [0, 4) */
    int64_t ahead;                     /* packed: what is fetched */
    const char *params[VW_GEMM_MAX_PANELS]; /* [3][16], as in a record */
} place;

/* `run` is a constant. */
VW_INLINE vi code(const int form, const int is_packed, const place *at, const int run, int s, int j)
{
    const char *w = at->w[j / VECTORS] + j % VECTORS * VL * 4;
    return is_packed ? load_codes(form, w, at->half, run, s) : i_load(w + s * LINE);
}

VW_INLINE const char *param(const place *at, int j, const int n)
{
    return at->params[j / VECTORS] + (n * VW_GEMM_PANEL + j % VECTORS * VL) * 4;
}

/* One line a step of each panel: of int4 and Q4_K nibbles, of Q6_K the upper bits in a third run. */
VW_INLINE void fetch(const int form, const int panels, const place *at, const int run, int s)
{
    int line = form == INT4   ? s / 2
               : form == Q4_K ? Q4_K_CODES + (at->half * 2 + run / 2) * 8 + s
               : run < 2      ? at->half * 16 + run * 8 + s
                              : Q6_K_HIGH + at->half * 8 + s;
    VW_UNROLL
    for (int p = 0; p < panels; p++)
        if (form == INT4 ? s % 2 == 0 : form == Q4_K ? run % 2 == 0 : run < 3)
            VW_PREFETCH(at->w[p] + at->ahead + line * LINE);
}

/* Steps [from, to) of a block of all rows. */
VW_INLINE void steps(const int form, const int rows, const int panels, const int is_packed,
                     const place *at, const int run, const int from, const int to, const char *x,
                     vi sum[][MOST_WIDE])
{
    VW_UNROLL
    for (int s = from; s < to; s++) {
        vi v[MOST_WIDE];
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++)
            v[j] = code(form, is_packed, at, run, s, j);
        if (is_packed)
            fetch(form, panels, at, run, s);
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            vi xi = i_broadcast(x + 8 * rows + (s * rows + i) * 4);
            VW_UNROLL
            for (int j = 0; j < panels * VECTORS; j++) {
                sum[i][j] = multiply(sum[i][j], v[j], xi);
                VW_KEEP(sum[i][j]); /* or all broadcasts are done first and registers run out */
            }
        }
    }
}

/* The sum of a half of Q6_K times its scale, an integer. */
VW_INLINE vf scaled(vi sum, vi pair, vf others)
{
    if (PAIRS)
        return v_bits(i_dot2(i_bits(others), sum, pair));
    return v_fma(v_from_int(sum), v_from_int(i_sar(pair, 16)), others);
}

/* 32 values: c[i][j] += what they add. */
VW_INLINE void block(const int form, const int rows, const int panels, const int is_packed,
                     const place *at, const int run, const char *x, const vw_gemm_tile *t,
                     const int64_t apart)
{
    vi sum[VW_GEMM_TILE_ROWS][MOST_WIDE];
    vf part[VW_GEMM_TILE_ROWS][MOST_WIDE];
    const int parts = form == Q6_K ? 2 : 1;
    VW_UNROLL
    for (int h = 0; h < parts; h++) {
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            vi from = start(form, rows, x, i, h);
            VW_UNROLL
            for (int j = 0; j < panels * VECTORS; j++)
                sum[i][j] = from;
        }
        steps(form, rows, panels, is_packed, at, run, h * STEPS / parts, (h + 1) * STEPS / parts, x,
              sum);
        VW_UNROLL
        for (int j = 0; form == Q6_K && j < panels * VECTORS; j++) {
            vi pair = i_load(param(at, j, h + 1));
            VW_UNROLL
            for (int i = 0; i < rows; i++)
                part[i][j] = scaled(sum[i][j], pair, h ? part[i][j] : v_zero());
        }
    }
    VW_UNROLL
    for (int j = 0; j < panels * VECTORS; j++) {
        vf scale = v_bits(i_load(param(at, j, 0)));
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            float *to = t->c + i * t->c_stride + j / VECTORS * apart + j % VECTORS * VL;
            vf both = v_mul(scale, v_bits(i_broadcast(x + 4 * rows + 4 * i))), old = v_load(to);
            vf whole = form == Q6_K ? PAIRS ? v_from_int(i_bits(part[i][j])) : part[i][j]
                       : PAIRS      ? v_from_int(i_dot2(i_zero(), sum[i][j], i_set1(0x00010001)))
                                    : v_from_int(sum[i][j]);
            if (form == Q4_K)
                old = v_fma(v_bits(i_load(param(at, j, 1))),
                            v_bits(i_broadcast(x + 44 * rows + 4 * i)), old);
            v_store(to, v_fma(whole, both, old));
        }
    }
}

VW_INLINE void clear(const int rows, const int panels, const vw_gemm_tile *t, int64_t apart)
{
    for (int i = 0; t->is_first && i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++)
            v_store(t->c + i * t->c_stride + j / VECTORS * apart + j % VECTORS * VL, v_zero());
}

/* Records. */
VW_INLINE void tile(const int form, const int rows, const int panels, const vw_gemm_tile *t)
{
    const char *x = t->x;
    place at = {.half = 0};
    clear(rows, panels, t, VW_GEMM_PANEL);
    for (int64_t b = 0; b < t->k; b++, x += rows * VW_GEMM_X_BLOCK_BYTES) {
        VW_UNROLL
        for (int p = 0; p < panels; p++) {
            at.params[p] = (const char *)t->w[p] + b * VW_GEMM_RECORD_BYTES;
            at.w[p] = at.params[p] + VW_GEMM_RECORD_PARAMS;
        }
        block(form, rows, panels, 0, &at, 0, x, t, VW_GEMM_PANEL);
    }
}

/* ---- one row against packs ---- */

enum { PARAMS = 3 * VW_GEMM_PANEL };

/* Block 4 * half + run of a unit. */
VW_INLINE void one_block(const int form, const int panels, place *at, const int run,
                         const float (*params)[PARAMS], const char *x, const vw_gemm_tile *t)
{
    VW_UNROLL
    for (int p = 0; p < panels; p++)
        at->params[p] = (const char *)params[(at->half * 4 + run) * panels + p];
    block(form, 1, panels, 1, at, run, x + run * VW_GEMM_X_BLOCK_BYTES, t, t->c_panel);
}

/* The lines of a unit that steps() leaves: in front, and the scales of Q6_K. */
VW_INLINE void fetch_params(const int form, const char *unit)
{
    VW_PREFETCH(unit);
    VW_UNROLL
    for (int line = 0; line < 4; line++)
        VW_PREFETCH(unit + words_at(form) + (form == Q6_K ? Q6_K_SCALES + line : line) * LINE);
}

VW_INLINE void one(const int form, const int panels, const vw_gemm_tile *t)
{
    float params[8 * VW_GEMM_MAX_PANELS][PARAMS];
    const char *x = t->x, *unit[VW_GEMM_MAX_PANELS];
    place at = {.ahead = unit_bytes(form)};
    VW_UNROLL
    for (int p = 0; p < panels; p++)
        unit[p] = t->w[p];
    clear(1, panels, t, t->c_panel);
    for (int64_t b = 0; b < t->k; b += 8) {
        VW_UNROLL
        for (int p = 0; p < panels; p++) {
            fetch_params(form, unit[p] + at.ahead);
            unit_params(form, unit[p], params[p], panels * PARAMS);
            at.w[p] = unit[p] + words_at(form);
            unit[p] += unit_bytes(form);
        }
        for (at.half = 0; at.half < 2; at.half++, x += 4 * VW_GEMM_X_BLOCK_BYTES) {
            one_block(form, panels, &at, 0, params, x, t);
            one_block(form, panels, &at, 1, params, x, t);
            one_block(form, panels, &at, 2, params, x, t);
            one_block(form, panels, &at, 3, params, x, t);
        }
    }
}

VW_INLINE void one_int4(const int panels, const vw_gemm_tile *t)
{
    const int scale_bytes = (t->scale_dtype == VW_F32 ? 4 : 2) * VW_GEMM_PANEL;
    float params[VW_GEMM_MAX_PANELS][PARAMS];
    const char *x = t->x;
    place at = {.ahead = 1536};
    VW_UNROLL
    for (int p = 0; p < panels; p++)
        at.w[p] = t->w[p];
    clear(1, panels, t, t->c_panel);
    for (int64_t b = 0; b < t->k; b++, x += VW_GEMM_X_BLOCK_BYTES) {
        for (int p = 0; b % t->group_k == 0 && p < panels; p++) {
            for (int j = 0; j < VECTORS; j++)
                v_store(params[p] + j * VL, int4_scale(t->scale_dtype, at.w[p], j));
            at.w[p] += scale_bytes;
        }
        one_block(INT4, panels, &at, 0, (const float (*)[PARAMS])params, x, t);
        VW_UNROLL
        for (int p = 0; p < panels; p++)
            at.w[p] += unit_bytes(INT4);
    }
}

/* ---- the tables ---- */

#define TILE(name, form, rows)                                                         \
    static void name##_##rows(const vw_gemm_tile *t) { tile(form, rows, VW_GEMM_TILE_PANELS, t); }
#define TILE_Q4_K(rows) TILE(q4_k, Q4_K, rows)
#define TILE_Q6_K(rows) TILE(q6_k, Q6_K, rows)
#define TILE_INT4(rows) TILE(int4, INT4, rows)
VW_GEMM_EACH_TILE(TILE_Q4_K)
VW_GEMM_EACH_TILE(TILE_Q6_K)
VW_GEMM_EACH_TILE(TILE_INT4)
#define NAME_Q4_K(rows) q4_k_##rows,
#define NAME_Q6_K(rows) q6_k_##rows,
#define NAME_INT4(rows) int4_##rows,
static void (*const tiles_q4_k[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_Q4_K)};
static void (*const tiles_q6_k[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_Q6_K)};
static void (*const tiles_int4[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_INT4)};

static void q4_k_one(const vw_gemm_tile *t) { one(Q4_K, VW_GEMM_MAX_PANELS, t); }
static void q6_k_one(const vw_gemm_tile *t) { one(Q6_K, VW_GEMM_MAX_PANELS, t); }
static void int4_one(const vw_gemm_tile *t) { one_int4(VW_GEMM_MAX_PANELS, t); }
static void q4_k_panel(const vw_gemm_tile *t) { one(Q4_K, 1, t); }
static void q6_k_panel(const vw_gemm_tile *t) { one(Q6_K, 1, t); }
static void int4_panel(const vw_gemm_tile *t) { one_int4(1, t); }

const vw_gemm_unpacked VW_ISA_NAME(vw_gemm_unpacked)[N_FORMS] = {
    {VW_ISA_NAME(vw_gemm_unpack_q4_k), tiles_q4_k, q4_k_one, q4_k_panel},
    {VW_ISA_NAME(vw_gemm_unpack_q6_k), tiles_q6_k, q6_k_one, q6_k_panel},
    {VW_ISA_NAME(vw_gemm_unpack_int4), tiles_int4, int4_one, int4_panel},
};
