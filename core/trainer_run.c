/* trainer_run.c - the loop of a run's steps, and what follows a step: a line of the log, validation, a
 * sample, a checkpoint.
 */
#include "core/trainer.h"

#include <math.h>

enum { PROFILE_FROM = 5, PROFILE_STEPS = 10 };

static double seconds_so_far(const vw_trainer *t)
{
    return t->now.seconds + (vw_trainer_clock() - t->began);
}

/* Arithmetic of a token, the scores of attention included: q k and probabilities times v, forward
 * once and backward twice, over half of the context. */
static double flops_per_token(const vw_trainer *t)
{
    const vw_model_info *m = t->info.model;
    double flops = t->info.flops_per_token;
    for (int32_t i = 0; i < m->n_layers; i++)
        flops +=
            3.0 * m->q_heads * (m->caches[i].dk + m->caches[i].dv) * (double)t->data.max_length;
    return flops;
}

static void describe(vw_trainer *t)
{
    vw_train_event *e = &t->event;
    double passed = seconds_so_far(t) - t->last_log;
    e->step = t->now.step;
    e->tokens = t->now.tokens;
    e->epoch = (double)t->now.position.epoch +
               (double)t->now.position.index /
                   (double)vw_batches_count(&t->batches, t->now.position.epoch);
    e->train_loss = t->now.loss_tokens ? t->now.loss_sum / (double)t->now.loss_tokens : NAN;
    e->best_loss = t->now.best_loss;
    e->loss_scale = t->now.scale.interval ? t->now.scale.scale : NAN;
    e->batch_size = t->now.batch.size;
    e->seconds = seconds_so_far(t);
    vw_trainer_describe_loads(t);
    if (passed > 0 && t->now.tokens > t->last_log_tokens) {
        e->tokens_per_second = (double)(t->now.tokens - t->last_log_tokens) / passed;
        e->mfu = t->options.peak_flops > 0
                     ? e->tokens_per_second * flops_per_token(t) / t->options.peak_flops
                     : NAN;
    }
}

static vw_status log_line(vw_trainer *t, double val_loss, vw_error *err)
{
    describe(t);
    t->event.val_loss = val_loss;
    vw_status st = vw_metrics_add(&t->metrics, &t->event, err);
    vw_trainer_tell(t, VW_TRAIN_LOG, NULL);
    t->now.loss_sum = 0;
    t->now.loss_tokens = 0;
    vw_trainer_clear_loads(t);
    t->event.val_loss = NAN;
    return st;
}

static bool is_due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

/* Validation, and whether it was the best. */
static vw_status validate(vw_trainer *t, double *loss, vw_error *err)
{
    vw_status st = vw_trainer_validate(t, loss, err);
    if (st)
        return st;
    if (isnan(t->now.best_loss) || *loss < t->now.best_loss) {
        t->now.best_loss = *loss;
        t->now.best_step = t->now.step;
        t->now.bad_validations = 0;
    } else {
        t->now.bad_validations++;
    }
    return VW_OK;
}

/* What follows a step.  The clock of the throughput stands still meanwhile. */
static vw_status after_step(vw_trainer *t, vw_error *err)
{
    const vw_config_train *c = &t->train;
    int64_t step = t->now.step;
    bool is_last = step >= c->max_steps, evaluates = is_due(step, c->eval_every) || is_last;
    bool logs = is_due(step, c->log_every) || evaluates;
    double loss = NAN;
    vw_status st = VW_OK;
    describe(t);
    if (logs) {
        vw_train_event measured = t->event;
        double before = vw_trainer_clock();
        if (evaluates)
            st = validate(t, &loss, err);
        t->began += vw_trainer_clock() - before;
        if (!st)
            st = log_line(t, loss, err);
        t->event.tokens_per_second = measured.tokens_per_second;
        t->last_log = seconds_so_far(t);
        t->last_log_tokens = t->now.tokens;
    }
    if (!st && t->tokenizer && is_due(step, c->sample_every))
        st = vw_trainer_sample(t, err);
    bool is_best = evaluates && t->now.best_step == step && step > 0;
    bool is_over = is_last || (c->patience && t->now.bad_validations >= c->patience);
    if (!st && (is_due(step, c->save_every) || is_over || (is_best && c->save_every)))
        st = vw_trainer_save(t, err);
    return st;
}

static bool is_over(const vw_trainer *t)
{
    return t->now.step >= t->train.max_steps ||
           (t->train.patience && t->now.bad_validations >= t->train.patience);
}

static void switch_profile(vw_trainer *t, int64_t first)
{
    int64_t done = t->now.step - first;
    if (done == PROFILE_FROM || done == PROFILE_FROM + PROFILE_STEPS)
        vw_profile_switch(t->profile, done == PROFILE_FROM);
}

static vw_status run(vw_trainer *t, vw_error *err)
{
    int64_t first = t->now.step;
    double loss;
    vw_status st = VW_OK;
    if (first == 0 &&
        t->train.eval_every) { /* what an untrained model knows: about ln(vocabulary) */
        st = validate(t, &loss, err);
        t->began = vw_trainer_clock();
        if (!st)
            st = log_line(t, loss, err);
    }
    while (!st && !is_over(t)) {
        switch_profile(t, first);
        size_t span = vw_profile_begin(t->profile, "step");
        st = vw_trainer_step(t, err);
        vw_profile_end(t->profile, span, 0, 0);
        if (!st) {
            describe(t);
            vw_trainer_tell(t, VW_TRAIN_STEP, NULL);
            st = after_step(t, err);
        }
        if (!st && !is_over(t))
            st = vw_trainer_check(t, err);
    }
    return st ? st : vw_trainer_save_final(t, err);
}

vw_status vw_trainer_run(vw_trainer *t, vw_error *err)
{
    vw_error why;
    t->began = vw_trainer_clock();
    t->last_log = t->now.seconds;
    t->last_log_tokens = t->now.tokens;
    vw_status st = run(t, err);
    t->now.seconds = seconds_so_far(t);
    t->began = vw_trainer_clock();
    if (st == VW_E_INTERRUPTED && t->now.step > 0) {
        vw_status saved = vw_trainer_save(t, &why);
        if (saved) {
            if (err)
                *err = why;
            return saved;
        }
    }
    if (t->profile && (!st || st == VW_E_INTERRUPTED)) {
        vw_status written = vw_profile_write(t->profile, t->options.profile, st ? &why : err);
        st = st ? st : written;
    }
    return st;
}
