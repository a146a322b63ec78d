/* attention.c - the plain attention: forward and gradients.  attention.md, sections 2 and 3. */
#include "kernels/ref/attention.h"

static double dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static double score(const vw_ref_attention *a, const float *q, const float *k)
{
    double z = a->scale * dot(q, k, a->dk);
    return a->cap > 0 ? a->cap * tanh(z / a->cap) : z;
}

size_t vw_ref_attend_space(const vw_ref_attention *a, int64_t S)
{
    int64_t row = a->dk > a->dv ? a->dk : a->dv;
    return (size_t)(S + a->dv + row) * sizeof(double);
}

double vw_ref_attend(const vw_ref_attention *a, const float *q, int64_t p, int64_t S,
                     const vw_ref_kv *kv, float *out, void *space)
{
    double *z = space, *sum = z + S, max = -INFINITY, total = 0;
    float *row = (float *)(sum + a->dv);
    int64_t lo, hi;
    vw_ref_visible(a->is_causal, a->window, p, S, &lo, &hi);
    for (int64_t j = lo; j < hi; j++) {
        z[j] = score(a, q, kv->key(kv->from, j, row));
        max = z[j] > max ? z[j] : max;
    }
    for (int64_t d = 0; d < a->dv; d++)
        sum[d] = 0;
    for (int64_t j = lo; j < hi; j++) {
        double weight = exp(z[j] - max);
        const float *v = kv->value(kv->from, j, row);
        total += weight;
        for (int64_t d = 0; d < a->dv; d++)
            sum[d] += weight * (double)v[d];
    }
    for (int64_t d = 0; d < a->dv; d++)
        out[d] = hi > lo ? (float)(sum[d] / total) : 0;
    return hi > lo ? max + log(total) : INFINITY;
}

/* ---- gradients ------------------------------------------------------------------------------- */

static float *at(vw_ref_rows rows, int64_t row, int64_t head, int64_t width)
{
    return rows.data + row * rows.stride + head * width;
}

double vw_ref_attend_delta(const vw_ref_attention_pass *pass, int64_t i, int64_t h)
{
    int64_t dv = pass->a.dv;
    return dot(at(pass->d_out, i, h, dv), at(pass->out, i, h, dv), dv);
}

/* P[i,j] and dS[i,j] of query head h. */
static void pair(const vw_ref_attention_pass *pass, double delta, int64_t i, int64_t j, int64_t h,
                 double *weight, double *d_score)
{
    const vw_ref_attention *a = &pass->a;
    int64_t g = h / (pass->q_heads / pass->k_heads);
    double z = score(a, at(pass->q, i, h, a->dk), at(pass->k, j, g, a->dk));
    double d_weight = dot(at(pass->d_out, i, h, a->dv), at(pass->v, j, g, a->dv), a->dv);
    *weight = exp(z - (double)pass->lse[i * pass->q_heads + h]);
    *d_score = *weight * (d_weight - delta);
    if (a->cap > 0)
        *d_score *= 1 - (z / a->cap) * (z / a->cap);
}

void vw_ref_attend_dq(const vw_ref_attention_pass *pass, double delta, int64_t i, int64_t h,
                      float *dq, double *space)
{
    const vw_ref_attention *a = &pass->a;
    int64_t lo, hi;
    vw_ref_visible(a->is_causal, a->window, i, pass->n, &lo, &hi);
    for (int64_t d = 0; d < a->dk; d++)
        space[d] = 0;
    for (int64_t j = lo; j < hi; j++) {
        const float *k = at(pass->k, j, h / (pass->q_heads / pass->k_heads), a->dk);
        double weight, d_score;
        pair(pass, delta, i, j, h, &weight, &d_score);
        for (int64_t d = 0; d < a->dk; d++)
            space[d] += d_score * (double)k[d];
    }
    for (int64_t d = 0; d < a->dk; d++)
        dq[d] = (float)(a->scale * space[d]);
}

/* What query i of head h adds to key and value j. */
static void add_pair(const vw_ref_attention_pass *pass, double delta, int64_t i, int64_t j,
                     int64_t h, double *dk, double *dv)
{
    const vw_ref_attention *a = &pass->a;
    const float *q = at(pass->q, i, h, a->dk), *d_out = at(pass->d_out, i, h, a->dv);
    int64_t lo, hi;
    double weight, d_score;
    vw_ref_visible(a->is_causal, a->window, i, pass->n, &lo, &hi);
    if (j < lo || j >= hi)
        return;
    pair(pass, delta, i, j, h, &weight, &d_score);
    for (int64_t d = 0; d < a->dk; d++)
        dk[d] += d_score * (double)q[d];
    for (int64_t d = 0; d < a->dv; d++)
        dv[d] += weight * (double)d_out[d];
}

void vw_ref_attend_dkv(const vw_ref_attention_pass *pass, const double *delta, int64_t j, int64_t g,
                       float *dk, float *dv, double *space)
{
    const vw_ref_attention *a = &pass->a;
    int64_t group = pass->q_heads / pass->k_heads;
    double *sum_k = space, *sum_v = space + a->dk;
    for (int64_t d = 0; d < a->dk + a->dv; d++)
        space[d] = 0;
    for (int64_t h = g * group; h < (g + 1) * group; h++)
        for (int64_t i = 0; i < pass->n; i++)
            add_pair(pass, delta[i * pass->q_heads + h], i, j, h, sum_k, sum_v);
    for (int64_t d = 0; d < a->dk; d++)
        dk[d] = (float)(a->scale * sum_k[d]);
    for (int64_t d = 0; d < a->dv; d++)
        dv[d] = (float)sum_v[d];
}
