/* safetensors_header.c - the directory of one file, believed only after it is checked.
 *
 * The header is JSON that anybody may have written: sizes that wrap, ranges that overlap or point
 * outside, names that appear twice.  Every claim is held against the dtype, the shape and the
 * file's length before a single view is given out.  The ranges must tile the data without a gap, as
 * the format demands, so that no byte has two meanings and none is smuggled.
 */
#include "plugins/weights/safetensors.h"

#include <stdlib.h>

static const struct {
    const char *name;
    vw_dtype dtype;
} dtypes[] = {
    {"BOOL", VW_BOOL}, {"U8", VW_U8}, {"I8", VW_I8}, {"F8_E4M3", VW_E4M3}, {"F8_E5M2", VW_E5M2},
    {"F8_E8M0", VW_E8M0}, {"F4", VW_E2M1}, {"I16", VW_I16}, {"U16", VW_U16}, {"F16", VW_F16},
    {"BF16", VW_BF16}, {"I32", VW_I32}, {"U32", VW_U32}, {"F32", VW_F32}, {"I64", VW_I64},
    {"U64", VW_U64}, {"F64", VW_F64},
};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

#define DTYPES_IN_WORDS \
    "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E8M0 F4 I16 U16 F16 BF16 I32 U32 F32 I64 U64 F64"

const char *st_dtype_name(vw_dtype dtype)
{
    for (int i = 0; i < N_DTYPES; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].name;
    return NULL;
}

vw_dtype st_dtype(const char *name)
{
    for (int i = 0; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name))
            return dtypes[i].dtype;
    return VW_DTYPE_NONE;
}

st_quoted st_quote(const char *name)
{
    st_quoted q;
    size_t room = sizeof q.text - 6, n = strlen(name), shown = n < room ? n : room;
    char *out = q.text;
    *out++ = '"';
    for (size_t i = 0; i < shown; i++)
        *out++ = (unsigned char)name[i] < 32 || name[i] == 127 ? '?' : name[i];
    *out = '\0';
    if (shown < n)
        vw_text_trim(q.text);
    strcat(q.text, shown < n ? "...\"" : "\"");
    return q;
}

int st_by_name(const void *a, const void *b)
{
    return strcmp(((const vw_weights_tensor *)a)->name, ((const vw_weights_tensor *)b)->name);
}

int st_tensor_bytes(vw_dtype dtype, const int64_t *shape, int32_t n_dims, uint64_t *bytes)
{
    uint64_t bits = vw_dtype_bits(dtype);
    for (int32_t i = 0; i < n_dims; i++)
        if (shape[i] < 0)
            return 0;
    /* Zeros last: 2^32 x 2^32 x 0 is a lie even if nothing of it is stored. */
    for (int32_t i = 0; i < n_dims; i++)
        if (shape[i] > 0 && __builtin_mul_overflow(bits, (uint64_t)shape[i], &bits))
            return 0;
    for (int32_t i = 0; i < n_dims; i++)
        if (shape[i] == 0)
            bits = 0;
    *bytes = bits / 8;
    return bits % 8 == 0;
}

static void shape_in_words(const vw_weights_tensor *t, char *out, size_t room)
{
    size_t n = (size_t)snprintf(out, room, "[");
    for (int32_t i = 0; i < t->n_dims && n < room; i++)
        n += (size_t)snprintf(out + n, room - n, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    if (n < room)
        snprintf(out + n, room - n, "]");
}

/* ---- one entry ------------------------------------------------------------------------------- */

typedef struct entry_reader {
    const st_plugin *st;
    const st_file *file;
    vw_error *err;
} entry_reader;

VW_PRINTF(3, 4)
static vw_status refuse(const entry_reader *r, const char *name, const char *format, ...)
{
    char what[600];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return vw_fail(r->err, VW_E_FORMAT, "%s: tensor %s: %s", r->file->path, st_quote(name).text,
                   what);
}

static vw_status read_dtype(const entry_reader *r, const vw_json_value *entry,
                            vw_weights_tensor *t)
{
    const vw_json *json = r->st->json;
    const vw_json_value *v = json->get(entry, "dtype");
    if (json->type(v) != VW_JSON_STRING)
        return refuse(r, t->name, "no dtype, expected one of " DTYPES_IN_WORDS);
    t->dtype = st_dtype(json->string(v, NULL));
    if (t->dtype == VW_DTYPE_NONE)
        return refuse(r, t->name, "dtype %s is unknown, expected one of " DTYPES_IN_WORDS,
                      st_quote(json->string(v, NULL)).text);
    return VW_OK;
}

static vw_status read_shape(const entry_reader *r, const vw_json_value *entry,
                            vw_weights_tensor *t)
{
    const vw_json *json = r->st->json;
    const vw_json_value *v = json->get(entry, "shape");
    size_t n = json->count(v);
    if (json->type(v) != VW_JSON_ARRAY)
        return refuse(r, t->name, "no shape, expected an array of sizes");
    if (n > ST_MAX_DIMS)
        return refuse(r, t->name, "%zu dimensions, expected at most %d", n, ST_MAX_DIMS);
    t->n_dims = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const vw_json_value *size = json->at(v, i);
        if (json->type(size) != VW_JSON_INTEGER || json->integer(size) < 0)
            return refuse(r, t->name, "dimension %zu of its shape is no size, expected an integer "
                          "from 0 to 2^63 - 1", i);
        t->shape[i] = json->integer(size);
    }
    return VW_OK;
}

static vw_status read_range(const entry_reader *r, const vw_json_value *entry,
                            vw_weights_tensor *t)
{
    const vw_json *json = r->st->json;
    const vw_json_value *v = json->get(entry, "data_offsets");
    uint64_t room = r->file->bytes - r->file->data_at, range[2], need;
    char shape[256];
    if (json->type(v) != VW_JSON_ARRAY || json->count(v) != 2)
        return refuse(r, t->name, "no data_offsets, expected [begin, end]");
    for (size_t i = 0; i < 2; i++) {
        if (json->type(json->at(v, i)) != VW_JSON_INTEGER || json->integer(json->at(v, i)) < 0)
            return refuse(r, t->name, "data_offsets are no offsets, expected [begin, end] in "
                          "bytes of the data");
        range[i] = (uint64_t)json->integer(json->at(v, i));
    }
    if (range[0] > range[1])
        return refuse(r, t->name, "data_offsets [%llu, %llu] end before they begin",
                      (unsigned long long)range[0], (unsigned long long)range[1]);
    shape_in_words(t, shape, sizeof shape);
    if (!st_tensor_bytes(t->dtype, t->shape, t->n_dims, &need))
        return refuse(r, t->name, "%s %s is no whole number of bytes below 2^61",
                      st_dtype_name(t->dtype), shape);
    if (range[1] - range[0] != need)
        return refuse(r, t->name, "data_offsets [%llu, %llu] hold %llu bytes, expected %llu for "
                      "%s %s", (unsigned long long)range[0], (unsigned long long)range[1],
                      (unsigned long long)(range[1] - range[0]), (unsigned long long)need,
                      st_dtype_name(t->dtype), shape);
    if (range[1] > room)
        return refuse(r, t->name, "ends at byte %llu of the data, but the file holds only %llu; "
                      "it is cut short", (unsigned long long)range[1], (unsigned long long)room);
    t->data = r->file->map + r->file->data_at + range[0];
    t->bytes = (size_t)need;
    return VW_OK;
}

static vw_status read_entry(const entry_reader *r, const vw_json_value *entry,
                            vw_weights_tensor *t)
{
    if (r->st->json->type(entry) != VW_JSON_OBJECT)
        return refuse(r, t->name, "not an object with dtype, shape and data_offsets");
    vw_status status = read_dtype(r, entry, t);
    if (!status)
        status = read_shape(r, entry, t);
    if (!status)
        status = read_range(r, entry, t);
    return status;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* By place, an empty tensor before the one that begins where it stands. */
static int by_place(const void *a, const void *b)
{
    const vw_weights_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* The ranges must cover the data, each byte once. */
static vw_status check_tiling(const entry_reader *r)
{
    const st_file *f = r->file;
    const unsigned char *data = f->map + f->data_at;
    uint64_t at = 0, all = f->bytes - f->data_at;
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_place);
    for (size_t i = 0; i < f->n_tensors; i++) {
        const vw_weights_tensor *t = f->tensors + i;
        uint64_t begin = (uint64_t)((const unsigned char *)t->data - data);
        if (begin < at)
            return refuse(r, t->name, "begins at byte %llu of the data, inside tensor %s",
                          (unsigned long long)begin, st_quote(t[-1].name).text);
        if (begin > at)
            return refuse(r, t->name, "begins at byte %llu of the data, but bytes %llu to %llu "
                          "before it belong to no tensor", (unsigned long long)begin,
                          (unsigned long long)at, (unsigned long long)begin);
        at = begin + t->bytes;
    }
    if (at != all)
        return vw_fail(r->err, VW_E_FORMAT, "%s: bytes %llu to %llu of the data belong to no "
                       "tensor", f->path, (unsigned long long)at, (unsigned long long)all);
    return VW_OK;
}

static char *keep(char **strings, const char *text)
{
    size_t n = strlen(text) + 1;
    char *kept = memcpy(*strings, text, n);
    *strings += n;
    return kept;
}

static vw_status read_metadata(const entry_reader *r, const vw_json_value *meta, st_file *f,
                               char **strings)
{
    const vw_json *json = r->st->json;
    const char *key;
    for (size_t i = 0; i < json->count(meta); i++) {
        const vw_json_value *v = json->member(meta, i, &key);
        f->metadata[f->n_metadata++] = keep(strings, key);
        f->metadata[f->n_metadata++] = keep(strings, json->string(v, NULL));
    }
    return VW_OK;
}

/* Is __metadata__ absent, or an object of strings?  Adds the room that its strings need. */
static vw_status check_metadata(const entry_reader *r, const vw_json_value *meta, size_t *room)
{
    const vw_json *json = r->st->json;
    const char *key;
    if (json->type(meta) == VW_JSON_MISSING)
        return VW_OK;
    if (json->type(meta) != VW_JSON_OBJECT)
        return vw_fail(r->err, VW_E_FORMAT, "%s: __metadata__ is not an object of strings",
                       r->file->path);
    for (size_t i = 0; i < json->count(meta); i++) {
        const vw_json_value *v = json->member(meta, i, &key);
        if (json->type(v) != VW_JSON_STRING)
            return vw_fail(r->err, VW_E_FORMAT, "%s: __metadata__ %s is not a string",
                           r->file->path, st_quote(key).text);
        *room += strlen(key) + strlen(json->string(v, NULL)) + 2;
    }
    return VW_OK;
}

static vw_status read_directory(const entry_reader *r, const vw_json_value *root, st_file *f)
{
    const vw_json *json = r->st->json;
    const vw_json_value *meta = json->get(root, "__metadata__");
    size_t n = json->count(root), room = 1;
    const char *key;
    vw_status status = check_metadata(r, meta, &room);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++) {
        json->member(root, i, &key);
        room += strlen(key) + 1;
    }
    f->strings = st_alloc(r->st, room);
    f->tensors = st_alloc(r->st, n * sizeof *f->tensors);
    f->metadata = st_alloc(r->st, 2 * json->count(meta) * sizeof *f->metadata);
    if (!f->strings || !f->tensors || !f->metadata)
        return vw_fail(r->err, VW_E_NOMEM, "%s: no memory for %zu tensors", f->path, n);
    char *strings = f->strings;
    status = read_metadata(r, meta, f, &strings);
    for (size_t i = 0; i < n && !status; i++) {
        const vw_json_value *entry = json->member(root, i, &key);
        if (entry == meta)
            continue;
        vw_weights_tensor *t = f->tensors + f->n_tensors;
        t->name = keep(&strings, key);
        t->file = f->path;
        status = read_entry(r, entry, t);
        f->n_tensors++;
    }
    if (!status)
        status = check_tiling(r);
    if (!status)
        qsort(f->tensors, f->n_tensors, sizeof *f->tensors, st_by_name);
    return status;
}

vw_status st_read_header(const st_plugin *st, st_file *f, vw_error *err)
{
    const entry_reader r = {st, f, err};
    uint64_t length = 0;
    vw_json_doc *doc;
    if (f->bytes < 8)
        return vw_fail(err, VW_E_FORMAT, "%s: %zu bytes, too short for a safetensors file",
                       f->path, f->bytes);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | f->map[i];
    if (length > ST_MAX_HEADER)
        return vw_fail(err, VW_E_FORMAT, "%s: a header of %llu bytes, expected at most %zu; this "
                       "is no safetensors file", f->path, (unsigned long long)length,
                       ST_MAX_HEADER);
    if (length > f->bytes - 8)
        return vw_fail(err, VW_E_FORMAT, "%s: a header of %llu bytes in a file of %zu; it is cut "
                       "short", f->path, (unsigned long long)length, f->bytes);
    f->data_at = 8 + (size_t)length;
    if (length == 0 || f->map[8] != '{')
        return vw_fail(err, VW_E_FORMAT, "%s: the header does not begin with {; this is no "
                       "safetensors file", f->path);
    vw_status status = st->json->open_text((const char *)f->map + 8, (size_t)length, f->path, &doc,
                                           err);
    if (status)
        return status;
    status = read_directory(&r, st->json->root(doc), f);
    st->json->close(doc);
    return status;
}
