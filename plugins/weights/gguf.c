/* gguf.c - weights/gguf: a GGUF file, or the parts of one, mapped and run in place.
 *
 * Quantised tensors are handed out as they lie in the file, with their block format; what executes
 * them is the gemm's affair.  The file's keys are the model's configuration: they are given as a JSON
 * object, each under its own dotted name, without the arrays of a vocabulary; and "shape:NAME" is the
 * shape of a tensor, since some files leave to it what others say in a key.
 */
#include "plugins/gguf/parts.h"
#include "plugins/weights/find.h"
#include "plugins/weights/gguf_write.h"
#include "plugins/weights/mapped.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_LIST = 1024 }; /* longer arrays are vocabularies */

typedef struct gguf_plugin {
    const vw_host *host;
    gguf_writing writing;
} gguf_plugin;

struct vw_weights_reader {
    gguf_parts parts;
    const gguf_file *first; /* has the model's keys */
    char *config; /* its keys as JSON; of the C library's memory */
};

/* ---- the keys as JSON ------------------------------------------------------------------------ */

static void write_text(FILE *to, gguf_text t)
{
    fputc('"', to);
    for (uint64_t i = 0; i < t.bytes; i++) {
        unsigned char c = (unsigned char)t.at[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < ' ' || c >= 0x7F) /* bytes that are no ASCII matter to no configuration */
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

static void write_number(FILE *to, const gguf_key *k, gguf_type t, uint64_t i)
{
    double x = gguf_real(k, i);
    if (t == GGUF_BOOL)
        fputs(x != 0 ? "true" : "false", to);
    else if (!isfinite(x))
        fputs("null", to);
    else if (t == GGUF_F32)
        fprintf(to, "%.9g", x); /* 1e-6 as an f32 is meant to be 1e-6: nine digits say which f32 */
    else
        fprintf(to, "%.17g", x);
}

static void write_value(FILE *to, const gguf_key *k)
{
    gguf_type t = k->type == GGUF_ARRAY ? k->element : k->type;
    const unsigned char *at = NULL;
    gguf_text text;
    uint64_t n = 0;
    if (k->type == GGUF_ARRAY)
        fputc('[', to);
    if (t == GGUF_STRING)
        while (gguf_next_string(k, &at, &n, &text)) {
            if (n > 1)
                fputc(',', to);
            write_text(to, text);
        }
    for (uint64_t i = 0; t != GGUF_STRING && i < k->count; i++) {
        if (i)
            fputc(',', to);
        write_number(to, k, t, i);
    }
    if (k->type == GGUF_ARRAY)
        fputc(']', to);
}

static vw_status make_config(vw_weights_reader *r, vw_error *err)
{
    size_t bytes = 0;
    FILE *to = open_memstream(&r->config, &bytes);
    if (!to)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for its keys", r->first->path);
    fputc('{', to);
    size_t n = 0;
    for (size_t i = 0; i < r->first->n_keys; i++) {
        const gguf_key *k = r->first->keys + i;
        if (k->count > MAX_LIST)
            continue;
        if (n++)
            fputc(',', to);
        write_text(to, k->name);
        fputc(':', to);
        write_value(to, k);
    }
    for (size_t i = 0; i < r->parts.n_tensors; i++) {
        const vw_weights_tensor *t = r->parts.tensors + i;
        char name[1200];
        snprintf(name, sizeof name, "shape:%s", t->name);
        if (n++)
            fputc(',', to);
        write_text(to, (gguf_text){name, strlen(name)});
        for (int d = 0; d < t->n_dims; d++)
            fprintf(to, "%s%" PRId64, d ? "," : ":[", t->shape[d]);
        fputc(']', to);
    }
    fputc('}', to);
    return fclose(to) ? vw_fail(err, VW_E_NOMEM, "%s: no memory for its keys", r->first->path) : VW_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

static void close_reader(void *self, vw_weights_reader *r)
{
    gguf_plugin *g = self;
    if (!r)
        return;
    gguf_parts_close(&r->parts);
    free(r->config);
    g->host->free(g->host->core, r);
}

static vw_status open_reader(void *self, const char *path, vw_weights_reader **reader, vw_error *err)
{
    gguf_plugin *g = self;
    vw_weights_reader *r = g->host->alloc(g->host->core, sizeof *r);
    if (!r)
        return vw_fail(err, VW_E_NOMEM, "no memory to open %s", path);
    memset(r, 0, sizeof *r);
    vw_status st = gguf_parts_open(&r->parts, g->host, path, err);
    r->first = r->parts.files;
    if (!st)
        st = make_config(r, err);
    if (st) {
        close_reader(self, r);
        return st;
    }
    *reader = r;
    return VW_OK;
}

static size_t count(void *self, vw_weights_reader *r)
{
    (void)self;
    return r->parts.n_tensors;
}

static vw_status tensor(void *self, vw_weights_reader *r, size_t i, vw_weights_tensor *out,
                        vw_error *err)
{
    (void)self;
    if (i >= r->parts.n_tensors)
        return vw_fail(err, VW_E_INVALID, "%s: tensor %zu of %zu", r->first->path, i, r->parts.n_tensors);
    *out = r->parts.tensors[i];
    return VW_OK;
}

static vw_status find(void *self, vw_weights_reader *r, const char *name, vw_weights_tensor *out,
                      vw_error *err)
{
    size_t n = r->parts.n_tensors;
    const vw_weights_tensor *t = weights_find(r->parts.tensors, n, name);
    (void)self;
    if (t) {
        *out = *t;
        return VW_OK;
    }
    const char *near = err ? weights_nearest(r->parts.tensors, n, name) : NULL;
    if (near)
        return vw_fail(err, VW_E_NOTFOUND, "%s: no tensor \"%s\"; the nearest name is \"%s\"",
                       r->first->path, name, near);
    return vw_fail(err, VW_E_NOTFOUND, "%s: no tensor \"%s\" among %zu", r->first->path, name, n);
}

static const char *config(void *self, vw_weights_reader *r)
{
    (void)self;
    return r->config;
}

static mapped_file nth_file(const vw_weights_reader *r, size_t i)
{
    if (i >= r->parts.n)
        return (mapped_file){NULL, NULL, 0};
    const gguf_file *f = &r->parts.files[i];
    return (mapped_file){f->path, f->map, f->bytes};
}

static vw_status locate(void *self, vw_weights_reader *r, const void *data, size_t bytes,
                        const char **file, uint64_t *offset, vw_error *err)
{
    (void)self;
    return mapped_locate(r, nth_file, r->first->path, data, bytes, file, offset, err);
}

static void prefetch(void *self, vw_weights_reader *r, const void *data, size_t bytes)
{
    (void)self;
    mapped_prefetch(r, nth_file, data, bytes);
}

static void release(void *self, vw_weights_reader *r, const void *data, size_t bytes)
{
    (void)self;
    mapped_release(r, nth_file, data, bytes);
}

static vw_status create(void *self, const char *path, const vw_weights_tensor *tensors, size_t n,
                        const char *const *metadata_pairs, vw_weights_writer **writer,
                        vw_error *err)
{
    gguf_plugin *g = self;
    return gguf_write_create(&g->writing, path, tensors, n, metadata_pairs, writer, err);
}

static vw_status write_bytes(void *self, vw_weights_writer *writer, const void *data, size_t bytes,
                             vw_error *err)
{
    (void)self;
    return gguf_write_bytes(writer, data, bytes, err);
}

static vw_status finish(void *self, vw_weights_writer *writer, vw_error *err)
{
    gguf_plugin *g = self;
    return gguf_write_finish(&g->writing, writer, err);
}

static void abort_writer(void *self, vw_weights_writer *writer)
{
    gguf_plugin *g = self;
    gguf_write_abort(&g->writing, writer);
}

/* ---- the description ------------------------------------------------------------------------- */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    size_t n = about && about->folder ? strlen(about->folder) : 0;
    if (!n) {
        snprintf(why, why_bytes, "maps a *.gguf file");
        return 1;
    }
    if (n < 5 || strcmp(about->folder + n - 5, ".gguf") || access(about->folder, R_OK)) {
        snprintf(why, why_bytes, "%s is no readable *.gguf file", about->folder);
        return 0;
    }
    snprintf(why, why_bytes, "a GGUF file");
    return 500;
}

static vw_status open_plugin(const vw_host *host, const void *config_struct, void **self,
                             vw_error *err)
{
    (void)config_struct;
    gguf_plugin *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for weights/gguf");
    g->host = host;
    g->writing = (gguf_writing){host, host->service(host->core, "json", VW_JSON_MAJOR)};
    *self = g;
    return VW_OK;
}

static void close_plugin(void *self)
{
    gguf_plugin *g = self;
    g->host->free(g->host->core, g);
}

static const vw_weights_ops ops = {
    .size = sizeof ops,
    .open = open_reader,
    .close = close_reader,
    .count = count,
    .tensor = tensor,
    .find = find,
    .prefetch = prefetch,
    .release = release,
    .create = create,
    .write = write_bytes,
    .finish = finish,
    .abort = abort_writer,
    .config = config,
    .locate = locate,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_WEIGHTS,
    .ops_major = VW_WEIGHTS_OPS_MAJOR,
    .ops_minor = VW_WEIGHTS_OPS_MINOR,
    .name = "gguf",
    .summary = "GGUF files, mapped: quantised tensors run as they are stored",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_plugin,
    .close = close_plugin,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(weights, gguf)
{
    return &description;
}
