/* trainer-bad.c - checkpoints that are whole but wrong: each number or array that is not what the run
 * expects is refused in words, and the one before still loads.
 */
#include "core/checkpoint.h"
#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/trainee-linear.h"
#include "t/with_trainer.h"

#include <stdlib.h>

static const char *const short_run[] = {"train.max_steps=20", "train.keep=2", NULL};

/* A run of two checkpoints; in the file of the newer one `from` becomes `to`, and the sums are made
 * right again. */
static char *tampered(const char *name, const char *file, const char *from, const char *to)
{
    session s = {0};
    vw_error err = {VW_OK, ""};
    char *out = folder_of(name), path[1400];
    size_t n;
    if (train(&s, out, short_run, &err))
        bail_out("%s", err.text);
    close_run(&s);
    snprintf(path, sizeof path, "%s/step-00000020/%s", out, file);
    char *text = folder_slurp(path, &n), *at = NULL;
    for (size_t i = 0; i + strlen(from) <= n && !at; i++)
        at = memcmp(text + i, from, strlen(from)) ? NULL : text + i;
    if (!at)
        bail_out("%s holds no %s", file, from);
    size_t before = (size_t)(at - text), after = before + strlen(from);
    char *whole = malloc(n + strlen(to));
    if (!whole)
        bail_out("no memory");
    memcpy(whole, text, before);
    memcpy(whole + before, to, strlen(to));
    memcpy(whole + before + strlen(to), text + after, n - after);
    if (vw_file_write(path, whole, n - strlen(from) + strlen(to), &err) || vw_folder_seal(in(out, "step-00000020"), &err))
        bail_out("%s", err.text);
    free(whole);
    free(text);
    return out;
}

static void test_wrong(const char *file, const char *from, const char *to, vw_status status,
                       const char *sentence)
{
    static int number;
    char name[32], newest[1400];
    session s = {0};
    vw_error err = {VW_OK, ""};
    snprintf(name, sizeof name, "bad%d", number++);
    char *out = tampered(name, file, from, to);
    is_int(vw_checkpoint_check(in(out, "step-00000020"), &err), VW_OK, "the sums are right");
    refuses(out, short_run, status, sentence);
    snprintf(newest, sizeof newest, "%s/step-00000020/checksums", out);
    remove(newest);
    is_int(open_run(&s, out, short_run, &err), VW_OK, "the one before loads %s", err.text);
    ok(s.trainer && s.trainer->now.step == 10, "and goes on from step 10");
    close_run(&s);
    free(out);
}

/* Nothing of the data is scored: prompts alone. */
static void test_unscored(void)
{
    char text[4000] = "", word[1100];
    for (int i = 0; i < 60; i++)
        strcat(text, "{\"prompt\": \"abcdefghijklmnop\", \"completion\": \"\"}\n");
    snprintf(word, sizeof word, "data.train=%s", folder_text("prompts.jsonl", text));
    const char *const words[] = {word, "train.eval_every=0", NULL};
    char *out = folder_of("unscored");
    refuses(out, words, VW_E_CONFIG, "no token of a step is scored: epoch 0, from unit 0 of the data on; "
                                     "data.prompt_loss = yes learns prompts too");
    const char *const validated[] = {word, NULL};
    refuses(out, validated, VW_E_CONFIG, "no token of the validation data is scored");
    free(out);
}

int main(void)
{
    folder_make();
    write_text();
    test_wrong("state.json", "\"step\":20", "\"stop\":20", VW_E_FORMAT, "state.json lacks \"step\"");
    test_wrong("state.json", "\"format\":1", "\"format\":7", VW_E_UNSUPPORTED,
               "state.json is of format 7, this version reads 1");
    test_wrong("state.json", "\"index\":1", "\"index\":9991", VW_E_FORMAT,
               "state.json: unit 999120 is beyond the end of the data");
    test_wrong("state.json", "\"updates\":20", "\"updates\":-5", VW_E_FORMAT, "state.json");
    test_wrong("state.json", "\"expert_loads\":[]", "\"expert_loads\":[3]", VW_E_FORMAT,
               "state.json: \"expert_loads\" holds 1 numbers, the model has 0 experts");
    test_wrong("state.json", "{", "[", VW_E_FORMAT, "state.json: line 1");
    test_wrong("optimizer.safetensors", "\"shape\":[256]", "\"shape\":[255]", VW_E_FORMAT,
               "optimizer.safetensors");
    test_wrong("optimizer.safetensors", "table.weight.exp_avg_sq", "table.weight.exp_avg_xx", VW_E_NOTFOUND,
               "table.weight.exp_avg_sq");
    test_unscored();
    return done_testing();
}
