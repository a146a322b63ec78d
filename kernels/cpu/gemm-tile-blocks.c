/* gemm-tile-blocks.c - GGUF's blocks of 32 times quantised activations: exact integer sums of a
 * block, one float step a block.
 *
 * Codes of weights are unsigned and those of activations signed, which is what the byte products of
 * x86 take.  Nibbles are so small that a block's sums of pairs fit 16 bits: they start from -8 times
 * the sum of the activations, lane by lane, and so end at no more than 8 * 127 * 16 whatever wraps
 * on the way; two instructions for four products rather than three.  Bytes need 32 bits at every
 * step, and without VNNI a pair fits 16 bits only if the activations have 7 bits
 * (255 * 63 * 2 < 2^15), or if the sign of the weight is moved to the activation
 * (128 * 127 * 2 < 2^15), which is one instruction more and exact for 8.
 *
 * A single row takes blocks as they are packed, since it meets each of them once.  For more rows a
 * panel is opened first: codes as bytes that can be multiplied at once, scales as f32.
 */
#include "kernels/cpu/gemm-blocks.h"
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

#ifdef VW_EMULATE_AVX512 /* what is emulated gains nothing by it and takes minutes to compile */
#undef VW_UNROLL
#define VW_UNROLL
#endif

enum { VECTORS = VW_GEMM_PANEL / VL, MOST_WIDE = VECTORS * VW_GEMM_MAX_PANELS, STEPS = 8,
       AHEAD = 1536 };

/* How weights are multiplied. */
enum { U4, U8, S8 };

#if defined(VW_HAS_DOT4)
enum { HALVES = 0 };
VW_INLINE vi multiply(const int form, vi acc, vi w, vi x)
{
    (void)form;
    return i_dot4(acc, w, x);
}
#elif defined(VW_HAS_DOT4_U7)
enum { HALVES = 1 }; /* U4: sums are pairs of 16 bits until the block ends */
VW_INLINE vi multiply(const int form, vi acc, vi w, vi x)
{
    if (form == U4)
        return i_add16(acc, i_pairs_u8(w, x));
    if (form == U8)
        return i_dot2(acc, i_pairs_u8(w, x), i_set1(0x00010001));
    return i_dot2(acc, i_pairs_u8(i_abs8(w), i_sign8(x, w)), i_set1(0x00010001));
}
#else
enum { HALVES = 0 };
VW_INLINE vi multiply(const int form, vi acc, vi w, vi x)
{
    (void)form;
    return i_dot2(i_dot2(acc, i_even16(w), i_even16(x)), i_odd16(w), i_odd16(x));
}
#endif

/* Bytes: unsigned where the instructions want it and it costs nothing, else as they are. */
#if defined(VW_HAS_DOT4)
enum { BYTES_8 = U8, BYTES_7 = U8 };
#elif defined(VW_HAS_DOT4_U7)
enum { BYTES_8 = S8, BYTES_7 = U8 };
#else
enum { BYTES_8 = S8, BYTES_7 = S8 };
#endif

/* What a block's sums start from: minus 8 times the sums of the activations are stored. */
VW_INLINE vi start(const int form, const char *sums)
{
    if (form == S8)
        return i_zero();
    if (form == U4 && HALVES)
        return i_broadcast(sums);
    return i_dot2(i_zero(), i_broadcast(sums), i_set1(form == U4 ? 0x00010001 : 0x00100010));
}

/* Four values of VL outputs of a packed block, as they are multiplied. */
VW_INLINE vi unpacked(const int form, const char *words, int s, int j)
{
    vi v = i_load(words + (form == U4 ? s % 4 : s) * 64 + j * VL * 4);
    if (form == U4)
        return i_and(s < 4 ? v : i_sar(v, 4), i_set1(0x0F0F0F0F));
    return form == U8 ? i_xor(v, i_set1((int32_t)0x80808080)) : v;
}

/* A panel's blocks as { f32 scales [16]; codes [8][16][4] }. */
VW_INLINE void open_blocks(const int form, const char *w, int64_t blocks, char *out)
{
    const int64_t bytes = (form == U4 ? 18 : 34) * VW_GEMM_PANEL;
    for (; blocks > 0; blocks--, w += bytes, out += VW_GEMM_OPEN_BLOCK_BYTES)
        for (int j = 0; j < VECTORS; j++) {
            v_store((float *)(void *)out + j * VL, v_load_f16(w + j * VL * 2));
            for (int s = 0; s < STEPS; s++)
                i_store(out + 64 + s * 64 + j * VL * 4, unpacked(form, w + 32, s, j));
        }
}

/* One step of four values: VECTORS vectors a panel. */
VW_INLINE void load_step(const int form, const int panels, const int is_open, const int s,
                         const char *const *w, vi *v)
{
    VW_UNROLL
    for (int j = 0; j < panels * VECTORS; j++)
        v[j] = is_open ? i_load(w[j / VECTORS] + 64 + s * 64 + j % VECTORS * VL * 4)
                       : unpacked(form, w[j / VECTORS] + 32, s, j % VECTORS);
}

VW_INLINE void tile(const int form, const int rows, const int panels, const int is_one,
                    const vw_gemm_tile *t)
{
    const int64_t bytes = !is_one ? VW_GEMM_OPEN_BLOCK_BYTES : (form == U4 ? 18 : 34) * VW_GEMM_PANEL;
    const int64_t apart = is_one ? t->c_panel : VW_GEMM_PANEL, c_stride = t->c_stride, blocks = t->k;
    const char *x = t->x, *w[VW_GEMM_MAX_PANELS];
    float *const sums = t->c;
    VW_UNROLL
    for (int p = 0; p < panels; p++)
        w[p] = t->w[p];
    for (int i = 0; t->is_first && i < rows; i++)
        for (int j = 0; j < panels * VECTORS; j++)
            v_store(sums + i * c_stride + j / VECTORS * apart + j % VECTORS * VL, v_zero());
    for (int64_t b = 0; b < blocks; b++, x += rows * VW_GEMM_X_BLOCK_BYTES) {
        vi sum[VW_GEMM_TILE_ROWS][MOST_WIDE];
        const char *code = x + 8 * rows;
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            vi from = start(form, x + 4 * i);
            VW_UNROLL
            for (int j = 0; j < panels * VECTORS; j++)
                sum[i][j] = from;
        }
        VW_UNROLL
        for (int s = 0; s < STEPS; s++) {
            vi v[MOST_WIDE];
            load_step(form, panels, !is_one, s, w, v);
            VW_UNROLL
            for (int p = 0; is_one && p < panels; p++)
                if (form != U4 || s % 2 == 0)
                    VW_PREFETCH(w[p] + s * (form == U4 ? 32 : 64) + AHEAD);
            VW_UNROLL
            for (int i = 0; i < rows; i++) {
                vi xi = i_broadcast(code + (s * rows + i) * 4);
                VW_UNROLL
                for (int j = 0; j < panels * VECTORS; j++) {
                    sum[i][j] = multiply(form, sum[i][j], v[j], xi);
                    VW_KEEP(sum[i][j]); /* or all broadcasts are done first and registers run out */
                }
            }
        }
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++) {
            const char *scales = w[j / VECTORS] + j % VECTORS * VL * (is_one ? 2 : 4);
            vf scale = is_one ? v_load_f16(scales) : v_load((const float *)(const void *)scales);
            VW_UNROLL
            for (int i = 0; i < rows; i++) {
                float *c = sums + i * c_stride + j / VECTORS * apart + j % VECTORS * VL;
                vf both = v_mul(scale, v_bits(i_broadcast(x + 4 * rows + 4 * i)));
                vi whole = form == U4 && HALVES ? i_dot2(i_zero(), sum[i][j], i_set1(0x00010001))
                                                : sum[i][j];
                v_store(c, v_fma(v_from_int(whole), both, v_load(c)));
            }
        }
        VW_UNROLL
        for (int p = 0; p < panels; p++)
            w[p] += bytes;
    }
}

/* ---- the tables ---- */

#define TILES(name, form)                                                                    \
    static void name##_open(const void *w, int64_t blocks, void *out)                        \
    {                                                                                        \
        open_blocks(form, w, blocks, out);                                                   \
    }                                                                                        \
    static void name##_one(const vw_gemm_tile *t) { tile(form, 1, VW_GEMM_MAX_PANELS, 1, t); } \
    static void name##_rest(const vw_gemm_tile *t) { tile(form, 1, 1, 1, t); }
#define TILE_Q4(rows) \
    static void q4_##rows(const vw_gemm_tile *t) { tile(U4, rows, VW_GEMM_TILE_PANELS, 0, t); }
#define TILE_Q8(rows) \
    static void q8_##rows(const vw_gemm_tile *t) { tile(BYTES_8, rows, VW_GEMM_TILE_PANELS, 0, t); }
#define TILE_Q8_7(rows) \
    static void q8_7_##rows(const vw_gemm_tile *t) { tile(BYTES_7, rows, VW_GEMM_TILE_PANELS, 0, t); }
VW_GEMM_EACH_TILE(TILE_Q4)
VW_GEMM_EACH_TILE(TILE_Q8)
VW_GEMM_EACH_TILE(TILE_Q8_7)
TILES(q4, U4)
TILES(q8, BYTES_8)
TILES(q8_7, BYTES_7)
#define NAME_Q4(rows) q4_##rows,
#define NAME_Q8(rows) q8_##rows,
#define NAME_Q8_7(rows) q8_7_##rows,
static void (*const tiles_q4[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_Q4)};
static void (*const tiles_q8[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_Q8)};
static void (*const tiles_q8_7[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_Q8_7)};

/* ---- activations ---- */

/* What lies in places 0 and 1 of the fours, and in 2 and 3, as s16, times a number; all of it. */
VW_INLINE int put_sums(vi sum, int times, char *out)
{
    int32_t lane[VL];
    int sums[2] = {0, 0};
    i_store(lane, sum);
    for (int i = 0; i < VL; i++)
        sums[i / 2 % 2] += lane[i];
    int16_t pair[2] = {(int16_t)(times * sums[0]), (int16_t)(times * sums[1])};
    memcpy(out, pair, sizeof pair);
    return sums[0] + sums[1];
}

/* The largest of 32 magnitudes. */
VW_INLINE float largest(const float *x)
{
    vi top = i_zero();
    int32_t lane[VL], best = 0;
    VW_UNROLL
    for (int j = 0; j < VW_GEMM_BLOCK; j += VL)
        top = i_max(top, i_and(i_bits(v_load(x + j)), i_set1(0x7FFFFFFF)));
    i_store(lane, top);
    for (int i = 0; i < VL; i++)
        best = lane[i] > best ? lane[i] : best;
    return vw_bits_f32((uint32_t)best);
}

/* One block of one row: vw_ref_quantise_int of its 32 values. */
VW_INLINE void quantise_block(const float most, const float *x, int rows, char *out)
{
    float amax = largest(x), ratio = most / amax;
    int is_finite = isfinite(amax) != 0, is_used = is_finite && ratio <= 0x1p127f;
    float scale = is_used ? amax / most : is_finite ? 0 : vw_bits_f32(0x7FC00000);
    vi sum = i_zero(), half = sum; /* VL is a multiple of 4, so each lane has its place in the fours */
    VW_UNROLL
    for (int j = 0; j < VW_GEMM_BLOCK; j += VL) {
        vi c = is_used ? v_to_int(v_mul(v_load(x + j), v_set1(ratio))) : i_zero();
        int32_t fours[VL / 4];
        half = j == VW_GEMM_BLOCK / 2 ? sum : half;
        sum = i_add(sum, c);
        i_store_s8(fours, c);
        VW_UNROLL
        for (int i = 0; i < VL / 4; i++)
            memcpy(out + (8 + j + 4 * i) * rows, &fours[i], 4);
    }
    float all = scale * (float)put_sums(sum, -8, out);
    put_sums(half, -32, out + 40 * rows);
    memcpy(out + 4 * rows, &scale, sizeof scale);
    memcpy(out + 44 * rows, &all, sizeof all);
}

VW_INLINE void pack_x(const float most, const float *x, int64_t x_stride, int rows, int64_t k,
                      char *out)
{
    for (int i = 0; i < rows; i++)
        for (int64_t b = 0; b < k / VW_GEMM_BLOCK; b++)
            quantise_block(most, x + i * x_stride + b * VW_GEMM_BLOCK, rows,
                           out + b * rows * VW_GEMM_X_BLOCK_BYTES + 4 * i);
}

static void pack_x_8(const float *x, int64_t x_stride, int rows, int64_t k, void *out)
{
    pack_x(127, x, x_stride, rows, k, out);
}

static void pack_x_7(const float *x, int64_t x_stride, int rows, int64_t k, void *out)
{
    pack_x(63, x, x_stride, rows, k, out);
}

const vw_gemm_blocks VW_ISA_NAME(vw_gemm_blocks)[2] = {
    {127, pack_x_8, {q8_open, q4_open}, {tiles_q8, tiles_q4}, {q8_one, q4_one}, {q8_rest, q4_rest}},
    {63, pack_x_7, {q8_7_open, q4_open}, {tiles_q8_7, tiles_q4}, {q8_7_one, q4_one},
     {q8_7_rest, q4_rest}},
};
