/* gradient.h - the arithmetic of the cpu device's backward operations and losses, one table per
 * instruction set; and expert routing, which is decisions and compiled once.
 *
 * As pointwise.h: one row, or n values in a row, on one thread.  Letters as in device.h.
 */
#ifndef KERNELS_CPU_GRADIENT_H
#define KERNELS_CPU_GRADIENT_H

#include "kernels/cpu/pointwise.h"

/* What becomes of one row of logits z, in place:
 *
 *     z = (a exp(z - max) + b exp((z - max) / T) - c exp((teacher - teacher_max) / T) - d) * cap'(z)
 *
 * T the temperature, cap'(z) = 1 - (z / cap)^2 where there is a cap.  b = c = 0 without a teacher. */
typedef struct vw_gradient_loss {
    float max, a, d;
    float b, inverse_t;
    const float *teacher; /* [n], NULL: c is not used */
    float c, teacher_max;
    float inverse_cap;    /* 0: none */
} vw_gradient_loss;

typedef struct vw_gradients {
    /* d_x (+)= r g - x r^3 mean(g x), g = d_y (w_offset + w), w NULL: d_y; d_w += d_y x r unless
     * NULL.  d_x may be x or d_y. */
    void (*rms_norm)(int64_t n, const float *x, const float *w, float w_offset, float eps,
                     const float *d_y, int is_added, float *d_x, float *d_w);
    /* d_x (+)= act'(x) d_y. */
    void (*activate)(vw_pointwise_act act, int64_t n, const float *x, const float *d_y,
                     int is_added, float *d_x);
    void (*gate)(vw_pointwise_act act, int64_t n, const float *gate, const float *up,
                 const float *d_y, float *d_gate, float *d_up);
    /* d_y *= 1 - (y / cap)^2. */
    void (*softcap)(int64_t n, float cap, const float *y, float *d_y);
    /* d_y = y (d_y - sum y d_y). */
    void (*softmax)(int64_t n, const float *y, float *d_y);

    void (*loss)(int64_t n, const vw_gradient_loss *loss, float *z);
    double (*sum)(int64_t n, const float *x);
    double (*sum_squares)(int64_t n, const float *x);
    float (*dot)(int64_t n, const float *x, const float *y);
    /* sum of p ((teacher - z) inverse_t - shift), p = exp((teacher - max) inverse_t - log_total). */
    double (*divergence)(int64_t n, const float *teacher, const float *z, float inverse_t,
                         float max, float log_total, float shift);

    /* y = x scale where word `first` + i of the stream is at least `least`, else 0. */
    void (*dropout)(int64_t n, uint64_t seed, uint64_t stream, uint64_t first, uint32_t least,
                    float scale, const float *x, float *y);
} vw_gradients;

/* The table to run on an instruction set that vw_cpu_choose() gave. */
const vw_gradients *vw_gradients_for(vw_cpu_isa isa);

extern const vw_gradients vw_gradients_base, vw_gradients_avx2, vw_gradients_avx512;

/* ---- a row of a loss: gradient-loss.c ---- */

/* As vw_loss_desc, for one row; logits become the gradient if is_backward, else nothing of use. */
typedef struct vw_gradient_row {
    float smoothing, cap, scale, alpha, temperature;
    int is_backward;
    int64_t k;             /* of the teacher; 0: none */
    const float *teacher;  /* [k], or [n] without ids, where k is n */
    const int32_t *ids;
    const float *teacher_lse; /* NULL: the k are all */
} vw_gradient_row;

enum { VW_GRADIENT_MAX_IDS = 1024 };

/* ce and kl may be NULL.  0 <= label < n, and so are all ids. */
void vw_gradient_cross_entropy(const vw_pointwise *pw, const vw_gradients *grads, int64_t n,
                               const vw_gradient_row *row, float *logits, int64_t label, float *ce,
                               float *kl);

/* ---- a token's experts: route.c ---- */

enum { VW_ROUTE_MAX_EXPERTS = 2048 };

/* As vw_route_desc. */
typedef struct vw_route {
    int32_t k;
    int is_sigmoid, is_normalised;
    int32_t n_groups, top_groups, group_best;
    float scale;
    const float *bias;
} vw_route;

/* n <= VW_ROUTE_MAX_EXPERTS; shares [n] and lse may be NULL. */
void vw_route_token(const vw_pointwise *pw, int64_t n, const vw_route *route, const float *logits,
                    int32_t *ids, float *weights, float *shares, float *lse);
/* d_logits (+)= the gradient through the weights, of balance * sum f s / sum s (f [n] or NULL) and
 * of z * lse^2. */
void vw_route_token_backward(const vw_pointwise *pw, int64_t n, const vw_route *route,
                             const float *logits, const int32_t *ids, const float *d_weights,
                             float balance, const float *f, float z, int is_added,
                             float *d_logits);

#endif
