/* gemm-case.c - making a product, computing it exactly, judging a result. */
#include "t/gemm-case.h"

#include "kernels/ref/blocks.h"
#include "kernels/ref/gemm.h"
#include "kernels/ref/quant.h"
#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK(name, elements, bytes, values) {sizeof(vw_block_format), name, elements, bytes, values}

static const case_block int4 = {BLOCK("int4", 8, 4, vw_int4_values), {-1, -1}},
                        q8_0 = {BLOCK("q8_0", 32, 34, vw_ref_q8_0), {0, -1}},
                        q4_0 = {BLOCK("q4_0", 32, 18, vw_ref_q4_0), {0, -1}},
                        q4_k = {BLOCK("q4_k", 256, 144, vw_ref_q4_k), {0, 2}},
                        q6_k = {BLOCK("q6_k", 256, 210, vw_ref_q6_k), {208, -1}};

const case_form case_forms[N_CASE_FORMS] = {
    [F32] = {"f32", VW_F32, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED},
    [BF16] = {"bf16", VW_BF16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED},
    {"f16", VW_F16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED},
    [E4M3_BLOCKS] = {"e4m3 in blocks of 128 x 128", VW_E4M3, VW_OUT_IN, 128, 128, VW_F32,
                     VW_GEMM_STORED},
    {"e4m3 with e8m0 scales, 1 x 32", VW_E4M3, VW_OUT_IN, 1, 32, VW_E8M0, VW_GEMM_STORED},
    {"e5m2, one bf16 scale", VW_E5M2, VW_OUT_IN, -1, -1, VW_BF16, VW_GEMM_STORED},
    {"int8, one scale a row", VW_I8, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"f32 [in, out]", VW_F32, VW_IN_OUT, 0, 0, VW_F32, VW_GEMM_STORED},
    [BF16_IN_OUT] = {"bf16 [in, out]", VW_BF16, VW_IN_OUT, 0, 0, VW_F32, VW_GEMM_STORED},
    {"bf16 as int8", VW_BF16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_INT8},
    {"bf16 as int8 in blocks of 32", VW_BF16, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_INT8_BLOCK32},
    {"e4m3, one scale", VW_E4M3, VW_OUT_IN, -1, -1, VW_F32, VW_GEMM_STORED},
    {"e4m3, one scale a row", VW_E4M3, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"f16, one scale a row", VW_F16, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED},
    {"int8 [in, out], a bf16 scale an output", VW_I8, VW_IN_OUT, -1, 1, VW_BF16, VW_GEMM_STORED},
    {"int8 [in, out], such scales for 24 inputs", VW_I8, VW_IN_OUT, 24, 1, VW_BF16, VW_GEMM_STORED},
    {"int8 in blocks of 128 x 128", VW_I8, VW_OUT_IN, 128, 128, VW_F32, VW_GEMM_STORED},
    {"int4, a bf16 scale for 32", VW_BLOCK, VW_OUT_IN, 1, 32, VW_BF16, VW_GEMM_STORED, &int4},
    {"int4, one f32 scale a row", VW_BLOCK, VW_OUT_IN, 1, -1, VW_F32, VW_GEMM_STORED, &int4},
    {"int4 as int8", VW_BLOCK, VW_OUT_IN, 1, 32, VW_F32, VW_GEMM_INT8, &int4},
    [FIRST_GGUF] = {"Q8_0", VW_BLOCK, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED, &q8_0},
    {"Q4_0", VW_BLOCK, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED, &q4_0},
    {"Q4_K", VW_BLOCK, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED, &q4_k},
    {"Q6_K", VW_BLOCK, VW_OUT_IN, 0, 0, VW_F32, VW_GEMM_STORED, &q6_k},
};

static uint64_t seed = 7;

float case_number(void)
{
    float sum = 0;
    for (int i = 0; i < 3; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        sum += (float)(seed >> 40) * 0x1p-23f - 1.0f;
    }
    return sum;
}

static void *get(size_t bytes)
{
    void *p = calloc(1, bytes + 64);
    if (!p)
        bail_out("no memory");
    return p;
}

static void put(vw_dtype dtype, void *data, size_t i, float x)
{
    uint8_t *p = data;
    uint16_t h = dtype == VW_BF16 ? vw_f32_to_bf16(x) : vw_f32_to_f16(x);
    switch (dtype) {
    case VW_F32: memcpy(p + 4 * i, &x, 4); break;
    case VW_BF16: case VW_F16: memcpy(p + 2 * i, &h, 2); break;
    case VW_E4M3: p[i] = vw_f32_to_e4m3(x * 100); break;
    case VW_E5M2: p[i] = vw_f32_to_e5m2(x); break;
    case VW_E8M0: p[i] = (uint8_t)(127 + (int)x); break;
    default: p[i] = (uint8_t)(int8_t)nearbyintf(x * 42);
    }
}

static vw_scales make_scales(gemm_case *c, int64_t rows, int64_t cols)
{
    const case_form *f = c->form;
    vw_scales s = {.dtype = f->scale_dtype, .rows = f->scale_rows < 0 ? rows : f->scale_rows,
                   .cols = f->scale_cols < 0 ? cols : f->scale_cols};
    s.row_stride = (cols + s.cols - 1) / s.cols;
    size_t n = (size_t)((rows + s.rows - 1) / s.rows * s.row_stride);
    s.data = c->scales = get(n * 4);
    for (size_t i = 0; i < n; i++) /* arbitrary, in no way powers of two unless e8m0 */
        put(s.dtype, c->scales, i, s.dtype == VW_E8M0 ? case_number() : 0.01f * (4 + case_number()));
    return s;
}

/* Rows end with a whole block. */
static void make_blocks(gemm_case *c, int64_t rows, int64_t cols)
{
    const case_block *b = c->form->block;
    int64_t in_row = (cols + b->format.elements - 1) / b->format.elements;
    size_t bytes = (size_t)b->format.bytes;
    uint8_t *to = c->data = get((size_t)(rows * in_row) * bytes);
    for (int64_t i = 0; i < rows * in_row; i++, to += bytes) {
        for (size_t j = 0; j < bytes; j++)
            put(VW_I8, to, j, case_number());
        for (int s = 0; s < 2; s++)
            if (b->scale_at[s] >= 0)
                put(VW_F16, to + b->scale_at[s], 0, 0.01f * case_number());
    }
    c->stored.data = c->data;
    c->stored.format = &b->format;
    c->stored.row_stride = in_row * b->format.elements;
}

static void make_values(gemm_case *c, int64_t rows, int64_t cols)
{
    c->stored.data = c->data = get((size_t)(rows * cols) * 4);
    for (int64_t i = 0; i < rows * cols; i++)
        put(c->form->dtype, c->data, (size_t)i, case_number());
}

void case_make(gemm_case *c, const case_form *form, int64_t m, int64_t n, int64_t k)
{
    int64_t rows = form->layout == VW_OUT_IN ? n : k, cols = form->layout == VW_OUT_IN ? k : n;
    memset(c, 0, sizeof *c);
    seed = (uint64_t)(m * 31 + n * 17 + k);
    c->form = form;
    c->m = m, c->n = n, c->k = k;
    c->x = get((size_t)(m * k) * sizeof *c->x);
    for (int64_t i = 0; i < m * k; i++)
        c->x[i] = case_number();
    c->stored = (vw_matrix){.dtype = form->dtype, .layout = form->layout, .rows = rows,
                            .cols = cols, .row_stride = cols};
    if (form->block)
        make_blocks(c, rows, cols);
    else
        make_values(c, rows, cols);
    if (form->scale_rows)
        c->stored.scales = make_scales(c, rows, cols);
    c->values = get((size_t)(n * k) * sizeof *c->values);
    c->want = get((size_t)(m * n) * sizeof *c->want);
    case_expect(c, CASE_EXACT);
}

static void weight_values(gemm_case *c)
{
    const vw_matrix *w = &c->stored;
    vw_gemm_source s = {.data = w->data, .dtype = w->dtype, .is_in_out = w->layout == VW_IN_OUT,
                        .n = c->n, .k = c->k, .row_stride = w->row_stride,
                        .scales = w->scales.rows ? w->scales.data : NULL,
                        .scale_dtype = w->scales.dtype, .scale_rows = w->scales.rows,
                        .scale_cols = w->scales.cols, .scale_stride = w->scales.row_stride};
    if (w->format) {
        s.block_elements = w->format->elements;
        s.block_bytes = w->format->bytes;
        s.dequantise = w->format->dequantise;
    }
    int64_t group = c->form->format == VW_GEMM_INT8_BLOCK32 ? 32 : c->k;
    for (int64_t n = 0; n < c->n; n++) {
        float *row = c->values + n * c->k;
        vw_ref_weight_row(&s, n, row);
        for (int64_t k = 0; c->form->format != VW_GEMM_STORED && k < c->k; k += group)
            vw_ref_round_int8(row + k, c->k - k < group ? c->k - k : group);
    }
}

static double mean_square(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += isfinite(x[i]) ? (double)x[i] * x[i] : 0;
    return n ? sum / (double)n : 0;
}

static float largest(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = isfinite(x[i]) ? fmaxf(most, fabsf(x[i])) : most;
    return most;
}

/* A row of X as a product of this weight's own format has it. */
static void round_to_weight(float *x, int64_t n, vw_dtype dtype)
{
    float most = largest(x, n), scale = most / 448;
    int exponent = 0;
    frexpf(most, &exponent);
    for (int64_t i = 0; i < n; i++) {
        if (dtype == VW_BF16)
            x[i] = vw_bf16_to_f32(vw_f32_to_bf16(x[i]));
        else if (dtype == VW_F16) /* the largest becomes 2^14 and more, exactly */
            x[i] = ldexpf(vw_f16_to_f32(vw_f32_to_f16(ldexpf(x[i], 15 - exponent))), exponent - 15);
        else if (dtype != VW_F32)
            x[i] = scale * vw_e4m3_to_f32(vw_f32_to_e4m3(x[i] / scale));
    }
}

void case_expect(gemm_case *c, case_rounding rounding)
{
    float *row = get((size_t)c->k * sizeof *row);
    weight_values(c);
    c->is_coarse = rounding == CASE_WEIGHT && vw_dtype_bits(c->form->dtype) == 8;
    c->typical = sqrt((double)c->k * mean_square(c->x, c->m * c->k) *
                      mean_square(c->values, c->n * c->k));
    for (int64_t m = 0; m < c->m; m++) {
        memcpy(row, c->x + m * c->k, (size_t)c->k * sizeof *row);
        int64_t group = c->x_group ? c->x_group : c->k;
        for (int64_t k = 0; (rounding == CASE_INT7 || rounding == CASE_INT8) && k < c->k; k += group)
            vw_ref_round_int(row + k, c->k - k < group ? c->k - k : group,
                             rounding == CASE_INT7 ? 63 : 127);
        if (rounding == CASE_WEIGHT)
            round_to_weight(row, c->k, c->form->dtype);
        for (int64_t n = 0; n < c->n; n++)
            c->want[m * c->n + n] = vw_ref_dot(row, c->values + n * c->k, c->k);
    }
    free(row);
}

void case_free(gemm_case *c)
{
    free(c->x);
    free(c->data);
    free(c->scales);
    free(c->values);
    free(c->want);
    memset(c, 0, sizeof *c);
}

double case_diff(const float *y, int64_t stride, const double *want, int64_t m, int64_t n,
                 int64_t n_total)
{
    double both = 0, each = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double a = y[i * stride + j], b = want[i * n_total + j];
            if (!isfinite(a) || !isfinite(b))
                continue; /* judged apart */
            both += a * b;
            each += a * a + b * b;
        }
    return each > 0 ? 1 - 2 * both / each : 0;
}

static bool is_tile_wrong(const gemm_case *c, const float *y, int64_t stride, int64_t m)
{
    for (int64_t i = 0; i < m; i += 64)
        for (int64_t j = 0; j < c->n; j += 64) {
            int64_t rows = m - i < 64 ? m - i : 64, cols = c->n - j < 64 ? c->n - j : 64;
            if (!(case_diff(y + i * stride + j, stride, c->want + i * c->n + j, rows, cols, c->n) <
                  (c->is_coarse ? 5e-5 : 5e-8)))
                return true;
        }
    return false;
}

/* Elements [j, j + n) of one row. */
static bool is_segment_wrong(const gemm_case *c, const float *y, const double *want, int64_t n)
{
    double relative = c->is_coarse ? 0x1p-8 : 0x1p-16, absolute = c->is_coarse ? 2e-3 : 1e-5;
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += isfinite(want[j]) ? want[j] * want[j] : 0;
    double rms = fmax(sqrt(sum / (double)n), c->typical);
    for (int64_t j = 0; j < n; j++) {
        if (isnan(want[j]) != isnan(y[j]) || isinf(want[j]) != isinf(y[j]))
            return true;
        if (isfinite(want[j]) &&
            !(fabs(y[j] - want[j]) <= relative * fabs(want[j]) + absolute * rms))
            return true;
    }
    return false;
}

const char *case_wrong(const gemm_case *c, const float *y, int64_t stride, int64_t m)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < c->n; j += 128)
            if (is_segment_wrong(c, y + i * stride + j, c->want + i * c->n + j,
                                 c->n - j < 128 ? c->n - j : 128))
                return "an element is off, or NaN or infinity is not where it belongs";
    if (is_tile_wrong(c, y, stride, m))
        return "a 64 x 64 tile is off";
    if (!(case_diff(y, stride, c->want, m, c->n, c->n) < (c->is_coarse ? 1e-6 : 1e-9)))
        return "the whole is off";
    return NULL;
}
