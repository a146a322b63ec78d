/* safetensors.c - weights/safetensors: the files in which models are published, mapped and run in
 * place.
 *
 * A checkpoint of 92,000 tensors opens in a fraction of a second, because opening reads directories
 * alone; the bytes come as they are touched, or as prefetch and release say.
 */
#include "plugins/weights/find.h"
#include "plugins/weights/mapped.h"
#include "plugins/weights/safetensors.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static size_t count(void *self, vw_weights_reader *r)
{
    (void)self;
    return r->n_tensors;
}

static vw_status tensor(void *self, vw_weights_reader *r, size_t i, vw_weights_tensor *out,
                        vw_error *err)
{
    (void)self;
    if (i >= r->n_tensors)
        return vw_fail(err, VW_E_INVALID, "%s: tensor %zu of %zu", r->path, i, r->n_tensors);
    *out = r->tensors[i];
    return VW_OK;
}

static vw_status find(void *self, vw_weights_reader *r, const char *name, vw_weights_tensor *out,
                      vw_error *err)
{
    const vw_weights_tensor *t = weights_find(r->tensors, r->n_tensors, name);
    (void)self;
    if (t) {
        *out = *t;
        return VW_OK;
    }
    const char *near = err ? weights_nearest(r->tensors, r->n_tensors, name) : NULL;
    if (near)
        return vw_fail(err, VW_E_NOTFOUND, "%s: no tensor %s; the nearest name is %s", r->path,
                       st_quote(name).text, st_quote(near).text);
    return vw_fail(err, VW_E_NOTFOUND, "%s: no tensor %s among %zu", r->path, st_quote(name).text,
                   r->n_tensors);
}

/* Of the first file, in the order of their names, that has the key. */
static const char *metadata(void *self, vw_weights_reader *r, const char *key)
{
    (void)self;
    for (size_t i = 0; i < r->n_files; i++)
        for (size_t j = 0; j < r->files[i].n_metadata; j += 2)
            if (!strcmp(r->files[i].metadata[j], key))
                return r->files[i].metadata[j + 1];
    return NULL;
}

static mapped_file nth_file(const vw_weights_reader *r, size_t i)
{
    if (i >= r->n_files)
        return (mapped_file){NULL, NULL, 0};
    const st_file *f = &r->files[i];
    return (mapped_file){f->path, f->map, f->bytes};
}

static vw_status locate(void *self, vw_weights_reader *r, const void *data, size_t bytes,
                        const char **file, uint64_t *offset, vw_error *err)
{
    (void)self;
    return mapped_locate(r, nth_file, r->path, data, bytes, file, offset, err);
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

static int is_safetensors(const char *name)
{
    size_t n = strlen(name);
    return n > 12 && !strcmp(name + n - 12, ".safetensors");
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char first[256] = "";
    int n = 0;
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "maps *.safetensors files, and writes them");
        return 2; /* before formats that are only read */
    }
    if (is_safetensors(about->folder) && !access(about->folder, R_OK)) {
        snprintf(why, why_bytes, "a safetensors file");
        return 500;
    }
    DIR *dir = opendir(about->folder);
    if (!dir) {
        snprintf(why, why_bytes, "%s cannot be opened", about->folder);
        return 0;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ST_INDEX) || is_safetensors(e->d_name))
            if (!n++ || !strcmp(e->d_name, ST_SINGLE))
                snprintf(first, sizeof first, "%s", e->d_name);
    }
    closedir(dir);
    if (!n)
        snprintf(why, why_bytes, "%s holds no *.safetensors", about->folder);
    else if (n == 1 || !strcmp(first, ST_SINGLE))
        snprintf(why, why_bytes, "found %s", first);
    else
        snprintf(why, why_bytes, "found %d safetensors files", n);
    return n ? 500 : 0;
}

static vw_status open_plugin(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config;
    const vw_json *json = host->service(host->core, "json", VW_JSON_MAJOR);
    if (!json)
        return vw_fail(err, VW_E_ABI, "weights/safetensors needs version %d of the service "
                       "\"json\", which this core does not have", VW_JSON_MAJOR);
    st_plugin *st = host->alloc(host->core, sizeof *st);
    if (!st)
        return vw_fail(err, VW_E_NOMEM, "no memory for weights/safetensors");
    *st = (st_plugin){host, json};
    *self = st;
    return VW_OK;
}

static void close_plugin(void *self)
{
    st_plugin *st = self;
    st_free(st, st);
}

static const vw_weights_ops ops = {
    .size = sizeof ops,
    .open = st_open,
    .close = st_close,
    .count = count,
    .tensor = tensor,
    .find = find,
    .metadata = metadata,
    .prefetch = prefetch,
    .release = release,
    .create = st_create,
    .write = st_write,
    .finish = st_finish,
    .abort = st_abort,
    .locate = locate,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_WEIGHTS,
    .ops_major = VW_WEIGHTS_OPS_MAJOR,
    .ops_minor = VW_WEIGHTS_OPS_MINOR,
    .name = "safetensors",
    .summary = "safetensors files, mapped: one file, or shards with an index; reads and writes",
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

VW_PLUGIN_DEFINE(weights, safetensors)
{
    return &description;
}
