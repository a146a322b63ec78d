/* route.c - the choice of a token's experts, and its gradient.  Compiled once: a few hundred values a
 * token, of which the exponentials alone are worth vectors.
 */
#include "kernels/cpu/gradient.h"

/* s; returns its sum, and log sum exp of the logits in *lse if that is wanted. */
static double scores(const vw_pointwise *pw, int64_t n, const vw_route *route, const float *logits,
                     float *s, double *lse)
{
    double all = 0;
    float max = pw->max(n, logits);
    if (route->is_sigmoid) {
        if (lse)
            *lse = (double)max + log(pw->exp_sum(n, logits, max, 1, NULL));
        pw->exp_sum(n, logits, 0, -1, s);
        for (int64_t i = 0; i < n; i++)
            all += (double)(s[i] = 1 / (1 + s[i]));
        return all;
    }
    all = pw->exp_sum(n, logits, max, 1, s);
    for (int64_t i = 0; i < n; i++)
        s[i] = (float)((double)s[i] / all);
    if (lse)
        *lse = (double)max + log(all);
    return 1;
}

/* The sum of the `best` largest of x [n]. */
static float sum_of_best(int64_t n, const float *x, int32_t best)
{
    int32_t ids[VW_ROUTE_MAX_EXPERTS];
    float total = 0;
    vw_pointwise_top_k(n, x, best, ids);
    for (int32_t j = 0; j < best; j++)
        total += x[ids[j]];
    return total;
}

/* Leave only the best groups of b: the others become -inf. */
static void keep_groups(int64_t n, const vw_route *route, float *b)
{
    int64_t size = n / route->n_groups;
    int32_t order[VW_ROUTE_MAX_EXPERTS];
    float score[VW_ROUTE_MAX_EXPERTS];
    for (int32_t g = 0; g < route->n_groups; g++)
        score[g] = sum_of_best(size, b + g * size, route->group_best);
    vw_pointwise_top_k(route->n_groups, score, route->n_groups, order);
    for (int32_t g = route->top_groups; g < route->n_groups; g++)
        for (int64_t i = 0; i < size; i++)
            b[order[g] * size + i] = -INFINITY;
}

/* Sum of the chosen scores. */
static double chosen_sum(const vw_route *route, const float *s, const int32_t *ids)
{
    double sum = 0;
    for (int32_t j = 0; j < route->k; j++)
        sum += (double)s[ids[j]];
    return sum;
}

void vw_route_token(const vw_pointwise *pw, int64_t n, const vw_route *route, const float *logits,
                    int32_t *ids, float *weights, float *shares, float *lse)
{
    float s[VW_ROUTE_MAX_EXPERTS], b[VW_ROUTE_MAX_EXPERTS];
    double log_sum, all = scores(pw, n, route, logits, s, lse ? &log_sum : NULL);
    for (int64_t i = 0; i < n; i++)
        b[i] = route->bias ? s[i] + route->bias[i] : s[i];
    if (route->n_groups > 1)
        keep_groups(n, route, b);
    vw_pointwise_top_k(n, b, route->k, ids);
    double sum = route->is_normalised ? chosen_sum(route, s, ids) : 1;
    for (int32_t j = 0; j < route->k; j++)
        weights[j] = sum > 0 ? (float)((double)route->scale * (double)s[ids[j]] / sum) : 0;
    for (int64_t i = 0; shares && i < n; i++)
        shares[i] = (float)((double)s[i] / all);
    if (lse)
        *lse = (float)log_sum;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* d_s of the weights: only the chosen have one. */
static void through_weights(const vw_route *route, const float *s, const int32_t *ids,
                            const float *d_weights, float *d_s)
{
    double sum = route->is_normalised ? chosen_sum(route, s, ids) : 1, inner = 0;
    if (!(sum > 0))
        return;
    for (int32_t j = 0; route->is_normalised && j < route->k; j++)
        inner += (double)d_weights[j] * (double)s[ids[j]] / sum;
    for (int32_t j = 0; j < route->k; j++)
        d_s[ids[j]] += (float)((double)route->scale * ((double)d_weights[j] - inner) / sum);
}

/* ... and of balance * sum f s / sum s. */
static void through_balance(int64_t n, const float *s, double all, double balance, const float *f,
                            float *d_s)
{
    double inner = 0;
    for (int64_t i = 0; i < n; i++)
        inner += (double)f[i] * (double)s[i] / all;
    for (int64_t i = 0; i < n; i++)
        d_s[i] += (float)(balance * ((double)f[i] - inner) / all);
}

void vw_route_token_backward(const vw_pointwise *pw, int64_t n, const vw_route *route,
                             const float *logits, const int32_t *ids, const float *d_weights,
                             float balance, const float *f, float z, int is_added, float *d_logits)
{
    float s[VW_ROUTE_MAX_EXPERTS], d_s[VW_ROUTE_MAX_EXPERTS] = {0};
    double lse, inner = 0, all = scores(pw, n, route, logits, s, &lse);
    through_weights(route, s, ids, d_weights, d_s);
    if (f && balance != 0)
        through_balance(n, s, all, (double)balance, f, d_s);
    for (int64_t i = 0; i < n; i++)
        inner += (double)s[i] * (double)d_s[i];
    for (int64_t i = 0; i < n; i++) {
        double si = (double)s[i], d = (double)d_s[i];
        double of_z = route->is_sigmoid && z != 0 ? exp((double)logits[i] - lse) : si;
        d = route->is_sigmoid ? si * (1 - si) * d : si * (d - inner);
        d += (double)z * 2 * lse * of_z;
        d_logits[i] = (float)(is_added ? (double)d_logits[i] + d : d);
    }
}
