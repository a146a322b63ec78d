/* gemm-tile-s8.c - the int8 inner kernel: exact int32 sums, one float step a scale group.
 *
 * A step of K is four values.  With VNNI one instruction multiplies four u8 with four s8 and adds:
 * activations are offset by 128 to be unsigned, and each sum starts from -128 times the sum of the
 * codes of its output.  Without VNNI, vpmaddubsw would saturate; both sides are widened to 16 bits
 * instead, and vpmaddwd adds pairs exactly.  So the integer sums, and with the same two float
 * operations after them the results, are the same bits on every instruction set.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

enum { VECTORS = VW_GEMM_PANEL / VL, PANELS = VW_GEMM_TILE_PANELS, WIDE = VECTORS * PANELS };

VW_INLINE void load_codes(const char *const *w, int64_t k, vi *v)
{
    VW_UNROLL
    for (int p = 0; p < PANELS; p++) {
        VW_UNROLL
        for (int i = 0; i < VECTORS; i++)
            v[p * VECTORS + i] = i_load(w[p] + k * 64 + i * VL * 4);
    }
}

#ifdef VW_HAS_DOT4
enum { X_BYTES = 4 };

VW_INLINE void step(const int rows, const char *x, const char *const *w, int64_t k,
                    vi sum[][WIDE])
{
    vi v[WIDE];
    load_codes(w, k, v);
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        vi b = i_broadcast(x + i * X_BYTES);
        VW_UNROLL
        for (int j = 0; j < WIDE; j++) {
            sum[i][j] = i_dot4(sum[i][j], b, v[j]);
            VW_KEEP(sum[i][j]); /* or all broadcasts are done first and registers run out */
        }
    }
}
#else
enum { X_BYTES = 8 };

/* Codes 0 and 2 of the four first, then 1 and 3: so half as many registers hold weights. */
VW_INLINE void half_step(const int rows, const int half, const char *x, const char *const *w,
                         int64_t k, vi sum[][WIDE])
{
    vi v[WIDE];
    load_codes(w, k, v);
    VW_UNROLL
    for (int j = 0; j < WIDE; j++)
        v[j] = half ? i_odd16(v[j]) : i_even16(v[j]);
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        vi b = i_broadcast(x + i * X_BYTES + 4 * half);
        VW_UNROLL
        for (int j = 0; j < WIDE; j++) {
            sum[i][j] = i_dot2(sum[i][j], v[j], b);
            VW_KEEP(sum[i][j]); /* or both halves are added up first and registers run out */
        }
    }
}

VW_INLINE void step(const int rows, const char *x, const char *const *w, int64_t k,
                    vi sum[][WIDE])
{
    half_step(rows, 0, x, w, k, sum);
    half_step(rows, 1, x, w, k, sum);
}
#endif

/* What the sums of group g start from. */
VW_INLINE vi start(const vw_gemm_tile *t, int64_t g, int j)
{
#ifdef VW_HAS_DOT4
    vi codes = i_load(t->sum[j / VECTORS] + g * VW_GEMM_PANEL + j % VECTORS * VL);
    return i_sub(i_zero(), i_shl(codes, 7));
#else
    (void)t, (void)g, (void)j;
    return i_zero();
#endif
}

/* c += sum * scale of the group: two roundings everywhere, since not every machine can fuse. */
VW_INLINE void end_group(const int rows, const vw_gemm_tile *t, int64_t g, int is_first,
                         vi sum[][WIDE])
{
    VW_UNROLL
    for (int j = 0; j < WIDE; j++) {
        vf scale = v_load(t->scale[j / VECTORS] + g * VW_GEMM_PANEL + j % VECTORS * VL);
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            float *c = t->c + i * t->c_stride + j * VL;
            vf part = v_mul(v_from_int(sum[i][j]), scale);
            v_store(c, is_first ? part : v_add(v_load(c), part));
        }
    }
}

VW_INLINE void tile(const int rows, const vw_gemm_tile *t)
{
    const char *x = t->x, *w[PANELS], *next[PANELS];
    VW_UNROLL
    for (int p = 0; p < PANELS; p++) {
        w[p] = t->w[p];
        next[p] = w[p] + t->fetch;
    }
    for (int64_t k = 0, g = 0; k < t->k; g++) {
        vi sum[VW_GEMM_TILE_ROWS][WIDE];
        int64_t end = t->k - k < t->group_k ? t->k : k + t->group_k;
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            VW_UNROLL
            for (int j = 0; j < WIDE; j++)
                sum[i][j] = start(t, g, j);
        }
        for (; k < end; k++, x += rows * X_BYTES) {
            VW_UNROLL
            for (int p = 0; p < PANELS; p++) {
                VW_PREFETCH(next[p]);
                next[p] += t->fetch_step;
            }
            step(rows, x, w, k, sum);
        }
        end_group(rows, t, g, t->is_first && g == 0, sum);
    }
}

#define TILE(rows)                                                                     \
    static void tile_##rows(const vw_gemm_tile *t)                                     \
    {                                                                                  \
        tile(rows, t);                                                                 \
    }
VW_GEMM_EACH_TILE(TILE)

#define NAME(rows) tile_##rows,
void (*const VW_ISA_NAME(vw_gemm_tiles_s8)[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME)};
