/* teacher_store.c - rows of a teacher's logits, collected into files and mapped again. */
#include "core/teacher_store.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checkpoint.h"
#include "core/json.h"
#include "core/json_write.h"

enum { FORMAT = 1, SHARD_BYTES = 1 << 26, N_TENSORS = 3, MAX_SHARDS = 1 << 20 };

static const char about_name[] = "store.json";

static size_t value_bytes(const vw_store_shape *s)
{
    return s->is_f32 ? 4 : 2;
}

/* Rows of one file. */
static int64_t rows_of_shard(const vw_store_shape *s)
{
    size_t row = (size_t)s->k * (4 + value_bytes(s)) + 4;
    return (int64_t)(SHARD_BYTES / row) + 1;
}

static vw_status shard_path(const char *folder, int64_t shard, char path[VW_CHECKPOINT_PATH],
                            vw_error *err)
{
    int n = snprintf(path, VW_CHECKPOINT_PATH, "%s/rows-%05" PRId64 ".safetensors", folder, shard);
    return n < VW_CHECKPOINT_PATH ? VW_OK
                                  : vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct vw_store_writer {
    vw_core *core;
    const vw_component *weights;
    vw_store_shape shape;
    char folder[VW_CHECKPOINT_PATH], temporary[VW_CHECKPOINT_PATH];
    int64_t rows, in_shard; /* added; and of them in the file in the making */
    int32_t *ids;
    void *logits;
    float *lse;
    bool is_done;
};

vw_status vw_store_create(vw_core *core, const vw_component *weights, const char *folder,
                          const vw_store_shape *shape, vw_store_writer **writer, vw_error *err)
{
    struct stat about;
    if (stat(folder, &about) == 0)
        return vw_fail(err, VW_E_INVALID,
                       "%s is there already; remove it, or give another "
                       "distill.teacher_cache",
                       folder);
    if (strlen(folder) > 3800)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    vw_store_writer *w = vw_core_alloc(core, sizeof *w);
    if (!w)
        return vw_fail(err, VW_E_NOMEM, "no memory to write a teacher's logits");
    memset(w, 0, sizeof *w);
    w->core = core;
    w->weights = weights;
    w->shape = *shape;
    snprintf(w->folder, sizeof w->folder, "%.3800s", folder);
    snprintf(w->temporary, sizeof w->temporary, "%.3800s.tmp", folder);
    size_t rows = (size_t)rows_of_shard(shape), values = rows * (size_t)shape->k;
    w->ids = vw_core_alloc(core, values * sizeof *w->ids);
    w->logits = vw_core_alloc(core, values * value_bytes(shape));
    w->lse = vw_core_alloc(core, rows * sizeof *w->lse);
    vw_status st = VW_OK;
    if (!w->ids || !w->logits || !w->lse)
        st = vw_fail(err, VW_E_NOMEM, "no memory for %zu rows of a teacher's logits", rows);
    if (!st)
        st = vw_folder_begin(w->temporary, err);
    if (st)
        vw_store_end(w);
    else
        *writer = w;
    return st;
}

static vw_status write_shard(vw_store_writer *w, vw_error *err)
{
    const vw_weights_ops *ops = w->weights->ops;
    void *self = w->weights->self;
    int64_t n = w->in_shard, k = w->shape.k;
    char path[VW_CHECKPOINT_PATH];
    vw_weights_writer *file;
    const vw_weights_tensor list[N_TENSORS] = {
        {.name = "ids", .dtype = VW_I32, .n_dims = 2, .shape = {n, k}},
        {.name = "logits",
         .dtype = w->shape.is_f32 ? VW_F32 : VW_F16,
         .n_dims = 2,
         .shape = {n, k}},
        {.name = "lse", .dtype = VW_F32, .n_dims = 1, .shape = {n}}};
    const void *data[N_TENSORS] = {w->ids, w->logits, w->lse};
    size_t values = (size_t)(n * k);
    const size_t bytes[N_TENSORS] = {values * 4, values * value_bytes(&w->shape), (size_t)n * 4};
    if (n == 0)
        return VW_OK;
    vw_status st = shard_path(w->temporary, (w->rows - 1) / rows_of_shard(&w->shape), path, err);
    if (!st)
        st = ops->create(self, path, list, N_TENSORS, NULL, &file, err);
    if (st)
        return st;
    for (int i = 0; i < N_TENSORS && !st; i++)
        st = ops->write(self, file, data[i], bytes[i], err);
    if (st)
        ops->abort(self, file);
    else
        st = ops->finish(self, file, err);
    w->in_shard = 0;
    return st;
}

/* A row; without ids, of a position that the teacher was not asked about. */
static vw_status add_row(vw_store_writer *w, const int32_t *ids, const float *logits, float lse,
                         vw_error *err)
{
    size_t k = (size_t)w->shape.k, at = (size_t)w->in_shard * k;
    for (size_t i = 0; i < k; i++) {
        float value = ids ? logits[i] - logits[0] : 0;
        w->ids[at + i] = ids ? ids[i] : (int32_t)i;
        if (w->shape.is_f32)
            ((float *)w->logits)[at + i] = value;
        else
            ((uint16_t *)w->logits)[at + i] = vw_f32_to_f16(value < -65504 ? -65504 : value);
    }
    w->lse[w->in_shard++] = lse;
    w->rows++;
    return w->in_shard == rows_of_shard(&w->shape) ? write_shard(w, err) : VW_OK;
}

vw_status vw_store_add(vw_store_writer *w, int64_t row, int64_t n, const int32_t *ids,
                       const float *logits, const float *lse, vw_error *err)
{
    vw_status st = VW_OK;
    if (row < w->rows || row > w->shape.rows - n)
        return vw_fail(err, VW_E_INVALID,
                       "rows %" PRId64 " to %" PRId64 " of a store of %" PRId64
                       ", of which %" PRId64 " are written",
                       row, row + n, w->shape.rows, w->rows);
    while (w->rows < row && !st)
        st = add_row(w, NULL, NULL, NAN, err);
    for (int64_t i = 0; i < n && !st; i++)
        st = add_row(w, ids + i * w->shape.k, logits + i * w->shape.k, lse[i], err);
    return st;
}

static vw_status write_about(const vw_store_writer *w, const char *about, const vw_fact *facts,
                             int n, vw_error *err)
{
    char path[VW_CHECKPOINT_PATH];
    vw_json_writer j = {0};
    size_t bytes;
    vw_json_begin_object(&j, NULL);
    vw_json_add_int(&j, "format", FORMAT);
    vw_json_add_string(&j, "teacher", about);
    vw_json_add_int(&j, "rows", w->shape.rows);
    vw_json_add_int(&j, "top", w->shape.k);
    vw_json_add_int(&j, "vocab_size", w->shape.vocab_size);
    vw_json_add_double(&j, "temperature", w->shape.temperature);
    vw_json_add_bool(&j, "is_f32", w->shape.is_f32);
    vw_json_begin_object(&j, "made_of");
    for (int i = 0; i < n; i++)
        vw_json_add_string(&j, facts[i].name, facts[i].text);
    vw_json_end_object(&j);
    vw_json_end_object(&j);
    const char *text = vw_json_text(&j, &bytes);
    snprintf(path, sizeof path, "%.4000s/%s", w->temporary, about_name);
    vw_status st = text ? vw_file_write(path, text, bytes, err)
                        : vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    vw_json_writer_free(&j);
    return st;
}

vw_status vw_store_finish(vw_store_writer *w, const char *about, const vw_fact *facts, int n,
                          vw_error *err)
{
    vw_status st = VW_OK;
    while (w->rows < w->shape.rows && !st)
        st = add_row(w, NULL, NULL, NAN, err);
    if (!st)
        st = write_shard(w, err);
    if (!st)
        st = write_about(w, about, facts, n, err);
    if (!st)
        st = vw_folder_seal(w->temporary, err);
    if (!st && rename(w->temporary, w->folder) != 0)
        st = vw_fail(err, VW_E_IO, "cannot rename %s to %s: %s", w->temporary, w->folder,
                     strerror(errno));
    w->is_done = !st;
    return st;
}

void vw_store_end(vw_store_writer *w)
{
    if (!w)
        return;
    if (!w->is_done)
        vw_checkpoint_abort(w->temporary);
    vw_core_release(w->core, w->lse);
    vw_core_release(w->core, w->logits);
    vw_core_release(w->core, w->ids);
    vw_core_release(w->core, w);
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct store_shard {
    vw_weights_reader *reader;
    const char *ids, *logits, *lse; /* mapped; perhaps not aligned */
} store_shard;

struct vw_store {
    vw_core *core;
    const vw_component *weights;
    vw_store_shape shape;
    char folder[VW_CHECKPOINT_PATH];
    store_shard *shards;
    int64_t n_shards;
};

static vw_status read_shape(vw_store *s, const vw_json_doc *doc, vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_json_value *root = json->root(doc);
    int64_t format, k, vocab;
    int is_f32;
    vw_status st;
    if ((st = json->get_int(doc, root, "format", 1, 1 << 20, 0, &format, err)))
        return st;
    if (format != FORMAT)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%s/%s is of format %" PRId64 ", this version reads %d", s->folder,
                       about_name, format, FORMAT);
    if ((st = json->get_int(doc, root, "rows", 1, INT64_MAX / 8192, 0, &s->shape.rows, err)) ||
        (st = json->get_int(doc, root, "vocab_size", 1, 1 << 24, 0, &vocab, err)) ||
        (st = json->get_int(doc, root, "top", 1, VW_STORE_MAX_TOP, 0, &k, err)) ||
        (st = json->get_real(doc, root, "temperature", 0, &s->shape.temperature, err)) ||
        (st = json->get_bool(doc, root, "is_f32", 0, &is_f32, err)))
        return st;
    s->shape.k = (int32_t)k;
    s->shape.vocab_size = (int32_t)vocab;
    s->shape.is_f32 = is_f32;
    if (!s->shape.rows || k < 1 || k > vocab || !(s->shape.temperature > 0))
        return vw_fail(err, VW_E_FORMAT, "%s/%s lacks rows, top, vocab_size or temperature",
                       s->folder, about_name);
    return VW_OK;
}

static vw_status check_facts(const vw_store *s, const vw_json_doc *doc, const vw_fact *facts, int n,
                             vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_json_value *made_of = json->get(json->root(doc), "made_of");
    for (int i = 0; i < n; i++) {
        const char *then;
        vw_status st = json->get_string(doc, made_of, facts[i].name, "", &then, err);
        if (st)
            return st;
        if (strcmp(then, facts[i].text))
            return vw_fail(err, VW_E_CONFIG,
                           "distill.teacher_cache = %s was written with %s = %s, now it is %s; "
                           "write another with --cache-teacher, or go back to what it was",
                           s->folder, facts[i].name, then, facts[i].text);
    }
    return VW_OK;
}

static vw_status read_about(vw_store *s, const vw_fact *facts, int n, vw_error *err)
{
    char path[VW_CHECKPOINT_PATH];
    vw_json_doc *doc;
    snprintf(path, sizeof path, "%.4000s/%s", s->folder, about_name);
    vw_status st = vw_json_service()->open_file(path, &doc, err);
    if (st)
        return st;
    st = read_shape(s, doc, err);
    if (!st)
        st = check_facts(s, doc, facts, n, err);
    vw_json_service()->close(doc);
    return st;
}

static vw_status find_tensor(const vw_store *s, vw_weights_reader *reader, const char *name,
                             vw_dtype dtype, int64_t rows, const char **data, vw_error *err)
{
    const vw_weights_ops *ops = s->weights->ops;
    vw_weights_tensor t;
    bool is_wide = strcmp(name, "lse") != 0;
    vw_status st = ops->find(s->weights->self, reader, name, &t, err);
    if (st)
        return st;
    if (t.dtype != dtype || t.n_dims != (is_wide ? 2 : 1) || t.shape[0] != rows ||
        (is_wide && t.shape[1] != s->shape.k))
        return vw_fail(err, VW_E_FORMAT, "%s: \"%s\" is not of %" PRId64 " rows of %d", t.file,
                       name, rows, is_wide ? s->shape.k : 1);
    *data = t.data;
    return VW_OK;
}

static vw_status open_shard(vw_store *s, int64_t i, vw_error *err)
{
    const vw_weights_ops *ops = s->weights->ops;
    store_shard *shard = &s->shards[i];
    char path[VW_CHECKPOINT_PATH];
    int64_t most = rows_of_shard(&s->shape), left = s->shape.rows - i * most;
    int64_t rows = left < most ? left : most;
    vw_status st = shard_path(s->folder, i, path, err);
    if (!st)
        st = ops->open(s->weights->self, path, &shard->reader, err);
    if (st)
        return st;
    if (!(st = find_tensor(s, shard->reader, "ids", VW_I32, rows, &shard->ids, err)) &&
        !(st = find_tensor(s, shard->reader, "logits", s->shape.is_f32 ? VW_F32 : VW_F16, rows,
                           &shard->logits, err)))
        st = find_tensor(s, shard->reader, "lse", VW_F32, rows, &shard->lse, err);
    return st;
}

static vw_status open_shards(vw_store *s, vw_error *err)
{
    int64_t most = rows_of_shard(&s->shape), n = (s->shape.rows + most - 1) / most;
    vw_status st = VW_OK;
    if (n > MAX_SHARDS)
        return vw_fail(err, VW_E_FORMAT, "%s: %" PRId64 " rows are more than a store can hold",
                       s->folder, s->shape.rows);
    s->shards = vw_core_alloc(s->core, (size_t)n * sizeof *s->shards);
    if (!s->shards)
        return vw_fail(err, VW_E_NOMEM, "no memory for %" PRId64 " files of a store", n);
    memset(s->shards, 0, (size_t)n * sizeof *s->shards);
    s->n_shards = n;
    for (int64_t i = 0; i < n && !st; i++)
        st = open_shard(s, i, err);
    return st;
}

vw_status vw_store_open(vw_core *core, const vw_component *weights, const char *folder,
                        const vw_fact *facts, int n, vw_store **store, vw_error *err)
{
    struct stat about;
    if (stat(folder, &about) != 0)
        return vw_fail(err, VW_E_NOTFOUND,
                       "distill.teacher_cache = %s is not there; the same command with "
                       "--cache-teacher writes it",
                       folder);
    vw_store *s = vw_core_alloc(core, sizeof *s);
    if (!s)
        return vw_fail(err, VW_E_NOMEM, "no memory to read a teacher's logits");
    memset(s, 0, sizeof *s);
    s->core = core;
    s->weights = weights;
    snprintf(s->folder, sizeof s->folder, "%.4000s", folder);
    vw_status st = vw_checkpoint_check(s->folder, err);
    if (!st)
        st = read_about(s, facts, n, err);
    if (!st)
        st = open_shards(s, err);
    if (st) {
        vw_store_close(s);
        return st == VW_E_CONFIG
                   ? st
                   : vw_fail_in(err, st, "distill.teacher_cache, which --cache-teacher writes anew");
    }
    *store = s;
    return VW_OK;
}

void vw_store_close(vw_store *s)
{
    if (!s)
        return;
    const vw_weights_ops *ops = s->weights->ops;
    for (int64_t i = 0; i < s->n_shards; i++)
        if (s->shards[i].reader)
            ops->close(s->weights->self, s->shards[i].reader);
    vw_core_release(s->core, s->shards);
    vw_core_release(s->core, s);
}

vw_store_shape vw_store_get_shape(const vw_store *s)
{
    return s->shape;
}

vw_status vw_store_read(const vw_store *s, int64_t row, int32_t *ids, float *logits, float *lse,
                        vw_error *err)
{
    int64_t most = rows_of_shard(&s->shape);
    const store_shard *shard = &s->shards[row / most];
    size_t k = (size_t)s->shape.k, at = (size_t)(row % most);
    vw_dtype dtype = s->shape.is_f32 ? VW_F32 : VW_F16;
    bool is_right = true;
    memcpy(ids, shard->ids + at * k * sizeof *ids, k * sizeof *ids);
    memcpy(lse, shard->lse + at * sizeof *lse, sizeof *lse);
    for (size_t i = 0; i < k; i++) {
        logits[i] = (float)vw_dtype_get(dtype, shard->logits, at * k + i);
        is_right = is_right && ids[i] >= 0 && ids[i] < s->shape.vocab_size && isfinite(logits[i]);
    }
    if (is_right && isfinite(*lse))
        return VW_OK;
    return vw_fail(err, VW_E_FORMAT,
                   "%s: row %" PRId64 " holds a token outside the vocabulary of %d, or a number "
                   "that is none",
                   s->folder, row, s->shape.vocab_size);
}
