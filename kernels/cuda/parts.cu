/* parts.cu - f32 rows as sums of narrower ones before a product, and their sum after it.
 *
 * What is no number stays so: an infinite or NaN activation is its own first part and its others are
 * zero.  A weight that is infinite meets parts of both signs and gives NaN.
 */
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/load.h"
#include "kernels/cuda/parts.h"
#include "kernels/cuda/reduce.h"

static __device__ inline bool is_finite(float x)
{
    return (__float_as_uint(x) & 0x7F800000u) != 0x7F800000u;
}

/* The largest finite magnitude of the block's row. */
static __device__ inline float largest_of(const vw_parts_split_args &a, float *scratch)
{
    const float *x = a.x + blockIdx.x * a.x_stride;
    float most = 0.0f;
    for (int k = threadIdx.x; k < a.k; k += VW_PARTS_THREADS)
        most = is_finite(x[k]) ? fmaxf(most, fabsf(x[k])) : most;
    return vw_block_reduce(most, vw_larger(), scratch);
}

/* ---- a part of x: its number as stored, and what is left of x ---- */

/* What would round to infinity is cut off instead, and the next part has the rest. */
static __device__ inline uint16_t next_bf16(float *x)
{
    uint16_t part = vw_to_bf16(*x);
    if (is_finite(*x) && !is_finite(vw_from_bf16(part)))
        part = (uint16_t)(__float_as_uint(*x) >> 16);
    *x = is_finite(*x) ? *x - vw_from_bf16(part) : 0.0f;
    return part;
}

static __device__ inline uint16_t next_f16(float *x)
{
    uint16_t part = vw_to_f16(*x);
    *x = is_finite(*x) ? *x - vw_from_f16(part) : 0.0f;
    return part;
}

extern "C" __global__ void __launch_bounds__(VW_PARTS_THREADS)
    vw_parts_bf16(const vw_parts_split_args a)
{
    const float *x = a.x + blockIdx.x * a.x_stride;
    uint16_t *to = (uint16_t *)a.parts + blockIdx.x * a.stride;
    for (int k = threadIdx.x; k < a.k; k += VW_PARTS_THREADS) {
        float left = x[k];
        for (int p = 0; p < a.n_parts; p++)
            to[p * a.part_stride + k] = next_bf16(&left);
    }
}

/* The power of two that brings the row's largest value to [2^14, 2^15): exact, and parts of what is
 * small beside it reach down to 2^-39 of it. */
extern "C" __global__ void __launch_bounds__(VW_PARTS_THREADS)
    vw_parts_f16(const vw_parts_split_args a)
{
    __shared__ float scratch[VW_WARP];
    const float *x = a.x + blockIdx.x * a.x_stride;
    uint16_t *to = (uint16_t *)a.parts + blockIdx.x * a.stride;
    float most = largest_of(a, scratch);
    int exponent = most > 0.0f ? (int)(__float_as_uint(most) >> 23) - 127 - 14 : 0;
    exponent = max(exponent, -100); /* its inverse must be a number */
    float inverse = __uint_as_float((unsigned)(127 - exponent) << 23);
    for (int k = threadIdx.x; k < a.k; k += VW_PARTS_THREADS) {
        float left = x[k] * inverse;
        for (int p = 0; p < a.n_parts; p++)
            to[p * a.part_stride + k] = next_f16(&left);
    }
    if (threadIdx.x == 0)
        a.scale[blockIdx.x] = __uint_as_float((unsigned)(127 + exponent) << 23);
}

/* Rounded to e4m3 with the row's largest value at 448; NaN stands in for the infinity it lacks. */
extern "C" __global__ void __launch_bounds__(VW_PARTS_THREADS)
    vw_parts_e4m3(const vw_parts_split_args a)
{
    __shared__ float scratch[VW_WARP];
    const float *x = a.x + blockIdx.x * a.x_stride;
    uint8_t *to = (uint8_t *)a.parts + blockIdx.x * a.stride;
    float scale = fmaxf(__fdiv_rn(largest_of(a, scratch), 448.0f), 0x1p-100f);
    for (int k = threadIdx.x; k < a.k; k += VW_PARTS_THREADS)
        to[k] = is_finite(x[k]) ? vw_to_e4m3(__fdiv_rn(x[k], scale)) : 0x7F;
    if (threadIdx.x == 0)
        a.scale[blockIdx.x] = scale;
}

extern "C" __global__ void __launch_bounds__(VW_PARTS_THREADS)
    vw_parts_join(const vw_parts_join_args a)
{
    const float *product = a.product + blockIdx.x * a.stride;
    float row_scale = a.row_scale ? a.row_scale[blockIdx.x] : 1.0f;
    int first = blockIdx.y * VW_PARTS_COLUMNS, last = min(first + VW_PARTS_COLUMNS, a.n);
    for (int n = first + threadIdx.x; n < last; n += VW_PARTS_THREADS) {
        float sum = 0.0f;
        for (int p = a.n_parts - 1; p >= 0; p--)
            sum += product[p * a.part_stride + n];
        sum *= row_scale;
        if (a.scale)
            sum *= vw_load_scale(a.scale, a.scale_type, n / a.scale_rows * a.scale_stride);
        vw_finish(a.y + blockIdx.x * a.y_stride + n, sum, a.epilogue, a.activation, a.cap);
    }
}
