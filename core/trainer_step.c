/* trainer_step.c - one optimizer step, in the order of the specification: micro-batches with their
 * gradients adding up, the norm, clipping, the update rule; and what is done between steps with the
 * same batches: validation and a sample of text.
 *
 * A step that is interrupted half way leaves weights, moments and position as they were.
 */
#include "core/trainer.h"

#include <math.h>
#include <stdlib.h>

#include "core/permutation.h"

vw_status vw_trainer_check(vw_trainer *t, vw_error *err)
{
    if (!atomic_load(&t->is_interrupted))
        return VW_OK;
    return vw_fail(err, VW_E_INTERRUPTED, "interrupted after step %lld", (long long)t->now.step);
}

/* ---- the optimizer's memory ------------------------------------------------------------------ */

static int64_t rows_of(const vw_trainee_param *p)
{
    return p->rows ? p->rows : 1;
}

static vw_status list_moments(vw_trainer *t, int64_t *total, vw_error *err)
{
    size_t room = t->info.n_params * (VW_OPTIMIZER_MAX_STATES + 1);
    t->moments = calloc(room ? room : 1, sizeof *t->moments);
    if (!t->moments)
        return vw_fail(err, VW_E_NOMEM, "no memory for a list of %zu moments", room);
    for (size_t i = 0; i < t->info.n_params; i++) {
        vw_trainee_param p;
        vw_optimizer_state states[VW_OPTIMIZER_MAX_STATES];
        vw_trainee_get_param(t->trainee, i, &p);
        int32_t n =
            p.is_trained ? t->opt->states(t->optimizer->self, rows_of(&p), p.cols, states) : 0;
        for (int32_t k = 0; k < n; k++) {
            t->moments[t->n_moments++] = (vw_moment){i, states[k].name, states[k].n, false, NULL};
            *total += (states[k].n + 63) / 64 * 64;
        }
        if (p.is_trained && t->train.ema_decay > 0) {
            t->moments[t->n_moments++] = (vw_moment){i, "ema", p.n, true, NULL};
            *total += (p.n + 63) / 64 * 64;
        }
    }
    return VW_OK;
}

static vw_status copy_values(vw_trainer *t, float *to, const float *from, int64_t n, vw_error *err)
{
    return t->dev->copy(t->device, vw_trainee_stream(t->trainee), to, from,
                        (size_t)n * sizeof *to, err);
}

/* The averages become the parameters, or the parameters the averages at first. */
static vw_status copy_averages(vw_trainer *t, bool into_parameters, vw_error *err)
{
    vw_status st = VW_OK;
    for (size_t i = 0; i < t->n_moments && !st; i++) {
        const vw_moment *m = &t->moments[i];
        vw_trainee_param p;
        vw_trainee_get_param(t->trainee, m->param, &p);
        if (m->is_average)
            st = into_parameters ? copy_values(t, p.values, m->values, m->n, err)
                                 : copy_values(t, m->values, p.values, m->n, err);
    }
    return st;
}

vw_status vw_trainer_open_optimizer(vw_trainer *t, vw_error *err)
{
    int64_t total = 0;
    vw_status st = list_moments(t, &total, err);
    if (!st && total)
        st = t->dev->alloc(t->device, (size_t)total * sizeof(float), &t->moments_buffer, err);
    if (st)
        return st;
    float *at = t->moments_buffer.data;
    for (size_t i = 0; i < t->n_moments; at += (t->moments[i].n + 63) / 64 * 64, i++)
        t->moments[i].values = at;
    size_t bytes = t->dev->reduce_bytes(t->device, 1, (int64_t)t->info.n_trained);
    st = t->dev->alloc(t->device, 256 + bytes, &t->norm_space, err);
    return st ? st : copy_averages(t, false, err);
}

void vw_trainer_close_optimizer(vw_trainer *t)
{
    if (t->dev) {
        t->dev->free(t->device, &t->moments_buffer);
        t->dev->free(t->device, &t->norm_space);
    }
    free(t->moments);
    t->moments = NULL;
}

/* ---- averaged weights ------------------------------------------------------------------------ */

static bool uses_averages(const vw_trainer *t)
{
    return t->train.ema_decay > 0 && t->train.use_ema;
}

/* Gradients are of no use between steps: the masters wait in their place. */
vw_status vw_trainer_use_averages(vw_trainer *t, vw_error *err)
{
    if (!uses_averages(t))
        return VW_OK;
    vw_status st =
        copy_values(t, t->info.gradients, t->info.values, (int64_t)t->info.n_trained, err);
    if (!st)
        st = copy_averages(t, true, err);
    return st ? st : vw_trainee_rescale(t->trainee, err);
}

vw_status vw_trainer_use_masters(vw_trainer *t, vw_error *err)
{
    if (!uses_averages(t))
        return VW_OK;
    vw_status st =
        copy_values(t, t->info.values, t->info.gradients, (int64_t)t->info.n_trained, err);
    return st ? st : vw_trainee_rescale(t->trainee, err);
}

/* ema = decay ema + (1 - decay) w */
static vw_status average(vw_trainer *t, const vw_moment *m, const vw_trainee_param *p,
                         vw_error *err)
{
    double decay = t->train.ema_decay;
    return t->dev->axpby(t->device, vw_trainee_stream(t->trainee), (float)(1 - decay),
                         vw_tensor_2d(p->values, VW_F32, 1, m->n), (float)decay,
                         vw_tensor_2d(m->values, VW_F32, 1, m->n), err);
}

/* ---- the norm -------------------------------------------------------------------------------- */

static vw_status norm_of(vw_trainer *t, const float *values, int64_t n, double *norm, vw_error *err)
{
    double *result = t->norm_space.data, squares = 0;
    vw_stream *stream = vw_trainee_stream(t->trainee);
    vw_tensor x = vw_tensor_2d((float *)values, VW_F32, 1, n);
    vw_status st = t->dev->sum_squares(t->device, stream, x, result, (char *)result + 256, err);
    if (!st)
        st = t->dev->download(t->device, stream, &squares, result, sizeof squares, err);
    if (!st)
        st = t->dev->synchronize(t->device, stream, err);
    *norm = sqrt(squares);
    return st;
}

/* The first parameter whose gradient is not finite. */
static const char *find_culprit(vw_trainer *t)
{
    for (size_t i = 0; i < t->info.n_params; i++) {
        vw_trainee_param p;
        double norm;
        vw_trainee_get_param(t->trainee, i, &p);
        if (p.is_trained && (norm_of(t, p.gradient, p.n, &norm, NULL) || !isfinite(norm)))
            return p.name;
    }
    return NULL;
}

static vw_status refuse_numbers(vw_trainer *t, double loss, double norm, vw_position from,
                                vw_error *err)
{
    const char *culprit = find_culprit(t);
    return vw_fail(
        err, VW_E_INVALID,
        "step %lld: the loss is %g and the gradient's norm %g, in epoch %llu "
        "from unit %lld of the data on%s%s; nothing of this step was kept. A lower "
        "train.learning_rate, a longer train.warmup_steps or train.max_grad_norm may help",
        (long long)t->now.step + 1, loss, norm, (unsigned long long)from.epoch,
        (long long)from.index, culprit ? "; the first parameter concerned is " : "",
        culprit ? culprit : "");
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Run a micro-batch forward and backward. */
static vw_status learn(vw_trainer *t, int64_t number, double divisor, vw_losses *sum, vw_error *err)
{
    uint64_t seed =
        vw_mix((uint64_t)t->train.seed ^ vw_mix((uint64_t)t->now.step << 20 ^ (uint64_t)number));
    vw_micro_batch m = {.n_tokens = t->micro.n_tokens,
                        .ids = t->micro.ids,
                        .labels = t->micro.labels,
                        .n_documents = t->micro.n_documents,
                        .starts = t->micro.starts,
                        .divisor = divisor,
                        .loss_scale = t->now.scale.scale,
                        .label_smoothing = t->train.label_smoothing,
                        .seed = seed};
    vw_losses one;
    vw_status st = vw_trainer_ask_teacher(t, &m, err);
    if (st)
        return st;
    size_t span = vw_profile_begin(t->profile, "forward and backward");
    st = vw_trainee_learn(t->trainee, &m, &one, err);
    vw_profile_end(t->profile, span, 0, (uint64_t)(t->info.flops_per_token * (double)m.n_tokens));
    if (!st)
        vw_losses_add(sum, &one);
    return st;
}

/* Scored tokens of the step's micro-batches; the position is not moved. */
static int64_t count_scored(vw_trainer *t)
{
    vw_position at = t->now.position;
    int64_t scored = 0;
    for (int64_t i = 0; i < t->train.grad_accum_steps; i++) {
        vw_batches_next(&t->batches, &at, t->now.batch.size, &t->micro);
        scored += t->micro.n_scored;
    }
    return scored;
}

static vw_status gather_gradients(vw_trainer *t, vw_position *at, vw_losses *losses, vw_error *err)
{
    int64_t scored = count_scored(t);
    if (scored == 0)
        return vw_fail(err, VW_E_CONFIG,
                       "no token of a step is scored: epoch %llu, from unit %lld of the "
                       "data on; data.prompt_loss = yes learns prompts too",
                       (unsigned long long)at->epoch, (long long)at->index);
    vw_status st = vw_trainee_zero(t->trainee, err);
    for (int64_t i = 0; i < t->train.grad_accum_steps && !st; i++) {
        size_t span = vw_profile_begin(t->profile, "data");
        vw_batches_next(&t->batches, at, t->now.batch.size, &t->micro);
        vw_profile_end(t->profile, span, 0, 0);
        st = learn(t, i, (double)scored, losses, err);
        if (!st)
            st = vw_trainer_check(t, err);
    }
    return st;
}

static vw_status update(vw_trainer *t, double rate, double grad_scale, vw_error *err)
{
    size_t moment = 0, span = vw_profile_begin(t->profile, "optimizer");
    vw_status st = VW_OK;
    for (size_t i = 0; i < t->info.n_params && !st; i++) {
        vw_trainee_param p;
        vw_trainee_get_param(t->trainee, i, &p);
        vw_update u = {.size = sizeof u,
                       .step = t->now.updates + 1,
                       .learning_rate = rate,
                       .grad_scale = grad_scale,
                       .weight_decay = p.decay_group ? t->train.weight_decay : 0,
                       .n = p.n,
                       .rows = rows_of(&p),
                       .cols = p.cols,
                       .parameter = p.values,
                       .gradient = p.gradient};
        for (int k = 0; moment < t->n_moments && t->moments[moment].param == i &&
                        !t->moments[moment].is_average;
             k++)
            u.state[k] = t->moments[moment++].values;
        if (p.is_trained)
            st = t->opt->update(t->optimizer->self, vw_trainee_stream(t->trainee), &u, err);
        if (!st && moment < t->n_moments && t->moments[moment].param == i)
            st = average(t, &t->moments[moment++], &p, err);
    }
    vw_profile_end(t->profile, span, 28 * t->info.n_trained, 0);
    if (!st)
        st = vw_trainee_updated(t->trainee, err);
    if (!st)
        st = vw_trainer_take_loads(t, err);
    if (!st && t->info.n_routers && t->train.router_bias_rate > 0)
        st = vw_trainee_balance(t->trainee, t->train.router_bias_rate, err);
    return st;
}

/* The schedule counts steps; with a batch size that changes it counts tokens, at the size at
 * first. */
static double schedule_at(const vw_trainer *t)
{
    if (t->now.batch.stable == 0)
        return (double)t->now.updates;
    return (double)t->now.tokens /
           (double)(t->train.batch_size * t->train.grad_accum_steps * t->data.max_length);
}

vw_status vw_trainer_step(vw_trainer *t, vw_error *err)
{
    vw_position at = t->now.position;
    vw_losses losses = {.is_finite = true};
    double norm = 0, rate = vw_learning_rate(&t->schedule, schedule_at(t));
    vw_status st = gather_gradients(t, &at, &losses, err);
    if (st)
        return st;
    size_t span = vw_profile_begin(t->profile, "gradient norm");
    st = norm_of(t, t->info.gradients, (int64_t)t->info.n_trained, &norm, err);
    vw_profile_end(t->profile, span, 4 * t->info.n_trained, 0);
    if (st)
        return st;
    norm /= t->now.scale.scale;
    double loss = losses.cross_entropy / (double)losses.n_scored, scale = 1 / t->now.scale.scale;
    bool is_finite = losses.is_finite && isfinite(norm) && isfinite(loss);
    bool is_clipped = t->train.max_grad_norm > 0 && norm > t->train.max_grad_norm;
    if (!is_finite && t->now.scale.interval == 0)
        return refuse_numbers(t, loss, norm, t->now.position, err);
    if (is_clipped)
        scale *= t->train.max_grad_norm / norm;
    if (vw_loss_scale_update(&t->now.scale, is_finite)) {
        if ((st = update(t, rate, scale, err)))
            return st;
        t->now.updates++;
        t->now.tokens += (uint64_t)losses.n_scored;
        t->now.loss_sum += losses.cross_entropy;
        t->now.loss_tokens += (uint64_t)losses.n_scored;
    }
    vw_trainee_reset_loads(t->trainee); /* those of a skipped step too */
    vw_batch_size_update(&t->now.batch, is_finite, is_clipped);
    t->now.position = at;
    t->now.step++;
    t->event.learning_rate = rate;
    t->event.grad_norm = norm;
    return VW_OK;
}

/* ---- between steps --------------------------------------------------------------------------- */

/* Not interrupted: what a checkpoint says of the best loss would depend on when somebody asked. */
vw_status vw_trainer_validate(vw_trainer *t, double *loss, vw_error *err)
{
    vw_losses sum = {.is_finite = true};
    vw_status st = VW_OK;
    int64_t index = 0, done = 0, count = vw_batches_walk_count(&t->validation);
    int64_t windows =
        t->train.eval_windows && t->train.eval_windows < count ? t->train.eval_windows : count;
    int64_t stride = count / windows, most = t->train.batch_size;
    size_t span = vw_profile_begin(t->profile, "validation");
    st = vw_trainer_use_averages(t, err);
    while (!st && done < windows) {
        int64_t want = windows - done < most ? windows - done : most;
        int64_t took = vw_batches_walk(&t->validation, &index, stride, want, &t->micro);
        if (took == 0)
            break;
        done += took;
        vw_micro_batch m = {.n_tokens = t->micro.n_tokens,
                            .ids = t->micro.ids,
                            .labels = t->micro.labels,
                            .n_documents = t->micro.n_documents,
                            .starts = t->micro.starts,
                            .divisor = 1,
                            .loss_scale = 1};
        vw_losses one;
        if (t->micro.n_scored == 0)
            continue;
        st = vw_trainee_evaluate(t->trainee, &m, &one, err);
        if (!st)
            vw_losses_add(&sum, &one);
    }
    vw_status back = vw_trainer_use_masters(t, st ? NULL : err);
    st = st ? st : back;
    vw_profile_end(t->profile, span, 0, 0);
    if (!st && sum.n_scored == 0)
        st = vw_fail(err, VW_E_CONFIG, "no token of the validation data is scored");
    if (!st)
        *loss = sum.cross_entropy / (double)sum.n_scored;
    return st;
}

vw_status vw_trainer_sample(vw_trainer *t, vw_error *err)
{
    vw_engine *engine;
    vw_sequence *sequence = NULL;
    vw_sampling with;
    int32_t ids[4096], *tokens = NULL;
    size_t n = 0, bytes;
    char *text = NULL;
    const char *prompt = *t->train.sample_prompt ? t->train.sample_prompt : "\n";
    vw_generate_options o = {
        .size = sizeof o, .max_tokens = t->train.sample_tokens, .sampling = &with};
    vw_generate_stats stats = {.size = sizeof stats};
    vw_status st = vw_sampling_from_settings(vw_core_settings(t->core), &with, err);
    if (st || (st = vw_trainee_engine(t->trainee, &engine, err)))
        return st;
    if (with.seed < 0)
        with.seed = t->train.seed;
    st = vw_engine_encode(engine, prompt, strlen(prompt), -1, ids, 4096, &n, err);
    if (!st && !(tokens = malloc((n + (size_t)o.max_tokens) * sizeof *tokens)))
        st = vw_fail(err, VW_E_NOMEM, "no memory for a sample of text");
    if (!st)
        st = vw_sequence_new(engine, &sequence, err);
    if (!st)
        st = vw_trainer_use_averages(t, err);
    if (!st) {
        o.prompt = ids;
        o.n_prompt = n < 4096 ? n : 4096;
        memcpy(tokens, ids, o.n_prompt * sizeof *tokens);
        st = vw_generate(engine, sequence, &o, tokens + o.n_prompt, (size_t)o.max_tokens, &stats,
                         err);
        vw_status back = vw_trainer_use_masters(t, st ? NULL : err);
        st = st ? st : back;
    }
    if (!st)
        st = vw_engine_decode_dup(engine, tokens, o.n_prompt + (size_t)stats.n_tokens, &text,
                                  &bytes, err);
    if (!st)
        vw_trainer_tell(t, VW_TRAIN_SAMPLE, text);
    free(text);
    free(tokens);
    vw_sequence_free(sequence);
    return st;
}
