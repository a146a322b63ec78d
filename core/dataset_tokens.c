/* dataset_tokens.c - ids in a file, little endian, two or four bytes each: mapped, never copied.
 *
 * Every id is looked at once, when the file is opened: an id that the model does not have is told
 * before an hour of training and not after.
 */
#include "core/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static vw_status check_ids(const vw_dataset *d, const char *path, int32_t vocab_size, vw_error *err)
{
    for (int64_t i = 0; i < d->n; i++) {
        int32_t id = vw_dataset_id(d, i);
        if (id < 0 || id >= vocab_size)
            return vw_fail(
                err, VW_E_FORMAT,
                "%s: token %lld is %lld, but the model's vocabulary has %d; "
                "the file was made with another tokenizer, or its ids are of another width "
                "(data.format)",
                path, (long long)i, (long long)(uint32_t)id, vocab_size);
    }
    return VW_OK;
}

/* Documents end with EOS. */
static vw_status find_documents(vw_dataset *d, vw_dataset_memory *m, int32_t eos, bool finds,
                                vw_error *err)
{
    int64_t count = 1;
    for (int64_t i = 0; finds && i + 1 < d->n; i++)
        count += vw_dataset_id(d, i) == eos;
    m->starts = calloc((size_t)count + 1, sizeof *m->starts);
    if (!m->starts)
        return vw_fail(err, VW_E_NOMEM, "no memory for %lld documents", (long long)count);
    d->n_documents = 0;
    for (int64_t i = 0; finds && i + 1 < d->n; i++)
        if (vw_dataset_id(d, i) == eos)
            m->starts[++d->n_documents] = i + 1;
    m->starts[++d->n_documents] = d->n;
    d->starts = m->starts;
    return VW_OK;
}

static vw_status map_file(const char *path, size_t width, vw_dataset_memory *m, vw_error *err)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return vw_fail(err, VW_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    vw_status st = VW_OK;
    if (fstat(fd, &about) != 0)
        st = vw_fail(err, VW_E_IO, "%s: cannot be read: %s", path, strerror(errno));
    else if (about.st_size == 0)
        st = vw_fail(err, VW_E_FORMAT, "%s: empty: there is no text to learn from", path);
    else if ((uint64_t)about.st_size % width)
        st = vw_fail(err, VW_E_FORMAT, "%s: %lld bytes are no whole number of %zu-byte ids", path,
                     (long long)about.st_size, width);
    if (!st) {
        m->map_bytes = (size_t)about.st_size;
        m->map = mmap(NULL, m->map_bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (m->map == MAP_FAILED) {
            m->map = NULL;
            st = vw_fail(err, VW_E_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        }
    }
    close(fd);
    return st;
}

vw_status vw_dataset_map_ids(const vw_encoder *e, const char *path, vw_data_format format,
                             const vw_dataset_options *o, vw_dataset *dataset, vw_error *err)
{
    size_t width = format == VW_DATA_U16 ? 2 : 4;
    vw_dataset_memory *m = calloc(1, sizeof *m);
    if (!m)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory to open it", path);
    vw_dataset d = {.memory = m};
    vw_status st = map_file(path, width, m, err);
    if (!st) {
        d.n = (int64_t)(m->map_bytes / width);
        d.ids = width == 4 ? m->map : NULL;
        d.narrow = width == 2 ? m->map : NULL;
        st = check_ids(&d, path, e->vocab_size, err);
    }
    if (!st && o->finds_documents && e->info.eos < 0)
        st = vw_fail(err, VW_E_CONFIG,
                     "%s: documents end with EOS, and the tokenizer has none; set "
                     "data.packing = crossing",
                     path);
    if (!st)
        st = find_documents(&d, m, e->info.eos, o->finds_documents, err);
    if (st) {
        vw_dataset_close(&d);
        return st;
    }
    *dataset = d;
    return VW_OK;
}
