/* cpu_rows.c - operations of device/cpu that move, choose or convert: gather, scatter, top-k,
 * sampling, number formats.
 */
#include "plugins/device/cpu.h"

#include "kernels/ref/quant.h"

/* ---- gather and scatter ---------------------------------------------------------------------- */

typedef struct move_job {
    const vw_pointwise *pw;
    vw_tensor x, y;
    const int32_t *rows;
    const float *weight;
} move_job;

static void gather_units(const void *arg, int64_t from, int64_t to)
{
    const move_job *job = arg;
    size_t bytes = (size_t)job->y.shape[1] * sizeof(float);
    for (int64_t i = from; i < to; i++) {
        int64_t row = job->rows[i];
        if (row >= 0 && row < job->x.shape[0])
            memcpy(cpu_row(&job->y, i), cpu_row(&job->x, row), bytes);
        else
            memset(cpu_row(&job->y, i), 0, bytes);
    }
}

vw_status cpu_gather(void *self, vw_stream *s, vw_tensor x, const int32_t *rows, vw_tensor y,
                     vw_error *err)
{
    const cpu_device *dev = self;
    (void)s;
    vw_status st = device_check("gather", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("gather", "y", &y, VW_F32, -1, x.shape[1], err);
    if (st != VW_OK)
        return st;
    move_job job = {dev->pw, x, y, rows, NULL};
    cpu_split(dev, y.shape[0], y.shape[1], gather_units, &job);
    return VW_OK;
}

/* Several i may name one row, so threads share out the columns and each takes all i in order. */
enum { SCATTER_COLS = 64 };

static void scatter_units(const void *arg, int64_t from, int64_t to)
{
    const move_job *job = arg;
    int64_t first = from * SCATTER_COLS, last = to * SCATTER_COLS, n = job->x.shape[1];
    last = last < n ? last : n;
    for (int64_t i = 0; i < job->x.shape[0]; i++) {
        int64_t row = job->rows[i];
        if (row >= 0 && row < job->y.shape[0])
            job->pw->axpby(last - first, job->weight ? job->weight[i] : 1,
                           cpu_row(&job->x, i) + first, 1, cpu_row(&job->y, row) + first);
    }
}

vw_status cpu_scatter_add(void *self, vw_stream *s, vw_tensor x, const int32_t *rows,
                          const float *weight, vw_tensor y, vw_error *err)
{
    const cpu_device *dev = self;
    (void)s;
    vw_status st = device_check("scatter_add", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK)
        st = device_check("scatter_add", "y", &y, VW_F32, -1, x.shape[1], err);
    if (st != VW_OK)
        return st;
    move_job job = {dev->pw, x, y, rows, weight};
    cpu_split(dev, (x.shape[1] + SCATTER_COLS - 1) / SCATTER_COLS, x.shape[0] * SCATTER_COLS,
              scatter_units, &job);
    return VW_OK;
}

/* ---- top-k and sampling ---------------------------------------------------------------------- */

typedef struct top_job {
    vw_tensor x, values, indices;
    int32_t k;
} top_job;

static void top_units(const void *arg, int64_t from, int64_t to)
{
    const top_job *job = arg;
    for (int64_t t = from; t < to; t++) {
        int32_t *indices = (int32_t *)job->indices.data + t * job->indices.stride[0];
        const float *x = cpu_row(&job->x, t);
        vw_pointwise_top_k(job->x.shape[1], x, job->k, indices);
        for (int32_t i = 0; i < job->k; i++)
            cpu_row(&job->values, t)[i] = x[indices[i]];
    }
}

vw_status cpu_top_k(void *self, vw_stream *s, vw_tensor x, int32_t k, vw_tensor values,
                    vw_tensor indices, vw_error *err)
{
    (void)s;
    vw_status st = device_check("top_k", "x", &x, VW_F32, -1, -1, err);
    if (st == VW_OK && (k < 0 || k > x.shape[1]))
        return vw_fail(err, VW_E_INVALID, "top_k: k is %d, but a row has %lld values", k,
                       (long long)x.shape[1]);
    if (st == VW_OK)
        st = device_check("top_k", "values", &values, VW_F32, x.shape[0], k, err);
    if (st == VW_OK)
        st = device_check("top_k", "indices", &indices, VW_I32, x.shape[0], k, err);
    if (st != VW_OK)
        return st;
    top_job job = {x, values, indices, k};
    cpu_split(self, x.shape[0], x.shape[1], top_units, &job);
    return VW_OK;
}

/* Rows are dealt to parts, each with its own stretch of the workspace. */
typedef struct sample_job {
    const vw_pointwise *pw;
    vw_tensor logits;
    const vw_sample_desc *desc;
    int32_t *token;
    float *logprob;
    char *workspace;
    int n_parts;
} sample_job;

static size_t sample_part_bytes(int64_t vocabulary)
{
    return (vw_pointwise_sample_scratch(vocabulary) + 255) / 256 * 256;
}

static void sample_units(const void *arg, int64_t from, int64_t to)
{
    const sample_job *job = arg;
    int64_t rows = job->logits.shape[0], n = job->logits.shape[1];
    for (int64_t part = from; part < to; part++)
        for (int64_t t = part; t < rows; t += job->n_parts) {
            const vw_sample_desc *d = &job->desc[t];
            vw_pointwise_sampling how = {d->temperature, d->top_p, d->min_p, d->top_k, d->uniform};
            job->token[t] = vw_pointwise_sample(
                job->pw, n, cpu_row(&job->logits, t), &how, job->logprob ? &job->logprob[t] : NULL,
                job->workspace + (size_t)part * sample_part_bytes(n));
        }
}

size_t cpu_sample_bytes(void *self, int64_t tokens, int64_t vocabulary)
{
    return (size_t)cpu_split_parts(self, tokens, vocabulary) * sample_part_bytes(vocabulary);
}

vw_status cpu_sample(void *self, vw_stream *s, vw_tensor logits, const vw_sample_desc *desc,
                     int32_t *token, float *logprob, void *workspace, vw_error *err)
{
    const cpu_device *dev = self;
    (void)s;
    vw_status st = device_check("sample", "logits", &logits, VW_F32, -1, -1, err);
    if (st != VW_OK)
        return st;
    if (logits.shape[0] > 0 && logits.shape[1] < 1)
        return vw_fail(err, VW_E_INVALID, "sample: a row without logits has no token");
    sample_job job = {dev->pw,
                      logits,
                      desc,
                      token,
                      logprob,
                      workspace,
                      cpu_split_parts(dev, logits.shape[0], logits.shape[1])};
    cpu_split(dev, job.n_parts, logits.shape[0] * logits.shape[1], sample_units, &job);
    return VW_OK;
}

/* ---- number formats -------------------------------------------------------------------------- */

typedef struct convert_job {
    const vw_pointwise *pw;
    vw_tensor x, y, scales;
    int64_t group; /* values of a row with one scale */
} convert_job;

static void *row_of(const vw_tensor *t, int64_t row)
{
    return (char *)t->data + (size_t)(row * t->stride[0]) * vw_dtype_bits(t->dtype) / 8;
}

static void quantise_row(const convert_job *job, const float *x, void *y, float *scale)
{
    int64_t n = job->x.shape[1];
    for (int64_t i = 0; i < n; i += job->group, scale++) {
        int64_t m = n - i < job->group ? n - i : job->group;
        if (job->y.dtype == VW_I8)
            *scale = vw_ref_quantise_int8(x + i, m, (int8_t *)y + i);
        else
            vw_ref_quantise_e4m3(x + i, m, 1, m, 1, m, 0, (uint8_t *)y + i, scale);
    }
}

static void dequantise_row(const convert_job *job, const void *x, const float *scale, float *y)
{
    int64_t n = job->x.shape[1];
    for (int64_t i = 0; i < n; i += job->group, scale++) {
        int64_t m = n - i < job->group ? n - i : job->group;
        if (job->x.dtype == VW_I8)
            job->pw->from_i8(m, (const int8_t *)x + i, *scale, y + i);
        else
            for (int64_t j = i; j < i + m; j++)
                y[j] = vw_e4m3_to_f32(((const uint8_t *)x)[j]) * *scale;
    }
}

static void convert_row(const convert_job *job, const void *x, void *y, float *scale)
{
    int64_t n = job->x.shape[1];
    switch (job->x.dtype) {
    case VW_BF16:
        job->pw->from_bf16(n, x, y);
        return;
    case VW_F16:
        job->pw->from_f16(n, x, y);
        return;
    case VW_I8:
    case VW_E4M3:
        dequantise_row(job, x, scale, y);
        return;
    default:
        break;
    }
    switch (job->y.dtype) {
    case VW_BF16:
        job->pw->to_bf16(n, x, y);
        return;
    case VW_F16:
        job->pw->to_f16(n, x, y);
        return;
    case VW_I8:
    case VW_E4M3:
        quantise_row(job, x, y, scale);
        return;
    default:
        memmove(y, x, (size_t)n * sizeof(float));
    }
}

static void convert_units(const void *arg, int64_t from, int64_t to)
{
    const convert_job *job = arg;
    for (int64_t t = from; t < to; t++)
        convert_row(job, row_of(&job->x, t), row_of(&job->y, t),
                    job->scales.data ? cpu_row(&job->scales, t) : NULL);
}

static int is_quantised(vw_dtype t)
{
    return t == VW_I8 || t == VW_E4M3;
}

static int is_known(vw_dtype t)
{
    return t == VW_F32 || t == VW_BF16 || t == VW_F16 || is_quantised(t);
}

/* One scale a row, or one for 128 values: the tensor of scales says which. */
static vw_status scale_group(convert_job *job, vw_error *err)
{
    int64_t rows = job->x.shape[0], n = job->x.shape[1], groups = (n + 127) / 128;
    vw_status st = device_check("convert", "scales", &job->scales, VW_F32, rows, -1, err);
    if (st != VW_OK)
        return st;
    job->group = job->scales.shape[1] == 1 ? n : 128;
    if (job->group == 128 && job->scales.shape[1] != groups)
        return vw_fail(
            err, VW_E_INVALID,
            "convert: %lld scales a row; one, or %lld of 128 values each, would be right",
            (long long)job->scales.shape[1], (long long)groups);
    return VW_OK;
}

vw_status cpu_convert(void *self, vw_stream *s, vw_tensor x, vw_tensor y, vw_tensor scales,
                      vw_error *err)
{
    const cpu_device *dev = self;
    convert_job job = {dev->pw, x, y, scales, 1};
    (void)s;
    if (!is_known(x.dtype) || !is_known(y.dtype) || (x.dtype != VW_F32 && y.dtype != VW_F32))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "convert: no way from %s to %s; one side is f32, the other f32, bf16, f16, "
                       "int8 or e4m3",
                       vw_dtype_name(x.dtype), vw_dtype_name(y.dtype));
    vw_status st = device_check("convert", "x", &x, x.dtype, -1, -1, err);
    if (st == VW_OK)
        st = device_check("convert", "y", &y, y.dtype, x.shape[0], x.shape[1], err);
    if (st == VW_OK && (is_quantised(x.dtype) || is_quantised(y.dtype)))
        st = scale_group(&job, err);
    if (st != VW_OK)
        return st;
    cpu_split(dev, x.shape[0], x.shape[1], convert_units, &job);
    return VW_OK;
}
