/* trainee.c - a model becomes ready to be trained, and is put away again.
 *
 * First the engine's own steps (components, configuration, the checkpoint's tensors), then where
 * masters and gradients will lie, then a measuring forward and backward, which says how much memory
 * the rest takes; an estimate ends there.  Closing accepts any prefix of these steps.
 */
#include "core/trainee.h"

#include <string.h>

enum { SLACK = 256 };

/* ---- opening --------------------------------------------------------------------------------- */

static vw_status check_options(const vw_trainee_options *o, vw_error *err)
{
    if (o->max_tokens < 1 || o->max_tokens > 1 << 24)
        return vw_fail(err, VW_E_INVALID, "a micro-batch of %lld tokens; 1 to %d can be trained on",
                       (long long)o->max_tokens, 1 << 24);
    if (o->lora.rank < 0 || o->lora.rank > 4096)
        return vw_fail(err, VW_E_INVALID, "an adapter of rank %d; 1 to 4096 make sense, 0 is none",
                       o->lora.rank);
    return VW_OK;
}

/* Kept, since the folder may be written to while training goes on. */
static vw_status keep_config(vw_trainee *t, vw_error *err)
{
    char path[VW_PLACE_BYTES];
    long bytes = -1;
    if (t->is_fresh)
        return VW_OK;
    snprintf(path, sizeof path, "%s/config.json", t->engine->path);
    FILE *f = fopen(path, "rb");
    if (f && fseek(f, 0, SEEK_END) == 0)
        bytes = ftell(f);
    if (bytes >= 0 && (t->config_text = vw_core_alloc(t->core, (size_t)bytes + 1))) {
        rewind(f);
        t->config_text[fread(t->config_text, 1, (size_t)bytes, f)] = '\0';
    }
    if (f)
        fclose(f);
    return t->config_text ? VW_OK : vw_fail(err, VW_E_IO, "%s cannot be read again", path);
}

static vw_status open_model(vw_trainee *t, vw_error *err)
{
    const vw_trainee_options *o = &t->options;
    vw_new_model fresh = {.size = sizeof fresh,
                          .vocab_size = o->vocab_size,
                          .bos = -1,
                          .eos = -1,
                          .pad = -1,
                          .max_positions = o->max_positions};
    vw_engine_options engine = {.size = sizeof engine,
                                .label = o->label,
                                .path = t->is_fresh ? o->tokenizer : o->path,
                                .no_tokenizer = 1,
                                .progress = o->progress,
                                .progress_arg = o->progress_arg};
    vw_status st = vw_engine_begin(t->core, &engine, t->is_fresh ? &fresh : NULL, &t->engine, err);
    if (st)
        return st;
    if (t->engine->expert_memory)
        return vw_fail(err, VW_E_CONFIG, "[model%s%s] expert_memory: training keeps every expert in "
                       "memory; leave it out", o->label && *o->label ? ":" : "",
                       o->label ? o->label : "");
    t->engine->format = VW_GEMM_STORED; /* training knows the stored values alone */
    t->engine->max_sequences = 1;       /* of the text that is sampled along the way */
    t->logit_rows = o->logit_rows > 0 && o->logit_rows < o->max_tokens
                        ? o->logit_rows
                        : vw_logit_rows(t->engine, o->max_tokens);
    if ((st = keep_config(t, err)))
        return st;
    return t->is_fresh ? VW_OK : vw_params_load(t->engine, &engine, err);
}

static void sum_memory(vw_trainee *t)
{
    const vw_engine *e = t->engine;
    vw_training_memory *m = &t->memory;
    m->weights = t->n_values * sizeof(float);
    for (size_t i = 0; e->params && i < e->info->n_params; i++)
        if (!e->params[i].values)
            m->weights += e->params[i].bytes;
    m->compute_copies = t->n_copied * sizeof(float);
    m->gradients = t->n_trained * sizeof(float);
    m->activations = t->tape ? vw_tape_bytes(t->tape) : 0;
    m->scratch = t->arena_bytes + e->workspace_bytes + vw_trainee_run_bytes(t);
    m->total = m->weights + m->compute_copies + m->gradients + m->activations + m->scratch;
}

static vw_status open_memory(vw_trainee *t, vw_error *err)
{
    vw_engine *e = t->engine;
    vw_status st = t->tape ? vw_tape_allocate(t->tape, err) : VW_OK;
    if (!st)
        st = e->dev->alloc(e->device->self, t->arena_bytes + SLACK, &t->arena, err);
    if (!st)
        st = vw_workspace_open(e, err);
    return st ? st : vw_trainee_open_run(t, err);
}

static vw_status open_all(vw_trainee *t, vw_error *err)
{
    vw_status st;
    if ((st = check_options(&t->options, err)) || (st = open_model(t, err)) ||
        (st = vw_trainee_list_params(t, err)) || (st = vw_lora_attach(t, err)) ||
        (st = vw_trainee_add_projections(t, err)) || (st = vw_trainee_lay_out(t, err)) ||
        (st = vw_scaling_open(t, err)) || (st = vw_experts_open(t->engine, err)) ||
        (st = vw_trainee_open_loads(t, err)) || (st = vw_trainee_measure(t, err)))
        return st;
    sum_memory(t);
    if (t->is_estimate)
        return VW_OK;
    st = open_memory(t, err);
    return st ? st : vw_trainee_fill(t, err);
}

static vw_status open_trainee(vw_core *core, const vw_trainee_options *options, bool is_estimate,
                              vw_trainee **trainee, vw_error *err)
{
    vw_trainee *t = vw_core_alloc(core, sizeof *t);
    if (!t)
        return vw_fail(err, VW_E_NOMEM, "no memory for a model to train");
    memset(t, 0, sizeof *t);
    t->core = core;
    t->options = *options;
    t->is_fresh = !options->path;
    t->is_estimate = is_estimate;
    vw_status st = open_all(t, err);
    if (st) {
        vw_trainee_close(t);
        return st;
    }
    *trainee = t;
    return VW_OK;
}

vw_status vw_trainee_open(vw_core *core, const vw_trainee_options *options, vw_trainee **trainee,
                          vw_error *err)
{
    return open_trainee(core, options, false, trainee, err);
}

vw_status vw_trainee_estimate(vw_core *core, const vw_trainee_options *options,
                              vw_training_memory *memory, uint64_t *trained_values, vw_error *err)
{
    vw_trainee *t;
    vw_status st = open_trainee(core, options, true, &t, err);
    if (st)
        return st;
    *memory = t->memory;
    if (trained_values)
        *trained_values = t->n_trained;
    vw_trainee_close(t);
    return VW_OK;
}

void vw_trainee_close(vw_trainee *t)
{
    if (!t)
        return;
    vw_core *core = t->core;
    vw_engine *e = t->engine;
    if (e && e->dev) {
        vw_tape_free(t->tape);
        vw_trainee_close_run(t);
        vw_trainee_close_loads(t);
        e->dev->free(e->device->self, &t->arena);
        vw_scaling_close(t);
        vw_trainee_free_params(t);
        vw_trainee_free_projections(t);
    }
    vw_engine_close(e);
    vw_core_release(core, t->config_text);
    vw_core_release(core, t);
}

/* ---- what it is ------------------------------------------------------------------------------ */

/* The weights that a token passes: matrices, of a layer's experts only as many as it takes; of the
 * tables one, as the head, since the embedding is looked up. */
static double passed_weights(const vw_trainee *t)
{
    const vw_model_info *info = t->engine->info;
    double n = 0;
    bool has_head = false;
    for (size_t i = 0; i < info->n_params; i++) {
        const vw_param_spec *s = &info->params[i];
        bool is_table = s->split == VW_SPLIT_VOCABULARY;
        if (t->engine->param_list[i] && !(is_table && has_head))
            n += (double)s->rows * (double)s->cols;
        has_head |= is_table;
    }
    for (int32_t l = 0; l < info->n_experts; l++) {
        const vw_experts_spec *s = &info->experts[l];
        double all = 0;
        for (size_t i = s->first_param; i < s->first_param + 3 * (size_t)s->n_experts; i++)
            all += (double)info->params[i].rows * (double)info->params[i].cols;
        n -= all * (1 - (double)s->top_k / s->n_experts);
    }
    return n;
}

void vw_trainee_get_info(const vw_trainee *t, vw_trainee_info *info)
{
    *info = (vw_trainee_info){
        .model = t->engine->info,
        .path = t->is_fresh ? NULL : t->engine->path,
        .n_params = t->n_params,
        .parameters = t->parameters,
        .n_values = t->n_values,
        .n_trained = t->n_trained,
        .values = t->values.data,
        .gradients = t->gradients.data,
        .memory = t->memory,
        .flops_per_token = 6 * passed_weights(t),
        .n_routers = t->n_routers,
        .n_experts = t->n_experts,
    };
}

void vw_trainee_get_param(const vw_trainee *t, size_t i, vw_trainee_param *param)
{
    const vw_param *p = t->params[i];
    const vw_param_spec *s = p->spec;
    *param = (vw_trainee_param){
        .name = vw_trainee_name(t, i),
        .rows = s->rows,
        .cols = s->cols,
        .n = (s->rows ? s->rows : 1) * s->cols,
        .values = p->values,
        .gradient = p->gradient,
        .decay_group = s->decay_group,
        .is_trained = p->gradient != NULL,
    };
}

void vw_trainee_profile(vw_trainee *t, vw_profile *profile)
{
    vw_nn_profiled(&t->profiled);
    t->profile = profile;
}

const vw_component *vw_trainee_device(const vw_trainee *t)
{
    return t->engine->device;
}

vw_stream *vw_trainee_stream(const vw_trainee *t)
{
    return t->engine->stream;
}

vw_status vw_trainee_engine(vw_trainee *t, vw_engine **engine, vw_error *err)
{
    if (!t->is_serving) {
        vw_status st = vw_engine_serve(t->engine, err);
        if (st)
            return vw_fail_in(err, st, "the engine that samples while training");
        t->is_serving = true;
    }
    *engine = t->engine;
    return VW_OK;
}
