/* gemm-dot.c - the row path: a few rows of X against weights in place, stored [out, in].
 *
 * This is decoding, where each weight is used once or a few times and the memory decides.  Four
 * rows of the weight are read at once, each its own stream from one end of the range to the other,
 * so that every prefetch ahead is of use; sums stay in vectors until a row ends.
 *
 * One output is the sum of two vectors of partial sums, even and odd steps, folded once at the end,
 * in the same order for each of the four streams and for any m.
 */
#include "kernels/cpu/gemm-load.h"
#include "kernels/cpu/gemm-tile.h"

/* MOST rows of x at once: their sums, one vector of each, and one of weights fill the registers. */
enum { STREAMS = 4, AHEAD = 1024, MOST = VW_GEMM_DOT_ROWS };

/* The last values of a row, zeros behind them; nothing past the row is read. */
VW_INLINE vf load_part(vw_dtype dtype, const char *p, int64_t n)
{
    char part[VL * 4] = {0};
    memcpy(part, p, (size_t)n * bytes_of(dtype));
    return load(dtype, part);
}

/* Partial sums of `rows` rows of weights with m rows of x over k values. */
VW_INLINE void dot_run(vw_dtype dtype, const int rows, const int m, const char *const *w,
                       const float *x, int64_t x_stride, int64_t k, vf sum[STREAMS][MOST])
{
    const size_t bytes = bytes_of(dtype);
    vf odd[STREAMS];
    int64_t j = 0;
    VW_UNROLL
    for (int r = 0; r < rows; r++) {
        odd[r] = v_zero();
        VW_UNROLL
        for (int i = 0; i < m; i++)
            sum[r][i] = v_zero();
    }
    /* Two chains a row with one row of x, else the rows of x are chains enough. */
    for (; m == 1 && j + 2 * VL <= k; j += 2 * VL) {
        vf a = v_load(x + j), b = v_load(x + j + VL);
        VW_UNROLL
        for (int r = 0; r < rows; r++) {
            const char *p = w[r] + (size_t)j * bytes;
            VW_PREFETCH(p + AHEAD);
            sum[r][0] = v_fma(load(dtype, p), a, sum[r][0]);
            odd[r] = v_fma(load(dtype, p + VL * bytes), b, odd[r]);
        }
    }
    for (; j + VL <= k; j += VL) {
        vf a[MOST];
        VW_UNROLL
        for (int i = 0; i < m; i++)
            a[i] = v_load(x + i * x_stride + j);
        VW_UNROLL
        for (int r = 0; r < rows; r++) {
            const char *p = w[r] + (size_t)j * bytes;
            vf v = load(dtype, p);
            VW_PREFETCH(p + AHEAD);
            VW_UNROLL
            for (int i = 0; i < m; i++)
                sum[r][i] = v_fma(v, a[i], sum[r][i]);
        }
    }
    for (int r = 0; j < k && r < rows; r++) {
        vf v = load_part(dtype, w[r] + (size_t)j * bytes, k - j);
        for (int i = 0; i < m; i++)
            sum[r][i] = v_fma(v, v_load_part(x + i * x_stride + j, k - j), sum[r][i]);
    }
    VW_UNROLL
    for (int r = 0; r < rows && m == 1; r++)
        sum[r][0] = v_add(sum[r][0], odd[r]);
}

/* Scale group g of a row whose scales begin at `at`. */
VW_INLINE float group_scale(const vw_gemm_source *w, int64_t at)
{
    return w->scale_dtype == VW_F32 ? ((const float *)w->scales)[at]
                                    : (float)vw_dtype_get(w->scale_dtype, w->scales, (size_t)at);
}

/* `rows` outputs, the first of which is `first` and which are `apart`: c[i][r * apart]. */
VW_INLINE void dot_rows(vw_dtype dtype, const int rows, const int m, const vw_gemm_source *w,
                        int64_t first, int64_t apart, const float *x, int64_t x_stride, float *c,
                        int64_t c_stride)
{
    const size_t bytes = bytes_of(dtype);
    int64_t group = w->scales ? w->scale_cols : w->k, scales[STREAMS];
    vf total[STREAMS][MOST];
    const char *p[STREAMS];
    for (int r = 0; r < rows; r++) {
        int64_t n = first + r * apart;
        p[r] = (const char *)w->data + (size_t)(n * w->row_stride) * bytes;
        scales[r] = w->scales ? n / w->scale_rows * w->scale_stride : 0;
        for (int i = 0; i < m; i++)
            total[r][i] = v_zero();
    }
    for (int64_t k = 0, g = 0; k < w->k; k += group, g++) {
        vf sum[STREAMS][MOST];
        dot_run(dtype, rows, m, p, x + k, x_stride, w->k - k < group ? w->k - k : group, sum);
        VW_UNROLL
        for (int r = 0; r < rows; r++) {
            vf scale = v_set1(load_unit(dtype) *
                              (w->scales ? group_scale(w, scales[r] + g) : 1.0f));
            VW_UNROLL
            for (int i = 0; i < m; i++)
                total[r][i] = v_fma(sum[r][i], scale, total[r][i]);
            p[r] += (size_t)group * bytes;
        }
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < m; i++)
            c[i * c_stride + r * apart] = v_sum(total[r][i]);
}

VW_INLINE void dot_range(vw_dtype dtype, const int m, const vw_gemm_source *w, int64_t first,
                         int64_t n, const float *x, int64_t x_stride, float *c, int64_t c_stride)
{
    int64_t apart = n / STREAMS;
    for (int64_t r = 0; r < apart; r++)
        dot_rows(dtype, STREAMS, m, w, first + r, apart, x, x_stride, c + r, c_stride);
    for (int64_t r = apart * STREAMS; r < n; r++)
        dot_rows(dtype, 1, m, w, first + r, 0, x, x_stride, c + r, c_stride);
}

#if VW_GEMM_DOT_ROWS == 4
#define CASE_3(dtype)                                                                  \
    case 3: dot_range(dtype, 3, w, first, n, x, x_stride, c, c_stride); break;
#else
#define CASE_3(dtype)
#endif

#define DOT(dtype)                                                                     \
    static void dot_##dtype(const vw_gemm_source *w, int64_t first, int64_t n, const float *x,  \
                            int64_t x_stride, int m, float *c, int64_t c_stride)       \
    {                                                                                  \
        switch (m) {                                                                   \
        case 1: dot_range(dtype, 1, w, first, n, x, x_stride, c, c_stride); break;     \
        case 2: dot_range(dtype, 2, w, first, n, x, x_stride, c, c_stride); break;     \
            CASE_3(dtype)                                                              \
        default: dot_range(dtype, MOST, w, first, n, x, x_stride, c, c_stride);        \
        }                                                                              \
    }
DOT(VW_F32)
DOT(VW_BF16)
DOT(VW_F16)
DOT(VW_E4M3)
DOT(VW_E5M2)
DOT(VW_I8)

void VW_ISA_NAME(vw_gemm_dot)(const vw_gemm_source *w, int64_t first, int64_t n, const float *x,
                              int64_t x_stride, int m, float *c, int64_t c_stride)
{
    switch (w->dtype) {
    case VW_F32: dot_VW_F32(w, first, n, x, x_stride, m, c, c_stride); break;
    case VW_BF16: dot_VW_BF16(w, first, n, x, x_stride, m, c, c_stride); break;
    case VW_F16: dot_VW_F16(w, first, n, x, x_stride, m, c, c_stride); break;
    case VW_E4M3: dot_VW_E4M3(w, first, n, x, x_stride, m, c, c_stride); break;
    case VW_E5M2: dot_VW_E5M2(w, first, n, x, x_stride, m, c, c_stride); break;
    case VW_BLOCK:
        VW_ISA_NAME(vw_gemm_dot_block)(w, first, n, x, x_stride, m, c, c_stride);
        break;
    default: dot_VW_I8(w, first, n, x, x_stride, m, c, c_stride);
    }
}
