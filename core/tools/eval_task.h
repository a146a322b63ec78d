/* eval_task.h - a task file: one JSON object a line, each a question with its right answer.
 *
 *   multiple choice   {"context": TEXT, "choices": [TEXT, ...], "answer": INDEX or LETTER}
 *                     "question" in place of "context" is put as "Question: TEXT\nAnswer:"
 *   answer match      {"prompt": TEXT, "answer": TEXT or NUMBER}
 *
 * Other members are ignored; empty lines are skipped.
 */
#ifndef VW_TOOLS_EVAL_TASK_H
#define VW_TOOLS_EVAL_TASK_H

#include <vishwamai/verifier.h>
#include <vishwamai/vishwamai.h>

enum { EVAL_MAX_CHOICES = 26 };

typedef struct eval_item {
    int line;
    char *prompt;      /* what stands before a choice, or before what the model writes */
    char **choices;    /* NULL for an answer match */
    int n_choices;
    int right;         /* index of the right choice */
    char *answer;      /* of an answer match */
} eval_item;

typedef struct eval_task {
    char *path;
    eval_item *items;
    size_t n;
} eval_task;

/* Read and check a whole file; the error names file and line. */
vw_status eval_task_read(const char *path, eval_task *task, vw_error *err);
void eval_task_free(eval_task *task);

/* Is what the model wrote the right answer?  The verifier judges; what it gets of the two texts is
 *
 * when the right answer is a number: the number after the last "####" of the text, else the last
 * number in it, without thousands commas and currency signs.  Otherwise the first line that is not
 * blank, without blanks at its ends and one final full stop, in small letters. */
vw_status eval_match(const vw_component *verifier, const eval_item *item, const char *text,
                     int *is_right, vw_error *err);

/* The interval of 95 % confidence for `right` of n (Wilson 1927). */
void eval_interval(size_t right, size_t n, double *low, double *high);

#endif
