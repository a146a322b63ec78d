/* convert.c - a checkpoint written again: the plan, the shards, the folder. */
#include "core/convert.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checkpoint.h"
#include "core/json.h"
#include "core/sized.h"

enum { DEFAULT_GROUP = 32 };

/* ---- the plan -------------------------------------------------------------------------------- */

static vw_status add_item(conversion *c, item **it, vw_error *err)
{
    if (c->n_items == c->room) {
        size_t room = c->room ? 2 * c->room : 256;
        item *more = vw_core_alloc(c->core, room * sizeof *more);
        if (!more)
            return vw_fail(err, VW_E_NOMEM, "no memory for a list of tensors");
        if (c->n_items)
            memcpy(more, c->items, c->n_items * sizeof *more);
        vw_core_release(c->core, c->items);
        c->items = more;
        c->room = room;
    }
    *it = memset(&c->items[c->n_items++], 0, sizeof **it);
    return VW_OK;
}

/* Is parameter i the up or down matrix of an expert? */
static bool follows_in_expert(const vw_model_info *info, size_t i)
{
    for (int32_t l = 0; l < info->n_experts; l++) {
        const vw_experts_spec *x = &info->experts[l];
        if (i >= x->first_param && i < x->first_param + 3 * (size_t)x->n_experts)
            return (i - x->first_param) % 3 != 0;
    }
    return false;
}

static vw_status add_part(conversion *c, const vw_respelt *part, bool continues, bool is_joined,
                          vw_error *err)
{
    vw_engine *e = c->engine;
    item *it;
    vw_stored source;
    const vw_param_spec *spec = &e->info->params[part->param];
    vw_status st = vw_stored_find(e, spec, &source, err);
    if (!st && source.is_absent)
        return VW_OK;
    if (!st)
        st = add_item(c, &it, err);
    if (st)
        return st;
    it->spec = spec;
    it->part = *part;
    it->source = source;
    it->continues = continues;
    it->is_joined = is_joined;
    it->is_glued = continues || follows_in_expert(e->info, part->param);
    return vw_convert_plan_item(c, it, err);
}

static vw_status add_params(conversion *c, vw_error *err)
{
    const vw_model_info *info = c->engine->info;
    vw_status st = VW_OK;
    for (size_t i = 0; i < info->n_params && !st; i++) {
        const vw_respelt whole = {.param = i, .rows = info->params[i].rows};
        st = add_part(c, &whole, false, false, err);
    }
    return st;
}

static vw_status add_pieces(conversion *c, vw_error *err)
{
    const vw_respelt *p = c->spelling.pieces;
    vw_status st = VW_OK;
    for (size_t i = 0; i < c->spelling.n_pieces && !st; i++) {
        bool continues = i > 0 && !strcmp(p[i].name, p[i - 1].name);
        bool goes_on = i + 1 < c->spelling.n_pieces && !strcmp(p[i].name, p[i + 1].name);
        st = add_part(c, &p[i], continues, !p[i].is_slice && (continues || goes_on), err);
    }
    return st;
}

static vw_status add_unmatched(void *arg, const vw_weights_tensor *t, bool is_ignored, vw_error *err)
{
    conversion *c = arg;
    item *it;
    (void)is_ignored;
    vw_status st = add_item(c, &it, err);
    if (st)
        return st;
    it->source.tensor = it->source.parts[0] = *t;
    it->source.n_parts = 1;
    return vw_convert_plan_item(c, it, err);
}

static uint64_t source_bytes(const item *it)
{
    uint64_t sum = 0;
    for (int i = 0; i < it->source.n_parts; i++)
        sum += it->source.parts[i].bytes;
    if (it->spec && it->spec->rows) /* others have the other rows */
        sum = sum / (uint64_t)it->spec->rows * (uint64_t)it->part.rows;
    return sum;
}

/* A shard ends before the tensor, or the expert, that would make it too large. */
static void place(conversion *c)
{
    uint64_t limit = c->options->shard_bytes, used = 0;
    c->n_shards = 1;
    for (size_t i = 0, end; i < c->n_items; i = end) {
        uint64_t bytes = 0;
        for (end = i; end == i || (end < c->n_items && c->items[end].is_glued); end++)
            bytes += c->items[end].bytes;
        if (limit && used && used + bytes > limit) {
            c->n_shards++;
            used = 0;
        }
        used += bytes;
        for (size_t j = i; j < end; j++)
            c->items[j].shard = c->n_shards - 1;
    }
}

static vw_status make_plan(conversion *c, vw_error *err)
{
    vw_params_choose_names(c->engine);
    vw_status st = c->spelling.size ? add_pieces(c, err) : add_params(c, err);
    if (!st)
        st = vw_params_surplus(c->engine, add_unmatched, c, err);
    for (size_t i = 0; i < c->n_items; i++)
        c->total += source_bytes(&c->items[i]);
    place(c);
    return st;
}

/* ---- writing --------------------------------------------------------------------------------- */

const char *vw_convert_shard(const conversion *c, int shard, char name[VW_SHARD_NAME])
{
    if (c->n_shards == 1)
        snprintf(name, VW_SHARD_NAME, "model.safetensors");
    else
        snprintf(name, VW_SHARD_NAME, "model-%05d-of-%05d.safetensors", shard + 1, c->n_shards);
    return name;
}

vw_status vw_convert_path(const conversion *c, const char *name, char path[VW_PLACE_BYTES],
                          vw_error *err)
{
    if ((size_t)snprintf(path, VW_PLACE_BYTES, "%s/%s", c->folder, name) < VW_PLACE_BYTES)
        return VW_OK;
    return vw_fail(err, VW_E_INVALID, "the path %s/%s is too long", c->folder, name);
}

static const char *form_text(const item *it)
{
    const vw_weights_tensor *t = &it->source.tensor;
    return it->source.matrix.format ? it->source.matrix.format->name
           : t->format              ? t->format->name
                                    : vw_dtype_name(t->dtype);
}

static void tell(conversion *c, const item *it, double relative_error)
{
    vw_converted told = {.size = sizeof told,
                         .name = it->name,
                         .action = !it->spec               ? VW_CONVERT_UNMATCHED
                                   : it->form == FORM_KEEP ? VW_CONVERT_COPIED
                                                           : VW_CONVERT_CONVERTED,
                         .from = form_text(it),
                         .to = it->form == FORM_KEEP ? form_text(it)
                                                     : vw_convert_form_name(it->form),
                         .why = it->why,
                         .bytes_before = source_bytes(it),
                         .bytes_after = it->bytes,
                         .relative_error = relative_error};
    if (c->options->on_tensor)
        c->options->on_tensor(c->options->arg, &told);
}

static vw_status write_item(conversion *c, vw_weights_writer *w, item *it, vw_error *err)
{
    const vw_convert_options *o = c->options;
    vw_engine *e = c->engine;
    double relative_error = 0;
    vw_status st = it->form == FORM_KEEP ? VW_OK : vw_convert_encode(c, it, &relative_error, err);
    for (int i = 0; i < it->n_pieces && !st; i++) {
        const piece *p = &it->pieces[i];
        st = c->wts->write(c->out->self, w, p->bytes ? p->bytes : p->tensor.data, p->tensor.bytes,
                           err);
    }
    vw_convert_drop(c, it);
    for (int i = 0; i < it->source.n_parts && !st; i++)
        e->wts->release(e->weights->self, e->reader, it->source.parts[i].data,
                        it->source.parts[i].bytes);
    if (st)
        return st;
    c->done += source_bytes(it);
    tell(c, it, relative_error);
    if (o->progress && o->progress(o->progress_arg, "converting", c->done, c->total, "bytes"))
        return vw_fail(err, VW_E_INTERRUPTED, "interrupted while converting");
    return VW_OK;
}

/* The tensor of an item that begins one, or more of the last one of the list. */
static vw_status list_item(const item *it, vw_weights_tensor *list, size_t *n, vw_error *err)
{
    if (!it->continues) {
        for (int p = 0; p < it->n_pieces; p++)
            list[(*n)++] = it->pieces[p].tensor;
        return VW_OK;
    }
    const vw_weights_tensor *more = &it->pieces[0].tensor;
    vw_weights_tensor *t = &list[*n - 1];
    bool fits = t->dtype == more->dtype && t->format == more->format && t->n_dims == more->n_dims;
    for (int d = 1; d < t->n_dims && fits; d++)
        fits = t->shape[d] == more->shape[d];
    if (!fits)
        return vw_fail(err, VW_E_UNSUPPORTED, "\"%s\" differs in form or shape from others that become "
                       "\"%s\"; name a form (--quant f32, say) for all of them", it->name, t->name);
    t->shape[0] += more->shape[0];
    t->bytes += more->bytes;
    return VW_OK;
}

vw_status vw_convert_write_file(conversion *c, const char *path, size_t first, size_t last,
                                const char *const *metadata, vw_error *err)
{
    vw_weights_writer *w;
    size_t n = 0;
    vw_weights_tensor *list = vw_core_alloc(c->core, (last - first) * MAX_PIECES * sizeof *list + 1);
    if (!list)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of tensors");
    vw_status st = VW_OK;
    for (size_t i = first; i < last && !st; i++)
        st = list_item(&c->items[i], list, &n, err);
    if (!st)
        st = c->wts->create(c->out->self, path, list, n, metadata, &w, err);
    bool is_open = st == VW_OK;
    for (size_t i = first; i < last && !st; i++)
        st = write_item(c, w, &c->items[i], err);
    if (st && is_open)
        c->wts->abort(c->out->self, w);
    else if (is_open)
        st = c->wts->finish(c->out->self, w, err);
    vw_core_release(c->core, list);
    return st;
}

static vw_status write_all(conversion *c, vw_error *err)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    char path[VW_PLACE_BYTES], name[VW_SHARD_NAME];
    vw_status st = VW_OK;
    for (size_t i = 0, end; i < c->n_items && !st; i = end) {
        for (end = i; end < c->n_items && c->items[end].shard == c->items[i].shard;)
            end++;
        st = vw_convert_path(c, vw_convert_shard(c, c->items[i].shard, name), path, err);
        if (!st)
            st = vw_convert_write_file(c, path, i, end, metadata, err);
    }
    if (!st && c->n_shards > 1)
        st = vw_convert_write_index(c, err);
    if (!st)
        st = vw_convert_write_config(c, err);
    return st ? st : vw_convert_copy_files(c, err);
}

/* ---- the folder ------------------------------------------------------------------------------ */

static vw_status make_folder(conversion *c, vw_error *err)
{
    const char *to = c->options->to;
    DIR *dir = opendir(to);
    int n = 0;
    for (struct dirent *e; dir && (e = readdir(dir));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (dir)
        closedir(dir);
    if (n || (!dir && errno != ENOENT))
        return vw_fail(err, VW_E_INVALID, "%s: %s; a folder that is not there yet is expected", to,
                       n ? "not empty" : strerror(errno));
    size_t end = strlen(to);
    while (end > 1 && to[end - 1] == '/')
        end--;
    if ((size_t)snprintf(c->folder, sizeof c->folder, "%.*s.%ld.tmp", (int)end, to, (long)getpid()) >=
        sizeof c->folder)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", to);
    if (mkdir(c->folder, 0777) == 0)
        return VW_OK;
    vw_status st = vw_fail(err, VW_E_IO, "cannot make the folder %s: %s", c->folder, strerror(errno));
    c->folder[0] = '\0';
    return st;
}

static vw_status finish_folder(conversion *c, vw_error *err)
{
    int fd = open(c->folder, O_RDONLY | O_CLOEXEC);
    bool is_synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    if (is_synced && rename(c->folder, c->options->to) == 0) {
        c->folder[0] = '\0';
        return VW_OK;
    }
    return vw_fail(err, VW_E_IO, "cannot %s %s: %s", is_synced ? "rename" : "sync", c->folder,
                   strerror(errno));
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool is_gguf_name(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

/* Names and configuration of the other kind of file, where source and target are of two. */
static vw_status respell(conversion *c, vw_error *err)
{
    const vw_json *json = vw_json_service();
    vw_engine *e = c->engine;
    bool is_from_gguf = json->get(json->root(e->config), "general.architecture") != NULL;
    if (is_from_gguf == c->is_gguf)
        return is_from_gguf ? vw_fail(err, VW_E_UNSUPPORTED, "a GGUF file is written from a folder; %s "
                                      "is one already", e->path)
                            : VW_OK;
    vw_status st = e->mdl->respell(e->model->self, &c->spelling, err);
    if (st) {
        c->spelling.size = 0;
        return vw_fail_in(err, st, "between a folder and a GGUF file, model/%s",
                          e->model->plugin->name);
    }
    return json->open_text(c->spelling.config, strlen(c->spelling.config), "the new configuration",
                           &c->config, err);
}

static vw_status begin(conversion *c, vw_error *err)
{
    vw_engine_options model = {.size = sizeof model, .no_tokenizer = 1};
    const vw_convert_options *o = c->options;
    c->is_gguf = is_gguf_name(o->to);
    c->group = o->group ? o->group : DEFAULT_GROUP;
    vw_status st = vw_convert_form_of(o->form, c->is_gguf, &c->form, err);
    if (!st && c->is_gguf && o->shard_bytes)
        st = vw_fail(err, VW_E_UNSUPPORTED, "a GGUF file is written in one part; leave --shard-size "
                     "out");
    if (!st)
        st = vw_engine_begin(c->core, &model, NULL, &c->engine, err);
    if (!st)
        st = vw_core_plugin(c->core, VW_KIND_WEIGHTS, c->is_gguf ? "gguf" : "safetensors", &c->out,
                            err);
    if (!st)
        st = respell(c, err);
    if (st)
        return st;
    c->wts = c->out->ops;
    return make_plan(c, err);
}

static vw_status write_folder(conversion *c, vw_error *err)
{
    vw_status st = make_folder(c, err);
    if (!st)
        st = write_all(c, err);
    if (!st)
        st = finish_folder(c, err);
    if (c->folder[0])
        vw_checkpoint_abort(c->folder);
    return st;
}

vw_status vw_convert(vw_core *core, const vw_convert_options *options, vw_error *err)
{
    vw_convert_options o;
    vw_sized_take(&o, options, sizeof o);
    conversion c = {.core = core, .options = &o};
    vw_status st = begin(&c, err);
    if (!st)
        st = c.is_gguf ? vw_convert_write_gguf(&c, err) : write_folder(&c, err);
    for (size_t i = 0; i < c.n_items; i++)
        vw_core_release(core, c.items[i].names);
    vw_core_release(core, c.items);
    vw_json_service()->close(c.config);
    vw_engine_close(c.engine);
    return st;
}
