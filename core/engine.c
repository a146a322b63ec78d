/* engine.c - a model becomes ready to run, and is put away again.
 *
 * The order matters: components, then what the checkpoint says about itself, then its parameters,
 * then one measuring forward that makes every plan, and only then the cache, whose pages the
 * attention's plan sizes.  Closing undoes the same steps backwards and accepts any prefix of them.
 */
#include "core/forward.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/expert_cache.h"
#include "core/json.h"
#include "core/places.h"
#include "core/sections.h"
#include "core/settings.h"
#include "core/sized.h"

enum { LOGIT_BYTES = 64 << 20 }; /* of one chunk of logits, unless one row needs more */

static const char bundled_model[] = "models/tiny-vishwamai";

vw_status vw_report(const vw_engine_options *o, const char *what, uint64_t done, uint64_t total,
                    const char *unit, vw_error *err)
{
    if (o->progress && o->progress(o->progress_arg, what, done, total, unit))
        return vw_fail(err, VW_E_INTERRUPTED, "interrupted while %s", what);
    return VW_OK;
}

/* ---- settings -------------------------------------------------------------------------------- */

static vw_status read_settings(vw_engine *e, const char *label, vw_config_model *model,
                               int64_t *ctx_size, vw_error *err)
{
    const vw_settings *settings = vw_core_settings(e->core);
    vw_config_engine engine;
    vw_config_kv kv;
    char section[64];
    vw_status st;
    vw_section_write(section, sizeof section, VW_KIND_MODEL, label, NULL);
    if ((st = vw_settings_find_label(settings, VW_KIND_MODEL, label, err)) ||
        (st = vw_settings_bind(settings, section, vw_model_options, model, err)) ||
        (st = vw_settings_bind(settings, "engine", vw_engine_options_table, &engine, err)) ||
        (st = vw_settings_bind(settings, "kv", vw_kv_options, &kv, err)))
        return st;
    *ctx_size = engine.ctx_size;
    e->batch_tokens = engine.batch_tokens;
    e->max_sequences = (int32_t)engine.max_sequences;
    e->is_batch_invariant = engine.batch_invariant;
    e->draft_tokens = engine.draft_tokens;
    e->page_tokens = (int32_t)kv.page_tokens;
    e->kv_dtype = vw_kv_dtypes[kv.dtype];
    e->kv_bytes_limit = kv.pool_bytes;
    e->format = (vw_gemm_format)model->weights;
    e->adapter = model->adapter;
    e->expert_memory = model->expert_memory;
    e->expert_pin = model->expert_pin;
    e->expert_reads = (int32_t)model->expert_reads;
    e->expert_direct = model->expert_direct;
    e->expert_pread = model->expert_io != 0;
    return VW_OK;
}

static vw_status find_folder(vw_engine *e, const char *given, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    if (!given || !*given)
        given = getenv("VW_MODEL");
    if (!given || !*given) {
        if (!vw_place_data(bundled_model, path, sizeof path))
            return vw_fail(err, VW_E_NOTFOUND, "the bundled model (%s) is not installed; set "
                           "[model] path to the folder of one", bundled_model);
        given = path;
    }
    struct stat about;
    if (stat(given, &about) != 0 || access(given, R_OK) != 0)
        return vw_fail(err, VW_E_NOTFOUND, "the model %s cannot be opened: %s; a folder with a "
                       "config.json, or a *.gguf file, is expected", given, strerror(errno));
    size_t bytes = strlen(given) + 1;
    if (!S_ISDIR(about.st_mode) && (bytes < 6 || strcmp(given + bytes - 6, ".gguf")))
        return vw_fail(err, VW_E_INVALID, "%s is a file; a model is given as a *.gguf file or as the "
                       "folder that holds its config.json and its weights", given);
    e->path = vw_core_alloc(e->core, bytes);
    if (!e->path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    memcpy(e->path, given, bytes);
    return VW_OK;
}

/* ---- components ------------------------------------------------------------------------------ */

static vw_status open_tokenizer(vw_engine *e, const char *label, const vw_probe *about,
                                int is_optional, vw_error *err)
{
    vw_error why;
    if (!e->path) /* a new model that names no tokenizer */
        return VW_OK;
    vw_status st = vw_core_instance_open(e->core, VW_KIND_TOKENIZER, label, about, &e->tokenizer,
                                         &why);
    if (!st) {
        e->tok = e->tokenizer->ops;
        st = e->tok->load(e->tokenizer->self, e->path, &why);
    }
    e->tokens.size = sizeof e->tokens;
    if (!st)
        st = e->tok->info(e->tokenizer->self, &e->tokens, &why);
    if (!st)
        return VW_OK;
    vw_core_instance_close(e->core, e->tokenizer);
    e->tokenizer = NULL;
    if (!is_optional) {
        if (err)
            *err = why;
        return st;
    }
    vw_core_log(e->core, VW_LOG_INFO, "no tokenizer: %s", why.text);
    return VW_OK;
}

static const char *label_or_none(const char *label) { return label && *label ? label : NULL; }

static vw_status open_components(vw_engine *e, const vw_config_model *m, const char *label,
                                 bool is_fresh, int no_tokenizer, vw_error *err)
{
    /* A new model's folder holds a tokenizer alone. */
    vw_probe about = {sizeof about, is_fresh ? NULL : e->path, NULL};
    vw_status st = vw_core_component(e->core, VW_KIND_DEVICE, label_or_none(m->kind.device), &about,
                                     &e->device, err);
    if (st)
        return st;
    e->dev = e->device->ops;
    e->device_info.size = sizeof e->device_info;
    about.device = e->device->plugin->name;
    if ((st = e->dev->info(e->device->self, &e->device_info, err)) ||
        (st = e->dev->stream_new(e->device->self, &e->stream, err)) ||
        (st = vw_core_component(e->core, VW_KIND_GEMM, label_or_none(m->gemm), &about, &e->gemm,
                                err)) ||
        (st = vw_core_component(e->core, VW_KIND_ATTENTION, label_or_none(m->attention), &about,
                                &e->attention, err)) ||
        (st = vw_core_instance_open(e->core, VW_KIND_MODEL, label, &about, &e->model, err)) ||
        (st = vw_core_component(e->core, VW_KIND_WEIGHTS, NULL, &about, &e->weights, err)))
        return st;
    about.folder = e->path;
    e->mm = e->gemm->ops;
    e->att = e->attention->ops;
    e->mdl = e->model->ops;
    e->wts = e->weights->ops;
    return open_tokenizer(e, label_or_none(m->tokenizer), &about, no_tokenizer, err);
}

/* ---- what the checkpoint says ---------------------------------------------------------------- */

static vw_status check_vocabulary(vw_engine *e, vw_error *err)
{
    if (!e->tokenizer) {
        e->tokens = (vw_tokenizer_info){.size = sizeof e->tokens, .vocab_size = e->info->vocab_size,
                                        .bos = e->info->bos, .eos = e->info->eos,
                                        .pad = e->info->pad, .unk = -1};
        if (e->info->eos >= 0)
            e->tokens.stop[e->tokens.n_stop++] = e->info->eos;
        return VW_OK;
    }
    if (e->tokens.vocab_size <= e->info->vocab_size)
        return VW_OK;
    return vw_fail(err, VW_E_FORMAT, "%s: the tokenizer has %d tokens, but \"vocab_size\" of "
                   "config.json is %d; they do not belong together", e->path, e->tokens.vocab_size,
                   e->info->vocab_size);
}

/* The configuration of a new model comes from its family, and is then read like any other. */
static vw_status make_config(vw_engine *e, const vw_new_model *fresh, vw_error *err)
{
    char text[8192];
    vw_new_model about = *fresh;
    if (!about.vocab_size && e->tokenizer) {
        about.vocab_size = e->tokens.vocab_size;
        about.bos = e->tokens.bos;
        about.eos = e->tokens.eos;
        about.pad = e->tokens.pad;
    }
    vw_status st = e->mdl->new_config(e->model->self, &about, text, sizeof text, err);
    if (!st && !(e->config_text = vw_core_alloc(e->core, strlen(text) + 1)))
        st = vw_fail(err, VW_E_NOMEM, "no memory for a configuration");
    if (st)
        return st;
    memcpy(e->config_text, text, strlen(text) + 1);
    return vw_json_service()->open_text(text, strlen(text), "the new model's configuration",
                                        &e->config, err);
}

/* config.json of the folder, if it has one; read before a family is looked for, which would only see
 * that it is none of its own. */
static vw_status read_config_file(vw_engine *e, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/config.json", e->path) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", e->path);
    return access(path, F_OK) == 0 ? vw_json_service()->open_file(path, &e->config, err) : VW_OK;
}

/* Files without a config.json may bring their own configuration. */
static vw_status read_config(vw_engine *e, vw_error *err)
{
    const vw_json *json = vw_json_service();
    struct stat about;
    if (e->config)
        return VW_OK;
    bool is_folder = stat(e->path, &about) != 0 || S_ISDIR(about.st_mode);
    vw_status st = e->wts->open(e->weights->self, e->path, &e->reader, err);
    const char *text = st ? NULL : e->wts->config(e->weights->self, e->reader);
    if ((!st && !text && is_folder) || st == VW_E_NOTFOUND) {
        char path[VW_PLACE_BYTES];
        snprintf(path, sizeof path, "%s/config.json", e->path);
        return json->open_file(path, &e->config, err);
    }
    if (!st && !text)
        return vw_fail(err, VW_E_UNSUPPORTED, "weights/%s finds no configuration in %s; give the "
                       "folder of the model", e->weights->plugin->name, e->path);
    return st ? st : json->open_text(text, strlen(text), e->path, &e->config, err);
}

static vw_status read_checkpoint(vw_engine *e, const vw_new_model *fresh, int64_t ctx_size,
                                 vw_error *err)
{
    const vw_json *json = vw_json_service();
    vw_status st = fresh ? make_config(e, fresh, err) : read_config(e, err);
    if (!st && (st = e->mdl->load(e->model->self, json, e->config, err)) && e->path)
        st = vw_fail_in(err, st, "%s", e->path);
    if (st)
        return st;
    e->info = e->mdl->info(e->model->self);
    e->context = ctx_size ? ctx_size : e->info->max_positions;
    if (!e->info->n_drafts)
        e->draft_tokens = 0;
    if (e->context > e->info->max_positions)
        vw_core_log(e->core, VW_LOG_WARN, "ctx_size %lld is beyond the %lld positions that the model "
                    "was trained for", (long long)e->context, (long long)e->info->max_positions);
    if (e->batch_tokens > e->context)
        e->batch_tokens = e->context;
    if ((st = check_vocabulary(e, err)) || fresh || e->reader)
        return st;
    return e->wts->open(e->weights->self, e->path, &e->reader, err);
}

/* ---- memory for running ---------------------------------------------------------------------- */

static vw_status open_buffers(vw_engine *e, vw_error *err)
{
    void *dev = e->device->self;
    size_t tokens = (size_t)e->batch_tokens, sequences = (size_t)e->max_sequences;
    size_t row_bytes = (size_t)e->info->vocab_size * sizeof(float);
    e->staging_words = vw_staging_words(e);
    e->memory.scratch += 2 * e->staging_words * sizeof *e->staging_host + row_bytes +
                         2 * sequences * sizeof *e->feed_done + 2 * tokens * sizeof *e->row_feed;
    if (e->is_plan)
        return VW_OK;
    e->staging_host = vw_core_alloc(e->core, e->staging_words * sizeof *e->staging_host);
    e->feed_done = vw_core_alloc(e->core, sequences * sizeof *e->feed_done);
    e->round_feed = vw_core_alloc(e->core, sequences * sizeof *e->round_feed);
    e->row_feed = vw_core_alloc(e->core, tokens * sizeof *e->row_feed);
    e->row_position = vw_core_alloc(e->core, tokens * sizeof *e->row_position);
    e->host_row = vw_core_alloc(e->core, row_bytes);
    if (!e->staging_host || !e->feed_done || !e->round_feed || !e->row_feed || !e->row_position ||
        !e->host_row)
        return vw_fail(err, VW_E_NOMEM, "no memory for batches of %zu tokens", tokens);
    memset(e->staging_host, 0, e->staging_words * sizeof *e->staging_host);
    vw_status st = e->dev->alloc(dev, e->staging_words * sizeof *e->staging_host, &e->staging, err);
    if (st)
        return st;
    return e->dev->alloc(dev, SAMPLE_RESULT_BYTES +
                         e->dev->sample_bytes(dev, 1, e->info->vocab_size), &e->sample_space, err);
}

/* For products in which each head of a token is a group of its own, and for all rows of a head's
 * matrix. */
static vw_status open_counting(vw_engine *e, vw_error *err)
{
    size_t n = (size_t)e->info->q_heads + 1;
    void *dev = e->device->self;
    for (size_t i = 0; i < e->info->n_params; i++)
        if (e->info->params[i].n_slices && (size_t)e->info->params[i].rows > n)
            n = (size_t)e->info->params[i].rows;
    size_t bytes = n * sizeof(int32_t);
    int32_t *offsets = e->is_plan ? NULL : vw_core_alloc(e->core, bytes);
    e->memory.scratch += bytes;
    if (e->is_plan)
        return VW_OK;
    if (!offsets)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu numbers", n);
    for (size_t i = 0; i < n; i++)
        offsets[i] = (int32_t)i;
    vw_status st = e->dev->alloc(dev, bytes, &e->counting, err);
    if (!st)
        st = e->dev->upload(dev, e->stream, e->counting.data, offsets, bytes, err);
    if (!st)
        st = e->dev->synchronize(dev, e->stream, err);
    vw_core_release(e->core, offsets);
    return st;
}

/* Less than what is stored and f32 was asked for, and is told. */
static void tell_precision(const vw_engine *e, const vw_config_model *m)
{
    if (e->format != VW_GEMM_STORED)
        vw_core_log(e->core, VW_LOG_INFO, "weights are re-quantised to %s ([model] weights)",
                    vw_weight_formats[m->weights]);
    if (e->kv_dtype != VW_F32)
        vw_core_log(e->core, VW_LOG_INFO, "the cache of keys and values is %s ([kv] dtype)",
                    vw_dtype_name(e->kv_dtype));
}

static vw_status begin(vw_engine *e, const vw_engine_options *o, const vw_new_model *fresh,
                       vw_error *err)
{
    vw_config_model m;
    int64_t ctx_size;
    vw_status st;
    if ((st = read_settings(e, o->label, &m, &ctx_size, err)) ||
        ((!fresh || o->path) && (st = find_folder(e, o->path ? o->path : m.path, err))) ||
        (!fresh && (st = read_config_file(e, err))) ||
        (st = open_components(e, &m, o->label, fresh != NULL, o->no_tokenizer, err)) ||
        (st = read_checkpoint(e, fresh, ctx_size, err)))
        return st;
    tell_precision(e, &m);
    e->logit_rows = vw_logit_rows(e, e->batch_tokens);
    return vw_kv_group_layers(e, err);
}

int64_t vw_logit_rows(const vw_engine *e, int64_t tokens)
{
    int64_t rows = (int64_t)(LOGIT_BYTES / ((size_t)e->info->vocab_size * sizeof(float)));
    if (rows < 1)
        rows = 1;
    return rows < tokens ? rows : tokens;
}

vw_status vw_engine_begin(vw_core *core, const vw_engine_options *options,
                          const vw_new_model *fresh, vw_engine **engine, vw_error *err)
{
    vw_engine *e = vw_core_alloc(core, sizeof *e);
    if (!e)
        return vw_fail(err, VW_E_NOMEM, "no memory for an engine");
    memset(e, 0, sizeof *e);
    e->core = core;
    e->is_plan = options->only_plan;
    vw_status st = begin(e, options, fresh, err);
    if (st) {
        vw_engine_close(e);
        return st;
    }
    *engine = e;
    return VW_OK;
}

vw_status vw_engine_serve(vw_engine *e, vw_error *err)
{
    vw_status st = vw_drafts_open(e, err);
    if (!st)
        st = vw_forward_measure(e, err);
    if (st && e->path)
        return vw_fail_in(err, st, "%s", e->path);
    if (!st)
        st = vw_kv_open(e, err);
    if (!st)
        st = open_counting(e, err);
    return st ? st : open_buffers(e, err);
}

vw_status vw_engine_open(vw_core *core, const vw_engine_options *options, vw_engine **engine,
                         vw_error *err)
{
    vw_engine_options o = {.size = sizeof o};
    vw_engine *e;
    if (options)
        vw_sized_take(&o, options, sizeof o);
    vw_status st = vw_engine_begin(core, &o, NULL, &e, err);
    if (st)
        return st;
    if ((st = vw_params_load(e, &o, err)) ||
        (*e->adapter && (st = vw_adapters_load(e, e->adapter, err))) ||
        (st = vw_experts_open(e, err)) ||
        (e->expert_memory && (st = vw_expert_cache_open(e, err))) ||
        (st = vw_engine_serve(e, err))) {
        vw_engine_close(e);
        return st;
    }
    *engine = e;
    return VW_OK;
}

void vw_engine_close(vw_engine *e)
{
    if (!e)
        return;
    vw_core *core = e->core;
    if (e->dev) {
        void *dev = e->device->self;
        e->dev->free(dev, &e->sample_space);
        e->dev->free(dev, &e->staging);
        e->dev->free(dev, &e->counting);
        e->dev->free(dev, &e->workspace);
        e->dev->free(dev, &e->arena);
        e->dev->free(dev, &e->hidden);
        e->dev->free(dev, &e->draft_hidden);
    }
    vw_core_release(core, e->host_row);
    vw_core_release(core, e->row_position);
    vw_core_release(core, e->row_feed);
    vw_core_release(core, e->round_feed);
    vw_core_release(core, e->feed_done);
    vw_core_release(core, e->staging_host);
    if (e->info)
        vw_kv_close(e);
    vw_plans_free(e);
    vw_expert_cache_close(e);
    vw_experts_close(e);
    if (e->dev)
        vw_adapters_close(e);
    if (e->info)
        vw_params_free(e);
    if (e->reader)
        e->wts->close(e->weights->self, e->reader);
    vw_core_instance_close(core, e->tokenizer);
    vw_core_instance_close(core, e->model);
    vw_json_service()->close(e->config);
    if (e->stream)
        e->dev->stream_free(e->device->self, e->stream);
    vw_core_release(core, e->config_text);
    vw_core_release(core, e->path);
    vw_core_release(core, e);
}

void vw_engine_get_plan(const vw_engine *e, vw_memory_plan *plan)
{
    vw_memory_plan p = e->memory;
    p.kv_context = e->kv_token_bytes * (uint64_t)e->context;
    p.total = p.in_place + p.packed + p.expert_cache + p.kv_pool + p.scratch;
    vw_sized_give(plan, &p, sizeof p);
}

void vw_engine_get_info(const vw_engine *e, vw_engine_info *info)
{
    const vw_tokenizer_info *t = &e->tokens;
    vw_engine_info i = {
        .path = e->path, .family = e->info->family,
        .description = e->info->description, .vocab_size = e->info->vocab_size,
        .n_layers = e->info->n_layers, .width = e->info->width, .context = e->context,
        .max_positions = e->info->max_positions, .has_tokenizer = e->tokenizer != NULL,
        .bos = t->bos, .eos = t->eos, .adds_bos = t->adds_bos, .parameters = e->parameters,
        .weight_bytes = e->weight_bytes, .token_bytes = e->token_bytes,
        .kv_token_bytes = e->kv_token_bytes, .kv_pool_bytes = e->kv_pool_bytes,
        .page_tokens = e->page_tokens, .device = e->device->plugin->name,
        .gemm = e->gemm->plugin->name, .attention = e->attention->plugin->name,
        .tokenizer = e->tokenizer ? e->tokenizer->plugin->name : NULL,
        .weights = e->weights->plugin->name,
        .n_expert_layers = e->info->n_experts, .n_experts = e->widest_experts,
        .batch_tokens = e->batch_tokens,
    };
    for (int g = 0; g < e->n_groups; g++) {
        i.kv_pages += e->groups[g].n_pages;
        i.kv_pages_free += e->groups[g].n_free;
    }
    i.n_stop = t->n_stop;
    for (int32_t s = 0; s < t->n_stop; s++)
        i.stop[s] = t->stop[s];
    vw_sized_give(info, &i, sizeof i);
}
