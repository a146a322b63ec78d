/* gradient-loss.c - the loss of one position: which sums a row of logits needs, and what its gradient
 * is made of.  Compiled once; the passes over the row are in gradient.c.
 */
#include "kernels/cpu/gradient.h"

/* A softmax: probability of z = exp((z - max) / temperature) / total. */
typedef struct softmax {
    float max;
    double total;
} softmax;

static softmax softmax_of(const vw_pointwise *pw, int64_t n, const float *z, float inverse_t)
{
    softmax s = {.max = pw->max(n, z)};
    s.total = pw->exp_sum(n, z, s.max, inverse_t, NULL);
    return s;
}

/* log of the probability of z. */
static double log_share(const softmax *s, float z, float inverse_t)
{
    return ((double)z - (double)s->max) * (double)inverse_t - log(s->total);
}

/* What a teacher of k logits wants of the gradient at its ids, beyond what all words get. */
typedef struct selected {
    double p[VW_GRADIENT_MAX_IDS], q[VW_GRADIENT_MAX_IDS];
    double of_rest; /* the factor of q at all words */
} selected;

/* The rest of q is summed without the k, rather than as 1 minus them, which would cancel. */
static double rest_of(const vw_pointwise *pw, int64_t n, const vw_gradient_row *row, float *z,
                      const softmax *q)
{
    float kept[VW_GRADIENT_MAX_IDS];
    for (int64_t j = 0; j < row->k; j++) {
        kept[j] = z[row->ids[j]];
        z[row->ids[j]] = -INFINITY;
    }
    double rest = pw->exp_sum(n, z, q->max, 1 / row->temperature, NULL) / q->total;
    for (int64_t j = 0; j < row->k; j++)
        z[row->ids[j]] = kept[j];
    return rest;
}

static double selected_kl(const vw_pointwise *pw, int64_t n, const vw_gradient_row *row, float *z,
                          const softmax *q, selected *out)
{
    float t = 1 / row->temperature;
    softmax p = softmax_of(pw, row->k, row->teacher, t);
    double kl = 0, rest_p = 1, lse = (double)(p.max * t) + log(p.total);
    if (row->teacher_lse)
        lse = (double)*row->teacher_lse;
    for (int64_t j = 0; j < row->k; j++) {
        double log_p = (double)row->teacher[j] * (double)t - lse;
        double log_q = log_share(q, z[row->ids[j]], t);
        out->p[j] = exp(log_p);
        out->q[j] = exp(log_q);
        kl += out->p[j] > 0 ? out->p[j] * (log_p - log_q) : 0;
        rest_p -= out->p[j];
    }
    out->of_rest = 1;
    if (row->teacher_lse && row->k < n && rest_p > 0) {
        double rest_q = rest_of(pw, n, row, z, q);
        kl += rest_p * log(rest_p / rest_q);
        out->of_rest = 1 - rest_p / rest_q;
    }
    return kl;
}

static double full_kl(const vw_pointwise *pw, const vw_gradients *grads, int64_t n,
                      const vw_gradient_row *row, const float *z, const softmax *q,
                      softmax *teacher)
{
    float t = 1 / row->temperature;
    *teacher = softmax_of(pw, n, row->teacher, t);
    double shift = ((double)teacher->max - (double)q->max) * (double)t + log(teacher->total) -
                   log(q->total);
    return grads->divergence(n, row->teacher, z, t, teacher->max, (float)log(teacher->total),
                             (float)shift);
}

/* What is known of a row before its gradient is written over it. */
typedef struct position {
    softmax hard, soft, teacher; /* of z at temperature 1 and at the loss's, and of the teacher */
    selected at;                 /* with ids */
    int64_t label;
} position;

/* 1 - (z / cap)^2 */
static double slope_at(const vw_gradient_row *row, float z)
{
    double t = row->cap > 0 ? (double)z / (double)row->cap : 0;
    return 1 - t * t;
}

static void gradient(const vw_gradients *grads, int64_t n, const vw_gradient_row *row,
                     const position *at, float *z)
{
    double alpha = row->k > 0 ? (double)row->alpha : 0, smoothing = (double)row->smoothing;
    double hard = (1 - alpha) * (double)row->scale;
    double soft = alpha * (double)row->temperature * (double)row->scale;
    double at_label = hard * (1 - smoothing) * slope_at(row, z[at->label]);
    float at_id[VW_GRADIENT_MAX_IDS];
    vw_gradient_loss g = {.max = at->hard.max,
                          .a = (float)(hard / at->hard.total),
                          .d = (float)(hard * smoothing / (double)n),
                          .inverse_t = row->k > 0 ? 1 / row->temperature : 1,
                          .inverse_cap = row->cap > 0 ? 1 / row->cap : 0};
    if (row->k > 0)
        g.b = (float)(soft / at->soft.total * (row->ids ? at->at.of_rest : 1));
    if (row->k > 0 && !row->ids) {
        g.teacher = row->teacher;
        g.teacher_max = at->teacher.max;
        g.c = (float)(soft / at->teacher.total);
    }
    for (int64_t j = 0; row->ids && j < row->k; j++)
        at_id[j] = (float)(soft * slope_at(row, z[row->ids[j]]) *
                           (at->at.q[j] * (1 - at->at.of_rest) - at->at.p[j]));
    grads->loss(n, &g, z);
    z[at->label] -= (float)at_label;
    for (int64_t j = 0; row->ids && j < row->k; j++)
        z[row->ids[j]] += at_id[j];
}

void vw_gradient_cross_entropy(const vw_pointwise *pw, const vw_gradients *grads, int64_t n,
                               const vw_gradient_row *row, float *z, int64_t label, float *ce,
                               float *kl)
{
    position at = {.label = label};
    double divergence = 0;
    if (row->cap > 0)
        pw->softcap(n, row->cap, z);
    at.hard = softmax_of(pw, n, z, 1);
    if (row->k > 0) {
        at.soft = softmax_of(pw, n, z, 1 / row->temperature);
        divergence = row->ids ? selected_kl(pw, n, row, z, &at.soft, &at.at)
                              : full_kl(pw, grads, n, row, z, &at.soft, &at.teacher);
    }
    if (ce) {
        double smoothing = (double)row->smoothing, mean = 0;
        if (smoothing > 0)
            mean = grads->sum(n, z) / (double)n - (double)at.hard.max - log(at.hard.total);
        *ce = (float)-((1 - smoothing) * log_share(&at.hard, z[label], 1) + smoothing * mean);
    }
    if (kl)
        *kl = (float)divergence;
    if (row->is_backward)
        gradient(grads, n, row, &at, z);
}
