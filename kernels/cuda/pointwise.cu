/* pointwise.cu - norms, rotation, softmax and the elementwise operations.
 *
 * All of them are bound by memory: what matters is that a warp reads 16 bytes a thread side by side
 * and that nothing is read twice from far away.  A row that must be seen whole belongs to one
 * block; elsewhere a block takes a chunk of a row.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/reduce.h"

/* ---- rows that are seen whole --------------------------------------------------------------- */

/* x + residual, kept in x; and the thread's part of the sum of squares. */
__device__ static float add_and_square(float *x, const float *residual, int64_t n)
{
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        float v = x[i];
        if (residual) {
            v += residual[i];
            x[i] = v;
        }
        sum += v * v;
    }
    return sum;
}

__device__ static float add_and_square_wide(float4 *x, const float4 *residual, int64_t n)
{
    float sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        float4 v = x[i];
        if (residual) {
            float4 r = residual[i];
            v = make_float4(v.x + r.x, v.y + r.y, v.z + r.z, v.w + r.w);
            x[i] = v;
        }
        sum += v.x * v.x + v.y * v.y + (v.z * v.z + v.w * v.w);
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(1024) vw_rms_norm(const vw_rms_norm_args a)
{
    __shared__ float scratch[VW_WARP];
    int64_t row = blockIdx.x, n = a.cols;
    float *x = a.x + row * a.x_stride, *y = a.y + row * a.y_stride;
    const float *residual = a.residual ? a.residual + row * a.residual_stride : nullptr;
    float sum = a.is_wide ? add_and_square_wide((float4 *)x, (const float4 *)residual, n / 4)
                          : add_and_square(x, residual, n);
    sum = vw_block_reduce(sum, vw_plus(), scratch);
    float scale = 1.0f / sqrtf(sum / (float)n + a.eps);
    if (a.is_wide) {
        for (int64_t i = threadIdx.x; i < n / 4; i += blockDim.x) {
            float4 v = ((const float4 *)x)[i], w = make_float4(1, 1, 1, 1);
            if (a.w) {
                w = ((const float4 *)a.w)[i];
                w = make_float4(a.w_offset + w.x, a.w_offset + w.y, a.w_offset + w.z,
                                a.w_offset + w.w);
            }
            ((float4 *)y)[i] = make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z,
                                           v.w * scale * w.w);
        }
        return;
    }
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        y[i] = x[i] * scale * (a.w ? a.w_offset + a.w[i] : 1.0f);
}

extern "C" __global__ void __launch_bounds__(1024) vw_softmax(const vw_softmax_args a)
{
    __shared__ float scratch[VW_WARP];
    float *x = a.x + (int64_t)blockIdx.x * a.stride;
    float most = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < a.cols; i += blockDim.x)
        most = fmaxf(most, x[i]);
    most = vw_block_reduce(most, vw_larger(), scratch);
    for (int64_t i = threadIdx.x; i < a.cols; i += blockDim.x) {
        float e = expf(x[i] - most);
        x[i] = e;
        sum += e;
    }
    sum = vw_block_reduce(sum, vw_plus(), scratch);
    for (int64_t i = threadIdx.x; i < a.cols; i += blockDim.x)
        x[i] = x[i] / sum;
}

/* ---- rotation ------------------------------------------------------------------------------- */

/* The angle is a product in double, reduced to [-1, 1] half turns: at position 1000000 an f32 would
 * be off by a tenth.  One thread turns the same pair of every fourth head. */
extern "C" __global__ void vw_rope(const vw_rope_args a)
{
    int64_t row = blockIdx.x / a.chunks;
    int pair = (int)(blockIdx.x % a.chunks) * VW_TURN_PAIRS + (int)threadIdx.x;
    if (pair >= a.dims / 2)
        return;
    double turns = (double)a.positions[row] * (double)a.inv_freq[pair] * 0.31830988618379067154;
    turns -= 2 * rint(turns * 0.5);
    float s, c;
    sincospif((float)turns, &s, &c);
    s *= a.scale;
    c *= a.scale;
    int at = a.first + (a.is_pairs ? 2 * pair : pair), apart = a.is_pairs ? 1 : a.dims / 2;
    for (int head = (int)threadIdx.y; head < a.heads; head += VW_TURN_HEADS) {
        float *x = a.x + row * a.stride + (int64_t)head * a.head_dim + at;
        float p = x[0], q = x[apart];
        x[0] = p * c - q * s;
        x[apart] = q * c + p * s;
    }
}

/* ---- value by value ------------------------------------------------------------------------- */

/* y = op(x, up), one chunk of one row. */
template <class Op> __device__ static inline void each(const vw_each_args &a, Op op)
{
    int64_t row = blockIdx.x / a.chunks, first = (int64_t)(blockIdx.x % a.chunks) * VW_CHUNK;
    const float *x = a.x + row * a.x_stride, *up = a.up ? a.up + row * a.up_stride : nullptr;
    float *y = a.y + row * a.y_stride;
    int64_t last = first + VW_CHUNK < a.cols ? first + VW_CHUNK : a.cols;
    if (a.is_wide) {
        int64_t i = first + 4 * (int64_t)threadIdx.x;
        if (i + 3 < last) {
            float4 v = *(const float4 *)(x + i), u = make_float4(0, 0, 0, 0);
            if (up)
                u = *(const float4 *)(up + i);
            *(float4 *)(y + i) =
                make_float4(op(v.x, u.x), op(v.y, u.y), op(v.z, u.z), op(v.w, u.w));
            return;
        }
        for (; i < last; i++)
            y[i] = op(x[i], up ? up[i] : 0.0f);
        return;
    }
    for (int64_t i = first + threadIdx.x; i < last; i += VW_CHUNK_THREADS)
        y[i] = op(x[i], up ? up[i] : 0.0f);
}

namespace
{

struct gelu_tanh {
    __device__ float operator()(float x) const
    {
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    }
};

struct gelu_erf {
    __device__ float operator()(float x) const
    {
        return 0.5f * x * erfcf(-0.70710678118654752f * x);
    }
};

struct silu {
    __device__ float operator()(float x) const
    {
        return x / (1.0f + expf(-x));
    }
};

struct relu {
    __device__ float operator()(float x) const
    {
        return x > 0 ? x : 0.0f;
    }
};

struct nothing {
    __device__ float operator()(float x) const
    {
        return x;
    }
};

} // namespace

template <class Act> __device__ static inline void gate(const vw_each_args &a, Act act)
{
    if (a.up)
        each(a, [act](float x, float up) { return act(x) * up; });
    else
        each(a, [act](float x, float) { return act(x); });
}

extern "C" __global__ void vw_gate(const vw_each_args a)
{
    switch (a.act) {
    case 1:
        return gate(a, gelu_tanh());
    case 2:
        return gate(a, gelu_erf());
    case 3:
        return gate(a, silu());
    case 4:
        return gate(a, relu());
    default:
        return gate(a, nothing());
    }
}

extern "C" __global__ void vw_axpby(const vw_each_args a)
{
    float p = a.a, q = a.b;
    if (a.up)
        each(a, [p, q](float x, float y) { return p * x + q * y; });
    else
        each(a, [p](float x, float) { return p * x; });
}

extern "C" __global__ void vw_softcap(const vw_each_args a)
{
    float cap = a.a;
    each(a, [cap](float x, float) { return cap * tanhf(x / cap); });
}
