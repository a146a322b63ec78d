/* gemm.c - the plain matrix product and the plain dequantiser. */
#include "kernels/ref/gemm.h"

float vw_ref_scale(const vw_gemm_source *w, int64_t row, int64_t col)
{
    if (!w->scales)
        return 1.0f;
    int64_t at = row / w->scale_rows * w->scale_stride + col / w->scale_cols;
    return (float)vw_dtype_get(w->scale_dtype, w->scales, (size_t)at);
}

/* A block format has no element of its own: unpack the blocks up to the row's ragged end. */
static void block_row(const vw_gemm_source *w, int64_t n, float *out)
{
    int64_t whole = w->k / w->block_elements, rest = w->k % w->block_elements;
    const char *row = (const char *)w->data +
                      n * (w->row_stride / w->block_elements) * w->block_bytes;
    w->dequantise(row, whole, out);
    if (rest) {
        float last[256];
        w->dequantise(row + whole * w->block_bytes, 1, last);
        memcpy(out + whole * w->block_elements, last, (size_t)rest * sizeof *out);
    }
}

void vw_ref_weight_row(const vw_gemm_source *w, int64_t n, float *out)
{
    if (w->dtype == VW_BLOCK) {
        block_row(w, n, out);
        for (int64_t k = 0; w->scales && k < w->k; k++)
            out[k] *= vw_ref_scale(w, n, k);
        return;
    }
    for (int64_t k = 0; k < w->k; k++) {
        int64_t row = w->is_in_out ? k : n, col = w->is_in_out ? n : k;
        float code = (float)vw_dtype_get(w->dtype, w->data, (size_t)(row * w->row_stride + col));
        out[k] = w->scales ? code * vw_ref_scale(w, row, col) : code;
    }
}

double vw_ref_dot(const float *x, const float *w, int64_t k)
{
    double sum = 0;
    for (int64_t i = 0; i < k; i++)
        sum += (double)x[i] * w[i];
    return sum;
}

double vw_ref_act(vw_gemm_act act, double x)
{
    switch (act) {
    case VW_GEMM_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case VW_GEMM_ACT_GELU_ERF: return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
    case VW_GEMM_ACT_SILU: return x / (1 + exp(-x));
    case VW_GEMM_ACT_RELU: return x > 0 || x != x ? x : 0;
    default: return x;
    }
}
