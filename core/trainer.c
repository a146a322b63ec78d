/* trainer.c - opening a run in order, and closing it.
 *
 * The order of opening: settings, the run's folder and its lock, the newest whole checkpoint, the
 * tokenizer, an estimate of memory and with it the batch size, the model, the data (whose ids are
 * checked against the model's vocabulary), the optimizer's memory, and last what a checkpoint puts
 * back.
 */
#include "core/trainer.h"

#include "core/sized.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PROFILE_SPANS = 1 << 18 };

double vw_trainer_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void vw_trainer_tell(vw_trainer *t, vw_train_event_type type, const char *text)
{
    t->event.type = type;
    t->event.text = text;
    if (t->options.on_event)
        t->options.on_event(t->options.event_arg, &t->event);
    t->event.text = NULL;
}

static void note(void *arg, const char *sentence)
{
    vw_trainer_tell(arg, VW_TRAIN_NOTE, sentence);
}

/* ---- settings, folder ------------------------------------------------------------------------ */

static vw_status read_settings(vw_trainer *t, vw_error *err)
{
    const vw_settings *s = vw_core_settings(t->core);
    vw_config_model model;
    vw_status st;
    if ((st = vw_settings_bind(s, "train", vw_train_options, &t->train, err)) ||
        (st = vw_settings_bind(s, "data", vw_data_options, &t->data, err)) ||
        (st = vw_settings_bind(s, "lora", vw_lora_options, &t->lora, err)) ||
        (st = vw_settings_bind(s, "distill", vw_distill_options, &t->distill, err)) ||
        (st = vw_settings_bind(s, "model", vw_model_options, &model, err)))
        return st;
    t->model_path = *model.path ? model.path : NULL;
    const vw_config_train *c = &t->train;
    int64_t end = c->decay_steps ? c->decay_steps : c->max_steps;
    if (t->lora.rank && !t->model_path)
        return vw_fail(err, VW_E_CONFIG,
                       "lora.rank = %lld adapts a model that there is: [model] path is "
                       "needed",
                       (long long)t->lora.rank);
    if (!*c->out)
        return vw_fail(err, VW_E_CONFIG, "train.out is needed: the folder of the run");
    if (c->schedule != VW_DECAY_CONSTANT && c->warmup_steps >= end)
        return vw_fail(err, VW_E_CONFIG,
                       "train.warmup_steps = %lld does not end before the decay does, at "
                       "step %lld; lower it, or raise train.max_steps (or decay_steps)",
                       (long long)c->warmup_steps, (long long)end);
    if (c->max_batch_size &&
        (c->max_batch_size < c->batch_size || c->min_batch_size > c->batch_size))
        return vw_fail(err, VW_E_CONFIG,
                       "train.batch_size = %lld is not between min_batch_size = %lld and "
                       "max_batch_size = %lld",
                       (long long)c->batch_size, (long long)c->min_batch_size,
                       (long long)c->max_batch_size);
    t->schedule = (vw_rate_schedule){(vw_decay)c->schedule, c->learning_rate,
                                     c->learning_rate * c->min_learning_rate_share,
                                     (double)c->warmup_steps, (double)end};
    return VW_OK;
}

/* Two runs in one folder would write over each other. */
static vw_status open_folder(vw_trainer *t, vw_error *err)
{
    char path[VW_CHECKPOINT_PATH];
    if ((size_t)snprintf(t->out, sizeof t->out, "%s", t->train.out) >= 3800)
        return vw_fail(err, VW_E_CONFIG, "train.out is too long a path");
    for (char *slash = strchr(t->out + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(t->out, 0777);
        *slash = '/';
    }
    if (mkdir(t->out, 0777) != 0 && errno != EEXIST)
        return vw_fail(err, VW_E_IO, "cannot make the folder %s: %s", t->out, strerror(errno));
    snprintf(path, sizeof path, "%.4000s/lock", t->out);
    t->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (t->lock < 0)
        return vw_fail(err, VW_E_IO, "cannot write %s: %s", path, strerror(errno));
    if (flock(t->lock, LOCK_EX | LOCK_NB) != 0)
        return vw_fail(err, VW_E_INVALID, "%s: another run trains in this folder", t->out);
    return VW_OK;
}

static vw_status find_checkpoint(vw_trainer *t, vw_error *err)
{
    int64_t step;
    vw_status st = vw_checkpoint_newest(t->out, t->resumed_from, &step, note, t, err);
    if (st == VW_E_NOTFOUND) {
        t->resumed_from[0] = '\0';
        return VW_OK;
    }
    if (!st && !t->train.resumes)
        return vw_fail(err, VW_E_CONFIG,
                       "%s holds checkpoints and train.resume = no; give another "
                       "train.out or remove them",
                       t->out);
    return st;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int64_t largest_batch(const vw_trainer *t)
{
    return t->train.max_batch_size > t->train.batch_size ? t->train.max_batch_size
                                                         : t->train.batch_size;
}

/* Weights and the like with micro-batches of `rows` windows. */
static vw_status estimate(vw_trainer *t, int64_t rows, uint64_t *total, vw_error *err)
{
    vw_trainee_options o = t->trainee_options;
    vw_training_memory m;
    uint64_t trained;
    o.max_tokens = rows * t->data.max_length;
    o.max_documents = t->data.packing == 1 ? 0 : (int32_t)rows;
    vw_status st = vw_trainee_estimate(t->core, &o, &m, &trained, err);
    if (st)
        return st;
    /* Moments: AdamW's two are the most that is usual. */
    *total = m.total + 4 * trained * (t->train.ema_decay > 0 ? 3 : 2);
    return VW_OK;
}

/* The largest batch size that the budget allows, by halving the interval. */
static vw_status choose_batch(vw_trainer *t, vw_error *err)
{
    uint64_t total, budget = t->train.memory_budget;
    int64_t fits = 0, no = largest_batch(t) + 1;
    if (!budget)
        return VW_OK;
    for (int64_t try = largest_batch(t); no - fits > 1; try = fits + (no - fits) / 2) {
        vw_status st = estimate(t, try, &total, err);
        if (st)
            return st;
        if (total <= budget)
            fits = try;
        else
            no = try;
    }
    if (fits == 0) {
        estimate(t, 1, &total, err);
        return vw_fail(err, VW_E_NOMEM,
                       "train.memory_budget = %.1f MiB, but a batch size of 1 takes %.1f MiB; "
                       "train.recompute_layers = 1 or a shorter data.max_length takes less",
                       (double)budget / 0x1p20, (double)total / 0x1p20);
    }
    if (fits < t->train.batch_size)
        vw_core_log(t->core, VW_LOG_WARN,
                    "train.memory_budget allows a batch size of %lld instead of %lld",
                    (long long)fits, (long long)t->train.batch_size);
    if (fits < t->train.batch_size)
        t->train.batch_size = fits;
    if (fits < t->train.max_batch_size)
        t->train.max_batch_size = fits;
    if (t->train.min_batch_size > t->train.batch_size)
        t->train.min_batch_size = t->train.batch_size;
    return VW_OK;
}

/* ---- components ------------------------------------------------------------------------------ */

/* What the loop works with besides the model, which is open. */
static vw_status open_components(vw_trainer *t, vw_error *err)
{
    vw_status st;
    vw_trainee_get_info(t->trainee, &t->info);
    const vw_component *device = vw_trainee_device(t->trainee);
    t->dev = device->ops;
    t->device = device->self;
    t->device_info.size = sizeof t->device_info;
    vw_probe about = {sizeof about, NULL, device->plugin->name};
    if ((st = t->dev->info(t->device, &t->device_info, err)) ||
        (st = vw_core_component(t->core, VW_KIND_OPTIMIZER, NULL, &about, &t->optimizer, err)) ||
        (st = vw_core_component(t->core, VW_KIND_WEIGHTS, NULL, &about, &t->weights, err)))
        return st;
    t->opt = t->optimizer->ops;
    return VW_OK;
}

/* Of a micro-batch. */
static void set_sizes(vw_trainer *t)
{
    t->trainee_options.max_tokens = largest_batch(t) * t->data.max_length;
    t->trainee_options.max_documents = t->data.packing == 1 ? 0 : (int32_t)largest_batch(t);
}

static vw_status open_trainee(vw_trainer *t, vw_error *err)
{
    vw_trainee_options *o = &t->trainee_options;
    *o = (vw_trainee_options){.dropout = t->train.dropout,
                              .has_teacher = *t->distill.teacher && !*t->distill.teacher_cache,
                              .path = t->model_path,
                              .tokenizer = t->tokenizer ? t->tokenizer_folder : NULL,
                              .vocab_size = t->encoder.vocab_size,
                              .max_positions = t->data.max_length,
                              .seed = (uint64_t)t->train.seed,
                              .recompute_layers = (int32_t)t->train.recompute_layers,
                              .precision = (vw_precision)t->train.precision,
                              .fp8_history = t->train.fp8_scaling
                                                 ? (int32_t)t->train.fp8_amax_history
                                                 : 0,
                              .fp8_margin = t->train.fp8_margin,
                              .lora = {(int32_t)t->lora.rank, t->lora.alpha, t->lora.dropout,
                                       t->lora.targets && *t->lora.targets ? t->lora.targets : NULL,
                                       NULL, t->train.final != 0},
                              .progress = t->options.progress,
                              .progress_arg = t->options.progress_arg};
    vw_status st = vw_trainer_find_hidden_width(t, err);
    if (!st)
        st = choose_batch(t, err);
    if (st)
        return st;
    set_sizes(t);
    st = vw_trainee_open(t->core, o, &t->trainee, err);
    return st ? st : open_components(t, err);
}

static void begin_state(vw_trainer *t)
{
    const vw_config_train *c = &t->train;
    bool is_scaled = c->precision == VW_PRECISION_F16; /* fp8 has one scale all along */
    bool is_raised = is_scaled || c->precision == VW_PRECISION_FP8;
    t->now = (vw_progress_state){
        .best_loss = NAN,
        .best_step = -1,
        .scale = {is_raised ? c->loss_scale : 1, 0, is_scaled ? c->loss_scale_interval : 0},
        .batch = {c->batch_size, c->min_batch_size,
                  c->max_batch_size ? c->max_batch_size : c->batch_size,
                  c->max_batch_size ? c->stable_steps : 0, 0}};
    t->event = (vw_train_event){.size = sizeof t->event,
                                .max_steps = c->max_steps,
                                .train_loss = NAN,
                                .val_loss = NAN,
                                .best_loss = NAN,
                                .learning_rate = NAN,
                                .grad_norm = NAN,
                                .loss_scale = NAN,
                                .tokens_per_second = NAN,
                                .mfu = NAN,
                                .load_imbalance = NAN,
                                .idle_experts = -1};
}

static vw_status open_folders(vw_trainer *t, vw_error *err)
{
    vw_status st;
    if ((st = read_settings(t, err)) || (st = open_folder(t, err)))
        return st;
    begin_state(t);
    st = find_checkpoint(t, err);
    return st ? st : vw_trainer_open_tokenizer(t, err);
}

/* The teacher is asked about the same data, cut as for training. */
static vw_status ask_beforehand(vw_trainer *t, vw_error *err)
{
    vw_status st;
    t->is_asking = true;
    if ((st = open_folders(t, err)))
        return st;
    set_sizes(t);
    if ((st = vw_trainer_open_teacher_alone(t, err)) || (st = open_components(t, err)) ||
        (st = vw_trainer_open_data(t, err)))
        return st;
    return vw_trainer_write_cache(t, err);
}

static vw_status open_all(vw_trainer *t, vw_error *err)
{
    vw_status st;
    if ((st = open_folders(t, err)) || (st = open_trainee(t, err)) ||
        (st = vw_trainer_open_teacher(t, err)) || (st = vw_trainer_open_data(t, err)) ||
        (st = vw_trainer_open_cache(t, err)) || (st = vw_trainer_open_optimizer(t, err)) ||
        (st = vw_trainer_open_loads(t, err)))
        return st;
    begin_state(t);
    if (*t->resumed_from && (st = vw_trainer_resume(t, t->resumed_from, err)))
        return st;
    if ((st = vw_trainer_write_settings(t, t->out, err)))
        return st;
    if (t->options.profile && (st = vw_profile_new(PROFILE_SPANS, &t->profile, err)))
        return st;
    if (t->profile)
        vw_trainee_profile(t->trainee, t->profile);
    return vw_metrics_open(&t->metrics, t->out, *t->resumed_from ? t->now.step : -1, err);
}

static vw_trainer *new_trainer(vw_core *core, const vw_trainer_options *options, vw_error *err)
{
    vw_trainer *t = vw_core_alloc(core, sizeof *t);
    if (!t) {
        vw_fail(err, VW_E_NOMEM, "no memory for a trainer");
        return NULL;
    }
    memset(t, 0, sizeof *t);
    t->core = core;
    t->lock = -1;
    if (options)
        vw_sized_take(&t->options, options, sizeof t->options);
    return t;
}

vw_status vw_trainer_cache_teacher(vw_core *core, const vw_trainer_options *options, vw_error *err)
{
    vw_trainer *t = new_trainer(core, options, err);
    vw_status st = t ? ask_beforehand(t, err) : VW_E_NOMEM;
    vw_trainer_close(t);
    return st;
}

vw_status vw_trainer_open(vw_core *core, const vw_trainer_options *options, vw_trainer **trainer,
                          vw_error *err)
{
    vw_trainer *t = new_trainer(core, options, err);
    vw_status st = t ? open_all(t, err) : VW_E_NOMEM;
    if (st) {
        vw_trainer_close(t);
        return st;
    }
    *trainer = t;
    return VW_OK;
}

void vw_trainer_close(vw_trainer *t)
{
    if (!t)
        return;
    vw_metrics_close(&t->metrics);
    vw_profile_free(t->profile);
    vw_trainer_close_optimizer(t);
    vw_trainer_close_cache(t);
    vw_trainer_close_teacher(t);
    vw_trainee_close(t->trainee);
    vw_trainer_close_data(t);
    free(t->expert_loads);
    if (t->lock >= 0)
        close(t->lock);
    vw_core_release(t->core, t);
}

static uint64_t trained_values(const vw_trainer *t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t->info.n_params; i++) {
        vw_trainee_param p;
        vw_trainee_get_param(t->trainee, i, &p);
        n += p.is_trained ? (uint64_t)p.n : 0;
    }
    return n;
}

void vw_trainer_get_info(const vw_trainer *t, vw_trainer_info *info)
{
    const vw_training_memory *m = &t->info.memory;
    uint64_t teacher = 0, data = t->everything.narrow
                                     ? 0
                                     : 5 * (uint64_t)(t->everything.n + t->validation_set.n);
    if (t->teacher) {
        vw_trainee_info its;
        vw_trainee_get_info(t->teacher, &its);
        teacher = its.memory.total + t->teacher_rows.bytes + t->hidden_states.bytes;
    } else {
        teacher = 2 * t->cached.bytes;
    }
    vw_trainer_info i = {.out = t->out,
                         .model = t->info.model->description,
                         .optimizer = t->optimizer->plugin->name,
                         .tokenizer = t->tokenizer ? t->tokenizer->plugin->name : NULL,
                         .device = t->device_info.description,
                         .resumed_from = *t->resumed_from ? t->resumed_from : NULL,
                         .step = t->now.step,
                         .max_steps = t->train.max_steps,
                         .batch_size = t->now.batch.size,
                         .accumulation = t->train.grad_accum_steps,
                         .context = t->data.max_length,
                         .parameters = t->info.parameters,
                         .trained = trained_values(t),
                         .train_tokens = t->train_set.n,
                         .validation_tokens = t->validation_set.n,
                         .weights = m->weights,
                         .compute_copies = m->compute_copies,
                         .gradients = m->gradients,
                         .moments = t->moments_buffer.bytes,
                         .activations = m->activations,
                         .scratch = m->scratch,
                         .data = data,
                         .teacher = teacher,
                         .total = m->total + t->moments_buffer.bytes + data + teacher};
    vw_sized_give(info, &i, sizeof i);
}

void vw_trainer_interrupt(vw_trainer *t)
{
    atomic_store(&t->is_interrupted, 1);
}
