/* gemm-tile.c - the f32 inner kernel: a tile of sums that stays in registers while K runs.
 *
 * A step of K reads one vector row of weights (16 outputs a panel) and one number for each row of
 * X, and does rows x vectors fused multiply-adds.  Registers decide the shape: rows * vectors sums
 * plus the weights plus one broadcast must fit, and loads must stay below multiply-adds by half.
 * AVX2 has 16 registers: 6 x 16.  AVX-512 has 32: 14 x 32, two panels.
 *
 * Sums start from c when it is not the first block of K, so that every output is one chain of
 * additions over ascending k, whatever the blocking and whatever M.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

enum { VECTORS = VW_GEMM_PANEL / VL, PANELS = VW_GEMM_TILE_PANELS, WIDE = VECTORS * PANELS };

VW_INLINE void load_weights(const float *const *w, int64_t k, vf *v)
{
    VW_UNROLL
    for (int p = 0; p < PANELS; p++) {
        VW_UNROLL
        for (int i = 0; i < VECTORS; i++)
            v[p * VECTORS + i] = v_load(w[p] + k * VW_GEMM_PANEL + i * VL);
    }
}

VW_INLINE void tile(const int rows, const vw_gemm_tile *t)
{
    const float *x = t->x, *w[PANELS];
    const char *next[PANELS];
    float *const c = t->c;
    const int64_t c_stride = t->c_stride, fetch_step = t->fetch_step;
    vf sum[VW_GEMM_TILE_ROWS][WIDE];
    VW_UNROLL
    for (int p = 0; p < PANELS; p++) {
        w[p] = t->w[p];
        next[p] = (const char *)t->w[p] + t->fetch;
    }
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        VW_UNROLL
        for (int j = 0; j < WIDE; j++)
            sum[i][j] = t->is_first ? v_zero() : v_load(c + i * c_stride + j * VL);
    }
    VW_UNROLL_STEPS
    for (int64_t k = 0; k < t->k; k++, x += rows) {
        vf v[WIDE];
        load_weights(w, k, v);
        VW_UNROLL
        for (int p = 0; p < PANELS; p++) {
            VW_PREFETCH(next[p]);
            next[p] += fetch_step;
        }
        VW_UNROLL
        for (int i = 0; i < rows; i++) {
            vf b = v_set1(x[i]);
            VW_UNROLL
            for (int j = 0; j < WIDE; j++)
                sum[i][j] = v_fma(b, v[j], sum[i][j]);
        }
    }
    VW_UNROLL
    for (int i = 0; i < rows; i++) {
        VW_UNROLL
        for (int j = 0; j < WIDE; j++)
            v_store(c + i * c_stride + j * VL, sum[i][j]);
    }
}

#define TILE(rows)                                                                     \
    static void tile_##rows(const vw_gemm_tile *t)                                     \
    {                                                                                  \
        tile(rows, t);                                                                 \
    }
VW_GEMM_EACH_TILE(TILE)

#define NAME(rows) tile_##rows,
void (*const VW_ISA_NAME(vw_gemm_tiles)[])(const vw_gemm_tile *) = {VW_GEMM_EACH_TILE(NAME)};
