/* eval_task.c - reading and checking a task file. */
#include "eval_task.h"

#include "input.h"
#include "options.h"

#include "core/json_write.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* One line under work. */
typedef struct line {
    const vw_json *json;
    const vw_json_doc *doc;
    const vw_json_value *object;
    char where[512]; /* "file:line" */
} line;

static vw_status no_memory(vw_error *err)
{
    return vw_fail(err, VW_E_NOMEM, "no memory for the task");
}

static void free_item(eval_item *item)
{
    for (int i = 0; i < item->n_choices; i++)
        free(item->choices[i]);
    free(item->choices);
    free(item->prompt);
    free(item->answer);
}

/* A member that is text, as "before TEXT after"; NOTFOUND without the member. */
static vw_status get_text(const line *l, const char *key, const char *before, const char *after,
                          char **text, vw_error *err)
{
    const char *value = NULL;
    vw_status status = l->json->get_string(l->doc, l->object, key, NULL, &value, err);
    if (status != VW_OK)
        return status;
    if (!value)
        return VW_E_NOTFOUND;
    size_t bytes = strlen(before) + strlen(value) + strlen(after) + 1;
    *text = malloc(bytes);
    if (!*text)
        return no_memory(err);
    snprintf(*text, bytes, "%s%s%s", before, value, after);
    return VW_OK;
}

static vw_status read_choices(const line *l, const vw_json_value *list, eval_item *item,
                              vw_error *err)
{
    size_t n = l->json->count(list);
    if (l->json->type(list) != VW_JSON_ARRAY || n < 2 || n > EVAL_MAX_CHOICES)
        return vw_fail(err, VW_E_FORMAT, "%s: \"choices\": a list of 2 to %d texts is expected",
                       l->where, EVAL_MAX_CHOICES);
    item->choices = calloc(n, sizeof *item->choices);
    if (!item->choices)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const vw_json_value *value = l->json->at(list, i);
        if (l->json->type(value) != VW_JSON_STRING)
            return vw_fail(err, VW_E_FORMAT, "%s: choice %zu is no text", l->where, i);
        if (!*l->json->string(value, NULL))
            return vw_fail(err, VW_E_FORMAT, "%s: choice %zu is empty; nothing of it has a "
                           "likelihood", l->where, i);
        item->choices[i] = strdup(l->json->string(value, NULL));
        if (!item->choices[i])
            return no_memory(err);
        item->n_choices++;
    }
    return VW_OK;
}

/* 2, "2", "C" or "c". */
static vw_status read_right(const line *l, eval_item *item, vw_error *err)
{
    const vw_json_value *answer = l->json->get(l->object, "answer");
    int64_t right = -1;
    if (l->json->type(answer) == VW_JSON_INTEGER) {
        right = l->json->integer(answer);
    } else if (l->json->type(answer) == VW_JSON_STRING) {
        const char *text = l->json->string(answer, NULL);
        if (isalpha((unsigned char)text[0]) && !text[1])
            right = toupper((unsigned char)text[0]) - 'A';
        else if (!parse_int(text, &right))
            right = -1;
    }
    if (right < 0 || right >= item->n_choices)
        return vw_fail(err, VW_E_FORMAT, "%s: \"answer\": an index from 0 to %d or a letter from A "
                       "to %c is expected", l->where, item->n_choices - 1,
                       'A' + item->n_choices - 1);
    item->right = (int)right;
    return VW_OK;
}

/* A text, or a number as its text. */
static vw_status read_answer(const line *l, eval_item *item, vw_error *err)
{
    const vw_json_value *answer = l->json->get(l->object, "answer");
    vw_json_type type = l->json->type(answer);
    if (type != VW_JSON_INTEGER && type != VW_JSON_REAL)
        return get_text(l, "answer", "", "", &item->answer, err);
    vw_json_writer w = {0};
    if (type == VW_JSON_INTEGER)
        vw_json_add_int(&w, NULL, l->json->integer(answer));
    else
        vw_json_add_double(&w, NULL, l->json->real(answer));
    const char *text = vw_json_text(&w, NULL);
    if (text && strchr(text, 'e')) { /* a wide integer, too, is read as a double */
        vw_json_writer_free(&w);
        return vw_fail(err, VW_E_FORMAT, "%s: \"answer\": the number is too wide to be kept; give "
                       "it as a text, in quotes", l->where);
    }
    item->answer = text ? strdup(text) : NULL;
    vw_json_writer_free(&w);
    return item->answer ? VW_OK : no_memory(err);
}

static vw_status read_match(const line *l, eval_item *item, vw_error *err)
{
    vw_status status = get_text(l, "prompt", "", "", &item->prompt, err);
    if (status == VW_E_NOTFOUND)
        return vw_fail(err, VW_E_FORMAT, "%s: \"choices\" with \"question\" or \"context\", or "
                       "\"prompt\" is expected", l->where);
    if (status == VW_OK)
        status = read_answer(l, item, err);
    if (status == VW_E_NOTFOUND || (status == VW_OK && !*item->answer))
        return vw_fail(err, VW_E_FORMAT, "%s: \"answer\": a text or a number is expected",
                       l->where);
    return status;
}

static vw_status read_item(const line *l, eval_item *item, vw_error *err)
{
    const vw_json_value *choices = l->json->get(l->object, "choices");
    if (l->json->type(l->object) != VW_JSON_OBJECT)
        return vw_fail(err, VW_E_FORMAT, "%s: an object is expected", l->where);
    if (!choices)
        return read_match(l, item, err);
    vw_status status = get_text(l, "context", "", "", &item->prompt, err);
    if (status == VW_E_NOTFOUND)
        status = get_text(l, "question", "Question: ", "\nAnswer:", &item->prompt, err);
    if (status == VW_E_NOTFOUND)
        return vw_fail(err, VW_E_FORMAT, "%s: \"question\" or \"context\" is missing", l->where);
    if (status == VW_OK)
        status = read_choices(l, choices, item, err);
    return status == VW_OK ? read_right(l, item, err) : status;
}

static vw_status add_line(eval_task *task, int number, const char *text, size_t bytes,
                          vw_error *err)
{
    line l = {.json = vw_json_service()};
    vw_json_doc *doc = NULL;
    eval_item *grown = realloc(task->items, (task->n + 1) * sizeof *grown);
    if (!grown)
        return no_memory(err);
    task->items = grown;
    eval_item item = {.line = number};
    snprintf(l.where, sizeof l.where, "%.480s:%d", task->path, number);
    vw_status status = l.json->open_text(text, bytes, l.where, &doc, err);
    if (status != VW_OK)
        return status;
    l.doc = doc;
    l.object = l.json->root(doc);
    status = read_item(&l, &item, err);
    l.json->close(doc);
    if (status == VW_OK)
        task->items[task->n++] = item;
    else
        free_item(&item);
    return status;
}

vw_status eval_task_read(const char *path, eval_task *task, vw_error *err)
{
    char *text;
    size_t bytes;
    *task = (eval_task){NULL, NULL, 0};
    vw_status status = input_read_dup(path, &text, &bytes, err);
    if (status != VW_OK)
        return status;
    task->path = strdup(path);
    if (!task->path)
        status = no_memory(err);
    const char *at = text;
    for (int number = 1; status == VW_OK && *at; number++) {
        size_t n = strcspn(at, "\n");
        if (strspn(at, " \t\r") < n)
            status = add_line(task, number, at, n, err);
        at += n + (at[n] == '\n');
    }
    free(text);
    if (status == VW_OK && task->n == 0)
        status = vw_fail(err, VW_E_FORMAT, "%s: no question in it", path);
    if (status != VW_OK)
        eval_task_free(task);
    return status;
}

void eval_task_free(eval_task *task)
{
    for (size_t i = 0; i < task->n; i++)
        free_item(&task->items[i]);
    free(task->items);
    free(task->path);
    *task = (eval_task){NULL, NULL, 0};
}
