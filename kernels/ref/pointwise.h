/* pointwise.h - the pointwise set as formulas: one row, double precision, no thought of speed.
 *
 * This is what the device kind's conformance test measures every device by.  Letters as in
 * device.h.
 */
#ifndef KERNELS_REF_POINTWISE_H
#define KERNELS_REF_POINTWISE_H

#include <vishwamai/dtype.h>

typedef enum vw_ref_act {
    VW_REF_NONE,
    VW_REF_GELU_TANH,
    VW_REF_GELU_ERF,
    VW_REF_SILU,
    VW_REF_RELU
} vw_ref_act;

double vw_ref_activate(vw_ref_act act, double x);

/* y = x / sqrt(mean(x^2) + eps) * (offset + w); w NULL: ones. */
void vw_ref_rms_norm(int64_t n, const double *x, const float *w, double offset, double eps,
                     double *y);

/* Turn values [first, first + dims) of one head; inv_freq [dims / 2]. */
void vw_ref_rope(int is_pairs, int64_t first, int64_t dims, const float *inv_freq, double scale,
                 int32_t position, double *head);

void vw_ref_softmax(int64_t n, double *x);

#endif
