/* dataset.c - from a path to documents of ids, and the cut between training and validation. */
#include "core/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/permutation.h"
#include "core/places.h"

/* ---- growing --------------------------------------------------------------------------------- */

static vw_status reserve(vw_dataset_memory *m, int64_t more, vw_error *err)
{
    if (more <= m->room - m->n && m->ids)
        return VW_OK;
    int64_t room = m->n + more + m->n / 2 + 1024;
    int32_t *ids = realloc(m->ids, (size_t)room * sizeof *ids);
    m->ids = ids ? ids : m->ids;
    uint8_t *scored = ids ? realloc(m->is_scored, (size_t)room) : NULL;
    if (!scored)
        return vw_fail(err, VW_E_NOMEM,
                       "no memory for %lld tokens of data; give it as a file of ids "
                       "(data.format = u16), which is mapped",
                       (long long)room);
    m->is_scored = scored;
    m->room = room;
    return VW_OK;
}

vw_status vw_dataset_add(vw_dataset_memory *m, const int32_t *ids, int64_t n, bool is_scored,
                         vw_error *err)
{
    vw_status st = reserve(m, n, err);
    if (st || n == 0)
        return st;
    memcpy(m->ids + m->n, ids, (size_t)n * sizeof *ids);
    memset(m->is_scored + m->n, is_scored, (size_t)n);
    m->has_unscored = m->has_unscored || !is_scored;
    m->n += n;
    return VW_OK;
}

vw_status vw_dataset_end_document(vw_dataset_memory *m, const vw_encoder *e, vw_error *err)
{
    int64_t begin = m->n_documents ? m->starts[m->n_documents] : 0;
    vw_status st = VW_OK;
    if (m->n == begin)
        return VW_OK;
    if (e->info.eos >= 0 && m->ids[m->n - 1] != e->info.eos)
        st = vw_dataset_add(m, &e->info.eos, 1, true, err);
    if (!st && m->n_documents + 2 > m->starts_room) {
        int64_t room = 2 * m->starts_room + 64;
        int64_t *starts = realloc(m->starts, (size_t)room * sizeof *starts);
        if (!starts)
            return vw_fail(err, VW_E_NOMEM, "no memory for %lld documents", (long long)room);
        m->starts = starts;
        m->starts_room = room;
    }
    if (st)
        return st;
    m->starts[0] = 0;
    m->starts[++m->n_documents] = m->n;
    return VW_OK;
}

vw_status vw_dataset_add_text(vw_dataset_memory *m, const vw_encoder *e, const char *text,
                              size_t bytes, bool begins, bool is_scored, bool has_marks,
                              const char *where, vw_error *err)
{
    size_t n = bytes + 1, count = 0;
    vw_status st = VW_OK;
    if (begins && e->info.adds_bos && e->info.bos >= 0)
        st = vw_dataset_add(m, &e->info.bos, 1, true, err);
    for (int try = 0; try < 2 && !st; try++) { /* a text has seldom more tokens than bytes */
        st = reserve(m, (int64_t)n, err);
        if (!st)
            st = e->ops->encode(e->self, text, bytes, has_marks, m->ids + m->n, n, &count, err);
        if (st)
            return vw_fail_in(err, st, "%s", where);
        if (count <= n)
            break;
        n = count;
    }
    if (st)
        return st;
    for (size_t i = 0; i < count; i++)
        if (m->ids[m->n + (int64_t)i] >= e->vocab_size)
            return vw_fail(err, VW_E_FORMAT,
                           "%s: the tokenizer gives token %d, but the model's "
                           "vocabulary has %d; they do not belong together",
                           where, m->ids[m->n + (int64_t)i], e->vocab_size);
    memset(m->is_scored + m->n, is_scored, count);
    m->has_unscored = m->has_unscored || !is_scored;
    m->n += (int64_t)count;
    return VW_OK;
}

/* ---- files and folders ----------------------------------------------------------------------- */

static bool ends_with(const char *path, const char *tail)
{
    size_t n = strlen(path), k = strlen(tail);
    return n >= k && strcmp(path + n - k, tail) == 0;
}

static vw_data_format format_of(const char *path, const vw_encoder *e, vw_data_format format)
{
    if (format != VW_DATA_AUTO)
        return format;
    if (ends_with(path, ".jsonl"))
        return VW_DATA_JSONL;
    if (ends_with(path, ".u16"))
        return VW_DATA_U16;
    if (ends_with(path, ".u32"))
        return VW_DATA_U32;
    if (ends_with(path, ".bin"))
        return e->vocab_size > 65536 ? VW_DATA_U32 : VW_DATA_U16;
    return VW_DATA_TEXT;
}

static vw_status read_file(vw_dataset_memory *m, const vw_encoder *e, const char *path,
                           const vw_dataset_options *o, vw_error *err)
{
    vw_data_format format = format_of(path, e, o->format);
    if (format == VW_DATA_U16 || format == VW_DATA_U32)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: a file of ids is given alone, not in a folder",
                       path);
    if (!e->ops)
        return vw_fail(err, VW_E_CONFIG,
                       "%s: text needs a tokenizer, and the model has none; set "
                       "data.tokenizer to a folder that holds one",
                       path);
    return format == VW_DATA_JSONL ? vw_dataset_read_jsonl(m, e, path, o, err)
                                   : vw_dataset_read_text(m, e, path, o, err);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static vw_status read_folder(vw_dataset_memory *m, const vw_encoder *e, const char *folder,
                             const vw_dataset_options *o, vw_error *err)
{
    struct dirent **names;
    int n = scandir(folder, &names, is_visible, alphasort);
    vw_status st = VW_OK;
    if (n < 0)
        return vw_fail(err, VW_E_IO, "%s: the folder cannot be read: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        char path[VW_PLACE_BYTES];
        struct stat about;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (!st && stat(path, &about) == 0 && S_ISREG(about.st_mode))
            st = read_file(m, e, path, o, err);
        free(names[i]);
    }
    free(names);
    return st;
}

static void free_memory(vw_dataset_memory *m)
{
    if (!m)
        return;
    if (m->map)
        munmap(m->map, m->map_bytes);
    free(m->ids);
    free(m->is_scored);
    free(m->starts);
    free(m);
}

vw_status vw_dataset_open(const vw_encoder *e, const char *path, const vw_dataset_options *o,
                          vw_dataset *dataset, vw_error *err)
{
    struct stat about;
    vw_data_format format = format_of(path, e, o->format);
    if (stat(path, &about) != 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "%s: cannot be opened: %s",
                       path, strerror(errno));
    bool is_folder = S_ISDIR(about.st_mode);
    if (!is_folder && (format == VW_DATA_U16 || format == VW_DATA_U32))
        return vw_dataset_map_ids(e, path, format, o, dataset, err);
    vw_dataset_memory *m = calloc(1, sizeof *m);
    if (!m)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for its text", path);
    vw_status st = is_folder ? read_folder(m, e, path, o, err) : read_file(m, e, path, o, err);
    if (!st && m->n_documents == 0)
        st = vw_fail(err, VW_E_FORMAT, "%s: empty: there is no text to learn from", path);
    if (st) {
        free_memory(m);
        return st;
    }
    *dataset = (vw_dataset){.ids = m->ids,
                            .n = m->n,
                            .starts = m->starts,
                            .n_documents = m->n_documents,
                            .is_scored = m->has_unscored ? m->is_scored : NULL,
                            .memory = m};
    return VW_OK;
}

void vw_dataset_close(vw_dataset *d)
{
    free_memory(d->memory);
    *d = (vw_dataset){0};
}

/* ---- splitting ------------------------------------------------------------------------------- */

/* Tokens [from, to) of `all`: its documents are cut at the ends. */
static vw_status part_of(const vw_dataset *all, int64_t from, int64_t to, vw_dataset *part,
                         vw_error *err)
{
    vw_dataset_memory *m = calloc(1, sizeof *m);
    if (m)
        m->starts = calloc((size_t)all->n_documents + 1, sizeof *m->starts);
    if (!m || !m->starts) {
        free_memory(m);
        return vw_fail(err, VW_E_NOMEM, "no memory for %lld documents",
                       (long long)all->n_documents);
    }
    for (int64_t d = 0; d < all->n_documents; d++)
        if (all->starts[d + 1] > from && all->starts[d] < to) {
            int64_t end = all->starts[d + 1] < to ? all->starts[d + 1] : to;
            m->starts[++m->n_documents] = end - from;
        }
    *part = *all;
    part->ids = all->ids ? all->ids + from : NULL;
    part->narrow = all->narrow ? all->narrow + from : NULL;
    part->is_scored = all->is_scored ? all->is_scored + from : NULL;
    part->n = to - from;
    part->starts = m->starts;
    part->n_documents = m->n_documents;
    part->memory = m;
    return VW_OK;
}

vw_status vw_dataset_split_last(const vw_dataset *all, double share, vw_dataset *train,
                                vw_dataset *validation, vw_error *err)
{
    int64_t cut = (int64_t)((double)all->n * (1 - share));
    if (cut < 2 || all->n - cut < 2)
        return vw_fail(err, VW_E_CONFIG,
                       "the data has %lld tokens; with data.validation_share = %g one "
                       "part has less than two",
                       (long long)all->n, share);
    vw_status st = part_of(all, 0, cut, train, err);
    if (!st && (st = part_of(all, cut, all->n, validation, err)))
        vw_dataset_close(train);
    return st;
}

/* The documents whose draw is on one side of the share, copied one after another. */
static vw_status documents_of(const vw_dataset *all, double share, uint64_t seed,
                              bool is_validation, vw_dataset *part, vw_error *err)
{
    vw_dataset_memory *m = calloc(1, sizeof *m);
    vw_encoder none = {.info = {.eos = -1}};
    vw_status st = m ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for a part of the data");
    for (int64_t d = 0; d < all->n_documents && !st; d++) {
        double draw = (double)(vw_mix(seed ^ vw_mix((uint64_t)d)) >> 11) * 0x1p-53;
        if ((draw < share) != is_validation)
            continue;
        for (int64_t i = all->starts[d]; i < all->starts[d + 1] && !st; i++) {
            int32_t id = vw_dataset_id(all, i);
            st = vw_dataset_add(m, &id, 1, !all->is_scored || all->is_scored[i], err);
        }
        if (!st)
            st = vw_dataset_end_document(m, &none, err);
    }
    if (!st && m->n_documents == 0)
        st = vw_fail(
            err, VW_E_CONFIG,
            "data.validation_split = seed draws whole documents, and of %lld "
            "with data.validation_share = %g none is left for %s; validation_split = last cuts "
            "anywhere",
            (long long)all->n_documents, share, is_validation ? "validation" : "training");
    if (st) {
        free_memory(m);
        return st;
    }
    *part = (vw_dataset){.ids = m->ids,
                         .n = m->n,
                         .starts = m->starts,
                         .n_documents = m->n_documents,
                         .is_scored = m->has_unscored ? m->is_scored : NULL,
                         .memory = m};
    return VW_OK;
}

vw_status vw_dataset_split_documents(const vw_dataset *all, double share, uint64_t seed,
                                     vw_dataset *train, vw_dataset *validation, vw_error *err)
{
    vw_status st = documents_of(all, share, seed, false, train, err);
    if (!st && (st = documents_of(all, share, seed, true, validation, err)))
        vw_dataset_close(train);
    return st;
}
