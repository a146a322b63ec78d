/* pointwise.c - the formulas of the pointwise set. */
#include "kernels/ref/pointwise.h"

double vw_ref_activate(vw_ref_act act, double x)
{
    switch (act) {
    case VW_REF_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case VW_REF_GELU_ERF:
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case VW_REF_SILU:
        return x / (1 + exp(-x));
    case VW_REF_RELU:
        return x > 0 ? x : 0;
    default:
        return x;
    }
}

void vw_ref_rms_norm(int64_t n, const double *x, const float *w, double offset, double eps,
                     double *y)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    double scale = 1 / sqrt(sum / (double)n + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * scale * (w ? offset + (double)w[i] : 1);
}

void vw_ref_rope(int is_pairs, int64_t first, int64_t dims, const float *inv_freq, double scale,
                 int32_t position, double *head)
{
    for (int64_t i = 0; i < dims / 2; i++) {
        double angle = (double)position * (double)inv_freq[i];
        double c = scale * cos(angle), s = scale * sin(angle);
        double *a = head + first + (is_pairs ? 2 * i : i), *b = a + (is_pairs ? 1 : dims / 2);
        double x = *a, y = *b;
        *a = x * c - y * s;
        *b = y * c + x * s;
    }
}

void vw_ref_softmax(int64_t n, double *x)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] = exp(x[i] - max);
    for (int64_t i = 0; i < n; i++)
        x[i] /= sum;
}
