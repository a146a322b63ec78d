/* gradient.h - losses, gradients and expert routing as formulas: one row, double precision, no
 * thought of speed.
 *
 * device.h has the formulas in words; t/gradient-formulas.c holds each of these against central
 * differences of the function whose gradient it is, and the device kind's conformance test measures
 * every device by them.  Letters as in device.h.
 */
#ifndef KERNELS_REF_GRADIENT_H
#define KERNELS_REF_GRADIENT_H

#include "kernels/ref/pointwise.h"

/* d_x += ..., d_w += ... (NULL: not wanted); w NULL: ones. */
void vw_ref_rms_norm_backward(int64_t n, const double *x, const float *w, double offset, double eps,
                              const double *d_y, double *d_x, double *d_w);

/* The derivative of vw_ref_activate. */
double vw_ref_activate_slope(vw_ref_act act, double x);

/* From the softmax y and d_y; d_x may be d_y. */
void vw_ref_softmax_backward(int64_t n, const double *y, const double *d_y, double *d_x);

/* What vw_loss_desc says, for one row. */
typedef struct vw_ref_loss {
    double smoothing, cap, alpha, temperature;
    int64_t k;             /* values of the teacher; 0: no teacher */
    const double *teacher; /* [n] without ids, else [k] */
    const int32_t *ids;
    double teacher_lse;    /* with ids; NAN: the k are all there is */
} vw_ref_loss;

/* Returns L; *ce and *kl its terms, d_logits its gradient (each may be NULL). */
double vw_ref_cross_entropy(int64_t n, const vw_ref_loss *loss, const double *logits, int64_t label,
                            double *ce, double *kl, double *d_logits);

/* Philox4x32-10: four words for a key and a counter of two halves, low word first. */
void vw_ref_philox(uint64_t key, uint64_t high, uint64_t low, uint32_t words[4]);

/* What vw_route_desc says. */
typedef struct vw_ref_route {
    int64_t k;
    int is_sigmoid, is_normalised;
    int64_t n_groups, top_groups, group_best;
    double scale;
    const float *bias;
} vw_ref_route;

/* s [n] from logits [n]. */
void vw_ref_route_scores(int64_t n, const vw_ref_route *route, const double *logits, double *s);
/* The choice from s: ids [k] by falling s + bias. */
void vw_ref_route_choose(int64_t n, const vw_ref_route *route, const double *s, int32_t *ids);
void vw_ref_route_weights(int64_t n, const vw_ref_route *route, const double *s,
                          const int32_t *ids, double *weights);

/* d_logits += the gradient through the weights, plus that of
 * balance * sum f_e s_e / sum s + z * (log sum exp logits)^2.  f NULL: none. */
void vw_ref_route_backward(int64_t n, const vw_ref_route *route, const double *logits,
                           const int32_t *ids, const double *d_weights, double balance,
                           const double *f, double z, double *d_logits);

#endif
