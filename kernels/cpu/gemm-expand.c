/* gemm-expand.c - any weight as f32 panels: 16 outputs side by side, K running inside.
 *
 * With more than a few rows of X a weight is turned into f32 once, in a block that fits the cache,
 * and then used for all rows; the tiles know one format.  Stored [out, in], the outputs' rows are
 * read a vector at a time and transposed in registers; scales are applied on the way.
 */
#include "kernels/cpu/gemm-load.h"
#include "kernels/cpu/gemm-pack.h"
#include "kernels/cpu/gemm-tile.h"

enum { VECTORS = VW_GEMM_PANEL / VL };

/* Anything, one number at a time: odd scale groups, ragged ends, formats without a fast way. */
static void expand_plain(const vw_gemm_source *w, int64_t n, int64_t n_end, int64_t first, int64_t k,
                         float *out)
{
    for (int64_t j = 0; j < k; j++)
        for (int64_t i = n; i < n_end; i++) {
            int64_t row = w->is_in_out ? first + j : i, col = w->is_in_out ? i : first + j;
            float v = (float)vw_dtype_get(w->dtype, w->data, (size_t)(row * w->row_stride + col));
            out[j * VW_GEMM_PANEL + i - n] = w->scales ? v * vw_ref_scale(w, row, col) : v;
        }
}

/* VL outputs x VL inputs: read along K, transpose, store along N. */
VW_INLINE void expand_square(vw_dtype dtype, const char *row, size_t row_bytes, const float *scale,
                             float *out)
{
    vf r[VL];
    VW_UNROLL
    for (int i = 0; i < VL; i++) {
        r[i] = load(dtype, row + (size_t)i * row_bytes);
        if (scale)
            r[i] = v_mul(r[i], v_set1(scale[i]));
    }
    v_transpose(r);
    VW_UNROLL
    for (int i = 0; i < VL; i++)
        v_store(out + i * VW_GEMM_PANEL, r[i]);
}

/* 16 outputs over [first, first + k), where no scale changes along K; what is left of a vector at
 * the end is done plainly.  Rows are often a multiple of 4096 bytes apart and then share the sets
 * of the L1 cache, so a line is used up before other rows are read. */
VW_INLINE void expand_rows(vw_dtype dtype, const vw_gemm_source *w, int64_t n, int64_t first,
                           int64_t k, float *out)
{
    size_t bytes = bytes_of(dtype), row_bytes = (size_t)w->row_stride * bytes;
    const char *data = (const char *)w->data + (size_t)n * row_bytes + (size_t)first * bytes;
    float scale[VW_GEMM_PANEL];
    int is_scaled = w->scales || load_unit(dtype) != 1;
    for (int i = 0; is_scaled && i < VW_GEMM_PANEL; i++)
        scale[i] = load_unit(dtype) * vw_ref_scale(w, n + i, first);
    int64_t whole = k / VL * VL, line = 64 / (int64_t)bytes;
    for (int64_t from = 0; from < whole; from += line)
        for (int v = 0; v < VECTORS; v++)
            for (int64_t j = from; j < whole && j < from + line; j += VL)
                expand_square(dtype, data + (size_t)(v * VL) * row_bytes + (size_t)j * bytes,
                              row_bytes, is_scaled ? scale + v * VL : NULL,
                              out + j * VW_GEMM_PANEL + v * VL);
    if (whole < k)
        expand_plain(w, n, n + VW_GEMM_PANEL, first + whole, k - whole, out + whole * VW_GEMM_PANEL);
}

/* Stored [in, out]: outputs already lie side by side.  No scale changes along K. */
VW_INLINE void expand_columns(vw_dtype dtype, const vw_gemm_source *w, int64_t n, int64_t first,
                              int64_t k, float *out)
{
    size_t bytes = bytes_of(dtype);
    float scale[VW_GEMM_PANEL];
    for (int i = 0; i < VW_GEMM_PANEL; i++)
        scale[i] = load_unit(dtype) * vw_ref_scale(w, first, n + i);
    for (int64_t j = 0; j < k; j++) {
        const char *data = (const char *)w->data +
                           (size_t)((first + j) * w->row_stride + n) * bytes;
        VW_UNROLL
        for (int v = 0; v < VECTORS; v++)
            v_store(out + j * VW_GEMM_PANEL + v * VL,
                    v_mul(load(dtype, data + (size_t)(v * VL) * bytes), v_load(scale + v * VL)));
    }
}

/* One copy of the loops for each format. */
static void expand_as(const vw_gemm_source *w, int64_t n, int64_t first, int64_t k, float *out,
                      int is_rows)
{
#define CASE(dtype)                                                                    \
    case dtype:                                                                        \
        if (is_rows)                                                                   \
            expand_rows(dtype, w, n, first, k, out);                                   \
        else                                                                           \
            expand_columns(dtype, w, n, first, k, out);                                \
        break;
    switch (w->dtype) {
        CASE(VW_F32)
        CASE(VW_BF16)
        CASE(VW_F16)
        CASE(VW_E4M3)
        CASE(VW_E5M2)
        CASE(VW_I8)
    default: expand_plain(w, n, n + VW_GEMM_PANEL, first, k, out);
    }
#undef CASE
}

static void expand_source(const vw_gemm_source *w, int64_t n, int64_t first, int64_t k, float *out)
{
    if (n + VW_GEMM_PANEL > w->n) {
        memset(out, 0, (size_t)(k * VW_GEMM_PANEL) * sizeof *out);
        expand_plain(w, n, w->n, first, k, out);
    } else if (!w->scales) {
        expand_as(w, n, first, k, out, !w->is_in_out);
    } else {
        int64_t group = w->is_in_out ? w->scale_rows : w->scale_cols;
        for (int64_t j = 0, len; j < k; j += len) {
            len = group - (first + j) % group;
            len = len < k - j ? len : k - j;
            expand_as(w, n, first + j, len, out + j * VW_GEMM_PANEL, !w->is_in_out);
        }
    }
}

static void expand_bf16(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k, float *out)
{
    int64_t pairs = (w->source.k + 1) / 2;
    const char *p = (const char *)w->pack + (size_t)(n / VW_GEMM_PANEL * pairs + first / 2) * 64;
    for (int64_t j = 0; j < k; j += 2, p += 64) {
        VW_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            vi pair = i_load(p + v * VL * 4);
            v_store(out + j * VW_GEMM_PANEL + v * VL, v_bf16_first(pair));
            if (j + 1 < k)
                v_store(out + (j + 1) * VW_GEMM_PANEL + v * VL, v_bf16_second(pair));
        }
    }
}

static void expand_f16(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k, float *out)
{
    const char *p = (const char *)w->pack +
                    (size_t)(n / VW_GEMM_PANEL * w->source.k + first) * 32;
    for (int64_t j = 0; j < k * VW_GEMM_PANEL; j += VL)
        v_store(out + j, v_load_f16(p + 2 * j));
}

/* `first` is a multiple of 4, as every block's beginning is. */
static void expand_s8(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k, float *out)
{
    vw_gemm_s8 s = vw_gemm_s8_shape(w->source.n, w->source.k, w->scale_k);
    const char *codes = (const char *)w->pack + (size_t)(n / VW_GEMM_PANEL * s.k4) * 64;
    const float *scales = vw_gemm_s8_scales(&s, w->pack, n / VW_GEMM_PANEL);
    for (int64_t j = 0; j < k; j += 4) {
        const float *scale = scales + (first + j) / s.group * VW_GEMM_PANEL;
        VW_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            vf four[4], times = v_load(scale + v * VL);
            v_from_s8x4(i_load(codes + (first + j) / 4 * 64 + v * VL * 4), four);
            for (int i = 0; i < 4 && j + i < k; i++)
                v_store(out + (j + i) * VW_GEMM_PANEL + v * VL, v_mul(four[i], times));
        }
    }
}

void VW_ISA_NAME(vw_gemm_expand)(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t k,
                                 float *out)
{
    switch (w->layout) {
    case VW_GEMM_PANEL_F32:
        memcpy(out, (const float *)w->pack + (n / VW_GEMM_PANEL * w->source.k + first) * VW_GEMM_PANEL,
               (size_t)(k * VW_GEMM_PANEL) * sizeof *out);
        break;
    case VW_GEMM_PANEL_BF16: expand_bf16(w, n, first, k, out); break;
    case VW_GEMM_PANEL_F16: expand_f16(w, n, first, k, out); break;
    case VW_GEMM_PANEL_S8: expand_s8(w, n, first, k, out); break;
    case VW_GEMM_PANEL_BLOCKS: VW_ISA_NAME(vw_gemm_expand_block)(w, n, first, k, out); break;
    default:
        if (w->source.dtype == VW_BLOCK)
            VW_ISA_NAME(vw_gemm_expand_block)(w, n, first, k, out);
        else
            expand_source(&w->source, n, first, k, out);
    }
}
