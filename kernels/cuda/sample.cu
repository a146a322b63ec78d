/* sample.cu - a row of logits becomes a token: one block a row.
 *
 * Nothing is sorted.  What survives top-k, top-p and min-p is always a beginning of the order
 * "larger value first, then lower id", so each filter only has to find where it ends: the key of a
 * value, and how many of the tokens with that very value stay, the lowest ids first.  The key is
 * found two bits at a time, each time counting how many tokens, or how much weight, lie above three
 * candidates.  Weights are exp((x - max) / temperature), summed as integers of 2^-40, so that no
 * sum depends on its order and a draw is the same every time.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/order.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/reduce.h"

namespace
{

typedef unsigned long long sum_t;

/* Values with keys above `key` survive, and of those that have it the `n_ties` lowest ids. */
struct cut {
    unsigned key;
    sum_t n_ties;
};

struct block { /* shared by the threads of a block */
    sum_t sums[VW_WARP];
    double doubles[VW_WARP];
    sum_t bases[VW_WARP];
};

__device__ static inline sum_t fixed(float weight)
{
    return (sum_t)(weight * 0x1p40f);
}

__device__ static inline sum_t add_up(sum_t v, block *b)
{
    return vw_block_reduce(v, vw_plus(), b->sums);
}

/* ---- weights -------------------------------------------------------------------------------- */

__device__ static inline float weight_of(float x, float most, float factor)
{
    float w = expf((x - most) * factor);
    return w == w ? w : 0.0f;
}

__device__ static sum_t find_best(const float *x, int64_t n, block *b)
{
    sum_t best = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        sum_t here = vw_place_of(x[i], (unsigned)i);
        best = here > best ? here : best;
    }
    return vw_block_reduce(best, vw_larger(), b->sums);
}

/* Natural log of the softmax of the row, at temperature 1; a NaN in the row makes it NaN. */
__device__ static float log_share(const float *x, int64_t n, float most, float chosen, block *b)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += (double)expf(x[i] - most);
    sum = vw_block_reduce(sum, vw_plus(), b->doubles);
    return (float)((double)chosen - (double)most - log(sum));
}

/* ---- where a filter ends -------------------------------------------------------------------- */

/* The largest key such that the mass of all with that key or a larger one reaches `need`; *above is
 * the mass of the larger ones.  mass(i, key) is what token i counts; `extra` counts for `tie_key`,
 * once. */
template <class Mass>
__device__ static unsigned find_key(const float *x, int64_t n, Mass mass, unsigned tie_key,
                                    sum_t extra, sum_t need, sum_t *above, block *b)
{
    unsigned key = 0;
    *above = 0;
    for (int shift = 30; shift >= 0; shift -= 2) {
        unsigned one = key | 1u << shift, two = key | 2u << shift, three = key | 3u << shift;
        sum_t s1 = 0, s2 = 0, s3 = 0;
        if (threadIdx.x == 0) {
            s1 = tie_key >= one ? extra : 0;
            s2 = tie_key >= two ? extra : 0;
            s3 = tie_key >= three ? extra : 0;
        }
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
            unsigned k = vw_key_of(x[i]);
            sum_t m = k >= one ? mass(i, k) : 0;
            s1 += m;
            s2 += k >= two ? m : 0;
            s3 += k >= three ? m : 0;
        }
        s1 = add_up(s1, b);
        s2 = add_up(s2, b);
        s3 = add_up(s3, b);
        if (s3 >= need) {
            key = three;
        } else if (s2 >= need) {
            key = two;
            *above = s3;
        } else if (s1 >= need) {
            key = one;
            *above = s2;
        } else {
            *above = s1;
        }
    }
    return key;
}

__device__ static cut cut_top_k(const float *x, int64_t n, int32_t top_k, block *b)
{
    sum_t above;
    unsigned key = find_key(
        x, n, [](int64_t, unsigned) { return (sum_t)1; }, 0, 0, (sum_t)top_k, &above, b);
    return cut{key, (sum_t)top_k - above};
}

/* Shorten a cut to the likeliest tokens whose share of what it left reaches p. */
__device__ static cut cut_top_p(const float *x, const float *w, int64_t n, float p, cut c,
                                float most, float factor, block *b)
{
    sum_t above, total = 0;
    sum_t ties = c.n_ties ? c.n_ties * fixed(weight_of(vw_value_at(c.key), most, factor)) : 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        total += vw_key_of(x[i]) > c.key ? fixed(w[i]) : 0;
    total = add_up(total, b) + ties;
    sum_t need = p > 0 ? (sum_t)ceil((double)p * (double)total) : 1;
    need = need > total ? total : need < 1 ? 1 : need;
    unsigned key = find_key(
        x, n, [w, c](int64_t i, unsigned k) { return k > c.key ? fixed(w[i]) : 0; }, c.key, ties,
        need, &above, b);
    sum_t one = fixed(weight_of(vw_value_at(key), most, factor));
    return cut{key, (need - above + one - 1) / one};
}

/* ---- the draw ------------------------------------------------------------------------------- */

struct segment { /* tokens [first, last) of one warp, a multiple of 32 from each other */
    int64_t first, last;
};

__device__ static inline segment segment_of(int64_t n)
{
    int64_t n_warps = blockDim.x / VW_WARP, warp = threadIdx.x / VW_WARP;
    int64_t size = ((n + n_warps - 1) / n_warps + VW_WARP - 1) / VW_WARP * VW_WARP;
    int64_t first = warp * size, last = first + size;
    return segment{first < n ? first : n, last < n ? last : n};
}

/* Replace this warp's amount by the sum of those before it. */
__device__ static sum_t before_this_warp(sum_t amount, block *b)
{
    int warp = (int)threadIdx.x / VW_WARP;
    if (threadIdx.x % VW_WARP == 0)
        b->bases[warp] = amount;
    __syncthreads();
    sum_t sum = 0;
    for (int i = 0; i < warp; i++)
        sum += b->bases[i];
    __syncthreads();
    return sum;
}

/* The weight of token i if it survives, 0 else; *ties counts those of the cut's own value so far.
 * All lanes of a warp come, with tokens side by side. */
__device__ static inline sum_t surviving(const float *x, const float *w, int64_t i, int64_t n,
                                         cut c, float least, sum_t *ties)
{
    unsigned key = i < n ? vw_key_of(x[i]) : 0;
    unsigned equal = __ballot_sync(VW_FULL_WARP, i < n && key == c.key);
    unsigned below = (1u << threadIdx.x % VW_WARP) - 1;
    sum_t rank = *ties + (sum_t)__popc(equal & below);
    *ties += (sum_t)__popc(equal);
    if (i >= n || key < c.key || (key == c.key && rank >= c.n_ties) || w[i] < least)
        return 0;
    return fixed(w[i]);
}

__device__ static inline sum_t running_sum(sum_t v)
{
    for (unsigned by = 1; by < VW_WARP; by *= 2) {
        sum_t other = __shfl_up_sync(VW_FULL_WARP, v, by);
        v += threadIdx.x % VW_WARP >= by ? other : 0;
    }
    return v;
}

/* The first survivor, by rising id, at which the running weight exceeds its part of the total. */
__device__ static void draw(const float *x, const float *w, int64_t n, cut c, float least,
                            double uniform, int32_t *token, block *b)
{
    segment s = segment_of(n);
    int lane = (int)threadIdx.x % VW_WARP;
    sum_t ties = 0, sum = 0, counted;
    for (int64_t i = s.first; i < s.last; i += VW_WARP)
        ties += (sum_t)__popc(
            __ballot_sync(VW_FULL_WARP, i + lane < s.last && vw_key_of(x[i + lane]) == c.key));
    sum_t ties_before = before_this_warp(ties, b);
    counted = ties_before;
    for (int64_t i = s.first; i < s.last; i += VW_WARP)
        sum += surviving(x, w, i + lane, s.last, c, least, &counted);
    sum = vw_warp_reduce(sum, vw_plus());
    sum_t before = before_this_warp(sum, b);
    sum_t total = add_up(lane == 0 ? sum : 0, b), target = (sum_t)(uniform * (double)total);
    target = target < total ? target : total - 1;
    if (target < before || target >= before + sum)
        return;
    counted = ties_before;
    for (int64_t i = s.first; i < s.last; i += VW_WARP) {
        sum_t mine = running_sum(surviving(x, w, i + lane, s.last, c, least, &counted));
        unsigned over = __ballot_sync(VW_FULL_WARP, before + mine > target);
        if (over) {
            if (lane == 0)
                *token = (int32_t)(i + __ffs((int)over) - 1);
            return;
        }
        before += __shfl_sync(VW_FULL_WARP, mine, VW_WARP - 1);
    }
}

} // namespace

extern "C" __global__ void __launch_bounds__(1024)
    vw_sample(const __grid_constant__ vw_sample_args a)
{
    __shared__ block b;
    __shared__ int32_t token;
    int64_t row = blockIdx.x, n = a.cols;
    const float *x = a.logits + row * a.stride;
    float *w = a.weights + row * a.weights_stride;
    vw_sample_row how = a.rows[row];
    unsigned best = vw_id_at(find_best(x, n, &b));
    float most = x[best], factor = 1.0f / how.temperature;
    bool is_drawn = how.temperature > 0 && fabsf(most) < INFINITY;
    if (threadIdx.x == 0)
        token = (int32_t)best;
    if (is_drawn) {
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            w[i] = weight_of(x[i], most, factor);
        __syncthreads();
        cut c = {0, 0};
        if (how.top_k > 0 && how.top_k < n)
            c = cut_top_k(x, n, how.top_k, &b);
        if (how.top_p < 1)
            c = cut_top_p(x, w, n, how.top_p, c, most, factor, &b);
        draw(x, w, n, c, how.min_p < 1 ? how.min_p : 1.0f, how.uniform, &token, &b);
    }
    __syncthreads();
    float share = a.logprob ? log_share(x, n, most, x[token], &b) : 0.0f;
    if (threadIdx.x == 0) {
        a.token[row] = token;
        if (a.logprob)
            a.logprob[row] = share;
    }
}
