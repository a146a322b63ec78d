/* attention-cache.h - what the attention kernels share: where keys lie, who sees them, and softmax.
 *
 * All softmaxes are online: a running maximum and sum, and what was added is rescaled when the
 * maximum grows.  A key that a row must not see is never part of a product, since what lies there
 * may be NaN.
 */
#ifndef KERNELS_CUDA_ATTENTION_CACHE_H
#define KERNELS_CUDA_ATTENTION_CACHE_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/load.h"

enum { KEYS = VW_ATTENTION_KEYS, FEW = VW_ATTENTION_FEW };

#define NO_MAXIMUM __uint_as_float(0xFF800000u)

/* The keys [lo, hi) that a query at position p sees; lo = hi = 0 when there are none. */
typedef struct span {
    int lo, hi;
} span;

static __device__ inline span visible(const vw_attention_args &a, int p, int S)
{
    span s = {a.window > 0 && p - a.window + 1 > 0 ? p - a.window + 1 : 0,
              a.is_causal && p + 1 < S ? p + 1 : S};
    if (s.lo >= s.hi)
        s.lo = s.hi = 0;
    return s;
}

/* Where one key's page and head begin. */
static __device__ inline int64_t place_of(const vw_attention_args &a, int sequence, int head,
                                          int key)
{
    int64_t page = a.table[sequence * a.table_stride + key / a.page_tokens];
    return page * a.page_bytes + head * a.head_bytes;
}

template <int T>
static __device__ inline const char *key_row(const vw_attention_args &a, int64_t place, int token)
{
    return a.pages + place + a.keys_at + (int64_t)token * a.k_pitch * vw_element<T>::BYTES;
}

template <int T>
static __device__ inline const char *value_row(const vw_attention_args &a, int64_t place, int token)
{
    if (a.is_latent)
        return key_row<T>(a, place, token);
    return a.pages + place + a.values_at + (int64_t)token * a.v_pitch * vw_element<T>::BYTES;
}

/* The scale of a key, or of a value. */
template <int T>
static __device__ inline float scale_of(const vw_attention_args &a, int64_t place, int token,
                                        int is_value)
{
    if (T != VW_TYPE_I8)
        return 1.0f;
    return ((const float *)(a.pages + place + (is_value ? a.value_scales_at : 0)))[token];
}

static __device__ inline float cap_score(const vw_attention_args &a, float z)
{
    return a.cap > 0.0f ? a.cap * tanhf(z / a.cap) : z;
}

/* exp(z - max), where the maximum may still be of nothing. */
static __device__ inline float weight_of(float z, float max)
{
    return expf(z - (max == NO_MAXIMUM ? 0.0f : max));
}

static __device__ inline float warp_max(float x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(VW_FULL_WARP, x, step));
    return x;
}

static __device__ inline float warp_sum(float x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(VW_FULL_WARP, x, step);
    return x;
}

#endif
