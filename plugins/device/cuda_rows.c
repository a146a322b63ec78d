/* cuda_rows.c - operations of device/cuda that move, choose or convert: gather, scatter, top-k,
 * sampling, number formats.
 */
#include "plugins/device/cuda.h"

/* ---- gather and scatter --------------------------------------------------------------------- */

vw_status cuda_gather(void *self, vw_stream *s, vw_tensor x, const int32_t *rows, vw_tensor y,
                      vw_error *err)
{
    vw_status st = device_check("gather", "x", &x, VW_F32, -1, -1, err);
    if (!st)
        st = device_check("gather", "y", &y, VW_F32, -1, x.shape[1], err);
    if (st)
        return st;
    vw_gather_args args = {
        .x = x.data,
        .rows = rows,
        .y = y.data,
        .cols = x.shape[1],
        .x_rows = x.shape[0],
        .x_stride = x.stride[0],
        .y_stride = y.stride[0],
        .chunks = cuda_chunks(x.shape[1]),
    };
    return cuda_launch(self, s, CUDA_GATHER, y.shape[0] * args.chunks, VW_CHUNK_THREADS, &args,
                       sizeof args, "gather", err);
}

vw_status cuda_scatter_add(void *self, vw_stream *s, vw_tensor x, const int32_t *rows,
                           const float *weight, vw_tensor y, vw_error *err)
{
    vw_status st = device_check("scatter_add", "x", &x, VW_F32, -1, -1, err);
    if (!st)
        st = device_check("scatter_add", "y", &y, VW_F32, -1, x.shape[1], err);
    if (st)
        return st;
    vw_scatter_args args = {
        .x = x.data,
        .weight = weight,
        .rows = rows,
        .y = y.data,
        .cols = x.shape[1],
        .n = x.shape[0],
        .x_stride = x.stride[0],
        .y_stride = y.stride[0],
        .chunks = cuda_chunks(x.shape[1]),
    };
    return cuda_launch(self, s, CUDA_SCATTER_ADD, y.shape[0] * args.chunks, VW_CHUNK_THREADS, &args,
                       sizeof args, "scatter_add", err);
}

/* ---- top-k and sampling --------------------------------------------------------------------- */

vw_status cuda_top_k(void *self, vw_stream *s, vw_tensor x, int32_t k, vw_tensor values,
                     vw_tensor indices, vw_error *err)
{
    vw_status st = device_check("top_k", "x", &x, VW_F32, -1, -1, err);
    if (!st && (k < 0 || k > x.shape[1]))
        return vw_fail(err, VW_E_INVALID, "top_k: k is %d, but a row has %lld values", k,
                       (long long)x.shape[1]);
    if (!st)
        st = device_check("top_k", "values", &values, VW_F32, x.shape[0], k, err);
    if (!st)
        st = device_check("top_k", "indices", &indices, VW_I32, x.shape[0], k, err);
    if (st)
        return st;
    vw_top_k_args args = {
        .x = x.data,
        .values = values.data,
        .indices = indices.data,
        .cols = x.shape[1],
        .x_stride = x.stride[0],
        .values_stride = values.stride[0],
        .indices_stride = indices.stride[0],
        .k = k,
    };
    return cuda_launch(self, s, CUDA_TOP_K, k ? x.shape[0] : 0, cuda_threads(x.shape[1]), &args,
                       sizeof args, "top_k", err);
}

/* A row of weights, in f32. */
static size_t sample_row_bytes(int64_t vocabulary)
{
    return ((size_t)vocabulary * sizeof(float) + 255) / 256 * 256;
}

size_t cuda_sample_bytes(void *self, int64_t tokens, int64_t vocabulary)
{
    (void)self;
    return (size_t)tokens * sample_row_bytes(vocabulary);
}

/* The descriptions travel as the kernel's argument, so the caller may forget them at once. */
vw_status cuda_sample(void *self, vw_stream *s, vw_tensor logits, const vw_sample_desc *desc,
                      int32_t *token, float *logprob, void *workspace, vw_error *err)
{
    vw_status st = device_check("sample", "logits", &logits, VW_F32, -1, -1, err);
    int64_t rows = logits.shape[0], n = logits.shape[1];
    if (!st && rows > 0 && n < 1)
        return vw_fail(err, VW_E_INVALID, "sample: a row without logits has no token");
    for (int64_t first = 0; !st && first < rows; first += VW_SAMPLE_ROWS) {
        int64_t m = rows - first < VW_SAMPLE_ROWS ? rows - first : VW_SAMPLE_ROWS;
        size_t skip = (size_t)first * sample_row_bytes(n);
        vw_sample_args args = {
            .logits = (const float *)logits.data + first * logits.stride[0],
            .token = token + first,
            .logprob = logprob ? logprob + first : NULL,
            .weights = (float *)(void *)((char *)workspace + skip),
            .cols = n,
            .stride = logits.stride[0],
            .weights_stride = (int64_t)(sample_row_bytes(n) / sizeof(float)),
        };
        for (int64_t i = 0; i < m; i++) {
            const vw_sample_desc *d = &desc[first + i];
            args.rows[i] =
                (vw_sample_row){d->uniform, d->temperature, d->top_p, d->min_p, d->top_k};
        }
        st = cuda_launch(self, s, CUDA_SAMPLE, m, cuda_threads(n), &args, sizeof args, "sample",
                         err);
    }
    return st;
}

/* ---- number formats ------------------------------------------------------------------------- */

static int number_of(vw_dtype dtype)
{
    switch (dtype) {
    case VW_F32:
        return VW_NUMBER_F32;
    case VW_BF16:
        return VW_NUMBER_BF16;
    case VW_F16:
        return VW_NUMBER_F16;
    case VW_I8:
        return VW_NUMBER_I8;
    case VW_E4M3:
        return VW_NUMBER_E4M3;
    default:
        return -1;
    }
}

static int is_quantised(int number)
{
    return number == VW_NUMBER_I8 || number == VW_NUMBER_E4M3;
}

/* One scale a row, or one for 128 values: the tensor of scales says which. */
static vw_status scale_group(vw_convert_args *args, int64_t rows, const vw_tensor *scales,
                             vw_error *err)
{
    int64_t groups = (args->cols + 127) / 128, given = scales->shape[1];
    vw_status st = device_check("convert", "scales", scales, VW_F32, rows, -1, err);
    if (st)
        return st;
    if (given != 1 && given != groups)
        return vw_fail(
            err, VW_E_INVALID,
            "convert: %lld scales a row; one, or %lld of 128 values each, would be right",
            (long long)given, (long long)groups);
    args->group = given == 1 ? args->cols : 128;
    args->scales = scales->data;
    args->scales_stride = scales->stride[0];
    args->chunks = (uint32_t)given;
    return VW_OK;
}

vw_status cuda_convert(void *self, vw_stream *s, vw_tensor x, vw_tensor y, vw_tensor scales,
                       vw_error *err)
{
    int from = number_of(x.dtype), to = number_of(y.dtype), threads = VW_CHUNK_THREADS;
    cuda_kernel kernel = CUDA_CONVERT;
    if (from < 0 || to < 0 || (from != VW_NUMBER_F32 && to != VW_NUMBER_F32))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "convert: no way from %s to %s; one side is f32, the other f32, bf16, f16, "
                       "int8 or e4m3",
                       vw_dtype_name(x.dtype), vw_dtype_name(y.dtype));
    vw_status st = device_check("convert", "x", &x, x.dtype, -1, -1, err);
    if (!st)
        st = device_check("convert", "y", &y, y.dtype, x.shape[0], x.shape[1], err);
    if (st)
        return st;
    vw_convert_args args = {
        .x = x.data,
        .y = y.data,
        .cols = x.shape[1],
        .x_stride = x.stride[0],
        .y_stride = y.stride[0],
        .chunks = cuda_chunks(x.shape[1]),
        .from = from,
        .to = to,
    };
    if (is_quantised(from) || is_quantised(to)) {
        st = scale_group(&args, x.shape[0], &scales, err);
        if (st)
            return st;
        kernel = is_quantised(to) ? CUDA_QUANTISE : CUDA_DEQUANTISE;
        threads = cuda_threads(args.group);
    }
    return cuda_launch(self, s, kernel, x.shape[1] ? x.shape[0] * args.chunks : 0, threads, &args,
                       sizeof args, "convert", err);
}
