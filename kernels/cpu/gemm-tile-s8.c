/* gemm-tile-s8.c - the int8 inner kernel: exact int32 sums, one float step a scale group.
 *
 * A step of K is four values.  With VNNI one instruction multiplies four u8 with four s8 and adds:
 * activations are offset by 128 to be unsigned, and each sum starts from -128 times the sum of the
 * codes of its output.  Without VNNI, vpmaddubsw saturates when a pair of products exceeds 16 bits.
 * With activations of 7 bits, offset by 64, none can: 2 * 127 * 128 < 2^15.  With 8 bits one could,
 * so both sides are widened to 16 bits and vpmaddwd adds pairs exactly, at half the rate.  The
 * integer sums, and with the same two float operations after them the results, are therefore the
 * same bits on every instruction set.
 *
 * `offset` is the constant that was added to the activations' codes; 0 stands for pairs of s16.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

enum { VECTORS = VW_GEMM_PANEL / VL, MOST_WIDE = VECTORS * VW_GEMM_MAX_PANELS };

VW_INLINE void load_codes(const int panels, const char *const *w, int64_t k, vi *v)
{
    VW_UNROLL
    for (int p = 0; p < panels; p++) {
        VW_UNROLL
        for (int i = 0; i < VECTORS; i++)
            v[p * VECTORS + i] = i_load(w[p] + k * 64 + i * VL * 4);
    }
}

#if defined(VW_HAS_DOT4) || defined(VW_HAS_DOT4_U7)
/* Unsigned bytes: of any kind with VNNI, of 7 bits without. */
VW_INLINE vi dot4(vi acc, vi x, vi w)
{
#ifdef VW_HAS_DOT4
    return i_dot4(acc, x, w);
#else
    return i_dot4_u7(acc, x, w);
#endif
}

/* Where there are 16 registers the sums, a broadcast, its product and a vector of ones fill them;
 * the weights stay in L1 and are operands in memory. */
VW_INLINE vi weight(const vi *v, const char *const *w, int64_t k, int j)
{
    const char *p = w[j / VECTORS] + k * 64 + j % VECTORS * VL * 4;
    if (VL == 16)
        return v[j];
    VW_REREAD(p);
    return i_load(p);
}

VW_INLINE void step_of_bytes(const int rows, const int panels, const char *x, const char *const *w,
                             int64_t k, vi sum[][MOST_WIDE])
{
    vi v[MOST_WIDE];
    load_codes(panels, w, k, v);
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        vi b = i_broadcast(x + i * 4);
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++) {
            sum[i][j] = dot4(sum[i][j], b, weight(v, w, k, j));
            VW_KEEP(sum[i][j]); /* or all broadcasts are done first and registers run out */
        }
    }
}
#endif

#ifndef VW_HAS_DOT4
/* Codes 0 and 2 of the four first, then 1 and 3: so half as many registers hold weights. */
VW_INLINE void half_step(const int rows, const int panels, const int half, const char *x,
                         const char *const *w, int64_t k, vi sum[][MOST_WIDE])
{
    vi v[MOST_WIDE];
    load_codes(panels, w, k, v);
    VW_UNROLL
    for (int j = 0; j < panels * VECTORS; j++)
        v[j] = half ? i_odd16(v[j]) : i_even16(v[j]);
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        vi b = i_broadcast(x + i * 8 + 4 * half);
        VW_UNROLL
        for (int j = 0; j < panels * VECTORS; j++) {
            sum[i][j] = i_dot2(sum[i][j], v[j], b);
            VW_KEEP(sum[i][j]); /* or both halves are added up first and registers run out */
        }
    }
}
#endif

VW_INLINE void step(const int rows, const int panels, const int offset, const char *x,
                    const char *const *w, int64_t k, vi sum[][MOST_WIDE])
{
#if defined(VW_HAS_DOT4) || defined(VW_HAS_DOT4_U7)
    if (offset) {
        step_of_bytes(rows, panels, x, w, k, sum);
        return;
    }
#endif
#ifndef VW_HAS_DOT4
    half_step(rows, panels, 0, x, w, k, sum);
    half_step(rows, panels, 1, x, w, k, sum);
#endif
    (void)offset;
}

/* What the sums of group g start from: minus the offset times the sum of the codes. */
VW_INLINE vi start(const int offset, const vw_gemm_tile *t, int64_t g, int j)
{
    if (!offset)
        return i_zero();
    vi codes = i_load(t->sum[j / VECTORS] + g * VW_GEMM_PANEL + j % VECTORS * VL);
    return i_sub(i_zero(), offset == 128 ? i_shl(codes, 7) : i_shl(codes, 6));
}

/* c += sum * scale of the group: two roundings everywhere, since not every machine can fuse. */
VW_INLINE void end_group(const int rows, const int panels, const vw_gemm_tile *t, int64_t g,
                         int is_first, vi sum[][MOST_WIDE])
{
    VW_UNROLL
    for (int j = 0; j < panels * VECTORS; j++) {
        vf scale = v_load(t->scale[j / VECTORS] + g * VW_GEMM_PANEL + j % VECTORS * VL);
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            float *c = t->c + i * t->c_stride + j * VL;
            vf part = v_mul(v_from_int(sum[i][j]), scale);
            v_store(c, is_first ? part : v_add(v_load(c), part));
        }
    }
}

/* A panel's stream goes on in the panel that comes next in its place, when a single row says where. */
VW_INLINE void tile(const int rows, const int panels, const int offset, const vw_gemm_tile *t)
{
    const char *x = t->x, *w[VW_GEMM_MAX_PANELS], *next[VW_GEMM_MAX_PANELS];
    const int64_t fetch_step = t->fetch_step;
    VW_UNROLL
    for (int p = 0; p < panels; p++) {
        w[p] = t->w[p];
        next[p] = w[p] + t->fetch;
    }
    for (int64_t k = 0, g = 0; k < t->k; g++) {
        vi sum[VW_GEMM_TILE_ROWS][MOST_WIDE];
        int64_t end = t->k - k < t->group_k ? t->k : k + t->group_k;
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            VW_UNROLL
            for (int j = 0; j < panels * VECTORS; j++)
                sum[i][j] = start(offset, t, g, j);
        }
        for (; k < end; k++, x += rows * (offset ? 4 : 8)) {
            VW_UNROLL
            for (int p = 0; p < panels; p++) {
                VW_PREFETCH(next[p]);
                next[p] += fetch_step;
                if (rows == 1 && k == t->fetch_turn)
                    next[p] += t->fetch_jump;
            }
            step(rows, panels, offset, x, w, k, sum);
        }
        end_group(rows, panels, t, g, t->is_first && g == 0, sum);
    }
}

#define TILE_S8(rows)                                                                  \
    static void tile_s8_##rows(const vw_gemm_tile *t)                                  \
    {                                                                                  \
        tile(rows, VW_GEMM_TILE_PANELS, VW_GEMM_S8_OFFSET, t);                         \
    }
VW_GEMM_EACH_TILE(TILE_S8)
#define NAME_S8(rows) tile_s8_##rows,

/* 7 bits are a matter of their own only where they are multiplied in another way. */
#if VW_GEMM_S7_OFFSET != VW_GEMM_S8_OFFSET
#define TILE_S7(rows)                                                                  \
    static void tile_s7_##rows(const vw_gemm_tile *t)                                  \
    {                                                                                  \
        tile(rows, VW_GEMM_TILE_PANELS, VW_GEMM_S7_OFFSET, t);                         \
    }
VW_GEMM_EACH_TILE(TILE_S7)
#define NAME_S7(rows) tile_s7_##rows,
#else
#define NAME_S7 NAME_S8
#endif

void (*const VW_ISA_NAME(vw_gemm_tiles_s8)[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_S8)};
void (*const VW_ISA_NAME(vw_gemm_tiles_s7)[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME_S7)};

/* One row has too few sums in one panel to hide their latency, and memory likes several streams. */
void VW_ISA_NAME(vw_gemm_one_s8)(const vw_gemm_tile *t)
{
    tile(1, VW_GEMM_MAX_PANELS, VW_GEMM_S8_OFFSET, t);
}

void VW_ISA_NAME(vw_gemm_one_s7)(const vw_gemm_tile *t)
{
    tile(1, VW_GEMM_MAX_PANELS, VW_GEMM_S7_OFFSET, t);
}
