/* rows.cu - operations that move, choose or convert: gather, scatter, top-k, number formats. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/number.h"
#include "kernels/cuda/order.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/reduce.h"

/* ---- gather and scatter --------------------------------------------------------------------- */

extern "C" __global__ void vw_gather(const vw_gather_args a)
{
    int64_t to = blockIdx.x / a.chunks, first = (int64_t)(blockIdx.x % a.chunks) * VW_CHUNK;
    int64_t last = first + VW_CHUNK < a.cols ? first + VW_CHUNK : a.cols, from = a.rows[to];
    bool is_there = from >= 0 && from < a.x_rows;
    for (int64_t i = first + threadIdx.x; i < last; i += VW_CHUNK_THREADS)
        a.y[to * a.y_stride + i] = is_there ? a.x[from * a.x_stride + i] : 0.0f;
}

/* Whoever owns a row of y looks for those that go there, so the sum's order is fixed without an
 * atomic operation. */
extern "C" __global__ void vw_scatter_add(const vw_scatter_args a)
{
    int64_t row = blockIdx.x / a.chunks, first = (int64_t)(blockIdx.x % a.chunks) * VW_CHUNK;
    int64_t last = first + VW_CHUNK < a.cols ? first + VW_CHUNK : a.cols;
    for (int64_t i = 0; i < a.n; i++) {
        if (a.rows[i] != row)
            continue;
        float weight = a.weight ? a.weight[i] : 1.0f;
        for (int64_t c = first + threadIdx.x; c < last; c += VW_CHUNK_THREADS)
            a.y[row * a.y_stride + c] += weight * a.x[i * a.x_stride + c];
    }
}

/* ---- top-k ---------------------------------------------------------------------------------- */

/* One round a place: the first in the order that comes after the last one found. */
extern "C" __global__ void __launch_bounds__(1024) vw_top_k(const vw_top_k_args a)
{
    __shared__ unsigned long long scratch[VW_WARP];
    int64_t row = blockIdx.x;
    const float *x = a.x + row * a.x_stride;
    unsigned long long last = ~0ull;
    for (int place = 0; place < a.k; place++) {
        unsigned long long best = 0;
        for (int64_t i = threadIdx.x; i < a.cols; i += blockDim.x) {
            unsigned long long here = vw_place_of(x[i], (unsigned)i);
            if (here < last && here > best)
                best = here;
        }
        last = vw_block_reduce(best, vw_larger(), scratch);
        if (threadIdx.x == 0) {
            unsigned id = vw_id_at(last);
            a.values[row * a.values_stride + place] = x[id];
            a.indices[row * a.indices_stride + place] = (int32_t)id;
        }
    }
}

/* ---- number formats ------------------------------------------------------------------------- */

__device__ static inline float read_number(const void *x, int64_t i, int from)
{
    switch (from) {
    case VW_NUMBER_BF16:
        return vw_from_bf16(((const uint16_t *)x)[i]);
    case VW_NUMBER_F16:
        return vw_from_f16(((const uint16_t *)x)[i]);
    default:
        return ((const float *)x)[i];
    }
}

__device__ static inline void write_number(void *y, int64_t i, int to, float v)
{
    switch (to) {
    case VW_NUMBER_BF16:
        ((uint16_t *)y)[i] = vw_to_bf16(v);
        return;
    case VW_NUMBER_F16:
        ((uint16_t *)y)[i] = vw_to_f16(v);
        return;
    default:
        ((float *)y)[i] = v;
    }
}

extern "C" __global__ void vw_convert(const vw_convert_args a)
{
    int64_t row = blockIdx.x / a.chunks, first = (int64_t)(blockIdx.x % a.chunks) * VW_CHUNK;
    int64_t last = first + VW_CHUNK < a.cols ? first + VW_CHUNK : a.cols;
    for (int64_t i = first + threadIdx.x; i < last; i += VW_CHUNK_THREADS)
        write_number(a.y, row * a.y_stride + i, a.to,
                     read_number(a.x, row * a.x_stride + i, a.from));
}

/* The quantisers of kernels/ref/quant.h, to the bit: the division and the product are rounded once
 * each, as there.  int8: a value that is not finite makes the scale NaN and the codes 0. */
__device__ static float int8_scale(float amax, int is_finite, float *inverse)
{
    *inverse = 0;
    if (!is_finite)
        return __uint_as_float(0x7FC00000);
    float ratio = __fdiv_rn(127.0f, amax);
    if (!(ratio <= 0x1p127f))
        return 0.0f;
    *inverse = ratio;
    return __fdiv_rn(amax, 127.0f);
}

extern "C" __global__ void __launch_bounds__(1024) vw_quantise(const vw_convert_args a)
{
    __shared__ float scratch[VW_WARP];
    int64_t row = blockIdx.x / a.chunks, group = blockIdx.x % a.chunks, first = group * a.group;
    int64_t last = first + a.group < a.cols ? first + a.group : a.cols;
    const float *x = (const float *)a.x + row * a.x_stride;
    int is_int8 = a.to == VW_NUMBER_I8;
    float amax = is_int8 ? 0.0f : 1e-4f, n_odd = 0, scale, inverse;
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) {
        float v = fabsf(x[i]);
        if (v <= 0x1.fffffep127f)
            amax = fmaxf(amax, v);
        else
            n_odd = 1;
    }
    amax = vw_block_reduce(amax, vw_larger(), scratch);
    n_odd = vw_block_reduce(n_odd, vw_larger(), scratch);
    if (is_int8) {
        scale = int8_scale(amax, n_odd == 0, &inverse);
    } else {
        scale = __fdiv_rn(amax, 448.0f);
        inverse = __fdiv_rn(1.0f, scale);
    }
    if (threadIdx.x == 0)
        a.scales[row * a.scales_stride + group] = scale;
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) {
        float v = __fmul_rn(x[i], inverse);
        if (is_int8)
            ((int8_t *)a.y)[row * a.y_stride + i] = (int8_t)(inverse > 0 ? (int)rintf(v) : 0);
        else
            ((uint8_t *)a.y)[row * a.y_stride + i] = vw_to_e4m3(v);
    }
}

extern "C" __global__ void __launch_bounds__(1024) vw_dequantise(const vw_convert_args a)
{
    int64_t row = blockIdx.x / a.chunks, group = blockIdx.x % a.chunks, first = group * a.group;
    int64_t last = first + a.group < a.cols ? first + a.group : a.cols;
    float scale = a.scales[row * a.scales_stride + group], *y = (float *)a.y + row * a.y_stride;
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) {
        int64_t at = row * a.x_stride + i;
        y[i] = scale * (a.from == VW_NUMBER_I8 ? (float)((const int8_t *)a.x)[at]
                                               : vw_from_e4m3(((const uint8_t *)a.x)[at]));
    }
}
