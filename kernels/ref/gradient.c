/* gradient.c - the formulas of losses and gradients. */
#include "kernels/ref/gradient.h"

#include <stdlib.h>

/* ---- norm, activations, softmax -------------------------------------------------------------- */

void vw_ref_rms_norm_backward(int64_t n, const double *x, const float *w, double offset, double eps,
                              const double *d_y, double *d_x, double *d_w)
{
    double squares = 0, mean = 0;
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    double r = 1 / sqrt(squares / (double)n + eps);
    for (int64_t i = 0; i < n; i++)
        mean += d_y[i] * (w ? offset + (double)w[i] : 1) * x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        d_x[i] += r * d_y[i] * (w ? offset + (double)w[i] : 1) - x[i] * r * r * r * mean;
        if (d_w)
            d_w[i] += d_y[i] * x[i] * r;
    }
}

double vw_ref_activate_slope(vw_ref_act act, double x)
{
    double u, t, s;
    switch (act) {
    case VW_REF_GELU_TANH:
        u = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
        t = tanh(u);
        return 0.5 * (1 + t) +
               0.5 * x * (1 - t * t) * 0.79788456080286535588 * (1 + 3 * 0.044715 * x * x);
    case VW_REF_GELU_ERF:
        return 0.5 * erfc(-x * 0.70710678118654752440) +
               x * exp(-0.5 * x * x) * 0.39894228040143267794;
    case VW_REF_SILU:
        s = 1 / (1 + exp(-x));
        return s * (1 + x * (1 - s));
    case VW_REF_RELU:
        return x > 0;
    default:
        return 1;
    }
}

void vw_ref_softmax_backward(int64_t n, const double *y, const double *d_y, double *d_x)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += y[i] * d_y[i];
    for (int64_t i = 0; i < n; i++)
        d_x[i] = y[i] * (d_y[i] - sum);
}

/* ---- the loss of a position ------------------------------------------------------------------ */

static double log_sum_exp(int64_t n, const double *x, double factor)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++)
        sum += exp((x[i] - max) * factor);
    return max * factor + log(sum);
}

/* KL from a teacher of k values, and scale * its gradient by z added to d_z.  The rest of p and of q
 * is one class more, whose part of the gradient falls on its members by their share of q. */
static double divergence(int64_t n, const vw_ref_loss *loss, const double *z, double scale,
                         double *d_z)
{
    double t = 1 / loss->temperature, lse_q = log_sum_exp(n, z, t), kl = 0;
    double lse_p = loss->ids && loss->teacher_lse == loss->teacher_lse
                       ? loss->teacher_lse
                       : log_sum_exp(loss->k, loss->teacher, t);
    double rest_p = 1, rest_q = 1;
    for (int64_t i = 0; i < loss->k; i++) {
        double log_p = loss->teacher[i] * t - lse_p;
        double log_q = z[loss->ids ? loss->ids[i] : i] * t - lse_q;
        kl += exp(log_p) * (log_p - log_q);
        rest_p -= exp(log_p), rest_q -= exp(log_q);
    }
    if (!loss->ids || loss->teacher_lse != loss->teacher_lse)
        rest_p = 0;
    if (loss->ids && loss->k < n && rest_p > 0)
        kl += rest_p * log(rest_p / rest_q);
    double of_rest = loss->ids && loss->k < n ? 1 - rest_p / rest_q : 1;
    for (int64_t i = 0; d_z && i < n; i++)
        d_z[i] += scale * t * exp(z[i] * t - lse_q) * of_rest;
    for (int64_t i = 0; d_z && i < loss->k; i++) {
        int64_t id = loss->ids ? loss->ids[i] : i;
        double q = exp(z[id] * t - lse_q), p = exp(loss->teacher[i] * t - lse_p);
        d_z[id] += scale * t * (q * (1 - of_rest) - p);
    }
    return kl;
}

double vw_ref_cross_entropy(int64_t n, const vw_ref_loss *loss, const double *logits, int64_t label,
                            double *ce_out, double *kl_out, double *d)
{
    double *z = calloc((size_t)n, sizeof *z), ce, kl = 0, mean = 0;
    double alpha = loss->k > 0 ? loss->alpha : 0, t2 = loss->temperature * loss->temperature;
    for (int64_t i = 0; i < n; i++)
        z[i] = loss->cap > 0 ? loss->cap * tanh(logits[i] / loss->cap) : logits[i];
    for (int64_t i = 0; i < n; i++)
        mean += z[i] / (double)n;
    double lse = log_sum_exp(n, z, 1);
    ce = (1 - loss->smoothing) * (lse - z[label]) + loss->smoothing * (lse - mean);
    for (int64_t i = 0; d && i < n; i++)
        d[i] = (1 - alpha) * (exp(z[i] - lse) - loss->smoothing / (double)n -
                              (i == label ? 1 - loss->smoothing : 0));
    if (loss->k > 0)
        kl = divergence(n, loss, z, alpha * t2, d);
    for (int64_t i = 0; d && loss->cap > 0 && i < n; i++)
        d[i] *= 1 - z[i] / loss->cap * (z[i] / loss->cap);
    free(z);
    if (ce_out)
        *ce_out = ce;
    if (kl_out)
        *kl_out = kl;
    return (1 - alpha) * ce + (loss->k > 0 ? alpha * t2 * kl : 0);
}

/* ---- dropout --------------------------------------------------------------------------------- */

void vw_ref_philox(uint64_t key, uint64_t high, uint64_t low, uint32_t c[4])
{
    const uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high,
                                 (uint32_t)(high >> 32)};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    memcpy(c, counter, sizeof counter);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        memcpy(c, next, sizeof next);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* ---- routing --------------------------------------------------------------------------------- */

void vw_ref_route_scores(int64_t n, const vw_ref_route *route, const double *logits, double *s)
{
    double lse = log_sum_exp(n, logits, 1);
    for (int64_t i = 0; i < n; i++)
        s[i] = route->is_sigmoid ? 1 / (1 + exp(-logits[i])) : exp(logits[i] - lse);
}

/* The largest of x [n] that is not taken yet, ties to the lower index; marks it. */
static int64_t take_largest(int64_t n, const double *x, char *is_taken)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!is_taken[i] && (best < 0 || x[i] > x[best]))
            best = i;
    is_taken[best] = 1;
    return best;
}

void vw_ref_route_choose(int64_t n, const vw_ref_route *route, const double *s, int32_t *ids)
{
    int64_t groups = route->n_groups > 1 ? route->n_groups : 1, size = n / groups;
    double *b = malloc((size_t)n * sizeof *b), *score = malloc((size_t)groups * sizeof *score);
    char *out = malloc((size_t)n), *is_kept = calloc((size_t)groups, 1);
    for (int64_t i = 0; i < n; i++)
        b[i] = s[i] + (route->bias ? (double)route->bias[i] : 0);
    for (int64_t g = 0; g < groups; g++) {
        memset(out, 0, (size_t)n);
        score[g] = 0;
        for (int64_t j = 0; groups > 1 && j < route->group_best; j++)
            score[g] += b[g * size + take_largest(size, b + g * size, out)];
    }
    for (int64_t j = 0; j < (groups > 1 ? route->top_groups : 1); j++)
        take_largest(groups, score, is_kept);
    for (int64_t i = 0; i < n; i++)
        out[i] = !is_kept[i / size];
    for (int64_t j = 0; j < route->k; j++)
        ids[j] = (int32_t)take_largest(n, b, out);
    free(b), free(score), free(out), free(is_kept);
}

void vw_ref_route_weights(int64_t n, const vw_ref_route *route, const double *s,
                          const int32_t *ids, double *weights)
{
    double sum = 0;
    (void)n;
    for (int64_t j = 0; j < route->k; j++)
        sum += s[ids[j]];
    for (int64_t j = 0; j < route->k; j++)
        weights[j] = route->scale * s[ids[j]] / (route->is_normalised ? sum : 1);
}

void vw_ref_route_backward(int64_t n, const vw_ref_route *route, const double *logits,
                           const int32_t *ids, const double *d_weights, double balance,
                           const double *f, double z, double *d_logits)
{
    double *s = malloc((size_t)n * sizeof *s), *ds = calloc((size_t)n, sizeof *ds);
    double chosen = 0, all = 0, inner = 0, lse = log_sum_exp(n, logits, 1);
    vw_ref_route_scores(n, route, logits, s);
    for (int64_t j = 0; j < route->k; j++) {
        chosen += s[ids[j]];
        inner += d_weights[j] * s[ids[j]];
    }
    for (int64_t j = 0; j < route->k; j++)
        ds[ids[j]] += route->is_normalised ? route->scale / chosen * (d_weights[j] - inner / chosen)
                                           : route->scale * d_weights[j];
    inner = 0;
    for (int64_t i = 0; i < n; i++) {
        all += s[i];
        inner += f ? balance * f[i] * s[i] : 0;
    }
    for (int64_t i = 0; f && i < n; i++)
        ds[i] += (balance * f[i] - inner / all) / all;
    inner = 0;
    for (int64_t i = 0; i < n; i++)
        inner += s[i] * ds[i];
    for (int64_t i = 0; i < n; i++)
        d_logits[i] += (route->is_sigmoid ? s[i] * (1 - s[i]) * ds[i] : s[i] * (ds[i] - inner)) +
                       z * 2 * lse * exp(logits[i] - lse);
    free(s), free(ds);
}
