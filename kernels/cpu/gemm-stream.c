/* gemm-stream.c - a few rows of X against packed panels: the decoding of packed weights.
 *
 * The sums are those of the tiles, one chain of fused multiply-adds over ascending k for each
 * output, so that a row alone gives what it gives in a batch.  One row has too few chains in one
 * panel to hide the latency of an addition, so several panels run side by side; each is one
 * sequential stream.
 */
#include "kernels/cpu/gemm-pack.h"
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

enum { VECTORS = VW_GEMM_PANEL / VL, AHEAD = 1024 };

/* One panel as it is read. */
typedef struct panel {
    const char *codes;
    const float *scales; /* int8: of the current group */
} panel;

/* `steps` values along K (1, 2 or 4) of one panel, as v[step][vector]. */
VW_INLINE void load_steps(vw_gemm_layout layout, const panel *p, int64_t k, vf v[4][VECTORS])
{
    VW_UNROLL
    for (int i = 0; i < VECTORS; i++) {
        if (layout == VW_GEMM_PANEL_F32) {
            v[0][i] = v_load((const float *)(const void *)(p->codes + k * 64) + i * VL);
        } else if (layout == VW_GEMM_PANEL_BF16) {
            vi pair = i_load(p->codes + k * 32 + i * VL * 4);
            v[0][i] = v_bf16_first(pair);
            v[1][i] = v_bf16_second(pair);
        } else if (layout == VW_GEMM_PANEL_F16) {
            v[0][i] = v_load_f16(p->codes + k * 32 + i * VL * 2);
        } else {
            vf four[4], scale = v_load(p->scales + i * VL);
            v_from_s8x4(i_load(p->codes + k * 16 + i * VL * 4), four);
            VW_UNROLL
            for (int s = 0; s < 4; s++)
                v[s][i] = v_mul(four[s], scale);
        }
    }
}

VW_INLINE int steps_of(vw_gemm_layout layout)
{
    return layout == VW_GEMM_PANEL_BF16 ? 2 : layout == VW_GEMM_PANEL_S8 ? 4 : 1;
}

/* sum += x[., first .. last) * panels, where no scale changes. */
VW_INLINE void run(vw_gemm_layout layout, const int m, const int wide, const panel *p, int64_t first,
                   int64_t last, int64_t k_end, const float *x, int64_t x_stride,
                   vf sum[][4 * VECTORS])
{
    const int steps = steps_of(layout);
    for (int64_t k = first; k < last; k += steps) {
        VW_UNROLL
        for (int q = 0; q < wide; q++) {
            vf v[4][VECTORS];
            load_steps(layout, p + q, k, v);
            VW_PREFETCH(p[q].codes + k * (layout == VW_GEMM_PANEL_F32  ? 64
                                          : layout == VW_GEMM_PANEL_S8 ? 16
                                                                       : 32) + AHEAD);
            VW_UNROLL
            for (int s = 0; s < steps; s++) {
                if (s > 0 && k + s >= k_end)
                    break;
                VW_UNROLL
                for (int i = 0; i < m; i++) {
                    vf b = v_set1(x[i * x_stride + k + s]);
                    VW_UNROLL
                    for (int j = 0; j < VECTORS; j++)
                        sum[i][q * VECTORS + j] = v_fma(b, v[s][j], sum[i][q * VECTORS + j]);
                }
            }
        }
    }
}

/* m rows against `wide` neighbouring panels. */
VW_INLINE void panels(vw_gemm_layout layout, const int m, const int wide, const vw_gemm_operand *w,
                      int64_t first, const float *x, int64_t x_stride, float *c, int64_t c_stride)
{
    vf sum[4][4 * VECTORS];
    panel p[4];
    int64_t k = w->source.k, k_end = k, group = k;
    vw_gemm_s8 s = vw_gemm_s8_shape(w->source.n, k, w->scale_k);
    size_t bytes = layout == VW_GEMM_PANEL_F32    ? (size_t)k * 64
                   : layout == VW_GEMM_PANEL_BF16 ? (size_t)((k + 1) / 2) * 64
                   : layout == VW_GEMM_PANEL_F16  ? (size_t)k * 32
                                                  : (size_t)s.k4 * 64;
    if (layout == VW_GEMM_PANEL_S8)
        group = s.group;
    VW_UNROLL
    for (int i = 0; i < m; i++) {
        VW_UNROLL
        for (int j = 0; j < wide * VECTORS; j++)
            sum[i][j] = v_zero();
    }
    for (int64_t from = 0; from < k; from += group) {
        for (int q = 0; q < wide; q++) {
            p[q].codes = (const char *)w->pack + (size_t)(first + q) * bytes;
            if (layout == VW_GEMM_PANEL_S8)
                p[q].scales = vw_gemm_s8_scales(&s, w->pack, first + q) +
                              from / group * VW_GEMM_PANEL;
        }
        run(layout, m, wide, p, from, k - from < group ? k : from + group, k_end, x, x_stride, sum);
    }
    VW_UNROLL
    for (int i = 0; i < m; i++) {
        VW_UNROLL
        for (int j = 0; j < wide * VECTORS; j++)
            v_store(c + i * c_stride + j * VL, sum[i][j]);
    }
}

/* As many panels side by side as keep the sums in registers. */
VW_INLINE void rows(vw_gemm_layout layout, const int m, const vw_gemm_operand *w, int64_t first,
                    int64_t n, const float *x, int64_t x_stride, float *c, int64_t c_stride)
{
    const int most = m == 1 ? 4 : VECTORS == 1 ? 4 : m < 4 ? 2 : 1;
    int64_t p = 0;
    for (; p + most <= n; p += most)
        panels(layout, m, most, w, first + p, x, x_stride, c + p * VW_GEMM_PANEL, c_stride);
    for (; p < n; p++)
        panels(layout, m, 1, w, first + p, x, x_stride, c + p * VW_GEMM_PANEL, c_stride);
}

#define STREAM(layout)                                                                 \
    static void stream_##layout(const vw_gemm_operand *w, int64_t first, int64_t n,    \
                                const float *x, int64_t x_stride, int m, float *c,     \
                                int64_t c_stride)                                      \
    {                                                                                  \
        switch (m) {                                                                   \
        case 1: rows(layout, 1, w, first, n, x, x_stride, c, c_stride); break;         \
        case 2: rows(layout, 2, w, first, n, x, x_stride, c, c_stride); break;         \
        case 3: rows(layout, 3, w, first, n, x, x_stride, c, c_stride); break;         \
        default: rows(layout, 4, w, first, n, x, x_stride, c, c_stride);               \
        }                                                                              \
    }
STREAM(VW_GEMM_PANEL_F32)
STREAM(VW_GEMM_PANEL_BF16)
STREAM(VW_GEMM_PANEL_F16)
STREAM(VW_GEMM_PANEL_S8)

void VW_ISA_NAME(vw_gemm_stream)(const vw_gemm_operand *w, int64_t panel_first, int64_t n_panels,
                                 const float *x, int64_t x_stride, int m, float *c,
                                 int64_t c_stride)
{
    switch (w->layout) {
    case VW_GEMM_PANEL_F32:
        stream_VW_GEMM_PANEL_F32(w, panel_first, n_panels, x, x_stride, m, c, c_stride);
        break;
    case VW_GEMM_PANEL_BF16:
        stream_VW_GEMM_PANEL_BF16(w, panel_first, n_panels, x, x_stride, m, c, c_stride);
        break;
    case VW_GEMM_PANEL_F16:
        stream_VW_GEMM_PANEL_F16(w, panel_first, n_panels, x, x_stride, m, c, c_stride);
        break;
    default: stream_VW_GEMM_PANEL_S8(w, panel_first, n_panels, x, x_stride, m, c, c_stride);
    }
}
