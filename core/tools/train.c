/* train.c - `vishwamai train`: the run that the settings describe, told on a terminal.
 *
 * Everything is in the settings; what stands here is what a person sees: the plan and its memory
 * before the start, a line that lives while steps go by, a line that stays for each validation and
 * checkpoint.  Without a terminal every line of the log is printed and none lives.
 */
#include "ceiling.h"
#include "interrupt.h"
#include "answer.h"
#include "progress.h"

#include "core/json_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct train {
    choices c;
    const char *out, *data, *profile;
    int asks_teacher;
    opened o;
    vw_trainer *trainer;
    vw_trainer_info info;
    vw_train_event last;
    double val_loss;
    double drawn; /* seconds of the clock */
    int is_terminal, is_drawn;
} train;

/* ---- what is said ---------------------------------------------------------------------------- */

static void wipe(train *t)
{
    if (t->is_drawn)
        fputs("\r\033[K", stderr);
    t->is_drawn = 0;
}

static void print_amount(const char *name, uint64_t bytes)
{
    if (bytes)
        fprintf(stderr, ", %s %.1f", name, (double)bytes / (1 << 20));
}

static void print_plan(const train *t)
{
    const vw_trainer_info *i = &t->info;
    fprintf(stderr, "%s; %.2f M parameters", i->model, (double)i->parameters / 1e6);
    if (i->trained != i->parameters)
        fprintf(stderr, ", %.2f M of them trained", (double)i->trained / 1e6);
    fprintf(stderr, ", by optimizer/%s on %s\n", i->optimizer, i->device);
    fprintf(stderr,
            "data: %lld tokens to learn, %lld to validate; steps of %lld x %lld windows of %lld\n",
            (long long)i->train_tokens, (long long)i->validation_tokens, (long long)i->accumulation,
            (long long)i->batch_size, (long long)i->context);
    fprintf(stderr, "memory, MiB: %.1f", (double)i->total / (1 << 20));
    print_amount("weights", i->weights);
    print_amount("copies", i->compute_copies);
    print_amount("gradients", i->gradients);
    print_amount("moments", i->moments);
    print_amount("activations", i->activations);
    print_amount("scratch", i->scratch);
    print_amount("data", i->data);
    print_amount("teacher", i->teacher);
    fputc('\n', stderr);
    if (i->resumed_from)
        fprintf(stderr, "going on from %s, step %lld of %lld\n", i->resumed_from,
                (long long)i->step, (long long)i->max_steps);
}

static void print_numbers(const vw_train_event *e, double loss)
{
    fprintf(stderr, "step %lld/%lld", (long long)e->step, (long long)e->max_steps);
    if (!isnan(loss))
        fprintf(stderr, "  loss %.4f", loss);
    if (!isnan(e->val_loss))
        fprintf(stderr, "  validation %.4f", e->val_loss);
    if (!isnan(e->learning_rate))
        fprintf(stderr, "  lr %.2e", e->learning_rate);
    if (!isnan(e->grad_norm))
        fprintf(stderr, "  norm %.3f", e->grad_norm);
    if (!isnan(e->loss_scale))
        fprintf(stderr, "  scale %g", e->loss_scale);
    if (!isnan(e->load_imbalance))
        fprintf(stderr, "  load %.2f", e->load_imbalance);
    if (e->idle_experts > 0)
        fprintf(stderr, "  %lld experts idle", (long long)e->idle_experts);
    if (!isnan(e->tokens_per_second))
        fprintf(stderr, "  %.0f tokens/s", e->tokens_per_second);
    if (!isnan(e->mfu))
        fprintf(stderr, "  MFU %.0f %%", 100 * e->mfu);
}

static void print_left(const vw_train_event *e, int64_t first)
{
    int64_t done = e->step - first, left = e->max_steps - e->step;
    double seconds = e->seconds > 0 && done > 0 ? e->seconds / (double)e->step * (double)left : 0;
    if (seconds >= 3600)
        fprintf(stderr, "  %.1f h left", seconds / 3600);
    else if (seconds > 0)
        fprintf(stderr, "  %.0f s left", seconds);
}

static void draw(train *t, const vw_train_event *e)
{
    double now = now_seconds();
    if (!t->is_terminal || now - t->drawn < 0.1)
        return;
    fputc('\r', stderr);
    print_numbers(e, e->train_loss);
    print_left(e, t->info.step);
    fputs("\033[K", stderr);
    fflush(stderr);
    t->drawn = now;
    t->is_drawn = 1;
}

static void on_event(void *arg, const vw_train_event *e)
{
    train *t = arg;
    t->last = *e;
    if (e->type == VW_TRAIN_STEP) {
        draw(t, e);
        return;
    }
    if (e->type == VW_TRAIN_LOG && isnan(e->val_loss) && t->is_terminal)
        return;
    wipe(t);
    if (e->type == VW_TRAIN_LOG) {
        print_numbers(e, e->train_loss);
        fputc('\n', stderr);
        t->val_loss = isnan(e->val_loss) ? t->val_loss : e->val_loss;
    } else if (e->type == VW_TRAIN_SAMPLE) {
        fprintf(stderr, "--- sample at step %lld\n%s\n---\n", (long long)e->step, e->text);
    } else if (e->type == VW_TRAIN_SAVED) {
        fprintf(stderr, "saved %s\n", e->text);
    } else if (e->text) {
        fprintf(stderr, "vishwamai: %s\n", e->text);
    }
}

/* ---- what is done ---------------------------------------------------------------------------- */

static void stop(void *arg)
{
    vw_trainer_interrupt(arg);
}

static vw_status open_run(train *t, vw_error *err)
{
    vw_trainer_options options = {.size = sizeof options,
                                  .profile = t->profile,
                                  .on_event = on_event,
                                  .event_arg = t,
                                  .progress = progress_show};
    vw_status status = open_core(&t->c, &t->o, err);
    if (status != VW_OK)
        return status;
    if (!t->asks_teacher)
        options.peak_flops = ceiling_of_f32(t->o.core);
    interrupt_watch(NULL);
    status = t->asks_teacher ? vw_trainer_cache_teacher(t->o.core, &options, err)
                             : vw_trainer_open(t->o.core, &options, &t->trainer, err);
    progress_end();
    if (status != VW_OK || t->asks_teacher)
        return status;
    t->info.size = sizeof t->info;
    vw_trainer_get_info(t->trainer, &t->info);
    return VW_OK;
}

static vw_status print_result(const train *t, vw_error *err)
{
    vw_json_writer w = {0};
    if (!t->c.is_json)
        return VW_OK;
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "out", t->info.out);
    vw_json_add_int(&w, "step", t->last.step);
    vw_json_add_uint(&w, "tokens", t->last.tokens);
    vw_json_add_uint(&w, "parameters", t->info.parameters);
    if (!isnan(t->val_loss))
        vw_json_add_double(&w, "val_loss", t->val_loss);
    if (!isnan(t->last.best_loss))
        vw_json_add_double(&w, "best_loss", t->last.best_loss);
    vw_json_add_double(&w, "seconds", t->last.seconds);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

static vw_status work(train *t, vw_error *err)
{
    vw_status status = open_run(t, err);
    if (status != VW_OK || t->asks_teacher)
        return status;
    print_plan(t);
    interrupt_call(stop, t->trainer);
    status = vw_trainer_run(t->trainer, err);
    wipe(t);
    interrupt_unwatch();
    return status == VW_OK ? print_result(t, err) : status;
}

static int train_main(int argc, char **argv)
{
    train t = {.val_loss = NAN};
    int status;
    vw_error err = {VW_OK, ""};
    const opt run[] = {
        {'f', "file", OPT_SETTING, &t.c.set, "FILE",
         "what to learn from: text, .jsonl, .u16, .u32 or a folder", "data.train", 0, 0},
        {'o', "out", OPT_SETTING, &t.c.set, "DIR", "folder of the run", "train.out", 0, 0},
        {'m', "model", OPT_TEXT, &t.c.model, "DIR", "model to go on from (default: a new one)",
         NULL, 0, 0},
        {'t', "threads", OPT_SETTING, &t.c.set, "N", "threads (default: one per core)",
         "vishwamai.threads", 0, 0},
        {0, "profile", OPT_TEXT, &t.profile, "FILE",
         "write a trace of ten steps (Chrome's format: chrome://tracing, Perfetto)", NULL, 0, 0},
        {0, "cache-teacher", OPT_FLAG, &t.asks_teacher, NULL,
         "do not train: ask [distill] teacher once and write [distill] teacher_cache", NULL, 0, 0},
        END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&t.c), VERBOSE_OPTION(&t.c), END_OPTIONS};
    const opt_group groups[] = {{"the run", run}, {"general", general}, {NULL, NULL}};
    t.is_terminal = isatty(STDERR_FILENO);
    if (options_parse(&command_train, groups, argc, argv, NULL, &status)) {
        status = STATUS_OK;
        if (work(&t, &err) != VW_OK)
            status = report(&err);
    }
    vw_trainer_close(t.trainer);
    close_opened(&t.o);
    assignments_free(&t.c.set);
    return status;
}

const command command_train = {
    "train",
    "-c FILE [--set SECTION.KEY=VALUE ...]",
    "train a model on text",
    "The settings say everything: [data] what is learnt, [train] how, [model] and [model.FAMILY]\n"
    "which model, [optimizer] the rule.  The run's folder gets metrics.jsonl, config.ini and a\n"
    "checkpoint in each step-N, which is a model folder for the other subcommands; `latest' and\n"
    "`best' lead to two of them.  The same command again goes on from the newest one.  Ctrl-C and\n"
    "SIGTERM end a run after it has been saved.\n",
    "  vishwamai train -c presets/nanogpt-shakespeare.ini -f input.txt -o runs/shakespeare\n"
    "  vishwamai run -m runs/shakespeare/best -p \"ROMEO:\" -n 200\n",
    train_main};
