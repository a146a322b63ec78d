/* params.c - the checkpoint's tensors become parameters.
 *
 * A matrix is run where the file is mapped when the gemm can do that; else the gemm packs it, a slab
 * of rows at a time on all threads, and the file's pages behind the slab are let go, so that a model
 * is never in memory twice.  Vectors (norms) are small and become f32.  Names, shapes and dtypes are
 * checked one by one, and what the file has beyond the model's list is an error too: a checkpoint
 * that does not fit exactly is another model.
 */
#include "core/engine.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"

enum { PACK_ROWS = 64, SLAB_PARTS = 64 };

static const char scale_suffix[] = "_scale_inv";

/* ---- what the file says against what the model wants ----------------------------------------- */

static void shape_text(const vw_weights_tensor *t, char *text, size_t room)
{
    size_t at = (size_t)snprintf(text, room, "[");
    for (int i = 0; i < t->n_dims && at < room; i++)
        at += (size_t)snprintf(text + at, room - at, "%s%lld", i ? ", " : "",
                               (long long)t->shape[i]);
    if (at < room)
        snprintf(text + at, room - at, "]");
}

static vw_status check_shape(const vw_param_spec *spec, const vw_weights_tensor *t, vw_error *err)
{
    char have[160];
    bool is_turned = t->layout == VW_IN_OUT;
    int64_t rows = is_turned ? spec->cols : spec->rows, cols = is_turned ? spec->rows : spec->cols;
    bool fits = spec->rows ? t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols
                           : t->n_dims == 1 && t->shape[0] == spec->cols;
    if (fits)
        return VW_OK;
    shape_text(t, have, sizeof have);
    if (spec->rows)
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" has shape %s; config.json makes it "
                       "[%lld, %lld]", t->file, t->name, have, (long long)rows, (long long)cols);
    return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" has shape %s; config.json makes it [%lld]",
                   t->file, t->name, have, (long long)spec->cols);
}

/* What a writer of the family calls it; the first one's name where there are not so many. */
static const char *name_by(const vw_param_spec *spec, int writer)
{
    for (int w = 1; spec->others && spec->others[w - 1]; w++)
        if (w == writer)
            return spec->others[w - 1];
    return spec->name;
}

const char *vw_param_name(const vw_engine *e, const vw_param_spec *spec, char *name, size_t room)
{
    const char *const *usual = e->info->prefixes;
    const char *prefix = e->prefix ? e->prefix : usual && *usual ? *usual : "";
    snprintf(name, room, "%s%s", prefix, name_by(spec, e->writer));
    return name;
}

static bool has_tensor(const vw_engine *e, const char *name)
{
    vw_weights_tensor t;
    return !e->wts->find(e->weights->self, e->reader, name, &t, NULL);
}

/* Of whose names the file has most. */
static void choose_writer(vw_engine *e)
{
    size_t most = 0;
    const vw_param_spec *all = e->info->params;
    for (int w = 0; w == 0 || name_by(&all[0], w) != all[0].name; w++) {
        size_t n = 0;
        for (size_t i = 0; all[0].others && i < e->info->n_params; i++)
            n += has_tensor(e, name_by(&all[i], w));
        if (n > most) {
            most = n;
            e->writer = w;
        }
    }
}

static void choose_prefix(vw_engine *e)
{
    const char *const *prefixes = e->info->prefixes;
    char name[512];
    vw_weights_tensor t;
    for (const char *const *p = prefixes; p && *p; p++) {
        e->prefix = *p;
        if (!e->wts->find(e->weights->self, e->reader,
                          vw_param_name(e, e->info->params, name, sizeof name), &t, NULL))
            return;
    }
    e->prefix = prefixes && *prefixes ? *prefixes : "";
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_known(const char *const *sorted, size_t n, const char *prefix, const char *whole,
                     const char *const *ignored)
{
    char base[512];
    size_t n_prefix = strlen(prefix), tail = sizeof scale_suffix - 1;
    const char *name = strncmp(whole, prefix, n_prefix) ? "" : whole + n_prefix;
    size_t length = strlen(name);
    if (bsearch(&name, sorted, n, sizeof *sorted, by_name))
        return true;
    if (length > tail && length < sizeof base && strcmp(name + length - tail, scale_suffix) == 0) {
        const char *key = base;
        snprintf(base, sizeof base, "%.*s", (int)(length - tail), name);
        if (bsearch(&key, sorted, n, sizeof *sorted, by_name))
            return true;
    }
    for (; ignored && *ignored; ignored++)
        if (fnmatch(*ignored, whole, 0) == 0)
            return true;
    return false;
}

static vw_status refuse_surplus(vw_engine *e, vw_error *err)
{
    size_t n = e->info->n_params, count = e->wts->count(e->weights->self, e->reader);
    const char **names = vw_core_alloc(e->core, n * sizeof *names);
    vw_status st = VW_OK;
    if (!names)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu names", n);
    for (size_t i = 0; i < n; i++)
        names[i] = name_by(&e->info->params[i], e->writer);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < count && !st; i++) {
        vw_weights_tensor t;
        st = e->wts->tensor(e->weights->self, e->reader, i, &t, err);
        if (!st && !is_known(names, n, e->prefix, t.name, e->info->ignored))
            st = vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is no part of this model (%s); the "
                         "checkpoint and its config.json do not belong together", t.file, t.name,
                         e->info->description);
    }
    vw_core_release(e->core, names);
    return st;
}

/* ---- vectors --------------------------------------------------------------------------------- */

static vw_status load_vector(vw_engine *e, vw_param *p, const vw_weights_tensor *t, vw_error *err)
{
    size_t n = (size_t)p->spec->cols, bytes = n * sizeof(float);
    void *dev = e->device->self;
    unsigned bits = vw_dtype_bits(t->dtype);
    if (t->dtype != VW_F32 && t->dtype != VW_BF16 && t->dtype != VW_F16 && t->dtype != VW_F64)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: tensor \"%s\" is %s; a vector is f32, bf16, f16 "
                       "or f64", t->file, t->name, bits ? vw_dtype_name(t->dtype) : "of a block format");
    p->bytes = bytes;
    e->memory.packed += bytes;
    if (e->is_plan)
        return VW_OK;
    float *values = vw_core_alloc(e->core, bytes);
    if (!values)
        return vw_fail(err, VW_E_NOMEM, "no memory for tensor \"%s\"", t->name);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)vw_dtype_get(t->dtype, t->data, i);
    vw_status st = e->dev->alloc(dev, bytes, &p->buffer, err);
    if (!st)
        st = e->dev->upload(dev, e->stream, p->buffer.data, values, bytes, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    vw_core_release(e->core, values);
    p->vector = p->buffer.data;
    return st;
}

/* ---- matrices -------------------------------------------------------------------------------- */

/* The block of a file's fp8 scales, [128, 128] unless config.json's quantization_config says. */
static void scale_block(vw_engine *e, int64_t block[2])
{
    const vw_json *json = vw_json_service();
    const vw_json_value *v = json->get(json->root(e->config), "quantization_config");
    v = v ? json->get(v, "weight_block_size") : NULL;
    for (size_t i = 0; i < 2; i++) {
        int64_t size = v ? json->integer(json->at(v, i)) : 0;
        block[i] = size > 0 ? size : 128;
    }
}

static vw_status find_scales(vw_engine *e, const vw_weights_tensor *t, vw_matrix *m, vw_error *err)
{
    char name[600], have[160];
    int64_t block[2];
    vw_weights_tensor s;
    m->scales = t->scales;
    if (m->scales.rows || (t->dtype != VW_E4M3 && t->dtype != VW_E5M2))
        return VW_OK;
    snprintf(name, sizeof name, "%s%s", t->name, scale_suffix);
    vw_status st = e->wts->find(e->weights->self, e->reader, name, &s, err);
    if (st)
        return vw_fail_in(err, st, "tensor \"%s\" is %s and needs its scales", t->name,
                          vw_dtype_name(t->dtype));
    scale_block(e, block);
    int64_t rows = (m->rows + block[0] - 1) / block[0], cols = (m->cols + block[1] - 1) / block[1];
    if (s.dtype != VW_F32 || s.n_dims != 2 || s.shape[0] != rows || s.shape[1] != cols) {
        shape_text(&s, have, sizeof have);
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is %s %s; blocks of %lldx%lld make it "
                       "f32 [%lld, %lld]", s.file, s.name, vw_dtype_name(s.dtype), have,
                       (long long)block[0], (long long)block[1], (long long)rows, (long long)cols);
    }
    m->scales = (vw_scales){s.data, VW_F32, block[0], block[1], cols};
    return VW_OK;
}

/* Bytes of the host as device memory: mapped if the device can, else copied. */
static vw_status to_device(vw_engine *e, const void *host, size_t bytes, vw_buffer *buffer,
                           vw_error *err)
{
    void *dev = e->device->self;
    vw_status st = e->dev->map(dev, host, bytes, buffer, err);
    if (st != VW_E_UNSUPPORTED)
        return st;
    st = e->dev->alloc(dev, bytes, buffer, err);
    if (!st)
        st = e->dev->upload(dev, e->stream, buffer->data, host, bytes, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    return st;
}

typedef struct slab {
    vw_engine *engine;
    const vw_matrix *stored;
    vw_gemm_format format;
    void *pack;
    int64_t first, n;
    vw_status status; /* of the first part that failed, whose text it is */
    vw_error err;
} slab;

static void pack_part(void *arg, int part, int n_parts)
{
    slab *s = arg;
    vw_engine *e = s->engine;
    int64_t first = s->first + (int64_t)part * PACK_ROWS, left = s->first + s->n - first;
    vw_error err;
    (void)n_parts;
    vw_status st = e->mm->pack(e->gemm->self, s->stored, s->format, first,
                               left < PACK_ROWS ? left : PACK_ROWS, s->pack, &err);
    if (st) { /* parts that fail at once say the same thing; the pool's barrier publishes it */
        if (__atomic_exchange_n(&s->status, st, __ATOMIC_ACQ_REL) == VW_OK)
            s->err = err;
    }
}

static vw_status pack(vw_engine *e, vw_param *p, const vw_weights_tensor *t, size_t bytes,
                      const vw_engine_options *o, uint64_t done, uint64_t total, vw_error *err)
{
    bool is_visible = e->device_info.flags & VW_DEVICE_HOST_VISIBLE;
    vw_matrix stored = p->weight.stored;
    bool is_turned = stored.layout == VW_IN_OUT; /* an output is a column: nothing is let go early */
    int64_t outputs = is_turned ? stored.cols : stored.rows;
    size_t output_bytes = t->bytes / (size_t)outputs;
    void *dev = e->device->self, *host = NULL;
    vw_status st = e->dev->alloc(dev, bytes, &p->buffer, err);
    if (!st && !is_visible && !(host = vw_core_alloc(e->core, bytes)))
        st = vw_fail(err, VW_E_NOMEM, "no memory to pack tensor \"%s\"", t->name);
    slab s = {.engine = e, .stored = &stored, .format = p->weight.format,
              .pack = is_visible ? p->buffer.data : host};
    for (; !st && s.first < outputs; s.first += s.n) {
        s.n = outputs - s.first;
        if (s.n > PACK_ROWS * SLAB_PARTS)
            s.n = PACK_ROWS * SLAB_PARTS;
        vw_core_parallel_for(e->core, (int)((s.n + PACK_ROWS - 1) / PACK_ROWS), pack_part, &s);
        if (s.status) {
            if (err)
                *err = s.err;
            st = vw_fail_in(err, s.status, "packing tensor \"%s\"", t->name);
            break;
        }
        if (!is_turned)
            e->wts->release(e->weights->self, e->reader,
                            (const char *)t->data + (size_t)s.first * output_bytes,
                            (size_t)s.n * output_bytes);
        st = vw_report(o, "packing", done + (uint64_t)(s.first + s.n) * output_bytes, total,
                       "bytes", err);
    }
    if (is_turned)
        e->wts->release(e->weights->self, e->reader, t->data, t->bytes);
    if (!st && host) {
        st = e->dev->upload(dev, e->stream, p->buffer.data, host, bytes, err);
        if (!st)
            st = e->dev->synchronize(dev, e->stream, err);
    }
    vw_core_release(e->core, host);
    p->weight.pack = p->buffer.data;
    p->bytes = bytes;
    return st;
}

/* Is it an expert's, and do experts come from the file as they are needed? */
static bool is_streamed(const vw_engine *e, const vw_param *p)
{
    size_t i = (size_t)(p - e->params);
    for (int32_t l = 0; e->expert_memory && l < e->info->n_experts; l++) {
        const vw_experts_spec *s = &e->info->experts[l];
        if (i >= s->first_param && i - s->first_param < 3 * (size_t)s->n_experts)
            return true;
    }
    return false;
}

static vw_status refuse_pack(const vw_engine *e, const vw_weights_tensor *t, vw_error *err)
{
    return vw_fail(err, VW_E_CONFIG, "tensor \"%s\": [model] expert_memory runs experts as they lie "
                   "in the file, and gemm/%s would pack them in another form; set [model] weights = "
                   "stored (and [gemm.%s] pack = no), or convert the file", t->name,
                   e->gemm->plugin->name, e->gemm->plugin->name);
}

static vw_status load_matrix(vw_engine *e, vw_param *p, const vw_weights_tensor *t,
                             const vw_engine_options *o, uint64_t done, uint64_t total,
                             vw_error *err)
{
    size_t pack_bytes;
    vw_matrix *m = &p->weight.stored;
    *m = (vw_matrix){.data = t->data, .dtype = t->dtype, .layout = t->layout, .rows = t->shape[0],
                     .cols = t->shape[1], .row_stride = t->shape[1], .format = t->format};
    p->weight.format = p->spec->n_heads ? VW_GEMM_STORED : e->format;
    vw_status st = find_scales(e, t, m, err);
    if (!st)
        st = e->mm->pack_size(e->gemm->self, m, p->weight.format, &pack_bytes, &p->weight.layout,
                              err);
    if (st)
        return vw_fail_in(err, st, "tensor \"%s\"", t->name);
    p->bytes = t->bytes;
    if (is_streamed(e, p)) { /* it stays in the file; the cache of experts takes it from there */
        e->memory.streamed += t->bytes;
        return pack_bytes ? refuse_pack(e, t, err) : VW_OK;
    }
    e->memory.in_place += pack_bytes ? 0 : t->bytes;
    e->memory.packed += pack_bytes;
    if (e->is_plan) {
        p->bytes = pack_bytes ? pack_bytes : t->bytes;
        p->weight.pack = pack_bytes ? t->data : NULL; /* that there is one is all that matters */
        return VW_OK;
    }
    if (pack_bytes)
        return pack(e, p, t, pack_bytes, o, done, total, err);
    st = to_device(e, t->data, t->bytes, &p->buffer, err);
    m->data = p->buffer.data;
    if (!st && m->scales.data) {
        size_t n = (size_t)((m->rows + m->scales.rows - 1) / m->scales.rows * m->scales.row_stride);
        st = to_device(e, m->scales.data, n * vw_dtype_bits(m->scales.dtype) / 8, &p->scales, err);
        m->scales.data = p->scales.data;
    }
    return st;
}

vw_status vw_param_dequantise(vw_engine *e, const vw_param *p, float *to, vw_error *err)
{
    void *dev = e->device->self;
    const vw_param_spec *s = p->spec;
    vw_buffer rows;
    size_t bytes = (size_t)s->rows * sizeof(int32_t);
    int32_t *ids = vw_core_alloc(e->core, bytes);
    if (!ids)
        return vw_fail(err, VW_E_NOMEM, "no memory to copy %s", s->name);
    for (int64_t i = 0; i < s->rows; i++)
        ids[i] = (int32_t)i;
    vw_status st = e->dev->alloc(dev, bytes, &rows, err);
    if (!st) {
        st = e->dev->upload(dev, e->stream, rows.data, ids, bytes, err);
        if (!st)
            st = e->mm->gather(e->gemm->self, e->stream, &p->weight, rows.data, 1,
                               vw_tensor_2d(to, VW_F32, s->rows, s->cols), err);
        if (!st)
            st = e->dev->synchronize(dev, e->stream, err);
        e->dev->free(dev, &rows);
    }
    vw_core_release(e->core, ids);
    return st;
}

/* What a product with one head reads: the first head's rows before and behind the split. */
static vw_status make_sides(vw_engine *e, vw_param *p, vw_error *err)
{
    const vw_param_spec *s = p->spec;
    if (s->rows % s->n_heads || s->head_split < 1 || s->head_split >= s->rows / s->n_heads)
        return vw_fail(err, VW_E_INVALID, "\"%s\": %lld rows cannot be %d heads that are split at %d",
                       s->name, (long long)s->rows, s->n_heads, s->head_split);
    p->sides = vw_core_alloc(e->core, 2 * sizeof *p->sides);
    if (!p->sides)
        return vw_fail(err, VW_E_NOMEM, "no memory for a parameter");
    p->sides[VW_HEAD_BEFORE] = p->sides[VW_HEAD_BEHIND] = p->weight;
    vw_matrix *before = &p->sides[VW_HEAD_BEFORE].stored, *behind = &p->sides[VW_HEAD_BEHIND].stored;
    before->rows = s->head_split;
    before->layout = VW_IN_OUT;
    behind->rows = s->rows / s->n_heads - s->head_split;
    behind->data = (const float *)behind->data + s->head_split * behind->row_stride;
    return VW_OK;
}

/* A parameter that is used a head at a time becomes f32 in place. */
static vw_status make_exact(vw_engine *e, vw_param *p, vw_error *err)
{
    void *dev = e->device->self;
    const vw_param_spec *s = p->spec;
    vw_buffer exact = {(void *)(uintptr_t)p->weight.stored.data, 0, 0};
    size_t bytes = (size_t)s->rows * (size_t)s->cols * sizeof(float), pack_bytes = 0;
    vw_gemm_weight w = {.stored = {.dtype = VW_F32, .layout = VW_OUT_IN, .rows = s->rows,
                                   .cols = s->cols, .row_stride = s->cols}};
    vw_status st = e->mm->pack_size(e->gemm->self, &w.stored, w.format, &pack_bytes, &w.layout, err);
    if (!st && pack_bytes)
        st = vw_fail(err, VW_E_UNSUPPORTED, "gemm/%s packs f32 weights, but \"%s\" is used a head at "
                     "a time, in place; [gemm.%s] pack = no", e->gemm->plugin->name, s->name,
                     e->gemm->plugin->name);
    if (st || (!e->is_plan && (st = e->dev->alloc(dev, bytes, &exact, err))))
        return st;
    if (!e->is_plan && (st = vw_param_dequantise(e, p, exact.data, err))) {
        e->dev->free(dev, &exact);
        return st;
    }
    if (!e->is_plan) {
        e->dev->free(dev, &p->buffer);
        e->dev->free(dev, &p->scales);
        p->buffer = exact;
    }
    w.stored.data = exact.data;
    if (p->weight.pack)
        e->memory.packed -= p->bytes;
    else
        e->memory.in_place -= p->bytes;
    e->memory.packed += bytes;
    p->weight = w;
    p->bytes = bytes;
    return make_sides(e, p, err);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static vw_status find_tensor(vw_engine *e, const vw_param_spec *spec, vw_weights_tensor *t,
                             bool *is_absent, vw_error *err)
{
    char name[512];
    vw_status st = e->wts->find(e->weights->self, e->reader,
                                vw_param_name(e, spec, name, sizeof name), t, err);
    *is_absent = st == VW_E_NOTFOUND && spec->is_optional;
    if (*is_absent)
        return VW_OK;
    return st ? st : check_shape(spec, t, err);
}

/* Have the pages of what runs in place mapped before the first token needs them. */
static void prefetch_part(void *arg, int part, int n_parts)
{
    vw_engine *e = arg;
    const vw_param *p = &e->params[part];
    (void)n_parts;
    if (p->spec && p->spec->rows && !p->weight.pack && !is_streamed(e, p))
        e->wts->prefetch(e->weights->self, e->reader, p->weight.stored.data, p->bytes);
}

vw_status vw_params_load(vw_engine *e, const vw_engine_options *o, vw_error *err)
{
    size_t n = e->info->n_params;
    uint64_t total = 0, done = 0;
    bool is_absent;
    vw_weights_tensor t;
    choose_prefix(e);
    choose_writer(e);
    vw_status st = refuse_surplus(e, err);
    e->params = vw_core_alloc(e->core, n * sizeof *e->params);
    e->param_list = vw_core_alloc(e->core, n * sizeof *e->param_list);
    if (!e->params || !e->param_list)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu parameters", n);
    memset(e->params, 0, n * sizeof *e->params);
    memset(e->param_list, 0, n * sizeof *e->param_list);
    for (size_t i = 0; i < n && !st; i++) { /* everything is checked before anything is packed */
        st = find_tensor(e, &e->info->params[i], &t, &is_absent, err);
        total += st || is_absent ? 0 : t.bytes;
    }
    for (size_t i = 0; i < n && !st; i++) {
        vw_param *p = &e->params[i];
        p->spec = &e->info->params[i];
        st = find_tensor(e, p->spec, &t, &is_absent, err);
        if (st || is_absent)
            continue;
        st = p->spec->rows ? load_matrix(e, p, &t, o, done, total, err)
                           : load_vector(e, p, &t, err);
        if (!st && p->spec->n_heads)
            st = make_exact(e, p, err);
        done += t.bytes;
        e->param_list[i] = p;
        e->parameters += (uint64_t)(p->spec->rows ? p->spec->rows : 1) * (uint64_t)p->spec->cols;
        e->weight_bytes += p->bytes;
        if (!st)
            st = vw_report(o, "loading", done, total, "bytes", err);
    }
    e->token_bytes = e->weight_bytes;
    if (!st && !e->is_plan)
        vw_core_parallel_for(e->core, (int)n, prefetch_part, e);
    return st;
}

void vw_params_free(vw_engine *e)
{
    for (size_t i = 0; e->params && i < e->info->n_params; i++) {
        e->dev->free(e->device->self, &e->params[i].buffer);
        e->dev->free(e->device->self, &e->params[i].scales);
        vw_core_release(e->core, e->params[i].sides);
    }
    vw_core_release(e->core, e->params);
    vw_core_release(e->core, e->param_list);
}
