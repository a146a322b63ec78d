/* eval.c - `vishwamai eval`: how often a model answers the questions of a task file rightly.
 *
 * A multiple choice is answered by likelihood: the choice whose text the model finds likeliest
 * after the question, by the sum of its tokens' log-probabilities and, as a second figure, by that
 * sum per byte of the choice, which does not favour short ones.  Other questions are answered by
 * generating.
 */
#include "answer.h"
#include "eval_task.h"
#include "interrupt.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

typedef struct count {
    size_t n, right;
} count;

typedef struct tally {
    count choice, choice_per_byte, match;
} tally;

typedef struct evaluation {
    choices c;
    manner m;
    int has_details;
    int64_t limit;
    opened o;
    vw_sampling sampling;
    answer a;
    const vw_component *verifier; /* opened for the first answer that it has to judge */
    id_list context, whole;
    vw_json_writer json;
} evaluation;

/* ---- one question ---------------------------------------------------------------------------- */

/* Log-probability of a choice after the context: of the tokens from where the encodings part. */
static vw_status score_choice(evaluation *e, const eval_item *item, int i, double *score,
                              vw_error *err)
{
    const char *choice = item->choices[i];
    size_t before = strlen(item->prompt), bytes = before + strlen(choice) + 1;
    int has_gap = before && !strchr(" \n\t", item->prompt[before - 1]) && *choice != ' ';
    char *text = malloc(bytes + 1);
    if (!text)
        return vw_fail(err, VW_E_NOMEM, "no memory for a choice");
    snprintf(text, bytes + 1, "%s%s%s", item->prompt, has_gap ? " " : "", choice);
    e->whole.n = 0;
    vw_status status = input_encode(e->o.engine, text, strlen(text), -1, &e->whole, err);
    free(text);
    if (status != VW_OK)
        return status;
    size_t first = 0;
    while (first < e->whole.n && first < e->context.n &&
           e->whole.ids[first] == e->context.ids[first])
        first++;
    if (first == 0)
        first = 1; /* nothing stands before the first token to predict it */
    if (e->whole.n <= first)
        return vw_fail(err, VW_E_INVALID, "choice %d adds no token to the context", i);
    return vw_score(e->o.engine, e->whole.ids, e->whole.n, first, score, NULL, err);
}

static vw_status choose(evaluation *e, const eval_item *item, tally *t, vw_error *err)
{
    double best = 0, best_per_byte = 0;
    int chosen = 0, chosen_per_byte = 0;
    e->context.n = 0;
    vw_status status = input_encode(e->o.engine, item->prompt, strlen(item->prompt), -1,
                                    &e->context, err);
    if (e->has_details)
        vw_json_begin_array(&e->json, "logprobs");
    for (int i = 0; i < item->n_choices && status == VW_OK; i++) {
        double score, per_byte;
        status = score_choice(e, item, i, &score, err);
        if (status != VW_OK)
            break;
        per_byte = score / (double)strlen(item->choices[i]);
        if (i == 0 || score > best) {
            best = score;
            chosen = i;
        }
        if (i == 0 || per_byte > best_per_byte) {
            best_per_byte = per_byte;
            chosen_per_byte = i;
        }
        if (e->has_details)
            vw_json_add_double(&e->json, NULL, score);
    }
    if (e->has_details) {
        vw_json_end_array(&e->json);
        vw_json_add_int(&e->json, "chosen", chosen);
        vw_json_add_int(&e->json, "chosen_per_byte", chosen_per_byte);
        vw_json_add_int(&e->json, "right", item->right);
    }
    t->choice.n++;
    t->choice_per_byte.n++;
    t->choice.right += chosen == item->right;
    t->choice_per_byte.right += chosen_per_byte == item->right;
    return status;
}

static vw_status write_answer(evaluation *e, const eval_item *item, tally *t, vw_error *err)
{
    vw_sequence *sequence = NULL;
    e->context.n = 0;
    vw_status status = input_encode(e->o.engine, item->prompt, strlen(item->prompt), -1,
                                    &e->context, err);
    if (status == VW_OK)
        status = vw_sequence_new(e->o.engine, &sequence, err);
    if (status == VW_OK)
        status = answer_generate(&e->o, sequence, e->context.ids, e->context.n, &e->m,
                                 &e->sampling, &e->a, err);
    vw_sequence_free(sequence);
    if (status == VW_OK && !e->verifier)
        status = vw_core_component(e->o.core, VW_KIND_VERIFIER, NULL, NULL, &e->verifier, err);
    const char *text = e->a.bytes ? e->a.text : "";
    int is_right = 0;
    if (status == VW_OK)
        status = eval_match(e->verifier, item, text, &is_right, err);
    if (status != VW_OK)
        return status;
    if (e->has_details) {
        vw_json_add_string(&e->json, "text", text);
        vw_json_add_string(&e->json, "answer", item->answer);
        vw_json_add_bool(&e->json, "is_right", is_right);
    }
    t->match.n++;
    t->match.right += (size_t)is_right;
    return VW_OK;
}

/* ---- a task ---------------------------------------------------------------------------------- */

static void add_share(vw_json_writer *w, const char *key, const count *c)
{
    double low, high;
    if (!c->n)
        return;
    eval_interval(c->right, c->n, &low, &high);
    vw_json_begin_object(w, key);
    vw_json_add_uint(w, "n", c->n);
    vw_json_add_uint(w, "right", c->right);
    vw_json_add_double(w, "accuracy", (double)c->right / (double)c->n);
    vw_json_add_double(w, "low", low);
    vw_json_add_double(w, "high", high);
    vw_json_end_object(w);
}

static void print_share(const char *path, const char *what, const count *c)
{
    double low, high;
    if (!c->n)
        return;
    eval_interval(c->right, c->n, &low, &high);
    printf("%s: %s: %zu of %zu right, %.1f %% (95 %% interval %.1f to %.1f)\n", path, what,
           c->right, c->n, 100.0 * (double)c->right / (double)c->n, 100 * low, 100 * high);
}

static vw_status ask_all(evaluation *e, const eval_task *task, tally *t, vw_error *err)
{
    size_t n = e->limit > 0 && (size_t)e->limit < task->n ? (size_t)e->limit : task->n;
    vw_status status = VW_OK;
    for (size_t i = 0; i < n && status == VW_OK; i++) {
        const eval_item *item = &task->items[i];
        if (e->has_details) {
            vw_json_begin_object(&e->json, NULL);
            vw_json_add_int(&e->json, "line", item->line);
        }
        status = item->choices ? choose(e, item, t, err) : write_answer(e, item, t, err);
        if (e->has_details)
            vw_json_end_object(&e->json);
        if (status != VW_OK)
            vw_fail_in(err, status, "%s:%d", task->path, item->line);
        else if (progress_show(NULL, "questions", i + 1, n, ""))
            status = vw_fail(err, VW_E_INTERRUPTED, "interrupted after %zu of %zu questions", i + 1,
                             n);
    }
    progress_end();
    return status;
}

static vw_status run_task(evaluation *e, const eval_task *task, vw_error *err)
{
    tally t = {{0, 0}, {0, 0}, {0, 0}};
    vw_json_begin_object(&e->json, NULL);
    vw_json_add_string(&e->json, "file", task->path);
    if (e->has_details)
        vw_json_begin_array(&e->json, "items");
    vw_status status = ask_all(e, task, &t, err);
    if (e->has_details)
        vw_json_end_array(&e->json);
    add_share(&e->json, "choice", &t.choice);
    add_share(&e->json, "choice_per_byte", &t.choice_per_byte);
    add_share(&e->json, "match", &t.match);
    vw_json_end_object(&e->json);
    if (status == VW_OK && !e->c.is_json) {
        print_share(task->path, "choice by likelihood", &t.choice);
        print_share(task->path, "choice by likelihood per byte", &t.choice_per_byte);
        print_share(task->path, "answer match", &t.match);
    }
    return status;
}

/* All files are read before the first question: a bad line in the last one is told at once. */
static vw_status work(evaluation *e, const word_list *files, vw_error *err)
{
    eval_task *tasks = calloc(files->n, sizeof *tasks);
    vw_status status = tasks ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the tasks");
    for (size_t i = 0; i < files->n && status == VW_OK; i++)
        status = eval_task_read(files->words[i], &tasks[i], err);
    if (status == VW_OK)
        status = open_model(&e->c, &e->o, err);
    if (status == VW_OK)
        status = vw_sampling_from_settings(e->o.settings, &e->sampling, err);
    if (status == VW_OK && !vw_settings_get(e->o.settings, "sampling", "temperature"))
        e->sampling.temperature = 0;
    vw_json_begin_object(&e->json, NULL);
    vw_json_begin_array(&e->json, "tasks");
    for (size_t i = 0; i < files->n && status == VW_OK; i++)
        status = run_task(e, &tasks[i], err);
    vw_json_end_array(&e->json);
    vw_json_end_object(&e->json);
    for (size_t i = 0; tasks && i < files->n; i++)
        eval_task_free(&tasks[i]);
    free(tasks);
    return status == VW_OK && e->c.is_json ? print_json(&e->json, err) : status;
}

static int eval_main(int argc, char **argv)
{
    evaluation e = {.m.max_tokens = 64};
    word_list files = {NULL, 0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt task[] = {
        {0, "limit", OPT_INT, &e.limit, "N", "questions of a file at most; 0: all", NULL, 0, 1e12},
        {0, "details", OPT_FLAG, &e.has_details, NULL, "with --json: every question too", NULL, 0,
         0},
        MODEL_OPTIONS(&e.c), CONTEXT_OPTION(&e.c), END_OPTIONS};
    const opt generation[] = {MANNER_OPTIONS(&e.m, "64"), SAMPLING_OPTIONS(&e.c), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&e.c), VERBOSE_OPTION(&e.c), END_OPTIONS};
    const opt_group groups[] = {{"model and task", task},
                                {"generation of answers", generation},
                                {"general", general}, {NULL, NULL}};
    if (options_parse(&command_eval, groups, argc, argv, &files, &status)) {
        e.has_details = e.has_details && e.c.is_json;
        if (!files.n)
            status = wrong_use(&command_eval, "at least one FILE is needed");
        else if (work(&e, &files, &err) != VW_OK)
            status = report(&err);
    }
    close_opened(&e.o);
    answer_free(&e.a);
    id_list_free(&e.context);
    id_list_free(&e.whole);
    vw_json_writer_free(&e.json);
    word_list_free(&files);
    word_list_free(&e.m.stop);
    assignments_free(&e.c.set);
    return status;
}

const command command_eval = {
    "eval", "[-m DIR] FILE... [options]", "measure how often a model answers rightly",
    "A FILE holds one JSON object a line:\n"
    "  {\"context\": TEXT, \"choices\": [TEXT, ...], \"answer\": INDEX or LETTER}\n"
    "      the likeliest choice after the context; \"question\" in place of \"context\" is put as\n"
    "      \"Question: TEXT\\nAnswer:\".  A blank stands between context and choice.\n"
    "  {\"prompt\": TEXT, \"answer\": TEXT or NUMBER}\n"
    "      what the model writes after the prompt, at temperature 0 unless --temp is given.  When\n"
    "      the answer is a number, the number after the last \"####\", else the last number, is\n"
    "      compared; otherwise the first line, without blanks around it and a final full stop.\n"
    "      The [verifier] compares.\n"
    "Shares come with Wilson's interval of 95 % confidence.\n",
    "  vishwamai eval questions.jsonl --json\n", eval_main};
