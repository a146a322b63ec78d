/* safetensors_write.c - one file, written under a temporary name beside its own.
 *
 * The header needs every size before the first byte of data, hence declare, then write.  It is
 * padded with spaces so that the data begins at a multiple of 64: a tensor that stands first, or
 * behind others of whole cache lines, is then mapped aligned.  Where there is a MiB of data it begins
 * with a page, so that stretches of the file can be read past the cache.
 */
#include "plugins/weights/output.h"
#include "plugins/weights/safetensors.h"

#include <stdlib.h>

enum { ALIGN = 64, PAGE = 4096, LARGE = 1 << 20 };

struct vw_weights_writer {
    output out;
    uint64_t want, given; /* bytes of data */
};

/* ---- the header ------------------------------------------------------------------------------ */

/* With text NULL it only counts. */
typedef struct header_out {
    char *text;
    size_t bytes;
} header_out;

static void put(header_out *h, const char *text, size_t n)
{
    if (h->text)
        memcpy(h->text + h->bytes, text, n);
    h->bytes += n;
}

static void put_text(header_out *h, const char *text)
{
    put(h, text, strlen(text));
}

static void put_number(header_out *h, uint64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    put_text(h, text);
}

static void put_string(header_out *h, const char *text)
{
    put_text(h, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char escape[8];
        if (c >= 32 && c != '"' && c != '\\') {
            put(h, text, 1);
            continue;
        }
        snprintf(escape, sizeof escape, "\\u%04x", c);
        put_text(h, escape);
    }
    put_text(h, "\"");
}

static void put_metadata(header_out *h, const char *const *pairs)
{
    put_text(h, "\"__metadata__\":{");
    for (size_t i = 0; pairs[i] && pairs[i + 1]; i += 2) {
        put_text(h, i ? "," : "");
        put_string(h, pairs[i]);
        put_text(h, ":");
        put_string(h, pairs[i + 1]);
    }
    put_text(h, "}");
}

/* The sizes were checked before. */
static void put_header(header_out *h, const vw_weights_tensor *tensors, size_t n,
                       const char *const *pairs)
{
    uint64_t at = 0, bytes;
    size_t align;
    int has_pairs = pairs && pairs[0];
    put_text(h, "{");
    if (has_pairs)
        put_metadata(h, pairs);
    for (size_t i = 0; i < n; i++) {
        const vw_weights_tensor *t = tensors + i;
        put_text(h, i || has_pairs ? "," : "");
        put_string(h, t->name);
        put_text(h, ":{\"dtype\":\"");
        put_text(h, st_dtype_name(t->dtype));
        put_text(h, "\",\"shape\":[");
        for (int32_t d = 0; d < t->n_dims; d++) {
            put_text(h, d ? "," : "");
            put_number(h, (uint64_t)t->shape[d]);
        }
        st_tensor_bytes(t->dtype, t->shape, t->n_dims, &bytes);
        put_text(h, "],\"data_offsets\":[");
        put_number(h, at);
        put_text(h, ",");
        put_number(h, at += bytes);
        put_text(h, "]}");
    }
    put_text(h, "}");
    align = at < LARGE ? ALIGN : PAGE;
    while ((8 + h->bytes) % align)
        put_text(h, " ");
}

/* ---- what may be written --------------------------------------------------------------------- */

static vw_status check_names(const st_plugin *st, const char *path,
                             const vw_weights_tensor *tensors, size_t n, vw_error *err)
{
    vw_weights_tensor *sorted = st_alloc(st, n * sizeof *sorted);
    vw_status status = VW_OK;
    if (!sorted)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu tensors", path, n);
    if (n)
        memcpy(sorted, tensors, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, st_by_name);
    for (size_t i = 0; i < n && !status; i++)
        if (!strcmp(sorted[i].name, "__metadata__") ||
            (i && !strcmp(sorted[i].name, sorted[i - 1].name)))
            status = vw_fail(err, VW_E_INVALID, "%s: two tensors named %s", path,
                             st_quote(sorted[i].name).text);
    st_free(st, sorted);
    return status;
}

static vw_status check_tensors(const st_plugin *st, const char *path,
                               const vw_weights_tensor *tensors, size_t n, uint64_t *total,
                               vw_error *err)
{
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        const vw_weights_tensor *t = tensors + i;
        uint64_t bytes;
        if (!t->name)
            return vw_fail(err, VW_E_INVALID, "%s: tensor %zu has no name", path, i);
        if (!st_dtype_name(t->dtype))
            return vw_fail(err, VW_E_UNSUPPORTED, "%s: tensor %s: the format has no dtype for %s",
                           path, st_quote(t->name).text, vw_dtype_name(t->dtype));
        if (t->n_dims < 0 || t->n_dims > ST_MAX_DIMS ||
            !st_tensor_bytes(t->dtype, t->shape, t->n_dims, &bytes) ||
            __builtin_add_overflow(*total, bytes, total) || *total > INT64_MAX / 2)
            return vw_fail(err, VW_E_INVALID, "%s: tensor %s has a shape that no file can hold",
                           path, st_quote(t->name).text);
    }
    return check_names(st, path, tensors, n, err);
}

/* ---- the file -------------------------------------------------------------------------------- */

static vw_status write_header(const st_plugin *st, vw_weights_writer *w,
                              const vw_weights_tensor *tensors, size_t n,
                              const char *const *pairs, vw_error *err)
{
    header_out h = {0};
    put_header(&h, tensors, n, pairs);
    if (h.bytes > ST_MAX_HEADER)
        return vw_fail(err, VW_E_INVALID, "%s: a header of %zu bytes, the format allows %zu",
                       w->out.path, h.bytes, ST_MAX_HEADER);
    char *text = st_alloc(st, 8 + h.bytes);
    if (!text)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for its header", w->out.path);
    for (int i = 0; i < 8; i++)
        text[i] = (char)(h.bytes >> 8 * i & 255);
    h.text = text + 8;
    h.bytes = 0;
    put_header(&h, tensors, n, pairs);
    vw_status status = output_write(&w->out, text, 8 + h.bytes, err);
    st_free(st, text);
    return status;
}

vw_status st_create(void *self, const char *path, const vw_weights_tensor *tensors, size_t n,
                    const char *const *metadata_pairs, vw_weights_writer **writer, vw_error *err)
{
    const st_plugin *st = self;
    uint64_t total;
    vw_status status = check_tensors(st, path, tensors, n, &total, err);
    if (status)
        return status;
    vw_weights_writer *w = st_alloc(st, sizeof *w);
    if (!w)
        return vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    w->want = total;
    status = output_begin(&w->out, st->host, path, err);
    if (!status)
        status = write_header(st, w, tensors, n, metadata_pairs, err);
    if (status) {
        st_abort(self, w);
        return status;
    }
    *writer = w;
    return VW_OK;
}

vw_status st_write(void *self, vw_weights_writer *w, const void *data, size_t bytes, vw_error *err)
{
    (void)self;
    if (bytes > w->want - w->given)
        return vw_fail(err, VW_E_INVALID, "%s: %llu bytes more than the declared tensors hold",
                       w->out.path, (unsigned long long)(bytes - (w->want - w->given)));
    vw_status status = output_write(&w->out, data, bytes, err);
    if (!status)
        w->given += bytes;
    return status;
}

vw_status st_finish(void *self, vw_weights_writer *w, vw_error *err)
{
    vw_status status;
    if (w->given == w->want)
        status = output_finish(&w->out, err);
    else
        status = vw_fail(err, VW_E_INVALID, "%s: %llu bytes given, the declared tensors hold %llu",
                         w->out.path, (unsigned long long)w->given, (unsigned long long)w->want);
    st_abort(self, w);
    return status;
}

void st_abort(void *self, vw_weights_writer *w)
{
    if (!w)
        return;
    output_abort(&w->out);
    st_free(self, w);
}
