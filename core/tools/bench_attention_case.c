/* bench_attention_case.c - filling a cache, attending to it, judging the result. */
#include "bench_attention_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_TOKENS = 64, CHUNK = 512, MAX_COPIES = 256 };
static const size_t ROTATION_BYTES = (size_t)256 << 20;

static float scale_of(const attention_case *w)
{
    return 1.0f / sqrtf((float)w->dim);
}

static float *random_values(size_t n, uint64_t seed)
{
    float *values = malloc(n * sizeof *values);
    bench_random r = {seed};
    for (size_t i = 0; values && i < n; i++)
        values[i] = bench_random_real(&r);
    return values;
}

vw_status attention_case_fill(attention_case *w, vw_error *err)
{
    size_t width = (size_t)w->k_heads * (size_t)w->dim;
    w->q = random_values((size_t)w->n_queries * (size_t)w->q_heads * (size_t)w->dim, 1);
    w->k = random_values((size_t)w->n_keys * width, 2);
    w->v = random_values((size_t)w->n_keys * width, 3);
    return w->q && w->k && w->v ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the tokens");
}

void attention_case_free(attention_case *w)
{
    free(w->q);
    free(w->k);
    free(w->v);
    w->q = w->k = w->v = NULL;
}

double attention_case_bytes(const attention_case *w)
{
    double values = 2.0 * (double)w->n_keys * w->k_heads * w->dim;
    double scales = w->kv_dtype == VW_I8 ? 2.0 * (double)w->n_keys * w->k_heads * 4 : 0;
    return values * vw_dtype_bits(w->kv_dtype) / 8 + scales;
}

double attention_case_ops(const attention_case *w)
{
    double n = (double)w->n_queries, s = (double)w->n_keys;
    return 2.0 * 2 * w->q_heads * w->dim * (n * (s - n) + n * (n + 1) / 2);
}

/* ---- the batch of one sequence --------------------------------------------------------------- */

/* Device arrays: query_start [2], n_keys [1], then the table.  `copy` picks the pages. */
static vw_status set_batch(const attention_entry *e, int64_t n_queries, int64_t n_keys,
                           vw_attention_batch *batch, vw_error *err)
{
    const vw_device_ops *dev = e->device->ops;
    int32_t head[4] = {0, (int32_t)n_queries, (int32_t)n_keys, 0};
    int32_t *arrays = e->arrays.data;
    *batch = (vw_attention_batch){1, n_queries, arrays, arrays + 2, arrays + 4, e->n_pages, n_keys,
                                  n_queries};
    vw_status status = dev->upload(e->device->self, e->device->stream, arrays, head, sizeof head,
                                   err);
    return status == VW_OK ? dev->synchronize(e->device->self, e->device->stream, err) : status;
}

static vw_status make_table(attention_entry *e, vw_error *err)
{
    size_t n = 4 + (size_t)e->n_pages;
    int32_t *host = malloc(n * sizeof *host);
    if (!host)
        return vw_fail(err, VW_E_NOMEM, "no memory for a block table");
    for (size_t i = 0; i < n; i++)
        host[i] = i < 4 ? 0 : (int32_t)(i - 4);
    vw_status status = bench_alloc(e->device, n * sizeof *host, host, &e->arrays, err);
    free(host);
    return status;
}

/* Append all keys in chunks to copy 0, then copy its pages. */
static vw_status fill_cache(attention_entry *e, vw_error *err)
{
    const attention_case *w = e->work;
    const vw_device_ops *dev = e->device->ops;
    size_t width = (size_t)w->k_heads * (size_t)w->dim, half = CHUNK * width;
    vw_status status = bench_alloc(e->device, 2 * half * sizeof(float), NULL, &e->kv, err);
    for (int64_t done = 0; done < w->n_keys && status == VW_OK; done += CHUNK) {
        int64_t n = w->n_keys - done < CHUNK ? w->n_keys - done : CHUNK;
        size_t bytes = (size_t)n * width * sizeof(float);
        float *k = e->kv.data, *v = k + half;
        vw_attention_batch batch;
        status = dev->upload(e->device->self, e->device->stream, k, w->k + (size_t)done * width,
                             bytes, err);
        if (status == VW_OK)
            status = dev->upload(e->device->self, e->device->stream, v,
                                 w->v + (size_t)done * width, bytes, err);
        if (status == VW_OK)
            status = set_batch(e, n, done + n, &batch, err);
        if (status == VW_OK)
            status = e->ops->append(e->self, &e->plan, e->device->stream, &batch,
                                    vw_tensor_2d(k, VW_F32, n, (int64_t)width),
                                    vw_tensor_2d(v, VW_F32, n, (int64_t)width), e->pages.data,
                                    e->workspace.data, err);
        if (status == VW_OK)
            status = dev->synchronize(e->device->self, e->device->stream, err);
    }
    size_t bytes = e->plan.page_bytes * (size_t)e->n_pages;
    for (int i = 1; i < e->n_copies && status == VW_OK; i++)
        status = dev->copy(e->device->self, e->device->stream,
                           (char *)e->pages.data + (size_t)i * bytes, e->pages.data, bytes, err);
    return status == VW_OK ? dev->synchronize(e->device->self, e->device->stream, err) : status;
}

vw_status attention_entry_make(attention_entry *e, const attention_case *w, vw_error *err)
{
    vw_attention_problem problem = {
        .size = sizeof problem, .q_heads = w->q_heads, .k_heads = w->k_heads, .dk = w->dim,
        .dv = w->dim, .is_causal = 1, .scale = scale_of(w), .q_dtype = VW_F32,
        .kv_dtype = w->kv_dtype, .page_tokens = PAGE_TOKENS,
        .max_queries = w->n_queries > CHUNK ? w->n_queries : CHUNK, .max_sequences = 1,
        .max_keys = w->n_keys};
    size_t q_bytes = (size_t)w->n_queries * (size_t)w->q_heads * (size_t)w->dim * sizeof(float);
    e->work = w;
    e->n_pages = (int)((w->n_keys + PAGE_TOKENS - 1) / PAGE_TOKENS);
    vw_status status = e->ops->supports(e->self, &problem, err);
    if (status == VW_OK)
        status = e->ops->plan(e->self, &problem, &e->plan, err);
    if (status != VW_OK)
        return status;
    e->has_plan = 1;
    size_t bytes = e->plan.page_bytes * (size_t)e->n_pages;
    size_t copies = ROTATION_BYTES / bytes + 1;
    e->n_copies = copies < MAX_COPIES ? (int)copies : MAX_COPIES;
    status = bench_alloc(e->device, bytes * (size_t)e->n_copies, NULL, &e->pages, err);
    if (status == VW_OK)
        status = bench_alloc(e->device, e->plan.workspace_bytes, NULL, &e->workspace, err);
    if (status == VW_OK)
        status = bench_alloc(e->device, q_bytes, w->q, &e->q, err);
    if (status == VW_OK)
        status = bench_alloc(e->device, q_bytes, NULL, &e->out, err);
    if (status == VW_OK)
        status = make_table(e, err);
    if (status == VW_OK)
        status = fill_cache(e, err);
    return status == VW_OK ? set_batch(e, w->n_queries, w->n_keys, &e->batch, err) : status;
}

vw_status attention_entry_run(void *entry, int64_t i, vw_error *err)
{
    attention_entry *e = entry;
    const attention_case *w = e->work;
    int64_t width = (int64_t)w->q_heads * w->dim;
    size_t bytes = e->plan.page_bytes * (size_t)e->n_pages;
    return e->ops->run(e->self, &e->plan, e->device->stream, &e->batch,
                       vw_tensor_2d(e->q.data, VW_F32, w->n_queries, width),
                       (char *)e->pages.data + (size_t)(i % e->n_copies) * bytes,
                       vw_tensor_2d(e->out.data, VW_F32, w->n_queries, width), NULL,
                       e->workspace.data, err);
}

vw_status attention_entry_wait(void *entry, vw_error *err)
{
    const attention_entry *e = entry;
    return bench_wait(e->device, err);
}

void attention_entry_free(attention_entry *e)
{
    if (e->has_plan)
        e->ops->plan_free(e->self, &e->plan);
    e->has_plan = 0;
    vw_buffer *const buffers[] = {&e->pages, &e->q, &e->kv, &e->out, &e->workspace, &e->arrays};
    for (size_t i = 0; e->device && i < sizeof buffers / sizeof *buffers; i++)
        bench_free(e->device, buffers[i]);
}

/* ---- judging --------------------------------------------------------------------------------- */

/* One head of one query, in double: out [D]. */
static void exact(const attention_case *w, int64_t query, int32_t head, double *scores, double *out)
{
    int64_t visible = query + w->n_keys - w->n_queries + 1, width = (int64_t)w->k_heads * w->dim;
    const float *q = w->q + (query * w->q_heads + head) * w->dim;
    int64_t first = (int64_t)(head / (w->q_heads / w->k_heads)) * w->dim;
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < visible; j++) {
        scores[j] = 0;
        for (int32_t d = 0; d < w->dim; d++)
            scores[j] += (double)q[d] * (double)w->k[j * width + first + d];
        scores[j] *= (double)scale_of(w);
        top = scores[j] > top ? scores[j] : top;
    }
    for (int32_t d = 0; d < w->dim; d++)
        out[d] = 0;
    for (int64_t j = 0; j < visible; j++) {
        double p = exp(scores[j] - top);
        sum += p;
        for (int32_t d = 0; d < w->dim; d++)
            out[d] += p * (double)w->v[j * width + first + d];
    }
    for (int32_t d = 0; d < w->dim; d++)
        out[d] /= sum;
}

vw_status attention_entry_error(attention_entry *e, double *error, vw_error *err)
{
    const attention_case *w = e->work;
    size_t n = (size_t)w->n_queries * (size_t)w->q_heads * (size_t)w->dim;
    float *out = malloc(n * sizeof *out);
    double *scores = malloc((size_t)(w->n_keys + w->dim) * sizeof *scores);
    double worst = 0, largest = 0;
    vw_status status = out && scores ? attention_entry_run(e, 0, err)
                                     : vw_fail(err, VW_E_NOMEM, "no memory for the outputs");
    if (status == VW_OK)
        status = bench_download(e->device, out, &e->out, n * sizeof *out, err);
    for (int i = 0; i < 2 && status == VW_OK; i++) {
        int64_t query = i * (w->n_queries - 1);
        int32_t head = i * (w->q_heads - 1);
        double *right = scores + w->n_keys;
        exact(w, query, head, scores, right);
        for (int32_t d = 0; d < w->dim; d++) {
            double off = fabs((double)out[(query * w->q_heads + head) * w->dim + d] - right[d]);
            worst = off > worst || isnan(off) ? off : worst;
            largest = fabs(right[d]) > largest ? fabs(right[d]) : largest;
        }
    }
    free(out);
    free(scores);
    if (status == VW_OK)
        *error = worst / largest;
    return status;
}
