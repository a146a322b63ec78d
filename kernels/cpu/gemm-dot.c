/* gemm-dot.c - the row path: a few rows of X against weights in place, stored [out, in].
 *
 * This is decoding, where each weight is used once or a few times and the memory decides.  Four rows
 * of the weight are read at once, each its own stream from one end of the range to the other, so that
 * every prefetch ahead is of use; sums stay in vectors until a row ends.
 *
 * One output is the sum of two vectors of partial sums, even and odd steps, folded once at the end, in
 * the same order for each of the four streams and for any m.
 */
#include "kernels/cpu/gemm-tile.h"
#include "kernels/cpu/simd.h"

enum { STREAMS = 4, AHEAD = 1024 };

VW_INLINE vf load(vw_dtype dtype, const char *p)
{
    switch (dtype) {
    case VW_F32: return v_load((const float *)(const void *)p);
    case VW_BF16: return v_load_bf16(p);
    case VW_F16: return v_load_f16(p);
    case VW_E4M3: return v_load_e4m3(p);
    case VW_E5M2: return v_load_e5m2(p);
    default: return v_load_s8(p);
    }
}

VW_INLINE size_t bytes_of(vw_dtype dtype)
{
    return dtype == VW_F32 ? 4 : dtype == VW_BF16 || dtype == VW_F16 ? 2 : 1;
}

/* The last values of a row, zeros behind them; nothing past the row is read. */
VW_INLINE vf load_part(vw_dtype dtype, const char *p, int64_t n)
{
    char part[VL * 4] = {0};
    memcpy(part, p, (size_t)n * bytes_of(dtype));
    return load(dtype, part);
}

/* Partial sums of `rows` rows of weights with m rows of x over k values. */
VW_INLINE void dot_run(vw_dtype dtype, const int rows, const int m, const char *const *w,
                       const float *x, int64_t x_stride, int64_t k, vf sum[STREAMS][4])
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
        vf v[STREAMS];
        VW_UNROLL
        for (int r = 0; r < rows; r++) {
            if (m > 1)
                VW_PREFETCH(w[r] + (size_t)j * bytes + AHEAD);
            v[r] = load(dtype, w[r] + (size_t)j * bytes);
        }
        VW_UNROLL
        for (int i = 0; i < m; i++) {
            vf a = v_load(x + i * x_stride + j);
            VW_UNROLL
            for (int r = 0; r < rows; r++)
                sum[r][i] = v_fma(v[r], a, sum[r][i]);
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

/* `rows` outputs, the first of which is `first` and which are `apart`: c[i][r * apart]. */
VW_INLINE void dot_rows(vw_dtype dtype, const int rows, const int m, const vw_gemm_source *w,
                        int64_t first, int64_t apart, const float *x, int64_t x_stride, float *c,
                        int64_t c_stride)
{
    const size_t bytes = bytes_of(dtype);
    int64_t group = w->scales ? w->scale_cols : w->k;
    float total[STREAMS][4] = {{0}};
    for (int64_t k = 0; k < w->k; k += group) {
        const char *p[STREAMS];
        vf sum[STREAMS][4];
        for (int r = 0; r < rows; r++)
            p[r] = (const char *)w->data +
                   (size_t)((first + r * apart) * w->row_stride + k) * bytes;
        dot_run(dtype, rows, m, p, x + k, x_stride, w->k - k < group ? w->k - k : group, sum);
        for (int r = 0; r < rows; r++) {
            float scale = w->scales ? vw_ref_scale(w, first + r * apart, k) : 1.0f;
            for (int i = 0; i < m; i++)
                total[r][i] += scale * v_sum(sum[r][i]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < m; i++)
            c[i * c_stride + r * apart] = total[r][i];
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

#define DOT(dtype)                                                                     \
    static void dot_##dtype(const vw_gemm_source *w, int64_t first, int64_t n, const float *x,  \
                            int64_t x_stride, int m, float *c, int64_t c_stride)       \
    {                                                                                  \
        switch (m) {                                                                   \
        case 1: dot_range(dtype, 1, w, first, n, x, x_stride, c, c_stride); break;     \
        case 2: dot_range(dtype, 2, w, first, n, x, x_stride, c, c_stride); break;     \
        case 3: dot_range(dtype, 3, w, first, n, x, x_stride, c, c_stride); break;     \
        default: dot_range(dtype, 4, w, first, n, x, x_stride, c, c_stride);           \
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
    default: dot_VW_I8(w, first, n, x, x_stride, m, c, c_stride);
    }
}
