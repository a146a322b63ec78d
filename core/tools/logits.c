/* logits.c - `vishwamai logits`: what the model computes, in full.
 *
 * It is how correctness is proved against other implementations, so the numbers are printed such
 * that reading them gives the same float32 again.  Rows are printed as they come: all of a wide
 * vocabulary's would fill the memory.
 */
#include "answer.h"
#include "interrupt.h"
#include "progress.h"

#include <string.h>

enum { N_BEST = 5 };

typedef struct logits {
    choices c;
    const char *text, *tokens;
    int is_last, is_decoding;
    opened o;
    id_list ids;
    vw_json_writer json;
} logits;

/* A line for people: the token and the likeliest ones to follow it. */
static void print_best(const logits *l, int64_t position, const float *row)
{
    int32_t best[N_BEST];
    int n = 0;
    for (int32_t id = 0; id < l->o.info.vocab_size; id++) {
        int at = n < N_BEST ? n++ : N_BEST;
        for (; at > 0 && row[id] > row[best[at - 1]]; at--)
            if (at < N_BEST)
                best[at] = best[at - 1];
        if (at < N_BEST)
            best[at] = id;
    }
    printf("%6lld %7d ", (long long)position, l->ids.ids[position]);
    for (int i = 0; i < n; i++)
        printf("  %d: %.6g", best[i], (double)row[best[i]]);
    putchar('\n');
}

static vw_status on_row(void *arg, size_t feed, int64_t position, const float *row, vw_error *err)
{
    logits *l = arg;
    (void)feed;
    if (!l->c.is_json) {
        print_best(l, position, row);
        return VW_OK;
    }
    vw_json_begin_array(&l->json, NULL);
    for (int32_t id = 0; id < l->o.info.vocab_size; id++)
        vw_json_add_float(&l->json, NULL, row[id]);
    vw_json_end_array(&l->json);
    return print_json_part(&l->json, err);
}

/* A batch at a time, as the engine would cut it, or one token after another through the cache. */
static vw_status feed(logits *l, vw_sequence *sequence, vw_error *err)
{
    int64_t n = (int64_t)l->ids.n, step;
    vw_status status = VW_OK;
    for (int64_t i = 0; i < n && status == VW_OK; i += step) {
        step = l->is_decoding ? 1 : n - i < l->o.info.batch_tokens ? n - i : l->o.info.batch_tokens;
        vw_want want = !l->is_last ? VW_WANT_ALL : i + step == n ? VW_WANT_LAST : VW_WANT_NOTHING;
        vw_feed one = {sequence, l->ids.ids + i, step, want};
        if (interrupt_seen())
            return vw_fail(err, VW_E_INTERRUPTED, "interrupted after %lld of %lld tokens",
                           (long long)i, (long long)n);
        status = vw_engine_feed(l->o.engine, &one, 1, on_row, l, err);
        progress_show(NULL, "computing", (uint64_t)(i + step), (uint64_t)n, "tokens");
    }
    progress_end();
    return status;
}

static vw_status read_ids(logits *l, vw_error *err)
{
    if (l->text)
        return input_encode(l->o.engine, l->text, strlen(l->text), -1, &l->ids, err);
    vw_status status = input_ids("--tokens", l->tokens, &l->ids, err);
    if (status == VW_OK)
        status = check_ids(&l->o, l->ids.ids, l->ids.n, err);
    if (status == VW_OK && l->ids.n == 0)
        status = vw_fail(err, VW_E_CONFIG, "--tokens: at least one token id is needed");
    return status;
}

static vw_status work(logits *l, vw_error *err)
{
    vw_sequence *sequence = NULL;
    l->c.needs_no_tokenizer = l->tokens != NULL;
    vw_status status = open_model(&l->c, &l->o, err);
    if (status == VW_OK)
        status = read_ids(l, err);
    if (status == VW_OK && l->ids.n > (size_t)l->o.info.context) /* told before a row is printed */
        status = vw_fail(err, VW_E_FULL, "%zu tokens exceed the context of %lld (--ctx-size)",
                         l->ids.n, (long long)l->o.info.context);
    if (status == VW_OK)
        status = vw_sequence_new(l->o.engine, &sequence, err);
    if (status != VW_OK)
        return status;
    vw_json_begin_object(&l->json, NULL);
    add_ids(&l->json, "tokens", l->ids.ids, l->ids.n);
    vw_json_begin_array(&l->json, "logits");
    status = feed(l, sequence, err);
    vw_json_end_array(&l->json);
    vw_json_end_object(&l->json);
    vw_sequence_free(sequence);
    return status == VW_OK && l->c.is_json ? print_json(&l->json, err) : status;
}

static int logits_main(int argc, char **argv)
{
    logits l = {0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt input[] = {
        {0, "tokens", OPT_TEXT, &l.tokens, "IDS", "token ids, as they are: \"2 7 9\"", NULL, 0, 0},
        {'p', "prompt", OPT_TEXT, &l.text, "TEXT", "or a text", NULL, 0, 0},
        {0, "last", OPT_FLAG, &l.is_last, NULL, "only the row of the last position", NULL, 0, 0},
        {0, "decode", OPT_FLAG, &l.is_decoding, NULL,
         "feed one token at a time, through the cache", NULL, 0, 0},
        MODEL_OPTIONS(&l.c), CONTEXT_OPTION(&l.c), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&l.c), VERBOSE_OPTION(&l.c), END_OPTIONS};
    const opt_group groups[] = {{"model and tokens", input}, {"general", general}, {NULL, NULL}};
    if (options_parse(&command_logits, groups, argc, argv, NULL, &status)) {
        if (!l.tokens == !l.text)
            status = wrong_use(&command_logits, "one of --tokens IDS and -p TEXT is needed");
        else if (work(&l, &err) != VW_OK)
            status = report(&err);
    }
    close_opened(&l.o);
    vw_json_writer_free(&l.json);
    id_list_free(&l.ids);
    assignments_free(&l.c.set);
    return status;
}

const command command_logits = {
    "logits", "[-m DIR] --tokens IDS [options]", "print a model's logits",
    "With --json: {\"tokens\":[...],\"logits\":[[...], ...]}, a row for each position with the\n"
    "whole vocabulary, in decimal that reads back as the same float32.  Otherwise a line for each\n"
    "position: its number, its token, and the five likeliest tokens with their logits.\n",
    "  vishwamai logits --tokens \"2 681 978\" --last --json\n", logits_main};
