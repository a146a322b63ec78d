/* trainer_save.c - what a checkpoint of a run holds, written and read back.
 *
 *     model.safetensors, config.json    the masters in f32: a model folder that every command opens
 *     adapter_model.safetensors ...     instead of them, where low-rank adapters are trained
 *     projections.safetensors           through which hidden states are compared with a teacher's
 *     the tokenizer's files
 *     optimizer.safetensors             the rule's arrays, PARAMETER.NAME; averages of parameters,
 *                                       PARAMETER.ema; with delayed scaling the history of fp8's scales
 *     state.json                        vw_progress_state, and what the run was made of
 *     config.ini                        the settings in force, for people
 *
 * What the run was made of is compared on going on: other data or another tokenizer would make the
 * position mean something else without a word.
 */
#include "core/trainer.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/json.h"
#include "core/json_write.h"

enum { FORMAT = 1, PIECE = 1 << 20 };

static const char state_name[] = "state.json", moments_name[] = "optimizer.safetensors",
                  loads_name[] = "expert_loads", history_name[] = "fp8.amax_history";

/* ---- the state ------------------------------------------------------------------------------- */

enum { N_FACTS = 22 };

/* What must be equal on going on. */
static void list_facts(const vw_trainer *t, vw_fact facts[N_FACTS])
{
    const vw_config_train *c = &t->train;
    const vw_config_data *d = &t->data;
    bool is_delayed = c->precision == VW_PRECISION_FP8 && c->fp8_scaling;
    bool is_taught = *t->distill.teacher || t->store;
    int n = 0;
/* A fact that plays no part is an empty text. */
#define FACT_IF(plays, key, ...)                              \
    facts[n].name = key;                                      \
    snprintf(facts[n].text, sizeof facts->text, __VA_ARGS__); \
    if (!(plays))                                             \
        facts[n].text[0] = '\0';                              \
    n++
#define FACT(key, ...) FACT_IF(true, key, __VA_ARGS__)
    FACT("optimizer.plugin", "%s", t->optimizer->plugin->name);
    FACT("the tokenizer's checksum", "%016" PRIx64, t->tokenizer_sum);
    FACT("the training data's checksum", "%016" PRIx64, t->data_sum);
    FACT("tokens of the training data", "%lld", (long long)t->train_set.n);
    FACT("data.max_length", "%lld", (long long)d->max_length);
    FACT("data.packing", "%d", d->packing);
    FACT("data.shuffle", "%d", d->shuffle);
    FACT("train.seed", "%lld", (long long)c->seed);
    FACT("train.batch_size", "%lld", (long long)c->batch_size);
    FACT("train.grad_accum_steps", "%lld", (long long)c->grad_accum_steps);
    FACT("train.precision", "%d", c->precision);
    FACT("train.fp8_scaling", "%.0d", c->precision == VW_PRECISION_FP8 ? c->fp8_scaling : 0);
    FACT_IF(c->ema_decay > 0, "train.ema_decay", "%.9g", c->ema_decay);
    FACT_IF(is_delayed, "train.fp8_margin", "%.9g", c->fp8_margin);
    FACT("lora.rank", "%lld", (long long)t->lora.rank);
    FACT("lora.alpha", "%g", t->lora.rank ? t->lora.alpha : 0);
    FACT("distill.teacher", "%.60s", t->store ? "" : t->distill.teacher);
    FACT_IF(t->store, "distill.teacher_cache's checksum", "%016" PRIx64, t->store_sum);
    FACT("distill.alpha", "%g", is_taught ? t->distill.alpha : 0);
    FACT_IF(is_taught, "distill.temperature", "%.9g", t->distill.temperature);
    FACT("distill.intermediate_weight", "%g", is_taught ? t->distill.intermediate_weight : 0);
    FACT("distill.intermediate_layer_mapping", "%d", t->distill.intermediate_layer_mapping);
#undef FACT
#undef FACT_IF
}

static vw_status write_state(const vw_trainer *t, const char *folder, vw_error *err)
{
    const vw_progress_state *s = &t->now;
    char path[VW_CHECKPOINT_PATH];
    vw_fact facts[N_FACTS];
    vw_json_writer w = {0};
    size_t bytes;
    list_facts(t, facts);
    vw_json_begin_object(&w, NULL);
    vw_json_add_int(&w, "format", FORMAT);
    vw_json_add_int(&w, "step", s->step);
    vw_json_add_int(&w, "updates", s->updates);
    vw_json_add_uint(&w, "tokens", s->tokens);
    vw_json_add_uint(&w, "epoch", s->position.epoch);
    vw_json_add_int(&w, "index", s->position.index);
    vw_json_add_double(&w, "loss_scale", s->scale.scale);
    vw_json_add_int(&w, "loss_scale_good", s->scale.good);
    vw_json_add_int(&w, "batch_size", s->batch.size);
    vw_json_add_int(&w, "batch_good", s->batch.good);
    if (!isnan(s->best_loss))
        vw_json_add_double(&w, "best_loss", s->best_loss);
    vw_json_add_int(&w, "best_step", s->best_step);
    vw_json_add_int(&w, "bad_validations", s->bad_validations);
    vw_json_add_double(&w, "loss_sum", s->loss_sum);
    vw_json_add_uint(&w, "loss_tokens", s->loss_tokens);
    vw_json_add_double(&w, "seconds", s->seconds);
    vw_json_begin_array(&w, loads_name);
    for (size_t i = 0; i < vw_trainer_n_loads(t); i++)
        vw_json_add_uint(&w, NULL, t->expert_loads[i]);
    vw_json_end_array(&w);
    vw_json_begin_object(&w, "made_of");
    for (int i = 0; i < N_FACTS; i++)
        vw_json_add_string(&w, facts[i].name, facts[i].text);
    vw_json_end_object(&w);
    vw_json_end_object(&w);
    const char *text = vw_json_text(&w, &bytes);
    snprintf(path, sizeof path, "%.4000s/%s", folder, state_name);
    vw_status st = text ? vw_file_write(path, text, bytes, err)
                        : vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    vw_json_writer_free(&w);
    return st;
}

static vw_status check_facts(const vw_trainer *t, const vw_json_doc *doc, const char *folder,
                             vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_json_value *made_of = json->get(json->root(doc), "made_of");
    vw_fact facts[N_FACTS];
    list_facts(t, facts);
    for (int i = 0; i < N_FACTS; i++) {
        const char *then;
        vw_status st = json->get_string(doc, made_of, facts[i].name, "", &then, err);
        if (st)
            return st;
        if (strcmp(then, facts[i].text))
            return vw_fail(err, VW_E_CONFIG,
                           "%s was made with %s = %s, now it is %s; go on with what it "
                           "was, or give another train.out",
                           folder, facts[i].name, *then ? then : "nothing",
                           *facts[i].text ? facts[i].text : "nothing");
    }
    return VW_OK;
}

/* Whole numbers of the state, all at least 0 but for best_step. */
static vw_status read_numbers(vw_progress_state *s, const vw_json_doc *doc, vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_json_value *root = json->root(doc);
    int64_t format, tokens, epoch, loss_tokens;
    const struct {
        const char *key;
        int64_t least, *to;
    } numbers[] = {
        {"format", 1, &format},
        {"step", 0, &s->step},
        {"updates", 0, &s->updates},
        {"tokens", 0, &tokens},
        {"epoch", 0, &epoch},
        {"index", 0, &s->position.index},
        {"loss_scale_good", 0, &s->scale.good},
        {"batch_size", 1, &s->batch.size},
        {"batch_good", 0, &s->batch.good},
        {"best_step", -1, &s->best_step},
        {"bad_validations", 0, &s->bad_validations},
        {"loss_tokens", 0, &loss_tokens},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        vw_status st = json->get_int(doc, root, numbers[i].key, numbers[i].least, INT64_MAX,
                                     INT64_MIN, numbers[i].to, err);
        if (st)
            return st;
        if (*numbers[i].to == INT64_MIN)
            return vw_fail(err, VW_E_FORMAT, "%s lacks \"%s\"", state_name, numbers[i].key);
    }
    if (format != FORMAT)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s is of format %lld, this version reads %d",
                       state_name, (long long)format, FORMAT);
    s->tokens = (uint64_t)tokens;
    s->position.epoch = (uint64_t)epoch;
    s->loss_tokens = (uint64_t)loss_tokens;
    return VW_OK;
}

/* A state from before there were such counts has none. */
static vw_status read_loads(vw_trainer *t, const vw_json_doc *doc, vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_json_value *list = json->get(json->root(doc), loads_name);
    size_t n = vw_trainer_n_loads(t), count = json->count(list);
    if (list && (count != n || json->type(list) != VW_JSON_ARRAY))
        return vw_fail(err, VW_E_FORMAT, "%s: \"%s\" holds %zu numbers, the model has %zu experts",
                       state_name, loads_name, count, n);
    for (size_t i = 0; i < count; i++) {
        int64_t load = json->integer(json->at(list, i));
        t->expert_loads[i] = load > 0 ? (uint64_t)load : 0;
    }
    return VW_OK;
}

static vw_status read_state(vw_trainer *t, const char *folder, vw_error *err)
{
    const vw_json *json = vw_json_service();
    char path[VW_CHECKPOINT_PATH];
    vw_json_doc *doc;
    vw_progress_state s = t->now;
    snprintf(path, sizeof path, "%.4000s/%s", folder, state_name);
    vw_status st = json->open_file(path, &doc, err);
    if (st)
        return st;
    const vw_json_value *root = json->root(doc);
    if (!(st = read_numbers(&s, doc, err)) && !(st = check_facts(t, doc, folder, err)) &&
        !(st = json->get_real(doc, root, "loss_scale", 1, &s.scale.scale, err)) &&
        !(st = json->get_real(doc, root, "best_loss", NAN, &s.best_loss, err)) &&
        !(st = json->get_real(doc, root, "loss_sum", 0, &s.loss_sum, err)) &&
        !(st = json->get_real(doc, root, "seconds", 0, &s.seconds, err)) &&
        !(st = read_loads(t, doc, err))) {
        if (s.position.index >= vw_batches_count(&t->batches, s.position.epoch))
            st = vw_fail(err, VW_E_FORMAT, "%s: unit %lld is beyond the end of the data", path,
                         (long long)s.position.index);
        else
            t->now = s;
    }
    json->close(doc);
    return st;
}

/* ---- moments --------------------------------------------------------------------------------- */

static void moment_name(const vw_trainer *t, const vw_moment *m, char *name, size_t room)
{
    vw_trainee_param p;
    vw_trainee_get_param(t->trainee, m->param, &p);
    snprintf(name, room, "%s.%s", p.name, m->name);
}

/* Device to file, through a piece of host memory where the host cannot see the device's. */
static vw_status write_values(vw_trainer *t, vw_weights_writer *writer, const float *values,
                              int64_t n, void *piece, vw_error *err)
{
    const vw_weights_ops *ops = t->weights->ops;
    const char *at = (const char *)values;
    vw_status st = VW_OK;
    for (size_t left = (size_t)n * sizeof *values, bytes; left && !st; left -= bytes, at += bytes) {
        bytes = piece && left > PIECE ? PIECE : left;
        if (piece && !(st = t->dev->download(t->device, vw_trainee_stream(t->trainee), piece, at,
                                             bytes, err)))
            st = t->dev->synchronize(t->device, vw_trainee_stream(t->trainee), err);
        if (!st)
            st = ops->write(t->weights->self, writer, piece ? piece : at, bytes, err);
    }
    return st;
}

static vw_status write_moments(vw_trainer *t, const char *folder, vw_error *err)
{
    const vw_weights_ops *ops = t->weights->ops;
    bool is_visible = t->device_info.flags & VW_DEVICE_HOST_VISIBLE;
    int64_t n_history;
    const float *history = vw_trainee_history(t->trainee, &n_history);
    size_t count = t->n_moments + (history != NULL);
    vw_weights_tensor *list = calloc(t->n_moments + 1, sizeof *list);
    char(*names)[600] = calloc(t->n_moments + 1, sizeof *names), path[VW_CHECKPOINT_PATH];
    void *piece = is_visible ? NULL : malloc(PIECE);
    vw_weights_writer *writer = NULL;
    vw_status st = VW_OK;
    if (!list || !names || (!is_visible && !piece))
        st = vw_fail(err, VW_E_NOMEM, "no memory to write the optimizer's state");
    for (size_t i = 0; i < t->n_moments && !st; i++) {
        moment_name(t, &t->moments[i], names[i], sizeof *names);
        list[i] = (vw_weights_tensor){
            .name = names[i], .dtype = VW_F32, .n_dims = 1, .shape = {t->moments[i].n}};
    }
    if (!st && history)
        list[t->n_moments] = (vw_weights_tensor){
            .name = history_name, .dtype = VW_F32, .n_dims = 1, .shape = {n_history}};
    snprintf(path, sizeof path, "%.4000s/%s", folder, moments_name);
    if (!st)
        st = ops->create(t->weights->self, path, list, count, NULL, &writer, err);
    for (size_t i = 0; i < t->n_moments && !st; i++)
        st = write_values(t, writer, t->moments[i].values, t->moments[i].n, piece, err);
    if (!st && history)
        st = ops->write(t->weights->self, writer, history, (size_t)n_history * sizeof(float), err);
    if (writer && !st)
        st = ops->finish(t->weights->self, writer, err);
    else if (writer)
        ops->abort(t->weights->self, writer);
    free(piece);
    free(names);
    free(list);
    return st;
}

static vw_status read_history(vw_trainer *t, vw_weights_reader *reader, vw_error *err)
{
    const vw_weights_ops *ops = t->weights->ops;
    vw_weights_tensor found;
    int64_t n;
    float *history = vw_trainee_history(t->trainee, &n);
    vw_status st = history ? ops->find(t->weights->self, reader, history_name, &found, err) : VW_OK;
    if (st || !history)
        return st;
    if (found.dtype != VW_F32 || found.bytes != (size_t)n * sizeof *history)
        return vw_fail(err, VW_E_CONFIG,
                       "%s: \"%s\" is not of %lld magnitudes; was train.fp8_amax_history another?",
                       found.file, history_name, (long long)n);
    memcpy(history, found.data, found.bytes);
    for (int64_t i = 0; i < n; i++)
        if (!(history[i] >= 0 && isfinite(history[i])))
            return vw_fail(err, VW_E_FORMAT, "%s: \"%s\" holds %g, which is no magnitude",
                           found.file, history_name, (double)history[i]);
    return vw_trainee_rescale(t->trainee, err);
}

static vw_status read_moments(vw_trainer *t, const char *folder, vw_error *err)
{
    const vw_weights_ops *ops = t->weights->ops;
    char path[VW_CHECKPOINT_PATH], name[600];
    vw_weights_reader *reader;
    snprintf(path, sizeof path, "%.4000s/%s", folder, moments_name);
    vw_status st = ops->open(t->weights->self, path, &reader, err);
    if (st)
        return st;
    size_t count = ops->count(t->weights->self, reader);
    int64_t n_history;
    size_t want = t->n_moments + (vw_trainee_history(t->trainee, &n_history) != NULL);
    if (count != want)
        st = vw_fail(err, VW_E_FORMAT, "%s: %zu tensors, optimizer/%s and the model keep %zu", path,
                     count, t->optimizer->plugin->name, want);
    for (size_t i = 0; i < t->n_moments && !st; i++) {
        vw_weights_tensor found;
        const vw_moment *m = &t->moments[i];
        moment_name(t, m, name, sizeof name);
        st = ops->find(t->weights->self, reader, name, &found, err);
        if (!st && (found.dtype != VW_F32 || found.bytes != (size_t)m->n * sizeof(float)))
            st = vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is not f32 [%lld]", path, name,
                         (long long)m->n);
        if (!st)
            st = t->dev->upload(t->device, vw_trainee_stream(t->trainee), m->values, found.data,
                                found.bytes, err);
    }
    if (!st)
        st = t->dev->synchronize(t->device, vw_trainee_stream(t->trainee), err);
    if (!st)
        st = read_history(t, reader, err);
    ops->close(t->weights->self, reader);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

vw_status vw_trainer_write_settings(const vw_trainer *t, const char *folder, vw_error *err)
{
    char path[VW_CHECKPOINT_PATH];
    snprintf(path, sizeof path, "%.4000s/config.ini", folder);
    FILE *to = fopen(path, "w");
    if (!to)
        return vw_fail(err, VW_E_IO, "cannot write %s: %s", path, strerror(errno));
    vw_status st = vw_settings_print(vw_core_settings(t->core), to, err);
    if (fclose(to) != 0 && !st)
        st = vw_fail(err, VW_E_IO, "cannot write %s: %s", path, strerror(errno));
    return st;
}

static vw_status write_all(vw_trainer *t, const char *folder, vw_error *err)
{
    vw_status st = t->trainee_options.lora.rank ? vw_trainee_save_adapter(t->trainee, folder, err)
                                                : vw_trainee_save(t->trainee, folder, VW_F32, err);
    if (!st)
        st = vw_trainee_save_projections(t->trainee, folder, err);
    if (!st)
        st = vw_trainer_copy_tokenizer(t, folder, err);
    if (!st)
        st = write_moments(t, folder, err);
    if (!st)
        st = vw_trainer_write_settings(t, folder, err);
    return st ? st : write_state(t, folder, err);
}

vw_status vw_trainer_save(vw_trainer *t, vw_error *err)
{
    char folder[VW_CHECKPOINT_PATH];
    size_t span = vw_profile_begin(t->profile, "checkpoint");
    vw_status st = vw_checkpoint_begin(t->out, t->now.step, folder, err);
    if (!st) {
        st = write_all(t, folder, err);
        if (!st)
            st = vw_checkpoint_finish(t->out, t->now.step, folder, err);
        if (st)
            vw_checkpoint_abort(folder);
    }
    if (!st)
        st = vw_checkpoint_link(t->out, "latest", t->now.step, err);
    if (!st && t->now.best_step == t->now.step)
        st = vw_checkpoint_link(t->out, "best", t->now.step, err);
    vw_profile_end(t->profile, span, 0, 0);
    if (st)
        return vw_fail_in(err, st,
                          "the checkpoint of step %lld is not saved (earlier ones in %s are "
                          "whole)",
                          (long long)t->now.step, t->out);
    vw_checkpoint_prune(t->out, t->train.keep, t->now.best_step);
    snprintf(folder, sizeof folder, "%.4000s/step-%08lld", t->out, (long long)t->now.step);
    vw_trainer_tell(t, VW_TRAIN_SAVED, folder);
    return VW_OK;
}

vw_status vw_trainer_save_final(vw_trainer *t, vw_error *err)
{
    static const vw_dtype formats[] = {VW_DTYPE_NONE, VW_F32, VW_BF16, VW_F16};
    char folder[VW_CHECKPOINT_PATH];
    if (!t->train.final)
        return VW_OK;
    snprintf(folder, sizeof folder, "%.4000s/final", t->out);
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return vw_fail(err, VW_E_IO, "cannot make the folder %s: %s", folder, strerror(errno));
    vw_status st = vw_trainer_use_averages(t, err);
    if (!st)
        st = vw_trainee_save(t->trainee, folder, formats[t->train.final], err);
    if (!st)
        st = vw_trainer_use_masters(t, err);
    if (!st)
        st = vw_trainer_copy_tokenizer(t, folder, err);
    if (!st)
        vw_trainer_tell(t, VW_TRAIN_SAVED, folder);
    return st;
}

vw_status vw_trainer_resume(vw_trainer *t, const char *folder, vw_error *err)
{
    vw_status st = read_state(t, folder, err);
    if (!st)
        st = vw_trainee_load(t->trainee, folder, err);
    if (!st)
        st = vw_trainee_load_projections(t->trainee, folder, err);
    return st ? st : read_moments(t, folder, err);
}
