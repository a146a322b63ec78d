/* bench_gemm_case.c - making weights, binding and running them, judging results. */
#include "bench_gemm_case.h"

#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t ROTATION_BYTES = (size_t)256 << 20;
enum { BLOCK = 128, PACK_ROWS = 64, CHECK_ROWS = 2, CHECK_COLS = 24 };

/* ---- stored weights -------------------------------------------------------------------------- */

int gemm_storage_named(const char *name, gemm_storage *out)
{
    static const vw_dtype known[] = {VW_F32, VW_BF16, VW_F16, VW_I8, VW_E4M3};
    *out = (gemm_storage){name, VW_BLOCK, gemm_block_format(name)};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(vw_dtype_name(known[i]), name) == 0)
            out->dtype = known[i];
    return out->dtype != VW_BLOCK || out->blocks;
}

static void fill_codes(void *codes, size_t n, vw_dtype dtype)
{
    bench_random r = {n};
    for (size_t i = 0; i < n; i++) {
        float x = bench_random_real(&r);
        if (dtype == VW_F32)
            ((float *)codes)[i] = x;
        else if (dtype == VW_BF16)
            ((uint16_t *)codes)[i] = vw_f32_to_bf16(x);
        else if (dtype == VW_F16)
            ((uint16_t *)codes)[i] = vw_f32_to_f16(x);
        else if (dtype == VW_E4M3)
            ((uint8_t *)codes)[i] = vw_f32_to_e4m3(x * 16);
        else
            ((int8_t *)codes)[i] = (int8_t)lrintf(x * 127);
    }
}

/* int8 has a scale for each row, e4m3 one for each block of 128 x 128, int4 one for 128 values of a
 * row, the others none beside. */
static vw_scales scales_of(const gemm_weights *w)
{
    int64_t blocks = (w->k + BLOCK - 1) / BLOCK;
    if (w->storage.dtype == VW_I8)
        return (vw_scales){w->scales, VW_F32, 1, w->k, 1};
    if (w->storage.dtype == VW_E4M3)
        return (vw_scales){w->scales, VW_F32, BLOCK, BLOCK, blocks};
    if (w->storage.blocks && !strcmp(w->storage.name, "int4"))
        return (vw_scales){w->scales, VW_F32, 1, BLOCK, blocks};
    return (vw_scales){NULL, VW_F32, 0, 0, 0};
}

static size_t count_scales(const gemm_weights *w)
{
    vw_scales s = scales_of(w);
    return s.rows ? (size_t)((w->n + s.rows - 1) / s.rows * s.row_stride) : 0;
}

/* Values from one row to the next, and their bytes. */
static int64_t row_stride_of(const gemm_weights *w)
{
    int64_t e = w->storage.blocks ? w->storage.blocks->elements : 1;
    return (w->k + e - 1) / e * e;
}

static size_t codes_bytes(const gemm_weights *w)
{
    const vw_block_format *b = w->storage.blocks;
    size_t values = (size_t)w->n * (size_t)row_stride_of(w);
    return b ? values / (size_t)b->elements * (size_t)b->bytes
             : values * vw_dtype_bits(w->storage.dtype) / 8;
}

/* Bytes that one product reads of the weights. */
static double executed_bytes(const gemm_weights *w)
{
    double values = (double)w->n * (double)w->k;
    if (w->format == VW_GEMM_INT8)
        return values + 4.0 * (double)w->n;
    if (w->format == VW_GEMM_INT8_BLOCK32)
        return values * (1 + 4.0 / 32);
    return (double)w->copy_bytes + 4.0 * (double)count_scales(w);
}

/* Of the first copy. */
static void fill(gemm_weights *w, size_t n_scales)
{
    const vw_block_format *b = w->storage.blocks;
    if (b)
        gemm_fill_blocks(b, w->copy_bytes / (size_t)b->bytes, w->codes);
    else
        fill_codes(w->codes, (size_t)w->n * (size_t)w->k, w->storage.dtype);
    float most = w->storage.dtype == VW_I8 ? 127 : b ? 8 : 16;
    for (size_t i = 0; i < n_scales; i++)
        w->scales[i] = (0.5f + (float)(i % 7) / 8) / most;
}

vw_status gemm_weights_make(gemm_weights *w, const gemm_shape *shape, const gemm_storage *storage,
                            vw_gemm_format format, vw_error *err)
{
    *w = (gemm_weights){.n = shape->n, .k = shape->k, .storage = *storage, .format = format};
    w->copy_bytes = codes_bytes(w);
    w->n_copies = (int)((ROTATION_BYTES + w->copy_bytes - 1) / w->copy_bytes) + 1;
    size_t total = ((size_t)w->n_copies * w->copy_bytes + 4095) & ~(size_t)4095;
    w->codes = aligned_alloc(4096, total);
    w->stored = calloc((size_t)w->n_copies, sizeof *w->stored);
    size_t n_scales = count_scales(w);
    w->scales = n_scales ? malloc(n_scales * sizeof *w->scales) : NULL;
    if (!w->codes || !w->stored || (n_scales && !w->scales)) {
        gemm_weights_free(w);
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu MiB of weights", total >> 20);
    }
    fill(w, n_scales);
    for (int i = 0; i < w->n_copies; i++) {
        char *copy = w->codes + (size_t)i * w->copy_bytes;
        if (i)
            memcpy(copy, w->codes, w->copy_bytes);
        w->stored[i] = (vw_matrix){copy, storage->dtype, VW_OUT_IN, w->n, w->k, row_stride_of(w),
                                   scales_of(w), storage->blocks};
    }
    w->stored_bytes = executed_bytes(w);
    return VW_OK;
}

void gemm_weights_free(gemm_weights *w)
{
    free(w->codes);
    free(w->scales);
    free(w->stored);
    *w = (gemm_weights){0};
}

/* ---- binding --------------------------------------------------------------------------------- */

typedef struct packing {
    const gemm_entry *e;
    const gemm_weights *w;
    char *pack;
    int copy;
    vw_status status;
    vw_error err;
} packing;

static void pack_rows(void *arg, int part, int n_parts)
{
    packing *p = arg;
    int64_t first = (int64_t)part * PACK_ROWS, n = p->w->n - first;
    vw_error err = {VW_OK, ""};
    (void)n_parts;
    vw_status status = p->e->ops->pack(p->e->self, &p->w->stored[p->copy], p->w->format, first,
                                       n < PACK_ROWS ? n : PACK_ROWS, p->pack, &err);
    if (status != VW_OK) {
        p->status = status;
        p->err = err;
    }
}

/* Into host memory, which is the device's own or not. */
static vw_status pack_all(gemm_entry *e, vw_core *core, const gemm_weights *w, size_t bytes,
                          char *to, vw_error *err)
{
    double began = now_seconds();
    int n_parts = (int)((w->n + PACK_ROWS - 1) / PACK_ROWS);
    for (int i = 0; i < w->n_copies; i++) {
        packing p = {e, w, to + (size_t)i * bytes, i, VW_OK, {VW_OK, ""}};
        vw_core_parallel_for(core, n_parts, pack_rows, &p);
        if (p.status != VW_OK) {
            *err = p.err;
            return p.status;
        }
        e->weights[i].pack = (char *)e->packs.data + (size_t)i * bytes;
    }
    e->pack_seconds = (now_seconds() - began) / w->n_copies;
    return VW_OK;
}

static vw_status send(const gemm_entry *e, size_t at, const void *from, size_t bytes, vw_error *err)
{
    const bench_device *d = e->device;
    return bytes ? d->ops->upload(d->self, d->stream, (char *)e->packs.data + at, from, bytes, err)
                 : VW_OK;
}

/* Stored weights that the device cannot read where they are. */
static vw_status send_stored(gemm_entry *e, const gemm_weights *w, vw_error *err)
{
    size_t codes = ((size_t)w->n_copies * w->copy_bytes + 255) & ~(size_t)255;
    size_t scales = count_scales(w) * sizeof *w->scales;
    vw_status status = bench_alloc(e->device, codes + scales, NULL, &e->packs, err);
    if (status == VW_OK)
        status = send(e, 0, w->codes, (size_t)w->n_copies * w->copy_bytes, err);
    if (status == VW_OK)
        status = send(e, codes, w->scales, scales, err);
    for (int i = 0; i < w->n_copies; i++) {
        vw_matrix *m = &e->weights[i].stored;
        m->data = (char *)e->packs.data + (size_t)i * w->copy_bytes;
        m->scales.data = m->scales.rows ? (char *)e->packs.data + codes : NULL;
    }
    return status == VW_OK ? bench_wait(e->device, err) : status;
}

static vw_status send_packs(gemm_entry *e, vw_core *core, const gemm_weights *w, size_t bytes,
                            vw_error *err)
{
    char *host = aligned_alloc(4096, bytes * (size_t)w->n_copies);
    if (!host)
        return vw_fail(err, VW_E_NOMEM, "no memory for packed weights");
    vw_status status = pack_all(e, core, w, bytes, host, err);
    if (status == VW_OK)
        status = send(e, 0, host, bytes * (size_t)w->n_copies, err);
    if (status == VW_OK)
        status = bench_wait(e->device, err);
    free(host);
    return status;
}

vw_status gemm_entry_bind(gemm_entry *e, vw_core *core, const gemm_weights *w, vw_error *err)
{
    size_t bytes = 0;
    uint32_t layout = 0;
    vw_status status = e->ops->pack_size(e->self, &w->stored[0], w->format, &bytes, &layout, err);
    if (status != VW_OK)
        return status;
    e->n = w->n;
    e->k = w->k;
    e->n_copies = w->n_copies;
    e->weights = calloc((size_t)w->n_copies, sizeof *e->weights);
    if (!e->weights)
        return vw_fail(err, VW_E_NOMEM, "no memory for weights");
    for (int i = 0; i < w->n_copies; i++)
        e->weights[i] = (vw_gemm_weight){w->stored[i], w->format, NULL, layout};
    if (bytes == 0)
        return e->device->is_elsewhere ? send_stored(e, w, err) : VW_OK;
    bytes = (bytes + 4095) & ~(size_t)4095;
    status = bench_alloc(e->device, bytes * (size_t)w->n_copies, NULL, &e->packs, err);
    if (status != VW_OK)
        return status;
    return e->device->is_elsewhere ? send_packs(e, core, w, bytes, err)
                                   : pack_all(e, core, w, bytes, e->packs.data, err);
}

/* ---- running --------------------------------------------------------------------------------- */

vw_status gemm_entry_plan(gemm_entry *e, int64_t m, const float *x, vw_error *err)
{
    vw_gemm_problem problem = {.size = sizeof problem, .op = VW_GEMM_FORWARD, .max_m = m,
                               .n_weights = 1, .weights = {&e->weights[0]},
                               .x_dtype = VW_F32, .y_dtype = VW_F32, .epilogue = VW_GEMM_STORE};
    e->m = m;
    vw_status status = e->ops->supports(e->self, &problem, err);
    if (status == VW_OK)
        status = e->ops->plan(e->self, &problem, &e->plan, err);
    if (status != VW_OK)
        return status;
    e->has_plan = 1;
    int32_t offsets[BENCH_MAX_EXPERTS + 1];
    for (int32_t i = 0; i <= e->n_experts; i++)
        offsets[i] = (int32_t)(i * m / e->n_experts);
    status = bench_alloc(e->device, ((size_t)e->n_experts + 1) * sizeof *offsets, offsets,
                         &e->offsets, err);
    if (status == VW_OK)
        status = bench_alloc(e->device, (size_t)(m * e->k) * 4, x, &e->x, err);
    if (status == VW_OK)
        status = bench_alloc(e->device, (size_t)(m * e->n) * 4, NULL, &e->y, err);
    if (status == VW_OK)
        status = bench_alloc(e->device, e->plan.workspace_bytes, NULL, &e->workspace, err);
    return status;
}

/* The next weights in turn, one an expert. */
static vw_status run_experts(gemm_entry *e, int64_t i, vw_error *err)
{
    const vw_gemm_weight *list[BENCH_MAX_EXPERTS];
    vw_groups groups = {VW_GROUP_OFFSETS, e->n_experts, e->offsets.data};
    vw_tensor y = vw_tensor_2d(e->y.data, VW_F32, e->m, e->n);
    for (int32_t j = 0; j < e->n_experts; j++)
        list[j] = &e->weights[(i * e->n_experts + j) % e->n_copies];
    return e->ops->run_grouped(e->self, &e->plan, e->device->stream,
                               vw_tensor_2d(e->x.data, VW_F32, e->m, e->k), list, &groups, &y,
                               e->workspace.data, err);
}

vw_status gemm_entry_run(void *entry, int64_t i, vw_error *err)
{
    gemm_entry *e = entry;
    if (e->n_experts > 1)
        return run_experts(e, i, err);
    const vw_gemm_weight *weight = &e->weights[i % e->n_copies];
    vw_tensor y = vw_tensor_2d(e->y.data, VW_F32, e->m, e->n);
    return e->ops->run(e->self, &e->plan, e->device->stream,
                       vw_tensor_2d(e->x.data, VW_F32, e->m, e->k), &weight, &y,
                       e->workspace.data, err);
}

vw_status gemm_entry_wait(void *entry, vw_error *err)
{
    const gemm_entry *e = entry;
    return bench_wait(e->device, err);
}

void gemm_entry_unplan(gemm_entry *e)
{
    if (e->has_plan)
        e->ops->plan_free(e->self, &e->plan);
    e->has_plan = 0;
    bench_free(e->device, &e->x);
    bench_free(e->device, &e->y);
    bench_free(e->device, &e->workspace);
    bench_free(e->device, &e->offsets);
}

void gemm_entry_free(gemm_entry *e)
{
    gemm_entry_unplan(e);
    bench_free(e->device, &e->packs);
    free(e->weights);
    e->weights = NULL;
    e->pack_seconds = 0;
}

/* ---- judging --------------------------------------------------------------------------------- */

/* `values` has room for a row. */
static double exact(const gemm_weights *w, const float *x, int64_t row, int64_t col, float *values)
{
    const vw_matrix *a = &w->stored[0];
    const vw_block_format *b = a->format;
    double sum = 0;
    if (b)
        b->dequantise((const char *)a->data + col * (a->row_stride / b->elements) * b->bytes,
                      a->row_stride / b->elements, values);
    for (int64_t k = 0; k < w->k; k++) {
        double value = b ? (double)values[k]
                         : vw_dtype_get(a->dtype, a->data, (size_t)(col * w->k + k));
        if (a->scales.rows)
            value *= (double)w->scales[col / a->scales.rows * a->scales.row_stride +
                                       k / a->scales.cols];
        sum += value * (double)x[row * w->k + k];
    }
    return sum;
}

vw_status gemm_entry_error(gemm_entry *e, const gemm_weights *w, const float *x, double *error,
                           vw_error *err)
{
    size_t n = (size_t)(e->m * e->n);
    float *y = malloc(n * sizeof *y), *values = malloc((size_t)row_stride_of(w) * sizeof *values);
    if (!y || !values) {
        free(y), free(values);
        return vw_fail(err, VW_E_NOMEM, "no memory for the outputs");
    }
    vw_status status = gemm_entry_run(e, 0, err);
    if (status == VW_OK)
        status = bench_download(e->device, y, &e->y, n * sizeof *y, err);
    double squares = 0, worst = 0;
    for (size_t i = 0; i < n && status == VW_OK; i++)
        squares += (double)y[i] * (double)y[i];
    for (int r = 0; r < CHECK_ROWS && status == VW_OK; r++)
        for (int c = 0; c < CHECK_COLS; c++) {
            int64_t row = r * (e->m - 1) / (CHECK_ROWS - 1);
            int64_t col = c * (e->n - 1) / (CHECK_COLS - 1);
            double off = fabs((double)y[row * e->n + col] - exact(w, x, row, col, values));
            worst = off > worst || isnan(off) ? off : worst;
        }
    free(y), free(values);
    if (status == VW_OK)
        *error = worst / sqrt(squares / (double)n);
    return status;
}
