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

#include "core/stored.h"

enum { PACK_ROWS = 64, SLAB_PARTS = 64 };

/* ---- what the file says against what the model wants ----------------------------------------- */

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

void vw_params_choose_names(vw_engine *e)
{
    choose_prefix(e);
    choose_writer(e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The parameter itself, or what belongs to it: its name and an ending. */
static bool is_part(const char *const *sorted, size_t n, const char *prefix, const char *whole)
{
    char base[512];
    size_t n_prefix = strlen(prefix);
    const char *name = strncmp(whole, prefix, n_prefix) ? "" : whole + n_prefix, *key = base;
    for (size_t length = strlen(name); length && length < sizeof base; length--) {
        if (name[length] && (name[length] != '_' || !vw_stored_is_ending(name + length)))
            continue;
        snprintf(base, sizeof base, "%.*s", (int)length, name);
        if (bsearch(&key, sorted, n, sizeof *sorted, by_name))
            return true;
    }
    return false;
}

static bool is_ignored(const char *const *ignored, const char *whole)
{
    for (; ignored && *ignored; ignored++)
        if (fnmatch(*ignored, whole, 0) == 0)
            return true;
    return false;
}

vw_status vw_params_surplus(vw_engine *e, vw_on_surplus on_surplus, void *arg, vw_error *err)
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
        if (!st && !is_part(names, n, e->prefix, t.name))
            st = on_surplus(arg, &t, is_ignored(e->info->ignored, t.name), err);
    }
    vw_core_release(e->core, names);
    return st;
}

static vw_status refuse(void *arg, const vw_weights_tensor *t, bool is_ignored, vw_error *err)
{
    const vw_engine *e = arg;
    if (is_ignored)
        return VW_OK;
    return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is no part of this model (%s); the "
                   "checkpoint and its config.json do not belong together", t->file, t->name,
                   e->info->description);
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

/* The experts that a parameter is one's of, or NULL. */
static const vw_experts_spec *experts_of(const vw_engine *e, const vw_param *p)
{
    size_t i = (size_t)(p - e->params);
    for (int32_t l = 0; l < e->info->n_experts; l++) {
        const vw_experts_spec *s = &e->info->experts[l];
        if (i >= s->first_param && i - s->first_param < 3 * (size_t)s->n_experts)
            return s;
    }
    return NULL;
}

/* Do experts come from the file as they are needed, and is it one's? */
static bool is_streamed(const vw_engine *e, const vw_param *p)
{
    return e->expert_memory && experts_of(e, p);
}

static vw_status refuse_pack(const vw_engine *e, const vw_weights_tensor *t, vw_error *err)
{
    return vw_fail(err, VW_E_CONFIG, "tensor \"%s\": [model] expert_memory runs experts as they lie "
                   "in the file, and gemm/%s would pack them in another form; set [model] weights = "
                   "stored (and [gemm.%s] pack = no), or convert the file", t->name,
                   e->gemm->plugin->name, e->gemm->plugin->name);
}

static size_t scale_bytes(const vw_matrix *m)
{
    if (!m->scales.data)
        return 0;
    int64_t rows = (m->rows + m->scales.rows - 1) / m->scales.rows;
    return (size_t)(rows * m->scales.row_stride) * vw_dtype_bits(m->scales.dtype) / 8;
}

static vw_status load_matrix(vw_engine *e, vw_param *p, const vw_stored *stored,
                             const vw_engine_options *o, uint64_t done, uint64_t total,
                             vw_error *err)
{
    size_t pack_bytes;
    const vw_weights_tensor *t = &stored->tensor;
    vw_matrix *m = &p->weight.stored;
    *m = stored->matrix;
    p->weight.format = p->spec->n_heads ? VW_GEMM_STORED : e->format;
    vw_status st = e->mm->pack_size(e->gemm->self, m, p->weight.format, &pack_bytes,
                                    &p->weight.layout, err);
    if (st)
        return vw_fail_in(err, st, "tensor \"%s\"", t->name);
    p->bytes = t->bytes;
    p->scale_bytes = pack_bytes ? 0 : scale_bytes(m);
    if (is_streamed(e, p)) { /* it stays in the file; the cache of experts takes it from there */
        e->memory.streamed += p->bytes + p->scale_bytes;
        return pack_bytes ? refuse_pack(e, t, err) : VW_OK;
    }
    e->memory.in_place += pack_bytes ? 0 : p->bytes + p->scale_bytes;
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
        st = to_device(e, m->scales.data, p->scale_bytes, &p->scales, err);
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
        e->memory.in_place -= p->bytes + p->scale_bytes;
    e->memory.packed += bytes;
    p->weight = w;
    p->bytes = bytes;
    p->scale_bytes = 0;
    return make_sides(e, p, err);
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* Have the pages of what runs in place mapped before the first token needs them. */
static void prefetch_part(void *arg, int part, int n_parts)
{
    vw_engine *e = arg;
    const vw_param *p = &e->params[part];
    (void)n_parts;
    if (p->spec && p->spec->rows && !p->weight.pack && !is_streamed(e, p))
        e->wts->prefetch(e->weights->self, e->reader, p->weight.stored.data, p->bytes);
}

vw_status vw_params_new(vw_engine *e, vw_error *err)
{
    size_t n = e->info->n_params;
    e->param_list = vw_core_alloc(e->core, n * sizeof *e->param_list);
    e->params = e->param_list ? vw_core_alloc(e->core, n * sizeof *e->params) : NULL;
    if (!e->params)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu parameters", n);
    memset(e->params, 0, n * sizeof *e->params);
    memset(e->param_list, 0, n * sizeof *e->param_list);
    return VW_OK;
}

vw_status vw_params_load(vw_engine *e, const vw_engine_options *o, vw_error *err)
{
    size_t n = e->info->n_params;
    uint64_t total = 0, done = 0;
    vw_stored s;
    vw_params_choose_names(e);
    vw_status st = vw_params_surplus(e, refuse, e, err);
    if (!st)
        st = vw_params_new(e, err);
    for (size_t i = 0; i < n && !st; i++) { /* everything is checked before anything is packed */
        st = vw_stored_find(e, &e->info->params[i], &s, err);
        total += st || s.is_absent ? 0 : s.tensor.bytes;
    }
    for (size_t i = 0; i < n && !st; i++) {
        vw_param *p = &e->params[i];
        p->spec = &e->info->params[i];
        st = vw_stored_find(e, p->spec, &s, err);
        if (st || s.is_absent)
            continue;
        st = p->spec->rows ? load_matrix(e, p, &s, o, done, total, err)
                           : load_vector(e, p, &s.tensor, err);
        if (!st && p->spec->n_heads)
            st = make_exact(e, p, err);
        done += s.tensor.bytes;
        e->param_list[i] = p;
        e->parameters += (uint64_t)(p->spec->rows ? p->spec->rows : 1) * (uint64_t)p->spec->cols;
        e->weight_bytes += p->bytes + p->scale_bytes;
        if (!st)
            st = vw_report(o, "loading", done, total, "bytes", err);
    }
    if (!st && !e->is_plan)
        vw_core_parallel_for(e->core, (int)n, prefetch_part, e);
    return st;
}

/* Of so many bytes of a parameter, those that one token reads: no experts that others take, and one row
 * of a table that is looked up only. */
static uint64_t token_reads(const vw_engine *e, const vw_param *p, uint64_t bytes)
{
    const vw_experts_spec *x = experts_of(e, p);
    if (x)
        return bytes * (uint64_t)x->top_k / (uint64_t)x->n_experts;
    return p->is_looked_up && !p->is_head ? bytes / (uint64_t)p->spec->rows : bytes;
}

uint64_t vw_params_token_bytes(const vw_engine *e)
{
    const adapter_list *a = &e->adapters;
    uint64_t sum = 0;
    for (size_t i = 0; i < e->info->n_params; i++)
        if (e->param_list[i])
            sum += token_reads(e, &e->params[i], e->params[i].bytes + e->params[i].scale_bytes);
    for (size_t i = 0; i < 2 * a->n; i++)
        sum += token_reads(e, a->adapted[i / 2], a->params[i].bytes);
    return sum;
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
