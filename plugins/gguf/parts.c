/* parts.c - opening the files of a split model, and their tensors as one list. */
#include "plugins/gguf/parts.h"

#include <stdlib.h>

enum { MAX_PARTS = 99999, ENDING = 20 }; /* of "-00001-of-00003.gguf" */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vw_weights_tensor *)a)->name, ((const vw_weights_tensor *)b)->name);
}

static int64_t number(const gguf_file *f, const char *key, int64_t missing)
{
    const gguf_key *k = gguf_find(f, key);
    return k ? gguf_int(k, 0) : missing;
}

/* The name of a part: that of another with its number exchanged. */
static int part_path(const char *path, int64_t no, int64_t count, char *out, size_t room)
{
    size_t n = strlen(path);
    char ending[64];
    if (n < ENDING || n >= room)
        return 0;
    snprintf(ending, sizeof ending, "-of-%05lld.gguf", (long long)count);
    if (path[n - ENDING] != '-' || strcmp(path + n - 14, ending))
        return 0;
    for (size_t i = n - 19; i < n - 14; i++)
        if (path[i] < '0' || path[i] > '9')
            return 0;
    memcpy(out, path, n + 1);
    snprintf(ending, sizeof ending, "%05lld", (long long)no + 1);
    memcpy(out + n - 19, ending, 5);
    return 1;
}

static vw_status check_part(const gguf_file *f, int64_t no, int64_t count, vw_error *err)
{
    int64_t said_no = number(f, "split.no", -1), said_count = number(f, "split.count", -1);
    if (said_no == no && said_count == count)
        return VW_OK;
    return vw_fail(err, VW_E_FORMAT, "%s: split.no %lld and split.count %lld; by its name it is part "
                   "%lld of %lld, which is split.no %lld", f->path, (long long)said_no,
                   (long long)said_count, (long long)no + 1, (long long)count, (long long)no);
}

/* `first` is open and says that it is one of `count`; it becomes one of the files. */
static vw_status open_others(gguf_parts *p, gguf_file *first, int64_t count, vw_error *err)
{
    char path[4096];
    vw_status st = VW_OK;
    if (count > MAX_PARTS || !part_path(first->path, 0, count, path, sizeof path))
        return vw_fail(err, VW_E_FORMAT, "%s: split.count is %lld, so that its name should end in "
                       "-00001-of-%05lld.gguf or the like", first->path, (long long)count,
                       (long long)count);
    p->files = p->host->alloc(p->host->core, (size_t)count * sizeof *p->files);
    if (!p->files)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %lld parts", first->path,
                       (long long)count);
    for (int64_t i = 0; i < count && !st; i++) {
        gguf_file *f = &p->files[p->n];
        part_path(first->path, i, count, path, sizeof path);
        if ((st = gguf_open(f, p->host, path, err)))
            return vw_fail_in(err, st, "part %lld of %lld", (long long)i + 1, (long long)count);
        p->n++;
        st = check_part(f, i, count, err);
    }
    return st;
}

static vw_status gather(gguf_parts *p, vw_error *err)
{
    const gguf_file *first = &p->files[0];
    for (size_t i = 0; i < p->n; i++)
        p->n_tensors += p->files[i].n_tensors;
    int64_t said = number(first, "split.tensors.count", (int64_t)p->n_tensors);
    if (p->n > 1 && said != (int64_t)p->n_tensors)
        return vw_fail(err, VW_E_FORMAT, "%s: split.tensors.count is %lld, the %zu parts have %zu",
                       first->path, (long long)said, p->n, p->n_tensors);
    p->tensors = p->host->alloc(p->host->core, (p->n_tensors + 1) * sizeof *p->tensors);
    if (!p->tensors)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu tensors", first->path, p->n_tensors);
    for (size_t i = 0, at = 0; i < p->n; at += p->files[i++].n_tensors)
        if (p->files[i].n_tensors)
            memcpy(p->tensors + at, p->files[i].tensors, p->files[i].n_tensors * sizeof *p->tensors);
    if (p->n > 1 && p->n_tensors)
        qsort(p->tensors, p->n_tensors, sizeof *p->tensors, by_name);
    for (size_t i = 1; i < p->n_tensors; i++)
        if (!strcmp(p->tensors[i].name, p->tensors[i - 1].name))
            return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is in %s too", p->tensors[i].file,
                           p->tensors[i].name, p->tensors[i - 1].file);
    return VW_OK;
}

vw_status gguf_parts_open(gguf_parts *p, const vw_host *host, const char *path, vw_error *err)
{
    gguf_file first;
    *p = (gguf_parts){.host = host};
    vw_status st = gguf_open(&first, host, path, err);
    if (st)
        return st;
    int64_t count = number(&first, "split.count", 1);
    if (count > 1) {
        st = open_others(p, &first, count, err);
        gguf_close(&first);
    } else if ((p->files = host->alloc(host->core, sizeof *p->files))) {
        p->files[p->n++] = first;
    } else {
        gguf_close(&first);
        st = vw_fail(err, VW_E_NOMEM, "no memory to open %s", path);
    }
    if (!st)
        st = gather(p, err);
    if (st)
        gguf_parts_close(p);
    return st;
}

void gguf_parts_close(gguf_parts *p)
{
    if (!p->host)
        return;
    for (size_t i = 0; i < p->n; i++)
        gguf_close(&p->files[i]);
    p->host->free(p->host->core, p->files);
    p->host->free(p->host->core, p->tensors);
    *p = (gguf_parts){0};
}
