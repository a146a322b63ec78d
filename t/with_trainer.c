/* with_trainer.c - see with_trainer.h. */
#include "t/with_trainer.h"

#include <signal.h>
#include <stdlib.h>

#include "t/folder.h"
#include "t/tap/tap.h"

static char text_path[1024];

static void on_event(void *arg, const vw_train_event *e)
{
    session *s = arg;
    if (e->type == VW_TRAIN_STEP && s->stop_at == e->step)
        vw_trainer_interrupt(s->trainer);
    if (e->type == VW_TRAIN_STEP && s->kill_at == e->step)
        raise(SIGKILL);
    for (int i = 0; s->mean && e->type == VW_TRAIN_STEP && i < 256; i++)
        s->mean[i] = 0.9 * s->mean[i] + 0.1 * (double)s->trainer->info.values[i];
    s->n_saved += e->type == VW_TRAIN_SAVED;
    if (e->type == VW_TRAIN_NOTE) {
        s->n_notes++;
        snprintf(s->note, sizeof s->note, "%s", e->text);
    }
}

/* Open a run in folder `out` with "section.key=value" words on top of the usual ones. */
vw_status open_run(session *s, const char *out, const char *const *words, vw_error *err)
{
    static const char *const usual[] = {
        "tokenizer.plugin=chars", "train.max_steps=40",       "train.warmup_steps=4",
        "train.batch_size=3",     "train.grad_accum_steps=2", "train.learning_rate=0.05",
        "train.save_every=10",    "train.eval_every=20",      "train.log_every=5",
        "data.max_length=16",     "vishwamai.threads=2",      NULL};
    vw_trainer_options o = {.size = sizeof o, .on_event = on_event, .event_arg = s};
    vw_status st = vw_settings_new(&s->settings, err);
    for (int i = 0; usual[i] && !st; i++)
        st = vw_settings_assign(s->settings, usual[i], "usual", err);
    for (int i = 0; words && words[i] && !st; i++)
        st = vw_settings_assign(s->settings, words[i], "test", err);
    if (!st && !vw_settings_get(s->settings, "data", "train"))
        st = vw_settings_set(s->settings, "data", "train", text_path, "test", err);
    if (!st)
        st = vw_settings_set(s->settings, "train", "out", out, "test", err);
    if (!st && !(st = vw_settings_check(s->settings, err)))
        st = vw_core_new(s->settings, &s->core, err);
    return st ? st : vw_trainer_open(s->core, &o, &s->trainer, err);
}

void close_run(session *s)
{
    vw_trainer_close(s->trainer);
    vw_core_free(s->core);
    vw_settings_free(s->settings);
    *s = (session){0};
}

vw_status train(session *s, const char *out, const char *const *words, vw_error *err)
{
    vw_status st = open_run(s, out, words, err);
    return st ? st : vw_trainer_run(s->trainer, err);
}

void refuses(const char *out, const char *const *words, vw_status status,
                    const char *sentence)
{
    session s = {0};
    vw_error err = {VW_OK, ""};
    is_int(train(&s, out, words, &err), status, "refused: %s", sentence);
    like(err.text, sentence, "in these words");
    close_run(&s);
}

/* The path of a file in the folder of a run. */
const char *in(const char *out, const char *name)
{
    static char path[4][1200];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", out, name);
    return path[turn];
}

char *folder_of(const char *name)
{
    char *path = strdup(folder_path(name));
    if (!path)
        bail_out("no memory");
    return path;
}

/* A text of which each letter tells the next but for one bit: its conditional entropy is ln 2. */
void write_text(void)
{
    enum { N = 30000 };
    static char text[N + 1];
    uint64_t state = 5;
    char last = 'a';
    for (int i = 0; i < N; i++) {
        last = (char)('a' + (2 * (last - 'a') + (int)(folder_random(&state) & 1)) % 16);
        text[i] = last;
    }
    snprintf(text_path, sizeof text_path, "%s", folder_text("text.txt", text));
}
