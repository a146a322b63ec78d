/* gguf_write.c - a GGUF file of version 3, written.
 *
 * The keys come as JSON values, whose kind says what they become: a whole number u32 (i32 below zero,
 * u64 beyond), another number f32, true and false bool, text a string, an array one of strings,
 * f32 or i32.  Those are the types in which llama.cpp looks for its keys.
 */
#include "plugins/weights/gguf_write.h"

#include "plugins/gguf/file.h"

#include <stdlib.h>

enum { ALIGN = 32, MAX_DIMS = 4 };

struct vw_weights_writer {
    output out;
    uint64_t *left; /* [n]: bytes of each tensor that are still to come */
    uint64_t given; /* of tensor `at` */
    size_t n, at;
};

/* ---- the header ------------------------------------------------------------------------------ */

typedef struct header {
    const gguf_writing *by;
    const char *path;
    unsigned char *bytes;
    size_t n, room;
    vw_status status;
    vw_error *err;
} header;

static void put(header *h, const void *data, size_t n)
{
    if (!h->status && h->n + n > h->room) {
        size_t room = 2 * (h->n + n) + 4096;
        unsigned char *more = h->by->host->alloc(h->by->host->core, room);
        if (!more) {
            h->status = vw_fail(h->err, VW_E_NOMEM, "%s: no memory for its header", h->path);
            return;
        }
        if (h->n)
            memcpy(more, h->bytes, h->n);
        h->by->host->free(h->by->host->core, h->bytes);
        h->bytes = more;
        h->room = room;
    }
    if (h->status || !n)
        return;
    memcpy(h->bytes + h->n, data, n);
    h->n += n;
}

static void put_number(header *h, uint64_t value, size_t bytes) { put(h, &value, bytes); }

static void put_text(header *h, const char *text, size_t bytes)
{
    put_number(h, bytes, 8);
    put(h, text, bytes);
}

static void put_f32(header *h, double value)
{
    float x = (float)value;
    put(h, &x, sizeof x);
}

static gguf_type type_of(const vw_json *json, const vw_json_value *v)
{
    int64_t value = json->integer(v);
    switch (json->type(v)) {
    case VW_JSON_BOOL: return GGUF_BOOL;
    case VW_JSON_INTEGER:
        return value < 0 && value >= INT32_MIN ? GGUF_I32
               : value < 0                     ? GGUF_I64
               : value <= UINT32_MAX           ? GGUF_U32
                                               : GGUF_U64;
    case VW_JSON_REAL: return GGUF_F32;
    case VW_JSON_STRING: return GGUF_STRING;
    case VW_JSON_ARRAY: return GGUF_ARRAY;
    default: return GGUF_TYPES;
    }
}

static void put_value(header *h, const vw_json *json, const vw_json_value *v, gguf_type t)
{
    size_t bytes;
    const char *text;
    switch (t) {
    case GGUF_STRING:
        text = json->string(v, &bytes);
        put_text(h, text, bytes);
        break;
    case GGUF_F32: put_f32(h, json->real(v)); break;
    case GGUF_BOOL: put_number(h, json->integer(v) != 0, 1); break;
    case GGUF_U32:
    case GGUF_I32: put_number(h, (uint64_t)json->integer(v), 4); break;
    default: put_number(h, (uint64_t)json->integer(v), 8);
    }
}

/* Of one type: strings, f32 when there is a real among numbers, else i32. */
static void put_array(header *h, const char *key, const vw_json *json, const vw_json_value *v)
{
    gguf_type t = GGUF_I32;
    size_t n = json->count(v), n_texts = 0, n_numbers = 0;
    for (size_t i = 0; i < n; i++) {
        vw_json_type of = json->type(json->at(v, i));
        n_texts += of == VW_JSON_STRING;
        n_numbers += of == VW_JSON_INTEGER || of == VW_JSON_REAL;
        if (of == VW_JSON_REAL)
            t = GGUF_F32;
    }
    if (n_texts)
        t = GGUF_STRING;
    if (!h->status && (n_texts ? n_texts : n_numbers) != n)
        h->status = vw_fail(h->err, VW_E_INVALID, "%s: key \"%s\": an array of texts or of numbers is "
                            "expected", h->path, key);
    put_number(h, t, 4);
    put_number(h, n, 8);
    for (size_t i = 0; i < n && !h->status; i++)
        put_value(h, json, json->at(v, i), t);
}

static void put_key(header *h, const char *key, const char *text)
{
    const vw_json *json = h->by->json;
    vw_json_doc *doc;
    if (!h->status && !json)
        h->status = vw_fail(h->err, VW_E_UNSUPPORTED, "this host has no JSON service");
    if (h->status || (h->status = json->open_text(text, strlen(text), key, &doc, h->err)))
        return;
    const vw_json_value *v = json->root(doc);
    gguf_type t = type_of(json, v);
    put_text(h, key, strlen(key));
    put_number(h, t, 4);
    if (t == GGUF_ARRAY)
        put_array(h, key, json, v);
    else if (t != GGUF_TYPES)
        put_value(h, json, v, t);
    else
        h->status = vw_fail(h->err, VW_E_INVALID, "%s: key \"%s\" is null or an object", h->path, key);
    json->close(doc);
}

static uint64_t aligned(uint64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

/* 0 when it cannot be written, which has been said. */
static uint64_t put_tensor(header *h, const vw_weights_tensor *t, uint64_t offset)
{
    uint32_t id;
    uint64_t count = 1, row = t->n_dims > 0 ? (uint64_t)t->shape[t->n_dims - 1] : 0;
    uint64_t each = t->format ? (uint64_t)t->format->elements : 1;
    uint64_t bytes = t->format ? (uint64_t)t->format->bytes : vw_dtype_bits(t->dtype) / 8;
    int fits = t->name && t->n_dims >= 1 && t->n_dims <= MAX_DIMS && row % each == 0;
    for (int i = 0; fits && i < t->n_dims; i++)
        fits = t->shape[i] > 0 && !__builtin_mul_overflow(count, (uint64_t)t->shape[i], &count);
    fits = fits && !__builtin_mul_overflow(count / each, bytes, &bytes) && bytes < INT64_MAX / 2;
    if (!h->status && !gguf_type_id(t->dtype, t->format, &id))
        h->status = vw_fail(h->err, VW_E_UNSUPPORTED, "%s: tensor \"%s\": the format has no type for "
                            "%s", h->path, t->name ? t->name : "", t->format ? t->format->name
                                                              : vw_dtype_name(t->dtype));
    if (!h->status && !fits)
        h->status = vw_fail(h->err, VW_E_INVALID, "%s: tensor \"%s\" has a shape that no GGUF file can "
                            "hold", h->path, t->name ? t->name : "");
    if (h->status)
        return 0;
    put_text(h, t->name, strlen(t->name));
    put_number(h, (uint64_t)t->n_dims, 4);
    for (int i = t->n_dims; i-- > 0;)
        put_number(h, (uint64_t)t->shape[i], 8);
    put_number(h, id, 4);
    put_number(h, offset, 8);
    return bytes;
}

static void put_header(header *h, vw_weights_writer *w, const vw_weights_tensor *tensors,
                       const char *const *pairs)
{
    static const char zeros[ALIGN];
    uint64_t n_keys = 0, offset = 0;
    while (pairs && pairs[2 * n_keys])
        n_keys++;
    put(h, "GGUF\3\0\0\0", 8);
    put_number(h, w->n, 8);
    put_number(h, n_keys, 8);
    for (uint64_t i = 0; i < n_keys; i++)
        put_key(h, pairs[2 * i], pairs[2 * i + 1]);
    for (size_t i = 0; i < w->n; i++) {
        w->left[i] = put_tensor(h, tensors + i, offset);
        offset += aligned(w->left[i]);
    }
    put(h, zeros, (size_t)(aligned(h->n) - h->n));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_names(header *h, const vw_weights_tensor *tensors, size_t n)
{
    const vw_host *host = h->by->host;
    const char **names = h->status ? NULL : host->alloc(host->core, (n + 1) * sizeof *names);
    if (!names && !h->status)
        h->status = vw_fail(h->err, VW_E_NOMEM, "%s: no memory for %zu names", h->path, n);
    for (size_t i = 0; names && i < n; i++)
        names[i] = tensors[i].name;
    if (names && n)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; names && i < n && !h->status; i++)
        if (!strcmp(names[i], names[i - 1]))
            h->status = vw_fail(h->err, VW_E_INVALID, "%s: two tensors named \"%s\"", h->path,
                                names[i]);
    host->free(host->core, names);
}

/* ---- the file -------------------------------------------------------------------------------- */

void gguf_write_abort(const gguf_writing *by, vw_weights_writer *w)
{
    if (!w)
        return;
    output_abort(&w->out);
    by->host->free(by->host->core, w->left);
    by->host->free(by->host->core, w);
}

vw_status gguf_write_create(const gguf_writing *by, const char *path,
                            const vw_weights_tensor *tensors, size_t n,
                            const char *const *metadata_pairs, vw_weights_writer **writer,
                            vw_error *err)
{
    header h = {.by = by, .path = path, .err = err};
    vw_weights_writer *w = by->host->alloc(by->host->core, sizeof *w);
    if (!w)
        return vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    *w = (vw_weights_writer){.out = {.host = by->host, .fd = -1}, .n = n};
    w->left = by->host->alloc(by->host->core, (n + 1) * sizeof *w->left);
    if (!w->left)
        h.status = vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    else
        put_header(&h, w, tensors, metadata_pairs);
    check_names(&h, tensors, n);
    if (!h.status)
        h.status = output_begin(&w->out, by->host, path, err);
    if (!h.status)
        h.status = output_write(&w->out, h.bytes, h.n, err);
    by->host->free(by->host->core, h.bytes);
    if (h.status)
        gguf_write_abort(by, w);
    else
        *writer = w;
    return h.status;
}

/* Where a tensor ends, zeros follow up to the next one. */
vw_status gguf_write_bytes(vw_weights_writer *w, const void *data, size_t bytes, vw_error *err)
{
    static const char zeros[ALIGN];
    const char *from = data;
    while (bytes) {
        if (w->at == w->n)
            return vw_fail(err, VW_E_INVALID, "%s: %zu bytes more than the declared tensors hold",
                           w->out.path, bytes);
        size_t n = bytes < w->left[w->at] ? bytes : (size_t)w->left[w->at];
        vw_status st = output_write(&w->out, from, n, err);
        if (st)
            return st;
        from += n;
        bytes -= n;
        w->given += n;
        w->left[w->at] -= n;
        if (w->left[w->at])
            continue;
        w->at++;
        st = output_write(&w->out, zeros, (size_t)(aligned(w->given) - w->given), err);
        w->given = 0;
        if (st)
            return st;
    }
    return VW_OK;
}

vw_status gguf_write_finish(const gguf_writing *by, vw_weights_writer *w, vw_error *err)
{
    vw_status st = w->at == w->n ? output_finish(&w->out, err)
                                 : vw_fail(err, VW_E_INVALID, "%s: tensor %zu of %zu lacks %llu bytes",
                                           w->out.path, w->at + 1, w->n,
                                           (unsigned long long)w->left[w->at]);
    gguf_write_abort(by, w);
    return st;
}
