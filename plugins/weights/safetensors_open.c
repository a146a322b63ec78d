/* safetensors_open.c - from a path to mapped files and one directory of their tensors.
 *
 * A folder is looked at in the order of the published libraries: model.safetensors, then the index
 * with its shards, then a lone *.safetensors of any name.  Where there is an index it decides: a
 * tensor is read from the shard that it names, which must hold it.  A tensor of a shard that the
 * index does not name, or looks for elsewhere, is refused: index and shards come from different
 * savings then, and which one is right nobody can tell.
 */
#include "plugins/weights/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *st_alloc(const st_plugin *st, size_t bytes)
{
    void *memory = st->host->alloc(st->host->core, bytes ? bytes : 1);
    if (memory)
        memset(memory, 0, bytes);
    return memory;
}

char *st_copy(const st_plugin *st, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = st_alloc(st, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

void st_free(const st_plugin *st, void *memory)
{
    st->host->free(st->host->core, memory);
}

static char *join(const st_plugin *st, const char *folder, size_t folder_bytes, const char *name)
{
    while (folder_bytes > 1 && folder[folder_bytes - 1] == '/')
        folder_bytes--;
    size_t n = folder_bytes + strlen(name) + 2;
    char *path = st_alloc(st, n);
    if (path)
        snprintf(path, n, "%.*s/%s", (int)folder_bytes, folder, name);
    return path;
}

/* ---- one file -------------------------------------------------------------------------------- */

/* Takes over `path`, also when it fails. */
static vw_status map_file(const st_plugin *st, char *path, st_file *f, vw_error *err)
{
    struct stat s;
    f->path = path;
    if (!path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s", path,
                       strerror(errno));
    vw_status status = VW_OK;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode))
        status = vw_fail(err, VW_E_IO, "%s: not a regular file", path);
    else if (s.st_size == 0)
        status = vw_fail(err, VW_E_FORMAT, "%s: an empty file", path);
    if (!status) {
        void *map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            status = vw_fail(err, VW_E_IO, "cannot map %s: %s", path, strerror(errno));
        else
            f->map = map;
        f->bytes = (size_t)s.st_size;
    }
    close(fd);
    return status ? status : st_read_header(st, f, err);
}

static void unmap_file(const st_plugin *st, st_file *f)
{
    if (f->map)
        munmap((void *)f->map, f->bytes);
    st_free(st, f->tensors);
    st_free(st, f->metadata);
    st_free(st, f->strings);
    st_free(st, f->path);
}

static vw_status open_single(const st_plugin *st, vw_weights_reader *r, char *path, vw_error *err)
{
    r->files = st_alloc(st, sizeof *r->files);
    if (!r->files) {
        st_free(st, path);
        return vw_fail(err, VW_E_NOMEM, "no memory for a file");
    }
    r->n_files = 1;
    vw_status status = map_file(st, path, r->files, err);
    if (status)
        return status;
    r->tensors = r->files->tensors;
    r->n_tensors = r->files->n_tensors;
    r->files->tensors = NULL;
    return VW_OK;
}

/* ---- an index and its shards ----------------------------------------------------------------- */

/* A shard lies beside its index: a name that leads elsewhere is refused, not resolved. */
static int is_file_name(const char *name, size_t bytes)
{
    return bytes > 0 && bytes < 256 && strlen(name) == bytes && !strchr(name, '/') &&
           !strchr(name, '\\') && strcmp(name, ".") && strcmp(name, "..");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef struct index_reader {
    const st_plugin *st;
    const char *path; /* of the index */
    const vw_json_value *map;
    size_t n;         /* of its members */
    const char **shards; /* distinct file names, ordered; borrowed from the document */
    size_t n_shards;
    vw_error *err;
} index_reader;

static vw_status collect_shards(index_reader *x)
{
    const vw_json *json = x->st->json;
    const char *name;
    x->shards = st_alloc(x->st, x->n * sizeof *x->shards);
    if (!x->shards)
        return vw_fail(x->err, VW_E_NOMEM, "%s: no memory for %zu names", x->path, x->n);
    for (size_t i = 0; i < x->n; i++) {
        const vw_json_value *v = json->member(x->map, i, &name);
        size_t bytes;
        x->shards[i] = json->string(v, &bytes);
        if (json->type(v) != VW_JSON_STRING || !is_file_name(x->shards[i], bytes))
            return vw_fail(x->err, VW_E_FORMAT, "%s: weight_map: tensor %s is said to lie in %s, "
                           "expected the name of a file beside the index", x->path,
                           st_quote(name).text, st_quote(x->shards[i]).text);
    }
    qsort(x->shards, x->n, sizeof *x->shards, by_text);
    for (size_t i = 0; i < x->n; i++)
        if (i == 0 || strcmp(x->shards[i], x->shards[i - 1]))
            x->shards[x->n_shards++] = x->shards[i];
    return VW_OK;
}

static vw_status open_shards(index_reader *x, vw_weights_reader *r)
{
    const char *slash = strrchr(x->path, '/');
    vw_status status = VW_OK;
    r->files = st_alloc(x->st, x->n_shards * sizeof *r->files);
    if (!r->files)
        return vw_fail(x->err, VW_E_NOMEM, "%s: no memory for %zu files", x->path, x->n_shards);
    for (size_t i = 0; i < x->n_shards && !status; i++) {
        char *path = slash ? join(x->st, x->path, (size_t)(slash - x->path), x->shards[i]) :
                             st_copy(x->st, x->shards[i]);
        r->n_files++;
        status = map_file(x->st, path, r->files + i, x->err);
        if (status == VW_E_NOTFOUND)
            status = vw_fail_in(x->err, status, "%s: shard %zu of %zu is missing", x->path, i + 1,
                                x->n_shards);
    }
    return status;
}

/* What the shards hold and the index does not. */
static vw_status check_surplus(const index_reader *x, const vw_weights_reader *r)
{
    for (const st_file *f = r->files; f < r->files + r->n_files; f++)
        for (size_t i = 0; i < f->n_tensors; i++) {
            const vw_weights_tensor *t = bsearch(f->tensors + i, r->tensors, r->n_tensors,
                                                 sizeof *r->tensors, st_by_name);
            if (!t)
                return vw_fail(x->err, VW_E_FORMAT, "%s: tensor %s is in this shard, but not in "
                               "%s", f->path, st_quote(f->tensors[i].name).text, x->path);
            if (t->file != f->path)
                return vw_fail(x->err, VW_E_FORMAT, "%s: tensor %s is in this shard, but %s looks "
                               "for it in %s", f->path, st_quote(t->name).text, x->path, t->file);
        }
    return VW_OK;
}

/* Each tensor of the index from the shard that it names. */
static vw_status gather_tensors(index_reader *x, vw_weights_reader *r)
{
    const vw_json *json = x->st->json;
    const char *name;
    r->tensors = st_alloc(x->st, x->n * sizeof *r->tensors);
    if (!r->tensors)
        return vw_fail(x->err, VW_E_NOMEM, "%s: no memory for %zu tensors", x->path, x->n);
    for (size_t i = 0; i < x->n; i++) {
        const char *shard = json->string(json->member(x->map, i, &name), NULL);
        const char **at = bsearch(&shard, x->shards, x->n_shards, sizeof *x->shards, by_text);
        const st_file *f = r->files + (at - x->shards);
        vw_weights_tensor key = {.name = name}, *t =
            bsearch(&key, f->tensors, f->n_tensors, sizeof *f->tensors, st_by_name);
        if (!t)
            return vw_fail(x->err, VW_E_FORMAT, "%s: tensor %s is not in this shard, where %s "
                           "says it is", f->path, st_quote(name).text, x->path);
        r->tensors[r->n_tensors++] = *t;
    }
    qsort(r->tensors, r->n_tensors, sizeof *r->tensors, st_by_name);
    return check_surplus(x, r);
}

static vw_status open_index(const st_plugin *st, vw_weights_reader *r, const char *path,
                            vw_error *err)
{
    index_reader x = {.st = st, .path = path, .err = err};
    vw_json_doc *doc;
    vw_status status = st->json->open_file(path, &doc, err);
    if (status)
        return status;
    x.map = st->json->get(st->json->root(doc), "weight_map");
    x.n = st->json->count(x.map);
    if (st->json->type(x.map) != VW_JSON_OBJECT || x.n == 0)
        status = vw_fail(err, VW_E_FORMAT, "%s: no weight_map, expected an object from tensor "
                         "names to file names", path);
    if (!status)
        status = collect_shards(&x);
    if (!status)
        status = open_shards(&x, r);
    if (!status)
        status = gather_tensors(&x, r);
    st_free(st, x.shards);
    st->json->close(doc);
    return status;
}

/* ---- a folder -------------------------------------------------------------------------------- */

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* The only *.safetensors of the folder. */
static vw_status find_lone(const st_plugin *st, const char *folder, char **path, vw_error *err)
{
    int n = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s",
                       folder, strerror(errno));
    *path = NULL;
    for (struct dirent *e; n < 2 && (e = readdir(dir));)
        if (ends_with(e->d_name, ".safetensors") && n++ == 0)
            *path = join(st, folder, strlen(folder), e->d_name);
    closedir(dir);
    if (n == 1 && *path)
        return VW_OK;
    st_free(st, *path);
    if (n == 1)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    return vw_fail(err, VW_E_NOTFOUND, n ? "%s: several *.safetensors and no " ST_INDEX " that "
                   "joins them; name one file" : "%s: neither " ST_SINGLE " nor " ST_INDEX " nor "
                   "any other *.safetensors", folder);
}

static vw_status open_folder(const st_plugin *st, vw_weights_reader *r, const char *folder,
                             vw_error *err)
{
    char *path = join(st, folder, strlen(folder), ST_SINGLE);
    if (!path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    if (!access(path, F_OK))
        return open_single(st, r, path, err);
    st_free(st, path);
    if (!(path = join(st, folder, strlen(folder), ST_INDEX)))
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    if (!access(path, F_OK)) {
        vw_status status = open_index(st, r, path, err);
        st_free(st, path);
        return status;
    }
    st_free(st, path);
    vw_status status = find_lone(st, folder, &path, err);
    return status ? status : open_single(st, r, path, err);
}

vw_status st_open(void *self, const char *path, vw_weights_reader **reader, vw_error *err)
{
    const st_plugin *st = self;
    struct stat s;
    if (stat(path, &s))
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s", path,
                       strerror(errno));
    vw_weights_reader *r = st_alloc(st, sizeof *r);
    if (!r || !(r->path = st_copy(st, path))) {
        st_free(st, r);
        return vw_fail(err, VW_E_NOMEM, "no memory to open %s", path);
    }
    vw_status status;
    if (S_ISDIR(s.st_mode))
        status = open_folder(st, r, path, err);
    else if (ends_with(path, ".json"))
        status = open_index(st, r, path, err);
    else
        status = open_single(st, r, st_copy(st, path), err);
    if (status) {
        st_close(self, r);
        return status;
    }
    *reader = r;
    return VW_OK;
}

void st_close(void *self, vw_weights_reader *r)
{
    const st_plugin *st = self;
    if (!r)
        return;
    for (size_t i = 0; i < r->n_files; i++)
        unmap_file(st, r->files + i);
    st_free(st, r->files);
    st_free(st, r->tensors);
    st_free(st, r->path);
    st_free(st, r);
}
