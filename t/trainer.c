/* trainer.c - the loop of training on the smallest trainee there is: what it learns, that a
 * stopped run goes on bit for bit, that damage and contradictions are refused in words, and that a
 * step that is not finite keeps nothing.
 */
#include "core/checkpoint.h"
#include "core/trainer.h"
#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/trainee-linear.h"
#include "t/with_trainer.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>


static bool same_file(const char *a, const char *b)
{
    size_t n, m;
    char *x = folder_slurp(a, &n), *y = folder_slurp(b, &m);
    bool is_same = n == m && !memcmp(x, y, n);
    free(x);
    free(y);
    return is_same;
}

static bool same_end(const char *a, const char *b)
{
    return same_file(in(a, "step-00000040/model.safetensors"),
                     in(b, "step-00000040/model.safetensors")) &&
           same_file(in(a, "step-00000040/optimizer.safetensors"),
                     in(b, "step-00000040/optimizer.safetensors"));
}

/* metrics.jsonl without what a clock says. */
static char *story(const char *out)
{
    size_t n;
    char *text = folder_slurp(in(out, "metrics.jsonl"), &n);
    for (char *p = text; (p = strstr(p, ",\"tokens_per_second\"")); p++) {
        char *end = strchr(p, '}');
        memmove(p, end, strlen(end) + 1);
    }
    for (char *p = text; (p = strstr(p, ",\"seconds\"")); p++) {
        char *end = strchr(p, '}');
        memmove(p, end, strlen(end) + 1);
    }
    return text;
}

static bool same_story(const char *a, const char *b)
{
    char *x = story(a), *y = story(b);
    bool is_same = !strcmp(x, y);
    if (!is_same)
        diag("one:\n%s\nother:\n%s", x, y);
    free(x);
    free(y);
    return is_same;
}

/* ---- learning -------------------------------------------------------------------------------- */

static void test_learning(void)
{
    static const char *const longer[] = {"train.max_steps=400", "train.learning_rate=0.1",
                                         "train.save_every=0", "train.eval_windows=0", NULL};
    session s = {0};
    vw_error err = {VW_OK, ""};
    char *out = folder_of("learning"), *text;
    size_t n;
    is_int(train(&s, out, longer, &err), VW_OK, "400 steps %s", err.text);
    near(s.trainer->now.best_loss, log(2), 0.02, "the loss comes down to the text's entropy");
    text = folder_slurp(in(out, "metrics.jsonl"), &n);
    double first = atof(strstr(text, "\"val_loss\":") + 11);
    near(first, log(16), 1e-6, "from that of a uniform guess at step 0");
    ok(strstr(text, "\"step\":400,") && strstr(text, "\"train_loss\":") &&
           strstr(text, "\"grad_norm\":"),
       "and metrics.jsonl tells of it");
    free(text);
    vw_trainer_info info = {.size = sizeof info};
    vw_trainer_get_info(s.trainer, &info);
    is_int(info.parameters, 256, "16 x 16 parameters");
    is_int(info.train_tokens + info.validation_tokens, 30000, "all tokens are in one half");
    is_int(info.moments, 2 * 256 * 4, "two moments each");
    close_run(&s);
    free(out);
}

/* Two micro-batches of four windows are one of eight: the same data, the same mean. */
static void test_accumulation(void)
{
    static const char *const one[] = {"train.batch_size=8", "train.grad_accum_steps=1", NULL};
    static const char *const two[] = {"train.batch_size=4", "train.grad_accum_steps=2", NULL};
    session a = {0}, b = {0};
    vw_error err = {VW_OK, ""};
    char *first = folder_of("whole"), *second = folder_of("halves");
    train(&a, first, one, &err);
    train(&b, second, two, &err);
    near_array(a.trainer->info.values, b.trainer->info.values, 256, 1e-5,
               "accumulation equals a larger batch, to rounding");
    close_run(&a);
    close_run(&b);
    free(first);
    free(second);
}

/* ---- going on -------------------------------------------------------------------------------- */

static void test_resume(void)
{
    session s = {0};
    vw_error err = {VW_OK, ""};
    char *whole = folder_of("a"), *parts = folder_of("b");
    is_int(train(&s, whole, NULL, &err), VW_OK, "40 steps in one go %s", err.text);
    is_int(s.n_saved, 4, "saved every 10 steps");
    close_run(&s);
    s.stop_at = 17;
    is_int(train(&s, parts, NULL, &err), VW_E_INTERRUPTED, "asked to stop in step 17");
    like(err.text, "interrupted after step 17", "it says so");
    ok(access(in(parts, "step-00000017/state.json"), R_OK) == 0, "and has saved that step");
    close_run(&s);
    is_int(open_run(&s, parts, NULL, &err), VW_OK, "opened again");
    is_int(s.trainer->now.step, 17, "it goes on from there");
    is_int(vw_trainer_run(s.trainer, &err), VW_OK, "to the end");
    close_run(&s);
    ok(same_end(whole, parts), "weights and moments are those of the run in one go, bit for bit");
    ok(same_story(whole, parts), "and so is all that metrics.jsonl tells");
    is_int(train(&s, parts, NULL, &err), VW_OK, "a finished run is opened and has nothing to do");
    close_run(&s);
    ok(same_story(whole, parts), "and says nothing");
    free(whole);
    free(parts);
}

/* Killed wherever it is, even while it writes: what is there is whole, and the end is the same. */
static void test_kill(void)
{
    char *whole = folder_of("a"), *killed = folder_of("c");
    int kills = 0;
    static const int64_t at[] = {3, 14, 23, 30, 39};
    for (int i = 0; i < 5; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            session s = {.kill_at = at[i]};
            vw_error err;
            _exit(train(&s, killed, NULL, &err) ? 1 : 0);
        }
        int status;
        waitpid(child, &status, 0);
        kills += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    is_int(kills, 5, "five processes were killed");
    session s = {0};
    vw_error err = {VW_OK, ""};
    is_int(train(&s, killed, NULL, &err), VW_OK, "the sixth comes to the end %s", err.text);
    close_run(&s);
    ok(same_end(whole, killed), "with the same bits");
    ok(same_story(whole, killed), "and one story");
    free(whole);
    free(killed);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    if (!f)
        bail_out("%s", path);
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 4, f);
    fclose(f);
}

static void test_damage(void)
{
    static const char *const short_run[] = {"train.max_steps=20", "train.keep=2", NULL};
    char *out = folder_of("d"), path[VW_CHECKPOINT_PATH];
    session s = {0};
    vw_error err = {VW_OK, ""};
    train(&s, out, short_run, &err);
    close_run(&s);
    flip(in(out, "step-00000020/model.safetensors"), 200);
    is_int(vw_checkpoint_check(in(out, "step-00000020"), &err), VW_E_FORMAT, "a flipped bit");
    like(err.text, "step-00000020/model.safetensors: its checksum is not that of what was written",
         "in words");
    is_int(open_run(&s, out, short_run, &err), VW_OK, "the run takes the one before");
    is_int(s.trainer->now.step, 10, "of step 10");
    ok(s.n_notes == 1 && strstr(s.note, "step-00000020/model.safetensors"), "and says why: %s",
       s.note);
    is_int(vw_trainer_run(s.trainer, &err), VW_OK, "and comes to the end again");
    close_run(&s);
    is_int(vw_checkpoint_check(in(out, "step-00000020"), &err), VW_OK,
           "which replaces the damaged one");

    snprintf(path, sizeof path, "%s", in(out, "step-00000020/optimizer.safetensors"));
    is_int(truncate(path, 100), 0, "a file cut");
    is_int(vw_checkpoint_check(in(out, "step-00000020"), &err), VW_E_FORMAT, "is found");
    like(err.text, "optimizer.safetensors: 100 bytes, it was written with", "in words");
    unlink(in(out, "step-00000010/state.json"));
    is_int(vw_checkpoint_check(in(out, "step-00000010"), &err), VW_E_NOTFOUND, "a file gone");
    like(err.text, "step-00000010/state.json: cannot be opened: No such file", "in words");
    refuses(out, short_run, VW_E_FORMAT, "holds no checkpoint that is whole; the newest:");
    flip(in(out, "step-00000010/checksums"), 3);
    is_int(vw_checkpoint_check(in(out, "step-00000010"), &err), VW_E_FORMAT, "the list itself");
    like(err.text, "step-00000010/checksums: not what was written", "in words");
    unlink(in(out, "step-00000010/checksums"));
    vw_checkpoint_check(in(out, "step-00000010"), &err);
    like(err.text, "step-00000010/checksums: cannot be opened", "or its absence");
    free(out);
}

/* A half-written checkpoint is never taken, and goes when the next one is written. */
static void test_leftovers(void)
{
    static const char *const short_run[] = {"train.max_steps=20", "train.keep=2", NULL};
    char *out = folder_of("e"), path[VW_CHECKPOINT_PATH];
    session s = {0};
    vw_error err = {VW_OK, ""};
    mkdir(out, 0777);
    is_int(vw_checkpoint_begin(out, 15, path, &err), VW_OK, "one is begun");
    ok(access(path, F_OK) == 0, "and left");
    train(&s, out, short_run, &err);
    close_run(&s);
    ok(access(path, F_OK) != 0, "the next run takes it away");
    free(out);
}

static int count_checkpoints(const char *out)
{
    char path[1300];
    int n = 0;
    for (int step = 0; step <= 60; step++) {
        snprintf(path, sizeof path, "%s/step-%08d", out, step);
        n += access(path, F_OK) == 0;
    }
    return n;
}

static void test_keep(void)
{
    static const char *const words[] = {"train.save_every=2", "train.keep=3", "train.eval_every=8",
                                        NULL};
    char *out = folder_of("f"), to[64] = "";
    session s = {0};
    vw_error err = {VW_OK, ""};
    is_int(train(&s, out, words, &err), VW_OK, "a run that saves often");
    int64_t best = s.trainer->now.best_step;
    close_run(&s);
    int n = count_checkpoints(out);
    ok(n == 3 || n == 4, "%d checkpoints are left: three, and the best", n);
    ssize_t length = readlink(in(out, "best"), to, sizeof to - 1);
    ok(length > 0 && atoll(to + 5) == best, "`best' leads to step %d: %s", (int)best, to);
    memset(to, 0, sizeof to);
    length = readlink(in(out, "latest"), to, sizeof to - 1);
    ok(length > 0 && !strcmp(to, "step-00000040"), "`latest' to the last: %s", to);
    free(out);
}

/* A disk that takes no more: the run ends with the reason, the checkpoint before stays. */
static void test_full_disk(void)
{
    char *out = folder_of("g");
    int pipe_ends[2], status;
    char said[1600] = "";
    if (pipe(pipe_ends))
        bail_out("no pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        static const char *const words[] = {"train.max_steps=10", NULL};
        session s = {0};
        vw_error err = {VW_OK, ""};
        vw_status st = train(&s, out, words, &err);
        struct rlimit room = {2000, 2000};
        if (!st) {
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &room);
            s.trainer->train.max_steps = 20;
            st = vw_trainer_run(s.trainer, &err);
        }
        ssize_t n = write(pipe_ends[1], err.text, strlen(err.text));
        _exit(st == VW_E_IO && n > 0 ? 0 : 1);
    }
    close(pipe_ends[1]);
    waitpid(child, &status, 0);
    ssize_t n = read(pipe_ends[0], said, sizeof said - 1);
    close(pipe_ends[0]);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0 && n > 0,
       "no room for a checkpoint ends a run");
    like(said, "the checkpoint of step 20 is not saved (earlier ones in", "in words");
    like(said, "optimizer.safetensors", "with the file");
    vw_error err;
    is_int(vw_checkpoint_check(in(out, "step-00000010"), &err), VW_OK, "the one before is whole");
    ok(access(in(out, "step-00000020"), F_OK) != 0, "and no half of the new one is there");
    free(out);
}

/* ---- contradictions -------------------------------------------------------------------------- */

static void test_contradictions(void)
{
    static const char *const
        seed[] = {"train.seed=2", NULL},
        *const size[] = {"train.batch_size=4", NULL}, *const sgd[] = {"optimizer.plugin=sgd", NULL},
        *const context[] = {"data.max_length=8", NULL}, *const no[] = {"train.resume=no", NULL};
    char *out = folder_of("a");
    refuses(out, seed, VW_E_CONFIG,
            "was made with train.seed = 1, now it is 2; go on with what it was");
    refuses(out, size, VW_E_CONFIG, "was made with train.batch_size = 3, now it is 4");
    refuses(out, sgd, VW_E_CONFIG, "was made with optimizer.plugin = adamw, now it is sgd");
    refuses(out, context, VW_E_CONFIG, "was made with data.max_length = 16, now it is 8");
    refuses(out, no, VW_E_CONFIG, "holds checkpoints and train.resume = no");
    char word[1100];
    char other[2000] = "";
    for (int i = 0; i < 100; i++)
        strcat(other, "abcdefghijklmnop");
    snprintf(word, sizeof word, "data.train=%s", folder_text("other.txt", other));
    const char *const data[] = {word, NULL};
    refuses(out, data, VW_E_CONFIG, "was made with the training data's checksum = ");
    free(out);
}

static void test_settings(void)
{
    static const char *const warm[] = {"train.warmup_steps=40", NULL},
                             *const sizes[] = {"train.max_batch_size=2", NULL},
                             *const tokenizer[] = {"tokenizer.plugin=auto", NULL},
                             *const budget[] = {"train.memory_budget=4K", NULL},
                             *const split[] = {"data.validation_split=seed", NULL};
    char *out = folder_of("new"), path[1024], word[1100];
    refuses(out, warm, VW_E_CONFIG,
            "train.warmup_steps = 40 does not end before the decay does, at step 40; lower it, or raise "
            "train.max_steps");
    refuses(out, sizes, VW_E_CONFIG,
            "train.batch_size = 3 is not between min_batch_size = 1 and max_batch_size = 2");
    refuses(out, tokenizer, VW_E_CONFIG,
            "a new model needs a tokenizer: set data.tokenizer to a folder");
    refuses(out, budget, VW_E_NOMEM, "train.memory_budget = 0.0 MiB, but a batch size of 1 takes");
    refuses(out, split, VW_E_CONFIG, "draws whole documents, and of 1");
    snprintf(path, sizeof path, "%s", folder_text("empty.txt", ""));
    snprintf(word, sizeof word, "data.train=%s", path);
    const char *const empty[] = {word, NULL};
    refuses(out, empty, VW_E_FORMAT, "empty.txt: empty: there is no text to learn from");
    snprintf(word, sizeof word, "data.train=%s", folder_write("ids.u16", "a\0b\0", 4));
    refuses(out, empty, VW_E_CONFIG,
            "a new model that learns from a file of ids needs data.vocab_size");
    session s = {0}, second = {0};
    vw_error err;
    is_int(open_run(&s, out, NULL, &err), VW_OK, "one run is open");
    is_int(open_run(&second, out, NULL, &err), VW_E_INVALID, "a second one in its folder is not");
    like(err.text, "new: another run trains in this folder", "in words");
    close_run(&second);
    close_run(&s);
    refuses("", NULL, VW_E_CONFIG, "train.out is needed: the folder of the run");
    free(out);
}

/* ---- numbers that are none ------------------------------------------------------------------- */

static void test_guard(void)
{
    char *out = folder_of("nan"), *f16 = folder_of("nan16");
    static const char *const half[] = {"train.precision=f16", "train.loss_scale_interval=8", NULL};
    session s = {0};
    vw_error err = {VW_OK, ""};
    float before[256];
    open_run(&s, out, NULL, &err);
    linear_fault = (linear_trainee_fault){.nan_at_learn = 2 * 12 + 1};
    is_int(vw_trainer_run(s.trainer, &err), VW_E_INVALID,
           "a gradient that is no number ends the run");
    like(err.text, "step 13: the loss is", "naming the step");
    like(err.text, "in epoch 0 from unit 72 of the data on", "the position in the data");
    like(err.text, "the first parameter concerned is table.weight; nothing of this step was kept",
         "and the parameter");
    is_int(s.trainer->now.step, 12, "which has not been taken");
    close_run(&s);

    open_run(&s, f16, half, &err);
    linear_fault = (linear_trainee_fault){0};
    s.stop_at = 4;
    is_int(vw_trainer_run(s.trainer, &err), VW_E_INTERRUPTED, "four steps with a loss scale");
    memcpy(before, s.trainer->info.values, sizeof before);
    linear_fault = (linear_trainee_fault){.nan_at_learn = 1};
    atomic_store(&s.trainer->is_interrupted, 0);
    vw_progress_state then = s.trainer->now;
    is_int(vw_trainer_step(s.trainer, &err), VW_OK, "a fifth that is not finite is skipped");
    is_mem(s.trainer->info.values, before, sizeof before, "its weights are those of the fourth");
    ok(s.trainer->now.updates == then.updates && s.trainer->now.tokens == then.tokens,
       "it counts for neither the optimizer nor the tokens");
    near(s.trainer->now.scale.scale, 32768, 0, "and the scale is halved");
    close_run(&s);
    linear_fault = (linear_trainee_fault){0};
    free(out);
    free(f16);
}

/* Gradients of a scaled loss give the same update: 2^16 is a shift of the exponent. */
static void test_scale(void)
{
    static const char *const half[] = {"train.precision=f16", NULL};
    static const char *const eighth[] = {"train.precision=fp8", "train.loss_scale_interval=8",
                                         NULL};
    session a = {0}, b = {0}, c = {0};
    vw_error err = {VW_OK, ""};
    char *first = folder_of("unscaled"), *second = folder_of("scaled"), *third = folder_of("fp8");
    train(&a, first, NULL, &err);
    train(&b, second, half, &err);
    is_mem(a.trainer->info.values, b.trainer->info.values, 256 * sizeof(float),
           "a loss scale changes no bit where nothing overflows");
    train(&c, third, eighth, &err);
    is_mem(a.trainer->info.values, c.trainer->info.values, 256 * sizeof(float),
           "nor does the one of fp8");
    near(c.trainer->now.scale.scale, 65536, 0, "which stays what it is");
    close_run(&a);
    close_run(&b);
    close_run(&c);
    free(first);
    free(second);
    free(third);
}

/* ---- batch size, patience -------------------------------------------------------------------- */

static void test_batch_size(void)
{
    static const char *const grows[] = {"train.max_batch_size=12", "train.stable_steps=5",
                                        "train.max_grad_norm=0", NULL};
    static const char *const budget[] = {"train.batch_size=64", "train.memory_budget=16K", NULL};
    session s = {0};
    vw_error err = {VW_OK, ""};
    char *out = folder_of("grows"), *again = folder_of("grows2"), *small = folder_of("small");
    is_int(train(&s, out, grows, &err), VW_OK, "a batch size that grows %s", err.text);
    is_int(s.trainer->now.batch.size, 12, "to its limit");
    close_run(&s);
    s.stop_at = 9;
    train(&s, again, grows, &err);
    close_run(&s);
    train(&s, again, grows, &err);
    close_run(&s);
    ok(same_end(out, again), "and goes on as it was when it is stopped in between");
    /* 4 x 256 x 4 bytes for weights, gradients and moments; 64 x 16 a window of the rest. */
    is_int(open_run(&s, small, budget, &err), VW_OK, "a budget");
    is_int(s.trainer->train.batch_size, (16384 - 4096) / (64 * 16),
           "gives the batch size that fits");
    close_run(&s);
    free(out);
    free(again);
    free(small);
}

static void test_patience(void)
{
    static const char *const words[] = {"train.max_steps=4000", "train.patience=2",
                                        "train.eval_every=10",  "train.learning_rate=0.5",
                                        "train.save_every=0",   NULL};
    session s = {0};
    vw_error err = {VW_OK, ""};
    char *out = folder_of("patience");
    is_int(train(&s, out, words, &err), VW_OK, "a run that gets no better ends");
    ok(s.trainer->now.step < 4000 && s.trainer->now.bad_validations == 2,
       "after two validations, at step %d", (int)s.trainer->now.step);
    is_int(s.n_saved, 1, "and is saved");
    close_run(&s);
    free(out);
}

/* ---- averaged weights ------------------------------------------------------------------------ */

static const float *average_of(const session *s)
{
    for (size_t i = 0; i < s->trainer->n_moments; i++)
        if (s->trainer->moments[i].is_average)
            return s->trainer->moments[i].values;
    bail_out("no average");
}

static void test_averages(void)
{
    static const char *const kept[] = {"train.ema_decay=0.9", NULL},
                             *const used[] = {"train.ema_decay=0.9", "train.use_ema=yes", NULL},
                             *const other[] = {"train.ema_decay=0.8", NULL};
    session a = {0}, b = {0};
    vw_error err = {VW_OK, ""};
    double mean[256], of_average, of_masters;
    char *first = folder_of("ema"), *second = folder_of("ema2"), *whole = folder_of("a");
    open_run(&a, first, kept, &err);
    for (int i = 0; i < 256; i++)
        mean[i] = (double)a.trainer->info.values[i];
    a.mean = mean;
    is_int(vw_trainer_run(a.trainer, &err), VW_OK, "a run that averages its weights");
    double worst = 0, moved = 0;
    for (int i = 0; i < 256; i++) {
        worst = fmax(worst, fabs((double)average_of(&a)[i] - mean[i]));
        moved = fmax(moved, fabs((double)a.trainer->info.values[i] - mean[i]));
    }
    ok(worst < 1e-6 && moved > 1e-3, "m = 0.9 m + 0.1 w after each step: within %g", worst);
    ok(same_file(in(first, "step-00000040/model.safetensors"),
                 in(whole, "step-00000040/model.safetensors")),
       "which changes nothing of the weights");
    vw_trainer_validate(a.trainer, &of_masters, &err);
    memcpy(a.trainer->info.values, average_of(&a), 256 * sizeof(float));
    vw_trainer_validate(a.trainer, &of_average, &err);
    close_run(&a);

    is_int(train(&b, second, used, &err), VW_OK, "another validates with them");
    double found;
    vw_trainer_validate(b.trainer, &found, &err);
    ok(found == of_average && found != of_masters, "the loss is theirs: %.6f, the weights' %.6f",
       found, of_masters);
    ok(b.trainer->now.best_loss <= found, "which is what the best is chosen by");
    close_run(&b);
    ok(same_end(first, second), "training goes on with the others");

    char *parts = folder_of("ema3");
    b.stop_at = 17;
    train(&b, parts, used, &err);
    close_run(&b);
    is_int(train(&b, parts, used, &err), VW_OK, "stopped, and gone on with");
    close_run(&b);
    ok(same_end(second, parts), "averages and all are the same bits");
    refuses(parts, other, VW_E_CONFIG, "was made with train.ema_decay = 0.9, now it is 0.8");
    refuses(parts, NULL, VW_E_CONFIG, "was made with train.ema_decay = 0.9, now it is nothing;");
    free(parts);
    free(first);
    free(second);
    free(whole);
}

static void test_profile(void)
{
    session s = {0};
    vw_error err = {VW_OK, ""};
    char *out = folder_of("profile");
    size_t n;
    open_run(&s, out, NULL, &err);
    s.trainer->options.profile = folder_path("trace.json");
    vw_profile_new(1000, &s.trainer->profile, &err);
    is_int(vw_trainer_run(s.trainer, &err), VW_OK, "a run with a trace");
    close_run(&s);
    char *text = folder_slurp(folder_path("trace.json"), &n);
    int steps = 0;
    for (const char *p = text; (p = strstr(p, "\"name\":\"step\"")); p++)
        steps++;
    is_int(steps, 10, "of ten steps");
    ok(strstr(text, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[") == text,
       "in the format of Chrome");
    like(text, "\"name\":\"optimizer\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":",
         "the optimizer among them");
    like(text, "\"bytes\":7168,", "which moves 28 bytes a value: 28 x 256");
    free(text);
    free(out);
}

int main(void)
{
    folder_make();
    write_text();
    test_learning();
    test_accumulation();
    test_resume();
    test_kill();
    test_damage();
    test_leftovers();
    test_keep();
    test_full_disk();
    test_contradictions();
    test_settings();
    test_guard();
    test_scale();
    test_batch_size();
    test_patience();
    test_averages();
    test_profile();
    return done_testing();
}
