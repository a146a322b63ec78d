/* trainee_save.c - a trained model into files that every command opens, and back.
 *
 * Values leave the device a stretch of rows at a time, an adapter's part is added, they are rounded
 * to the file's dtype and written: no second copy of the model is ever in memory.
 */
#include "core/trainee.h"

#include <string.h>

#include "core/checkpoint.h"
#include "core/json_write.h"

enum { STRETCH_VALUES = 1 << 18 };

typedef struct stretch { /* room for some rows */
    float *values;
    int32_t *ids;
    void *stored;
    vw_buffer rows, gathered; /* device, for matrices that have no master */
    size_t room;              /* values */
} stretch;

static size_t count_of(const vw_param_spec *s)
{
    return (size_t)(s->rows ? s->rows : 1) * (size_t)s->cols;
}

static int64_t rows_of(const vw_param_spec *s)
{
    return s->rows ? s->rows : 1;
}

static vw_status stretch_open(vw_trainee *t, stretch *s, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    memset(s, 0, sizeof *s);
    s->room = STRETCH_VALUES;
    for (size_t i = 0; i < t->n_params; i++)
        if ((size_t)t->params[i]->spec->cols > s->room)
            s->room = (size_t)t->params[i]->spec->cols;
    s->values = vw_core_alloc(t->core, s->room * sizeof *s->values);
    s->ids = vw_core_alloc(t->core, s->room * sizeof *s->ids);
    s->stored = vw_core_alloc(t->core, s->room * sizeof(double));
    if (!s->values || !s->ids || !s->stored)
        return vw_fail(err, VW_E_NOMEM, "no memory to write parameters");
    vw_status st = e->dev->alloc(dev, s->room * sizeof *s->ids, &s->rows, err);
    return st ? st : e->dev->alloc(dev, s->room * sizeof(float), &s->gathered, err);
}

static void stretch_close(vw_trainee *t, stretch *s)
{
    vw_engine *e = t->engine;
    e->dev->free(e->device->self, &s->gathered);
    e->dev->free(e->device->self, &s->rows);
    vw_core_release(t->core, s->stored);
    vw_core_release(t->core, s->ids);
    vw_core_release(t->core, s->values);
}

/* ---- values onto the host -------------------------------------------------------------------- */

/* Rows of a matrix that stays as the file stores it. */
static vw_status gather_rows(vw_trainee *t, stretch *s, const vw_param *p, int64_t first, int64_t n,
                             vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    for (int64_t i = 0; i < n; i++)
        s->ids[i] = (int32_t)(first + i);
    vw_status st =
        e->dev->upload(dev, e->stream, s->rows.data, s->ids, (size_t)n * sizeof *s->ids, err);
    return st ? st
              : e->mm->gather(e->gemm->self, e->stream, &p->weight, s->rows.data, 1,
                              vw_tensor_2d(s->gathered.data, VW_F32, n, p->spec->cols), err);
}

static vw_status fetch(vw_trainee *t, stretch *s, const vw_param *p, int64_t first, int64_t n,
                       vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    const float *from = p->values ? p->values : p->vector;
    size_t cols = (size_t)p->spec->cols;
    vw_status st = VW_OK;
    if (!from) {
        st = gather_rows(t, s, p, first, n, err);
        from = s->gathered.data;
    } else {
        from += (size_t)first * cols;
    }
    if (!st)
        st = e->dev->download(dev, e->stream, s->values, from, (size_t)n * cols * sizeof(float),
                              err);
    return st ? st : e->dev->synchronize(dev, e->stream, err);
}

/* ---- writing --------------------------------------------------------------------------------- */

static const void *encode(const stretch *s, vw_dtype dtype, size_t n)
{
    uint16_t *half = s->stored;
    if (dtype == VW_F32)
        return s->values;
    for (size_t i = 0; i < n; i++)
        half[i] = dtype == VW_BF16 ? vw_f32_to_bf16(s->values[i]) : vw_f32_to_f16(s->values[i]);
    return half;
}

static vw_status write_param(vw_trainee *t, vw_weights_writer *writer, stretch *s,
                             const vw_param *p, vw_dtype dtype, vw_error *err)
{
    vw_engine *e = t->engine;
    size_t cols = (size_t)p->spec->cols;
    int64_t rows = rows_of(p->spec), step = (int64_t)(s->room / cols);
    vw_status st = VW_OK;
    for (int64_t first = 0; first < rows && !st; first += step) {
        int64_t n = rows - first < step ? rows - first : step;
        size_t values = (size_t)n * cols;
        st = fetch(t, s, p, first, n, err);
        if (!st && (p->adapter || p->lookup))
            st = vw_lora_merge_rows(t, p, first, n, s->values, err);
        if (!st)
            st = e->wts->write(e->weights->self, writer, encode(s, dtype, values),
                               values * vw_dtype_bits(dtype) / 8, err);
    }
    return st;
}

/* A whole parameter of a table's adapter, turned round between file and device. */
static void turn(const float *from, int64_t rows, int64_t cols, float *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            to[j * rows + i] = from[i * cols + j];
}

static vw_status write_turned(vw_trainee *t, vw_weights_writer *writer, const vw_param *p,
                              vw_error *err)
{
    vw_engine *e = t->engine;
    size_t n = count_of(p->spec), bytes = n * sizeof(float);
    float *host = vw_core_alloc(t->core, 2 * bytes);
    if (!host)
        return vw_fail(err, VW_E_NOMEM, "no memory to write %s", p->spec->name);
    vw_status st = e->dev->download(e->device->self, e->stream, host, p->values, bytes, err);
    if (!st)
        st = e->dev->synchronize(e->device->self, e->stream, err);
    turn(host, p->spec->rows, p->spec->cols, host + n);
    if (!st)
        st = e->wts->write(e->weights->self, writer, host + n, bytes, err);
    vw_core_release(t->core, host);
    return st;
}

static size_t n_of_model(const vw_trainee *t)
{
    return t->n_params - 2 * t->engine->adapters.n - t->n_projections;
}

/* Write parameters [first, last) of the list as one file. */
static vw_status write_file(vw_trainee *t, const char *path, size_t first, size_t last,
                            vw_dtype dtype, vw_error *err)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    vw_engine *e = t->engine;
    vw_weights_writer *writer;
    stretch s;
    vw_weights_tensor *list = vw_core_alloc(t->core, (last - first + 1) * sizeof *list);
    if (!list)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of tensors");
    vw_status st = stretch_open(t, &s, err);
    for (size_t i = first; i < last; i++) {
        const vw_param_spec *spec = t->params[i]->spec;
        list[i - first] = (vw_weights_tensor){
            .name = vw_trainee_name(t, i),
            .dtype = dtype,
            .n_dims = spec->rows ? 2 : 1,
            .shape = {spec->rows ? spec->rows : spec->cols, spec->rows ? spec->cols : 0},
            .bytes = count_of(spec) * vw_dtype_bits(dtype) / 8};
        if (t->params[i]->is_transposed) {
            list[i - first].shape[0] = spec->cols;
            list[i - first].shape[1] = spec->rows;
        }
    }
    if (!st && !(st = e->wts->create(e->weights->self, path, list, last - first, metadata, &writer,
                                     err))) {
        for (size_t i = first; i < last && !st; i++)
            st = t->params[i]->is_transposed
                     ? write_turned(t, writer, t->params[i], err)
                     : write_param(t, writer, &s, t->params[i], dtype, err);
        if (st)
            e->wts->abort(e->weights->self, writer);
        else
            st = e->wts->finish(e->weights->self, writer, err);
    }
    stretch_close(t, &s);
    vw_core_release(t->core, list);
    return st;
}

static const char *config_text(const vw_trainee *t)
{
    return t->is_fresh ? t->engine->config_text : t->config_text;
}

vw_status vw_trainee_save(vw_trainee *t, const char *folder, vw_dtype dtype, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    const char *config = config_text(t);
    if (dtype != VW_F32 && dtype != VW_BF16 && dtype != VW_F16)
        return vw_fail(err, VW_E_UNSUPPORTED, "a model is written in f32, bf16 or f16, not in %s",
                       vw_dtype_name(dtype));
    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors", folder) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    vw_status st = vw_lora_check_merge(t, err);
    if (!st)
        st = write_file(t, path, 0, n_of_model(t), dtype, err);
    snprintf(path, sizeof path, "%s/config.json", folder);
    return st ? st : vw_file_write(path, config, strlen(config), err);
}

/* ---- the adapter alone ----------------------------------------------------------------------- */

static void put_targets(const vw_trainee *t, vw_json_writer *w)
{
    const vw_engine *e = t->engine;
    const adapter_list *a = &e->adapters;
    vw_json_begin_array(w, "target_modules");
    for (size_t i = 0; i < a->n; i++) {
        bool is_new = true;
        adapter_block block = vw_adapter_block(e, a->adapted[i], a->sites[i]);
        for (size_t j = 0; j < i && is_new; j++)
            is_new = strcmp(block.last, vw_adapter_block(e, a->adapted[j], a->sites[j]).last) != 0;
        if (is_new)
            vw_json_add_string(w, NULL, block.last);
    }
    vw_json_end_array(w);
}

vw_status vw_trainee_save_adapter(vw_trainee *t, const char *folder, vw_error *err)
{
    const vw_lora *lora = &t->options.lora;
    char path[VW_PLACE_BYTES];
    vw_json_writer w = {0};
    size_t bytes;
    if (!t->engine->adapters.n)
        return vw_fail(err, VW_E_INVALID, "this model has no adapter to save");
    if ((size_t)snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    vw_status st = write_file(t, path, n_of_model(t), t->n_params - t->n_projections, VW_F32, err);
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "peft_type", "LORA");
    vw_json_add_string(&w, "task_type", "CAUSAL_LM");
    vw_json_add_string(&w, "base_model_name_or_path", t->is_fresh ? NULL : t->engine->path);
    vw_json_add_int(&w, "r", lora->rank);
    vw_json_add_double(&w, "lora_alpha", lora->alpha);
    vw_json_add_double(&w, "lora_dropout", lora->dropout);
    vw_json_add_string(&w, "bias", "none");
    vw_json_add_bool(&w, "fan_in_fan_out", 0);
    put_targets(t, &w);
    vw_json_end_object(&w);
    const char *text = vw_json_text(&w, &bytes);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    if (!st)
        st = text ? vw_file_write(path, text, bytes, err)
                  : vw_fail(err, VW_E_NOMEM, "no memory for %s", path);
    vw_json_writer_free(&w);
    return st;
}

/* ---- projections ----------------------------------------------------------------------------- */

static vw_status projections_path(const char *folder, char *path, size_t room, vw_error *err)
{
    return (size_t)snprintf(path, room, "%s/projections.safetensors", folder) < room
               ? VW_OK
               : vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
}

vw_status vw_trainee_save_projections(vw_trainee *t, const char *folder, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    vw_status st = projections_path(folder, path, sizeof path, err);
    return st || !t->n_projections
               ? st
               : write_file(t, path, t->n_params - t->n_projections, t->n_params, VW_F32, err);
}

/* ---- back ------------------------------------------------------------------------------------ */

static vw_status read_turned(vw_trainee *t, const vw_param *p, const vw_weights_tensor *f,
                             vw_error *err)
{
    vw_engine *e = t->engine;
    size_t n = count_of(p->spec), bytes = n * sizeof(float);
    float *host = vw_core_alloc(t->core, 2 * bytes);
    if (!host)
        return vw_fail(err, VW_E_NOMEM, "no memory to read %s", p->spec->name);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)vw_dtype_get(f->dtype, f->data, i);
    turn(host, p->spec->cols, p->spec->rows, host + n);
    vw_status st = e->dev->upload(e->device->self, e->stream, p->values, host + n, bytes, err);
    if (!st)
        st = e->dev->synchronize(e->device->self, e->stream, err);
    vw_core_release(t->core, host);
    return st;
}

static vw_status read_param(vw_trainee *t, vw_weights_reader *reader, stretch *s, size_t i,
                            vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    vw_param *p = t->params[i];
    const vw_param_spec *spec = p->spec;
    vw_weights_tensor f;
    size_t count = count_of(spec);
    int64_t rows = p->is_transposed ? spec->cols : spec->rows,
            cols = p->is_transposed ? spec->rows : spec->cols;
    vw_status st = e->wts->find(e->weights->self, reader, vw_trainee_name(t, i), &f, err);
    if (st)
        return st;
    if (f.n_dims != (rows ? 2 : 1) || f.shape[0] != (rows ? rows : cols) ||
        (rows && f.shape[1] != cols) || !vw_dtype_bits(f.dtype))
        return vw_fail(err, VW_E_FORMAT,
                       "%s: tensor \"%s\" is not the [%lld, %lld] of the model that is "
                       "trained",
                       f.file, f.name, (long long)(rows ? rows : 1), (long long)cols);
    if (p->is_transposed)
        return read_turned(t, p, &f, err);
    for (size_t first = 0; first < count && !st; first += s->room) {
        size_t n = count - first < s->room ? count - first : s->room;
        for (size_t j = 0; j < n; j++)
            s->values[j] = (float)vw_dtype_get(f.dtype, f.data, first + j);
        st = e->dev->upload(dev, e->stream, p->values + first, s->values, n * sizeof(float), err);
        if (!st)
            st = e->dev->synchronize(dev, e->stream, err);
    }
    return st;
}

/* Parameters [first, last) that have masters, from a folder's or a file's tensors. */
static vw_status read_params(vw_trainee *t, const char *path, size_t first, size_t last,
                             vw_error *err)
{
    vw_engine *e = t->engine;
    vw_weights_reader *reader;
    stretch s;
    vw_status st = e->wts->open(e->weights->self, path, &reader, err);
    if (st)
        return st;
    st = stretch_open(t, &s, err);
    for (size_t i = first; i < last && !st; i++)
        if (t->params[i]->values)
            st = read_param(t, reader, &s, i, err);
    stretch_close(t, &s);
    e->wts->close(e->weights->self, reader);
    return st;
}

/* A folder with another configuration is another model, whatever the shapes. */
static vw_status check_config(const vw_trainee *t, const char *folder, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    const char *want = config_text(t);
    size_t at = 0, n = strlen(want);
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *f = fopen(path, "rb");
    if (!f)
        return vw_fail(err, VW_E_NOTFOUND, "%s cannot be read", path);
    int c = fgetc(f);
    while (at < n && c == (unsigned char)want[at]) {
        at++;
        c = fgetc(f);
    }
    fclose(f);
    return at == n && c == EOF ? VW_OK
                               : vw_fail(err, VW_E_FORMAT,
                                         "%s is not the configuration of the model that "
                                         "is trained",
                                         path);
}

vw_status vw_trainee_load(vw_trainee *t, const char *folder, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    vw_status st = t->engine->adapters.n ? VW_OK : check_config(t, folder, err);
    if (st)
        return st;
    if (t->engine->adapters.n) {
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
        st = read_params(t, path, n_of_model(t), t->n_params - t->n_projections, err);
    } else {
        st = read_params(t, folder, 0, n_of_model(t), err);
    }
    return st ? st : vw_trainee_rescale(t, err);
}

vw_status vw_trainee_load_projections(vw_trainee *t, const char *folder, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    vw_status st = projections_path(folder, path, sizeof path, err);
    return st || !t->n_projections
               ? st
               : read_params(t, path, t->n_params - t->n_projections, t->n_params, err);
}
