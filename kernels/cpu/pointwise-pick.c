/* pointwise-pick.c - top-k and sampling, which are decisions more than arithmetic: compiled once.
 *
 * No filter sorts the vocabulary.  In the order "larger value first, then lower id" what survives
 * top-k, top-p and min-p is always a beginning, so the filters only find where it ends: a value and
 * an id.  A heap finds it for top-k, a quickselect by weight for top-p, which before that drops what
 * together cannot matter.
 */
#include "kernels/cpu/pointwise.h"

/* NaN counts as the smallest value. */
static float value(const float *x, int32_t id)
{
    return x[id] == x[id] ? x[id] : -INFINITY;
}

/* Does id a come before id b? */
static int is_before(const float *x, int32_t a, int32_t b)
{
    float p = value(x, a), q = value(x, b);
    return p != q ? p > q : a < b;
}

/* A heap of ids with the last of the order on top. */
static void sift_down(const float *x, int32_t *heap, int64_t n, int64_t i)
{
    int32_t id = heap[i];
    for (int64_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && is_before(x, heap[child], heap[child + 1]))
            child++;
        if (is_before(x, heap[child], id))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = id;
}

/* The k best ids in a heap whose top is the last of them. */
static void keep_best(int64_t n, const float *x, int32_t k, int32_t *heap)
{
    for (int32_t i = 0; i < k; i++)
        heap[i] = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift_down(x, heap, k, i);
    for (int64_t i = k; i < n; i++)
        if (!(x[i] <= x[heap[0]]) && is_before(x, (int32_t)i, heap[0])) {
            heap[0] = (int32_t)i;
            sift_down(x, heap, k, 0);
        }
}

void vw_pointwise_top_k(int64_t n, const float *x, int32_t k, int32_t *indices)
{
    if (k < 1)
        return;
    keep_best(n, x, k, indices);
    for (int32_t last = k - 1; last > 0; last--) {
        int32_t id = indices[0];
        indices[0] = indices[last];
        indices[last] = id;
        sift_down(x, indices, last, 0);
    }
}

/* ---- sampling -------------------------------------------------------------------------------- */

/* Where the survivors end: those before (value, id), itself included. */
typedef struct cut {
    float least;
    int32_t id;
} cut;

static int survives(const float *x, int64_t i, cut end)
{
    return x[i] > end.least || (x[i] == end.least && i <= end.id);
}

/* Tokens below (1 - p) / n of the total cannot be needed to reach p: all of them together are less
 * than what may be missing.  The margin covers rounding. */
static int64_t top_p_candidates(int64_t n, const float *weight, double total, float p, int32_t *ids)
{
    double least = (1.0 - (double)p) / (double)n * total * 0.999;
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if ((double)weight[i] >= least)
            ids[m++] = (int32_t)i;
    return m;
}

/* Move the ids that come before ids[n / 2] to the front; returns how many, with their weight. */
static int64_t partition(const float *x, const float *weight, int32_t *ids, int64_t n, double *sum)
{
    int32_t pivot = ids[n / 2];
    int64_t m = 0;
    ids[n / 2] = ids[n - 1];
    *sum = 0;
    for (int64_t i = 0; i < n - 1; i++)
        if (is_before(x, ids[i], pivot)) {
            int32_t id = ids[i];
            *sum += (double)weight[id];
            ids[i] = ids[m];
            ids[m++] = id;
        }
    ids[n - 1] = ids[m];
    ids[m] = pivot;
    return m;
}

/* The id at which the running weight, in order, reaches `need`: a quickselect by weight, so that a
 * flat row costs no sort either. */
static cut top_p_cut(const float *x, const float *weight, double need, int32_t *ids, int64_t n)
{
    int32_t id = ids[0];
    while (n > 0) {
        double sum;
        int64_t m = partition(x, weight, ids, n, &sum);
        id = ids[m];
        if (m > 0 && sum >= need) {
            n = m;
            continue;
        }
        need -= sum + (double)weight[id];
        if (need <= 0)
            break;
        ids += m + 1;
        n -= m + 1;
    }
    return (cut){value(x, id), id};
}

/* The end of what top-k and top-p leave over. */
static cut filter(int64_t n, const float *x, const float *weight, double total,
                  const vw_pointwise_sampling *how, int32_t *ids)
{
    cut end = {-INFINITY, (int32_t)n};
    int64_t m = 0;
    if (how->top_k > 0 && how->top_k < n) {
        m = how->top_k;
        keep_best(n, x, (int32_t)m, ids);
        end = (cut){value(x, ids[0]), ids[0]};
        total = 0;
        for (int64_t i = 0; i < m; i++)
            total += (double)weight[ids[i]];
    }
    if (how->top_p < 1) {
        if (m == 0)
            m = top_p_candidates(n, weight, total, how->top_p, ids);
        if (m > 0)
            end = top_p_cut(x, weight, (double)how->top_p * total, ids, m);
    }
    return end;
}

static int32_t draw(int64_t n, const float *x, const float *weight, cut end, float least,
                    double uniform)
{
    double total = 0, sum = 0;
    int32_t last = 0;
    for (int64_t i = 0; i < n; i++)
        if (survives(x, i, end) && weight[i] >= least)
            total += (double)weight[i];
    for (int64_t i = 0; i < n; i++)
        if (survives(x, i, end) && weight[i] >= least && weight[i] > 0) {
            sum += (double)weight[i];
            last = (int32_t)i;
            if (sum > uniform * total)
                break;
        }
    return last;
}

/* The first of the largest; 0 when there is nothing but NaN. */
static int32_t first_of(int64_t n, const float *x, float max)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] == max)
            return (int32_t)i;
    return 0;
}

/* A token whose logit is NaN is never drawn. */
static double drop_nan(int64_t n, float *weight)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        weight[i] = weight[i] == weight[i] ? weight[i] : 0;
        total += (double)weight[i];
    }
    return total;
}

size_t vw_pointwise_sample_scratch(int64_t n)
{
    return (size_t)n * (sizeof(float) + sizeof(int32_t));
}

int32_t vw_pointwise_sample(const vw_pointwise *pw, int64_t n, const float *logits,
                            const vw_pointwise_sampling *how, float *logprob, void *scratch)
{
    float max = pw->max(n, logits), *weight = scratch;
    int32_t token, *ids = (int32_t *)(void *)(weight + n);
    if (how->temperature > 0 && isfinite(max)) {
        /* weight is the probability times a constant: 1 for the largest. */
        double total = pw->exp_sum(n, logits, max, 1.0f / how->temperature, weight);
        if (total != total)
            total = drop_nan(n, weight);
        cut end = filter(n, logits, weight, total, how, ids);
        token = draw(n, logits, weight, end, how->min_p < 1 ? how->min_p : 1, how->uniform);
    } else {
        token = first_of(n, logits, max);
    }
    if (logprob) {
        double total = pw->exp_sum(n, logits, max, 1, NULL);
        *logprob = (float)((double)logits[token] - (double)max - log(total));
    }
    return token;
}
