/* attention-append.cu - new keys and values go into their pages, converted to the cache's type.
 *
 * A warp writes one token of one key head.  int8 has a scale for each, by the quantiser of
 * kernels/ref/quant.h and to its bit.
 */
#include "kernels/cuda/attention-cache.h"

template <int T> static __device__ inline void store(char *row, int i, float x, float inverse)
{
    switch (T) {
    case VW_TYPE_F32: ((float *)row)[i] = x; break;
    case VW_TYPE_BF16: ((unsigned short *)row)[i] = vw_to_bf16(x); break;
    case VW_TYPE_F16: ((unsigned short *)row)[i] = vw_to_f16(x); break;
    default: ((signed char *)row)[i] = inverse > 0.0f ? (signed char)(int)rintf(x * inverse) : 0;
    }
}

/* amax / 127, and 127 / amax in *inverse: the int8 quantiser of kernels/ref/quant.c. */
static __device__ inline float int8_scale(const float *x, int n, int lane, float *inverse)
{
    float amax = 0.0f;
    int is_odd = 0;
    for (int i = lane; i < n; i += VW_WARP) {
        float size = fabsf(x[i]);
        is_odd |= !(size <= 0x1.fffffep127f);
        amax = size > amax ? size : amax;
    }
    amax = warp_max(amax);
    *inverse = 0.0f;
    if (__any_sync(VW_FULL_WARP, is_odd))
        return __uint_as_float(0x7FC00000u);
    float ratio = 127.0f / amax;
    if (!(ratio <= 0x1p127f))
        return 0.0f;
    *inverse = ratio;
    return amax / 127.0f;
}

template <int T>
static __device__ inline void append_row(const float *x, int n, int pitch, char *row, float *scale,
                                         int lane)
{
    float inverse = 0.0f;
    if (T == VW_TYPE_I8) {
        float s = int8_scale(x, n, lane, &inverse);
        if (lane == 0)
            *scale = s;
    }
    for (int i = lane; i < pitch; i += VW_WARP)
        store<T>(row, i, i < n ? x[i] : 0.0f, inverse);
}

template <int T> static __device__ inline void append(const vw_attention_args &a)
{
    int lane = threadIdx.x % VW_WARP;
    int64_t job = (int64_t)blockIdx.x * (blockDim.x / VW_WARP) + threadIdx.x / VW_WARP;
    int64_t i = job / a.k_heads;
    int head = (int)(job % a.k_heads), low = 0, high = a.n_sequences;
    if (i >= a.n_queries || i >= a.query_start[a.n_sequences] || i < a.query_start[0])
        return;
    while (high - low > 1) { /* the sequence whose rows begin at or before i */
        int middle = (low + high) / 2;
        if (a.query_start[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    int key = a.n_keys[low] - a.query_start[low + 1] + (int)i;
    if (key < 0)
        return;
    int token = key % a.page_tokens;
    int64_t place = place_of(a, low, head, key);
    float *scales = (float *)(a.pages + place);
    append_row<T>(a.k + i * a.k_stride + head * a.dk, a.dk, a.k_pitch,
                  (char *)key_row<T>(a, place, token), scales + token, lane);
    if (!a.is_latent)
        append_row<T>(a.v + i * a.v_stride + head * a.dv, a.dv, a.v_pitch,
                      (char *)value_row<T>(a, place, token),
                      scales + a.value_scales_at / 4 + token, lane);
}

#define KERNEL(name, T)                                                                            \
    extern "C" __global__ void __launch_bounds__(128)                                              \
        vw_attention_append_##name(const vw_attention_args a)                                      \
    {                                                                                              \
        append<T>(a);                                                                              \
    }

KERNEL(f32, VW_TYPE_F32)
KERNEL(bf16, VW_TYPE_BF16)
KERNEL(f16, VW_TYPE_F16)
KERNEL(i8, VW_TYPE_I8)
