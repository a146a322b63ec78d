/* grok1.c - weights/grok1: the checkpoint that xAI published, ckpt-0/tensor00000_000 to
 * tensor00769_000, mapped and run in place.
 *
 * Each file is a Python pickle of one array, or of int8 values with their scales (pickle.c, which
 * runs nothing).  Opening reads the heads of the files alone.
 */
#include "plugins/weights/find.h"
#include "plugins/weights/grok1.h"
#include "plugins/weights/mapped.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char file_format[] = "tensor%05zu_000";

/* ---- files ----------------------------------------------------------------------------------- */

static char *path_of(const grok1_plugin *g, const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = g->host->alloc(g->host->core, n);
    if (path)
        snprintf(path, n, "%s/%s", folder, name);
    return path;
}

static vw_status map_leaf(grok1_leaf *l, vw_error *err)
{
    struct stat s;
    vw_status st = VW_OK;
    int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hang */
    if (fd < 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s", l->path,
                       strerror(errno));
    if (fstat(fd, &s) || !S_ISREG(s.st_mode))
        st = vw_fail(err, VW_E_IO, "%s is no file that can be mapped", l->path);
    else if (s.st_size == 0)
        st = vw_fail(err, VW_E_FORMAT, "%s is empty", l->path);
    if (!st) {
        void *map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            st = vw_fail(err, VW_E_IO, "cannot map %s: %s", l->path, strerror(errno));
        } else {
            l->map = map;
            l->bytes = (size_t)s.st_size;
        }
    }
    close(fd);
    return st;
}

static vw_status open_leaf(const grok1_plugin *g, vw_weights_reader *r, size_t i, vw_error *err)
{
    pickle_array arrays[PICKLE_MAX_ARRAYS];
    grok1_leaf *l = &r->leaves[i];
    char name[40];
    int n;
    snprintf(name, sizeof name, file_format, i);
    if (!(l->path = path_of(g, r->folder, name)))
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    vw_status st = map_leaf(l, err);
    if (st)
        return st == VW_E_NOTFOUND ? vw_fail_in(err, VW_E_FORMAT, "%s: file %zu of %zu is missing", r->folder,
                                                i + 1, r->n_leaves)
                                   : st;
    st = pickle_arrays(l->map, l->bytes, l->path, arrays, &n, err);
    if (st)
        return st;
    l->values = arrays[0];
    l->scales = n > 1 ? arrays[1] : (pickle_array){.dtype = VW_DTYPE_NONE};
    return VW_OK;
}

/* The highest number, whatever is missing below it; only one host's files. */
static vw_status count_files(vw_weights_reader *r, vw_error *err)
{
    DIR *dir = opendir(r->folder);
    unsigned file, host;
    int end;
    vw_status st = VW_OK;
    if (!dir)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s",
                       r->folder, strerror(errno));
    for (struct dirent *e; !st && (e = readdir(dir));) {
        end = 0;
        if (sscanf(e->d_name, "tensor%5u_%3u%n", &file, &host, &end) < 2 || !end || e->d_name[end])
            continue;
        if (host)
            st = vw_fail(err, VW_E_UNSUPPORTED, "%s: %s is of a second host; the published "
                         "checkpoint is of one", r->folder, e->d_name);
        if (file + 1 > r->n_leaves)
            r->n_leaves = file + 1;
    }
    closedir(dir);
    if (!st && (r->n_leaves < GROK1_OWN + GROK1_LAYER || (r->n_leaves - GROK1_OWN) % GROK1_LAYER ||
                r->n_leaves > GROK1_OWN + (size_t)GROK1_MAX_LAYERS * GROK1_LAYER))
        st = vw_fail(err, VW_E_FORMAT, "%s: %zu files; 2 and 12 a layer are expected, tensor00000_000 "
                     "to tensor00769_000 of Grok-1", r->folder, r->n_leaves);
    r->n_layers = (int32_t)((r->n_leaves - GROK1_OWN) / GROK1_LAYER);
    return st;
}

/* The folder, or its ckpt-0. */
static char *find_folder(const grok1_plugin *g, const char *path)
{
    static const char *const inside[] = {".", "ckpt-0"};
    char name[4200];
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        snprintf(name, sizeof name, "%s/%s/tensor00000_000", path, inside[i]);
        if (!access(name, F_OK))
            return path_of(g, path, i ? inside[i] : "");
    }
    return path_of(g, path, "");
}

/* ---- the table ------------------------------------------------------------------------------- */

static void close_reader(void *self, vw_weights_reader *r)
{
    grok1_plugin *g = self;
    void *core = g->host->core;
    if (!r)
        return;
    for (size_t i = 0; r->leaves && i < r->n_leaves; i++) {
        if (r->leaves[i].map)
            munmap((void *)(uintptr_t)r->leaves[i].map, r->leaves[i].bytes);
        g->host->free(core, r->leaves[i].path);
    }
    g->host->free(core, r->names);
    g->host->free(core, r->tensors);
    g->host->free(core, r->leaves);
    g->host->free(core, r->config);
    g->host->free(core, r->folder);
    g->host->free(core, r);
}

static vw_status read_folder(const grok1_plugin *g, vw_weights_reader *r, const char *path,
                             vw_error *err)
{
    if (!(r->folder = find_folder(g, path)))
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    size_t n = strlen(r->folder);
    if (n > 1 && r->folder[n - 1] == '/')
        r->folder[n - 1] = '\0';
    vw_status st = count_files(r, err);
    if (st)
        return st;
    r->leaves = g->host->alloc(g->host->core, r->n_leaves * sizeof *r->leaves);
    if (!r->leaves)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu files", r->folder, r->n_leaves);
    memset(r->leaves, 0, r->n_leaves * sizeof *r->leaves);
    for (size_t i = 0; i < r->n_leaves && !st; i++)
        st = open_leaf(g, r, i, err);
    return st ? st : grok1_name_tensors(g, r, err);
}

static vw_status open_reader(void *self, const char *path, vw_weights_reader **reader, vw_error *err)
{
    grok1_plugin *g = self;
    vw_weights_reader *r = g->host->alloc(g->host->core, sizeof *r);
    if (!r)
        return vw_fail(err, VW_E_NOMEM, "no memory to open %s", path);
    memset(r, 0, sizeof *r);
    vw_status st = read_folder(g, r, path, err);
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
    return r->n_tensors;
}

static vw_status tensor(void *self, vw_weights_reader *r, size_t i, vw_weights_tensor *out,
                        vw_error *err)
{
    (void)self;
    if (i >= r->n_tensors)
        return vw_fail(err, VW_E_INVALID, "%s: tensor %zu of %zu", r->folder, i, r->n_tensors);
    *out = r->tensors[i];
    return VW_OK;
}

static vw_status find(void *self, vw_weights_reader *r, const char *name, vw_weights_tensor *out,
                      vw_error *err)
{
    const vw_weights_tensor *t = weights_find(r->tensors, r->n_tensors, name);
    (void)self;
    if (!t)
        return vw_fail(err, VW_E_NOTFOUND, "%s: no tensor \"%s\"; its %zu files are %d layers",
                       r->folder, name, r->n_leaves, r->n_layers);
    *out = *t;
    return VW_OK;
}

static const char *config(void *self, vw_weights_reader *r)
{
    (void)self;
    return r->config;
}

static mapped_file nth_file(const vw_weights_reader *r, size_t i)
{
    if (i >= r->n_leaves)
        return (mapped_file){NULL, NULL, 0};
    const grok1_leaf *f = &r->leaves[i];
    return (mapped_file){f->path, f->map, f->bytes};
}

static vw_status locate(void *self, vw_weights_reader *r, const void *data, size_t bytes,
                        const char **file, uint64_t *offset, vw_error *err)
{
    (void)self;
    return mapped_locate(r, nth_file, r->folder, data, bytes, file, offset, err);
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

/* ---- the description ------------------------------------------------------------------------- */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    char path[4200];
    if (!about || !about->folder) {
        snprintf(why, why_bytes, "maps the pickles in which xAI published Grok-1");
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%stensor00000_000", about->folder, i ? "ckpt-0/" : "");
        if (!access(path, R_OK)) {
            snprintf(why, why_bytes, "found %stensor00000_000", i ? "ckpt-0/" : "");
            return 500;
        }
    }
    snprintf(why, why_bytes, "%s holds no tensor00000_000, nor does a ckpt-0 in it", about->folder);
    return 0;
}

static vw_status open_plugin(const vw_host *host, const void *options, void **self, vw_error *err)
{
    (void)options;
    grok1_plugin *g = host->alloc(host->core, sizeof *g);
    if (!g)
        return vw_fail(err, VW_E_NOMEM, "no memory for weights/grok1");
    g->host = host;
    *self = g;
    return VW_OK;
}

static void close_plugin(void *self)
{
    grok1_plugin *g = self;
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
    .config = config,
    .locate = locate,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_WEIGHTS,
    .ops_major = VW_WEIGHTS_OPS_MAJOR,
    .ops_minor = VW_WEIGHTS_OPS_MINOR,
    .name = "grok1",
    .summary = "the checkpoint of Grok-1 as xAI published it, mapped: int8 runs as stored; reads",
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

VW_PLUGIN_DEFINE(weights, grok1)
{
    return &description;
}
