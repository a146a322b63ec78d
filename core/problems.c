/* problems.c - collecting, sorting, and fitting many lines into one error. */
#include "core/problems.h"

#include <stdlib.h>

enum { LINE_BYTES = 1024, MORE_BYTES = 32 };

static int grow(vw_problems *problems)
{
    size_t room = problems->room ? 2 * problems->room : 8;
    vw_problem *list = realloc(problems->list, room * sizeof *list);

    if (!list)
        return 0;
    problems->list = list;
    problems->room = room;
    return 1;
}

void vw_problems_add(vw_problems *problems, int file, int line, const char *format, ...)
{
    char text[LINE_BYTES];
    va_list args;
    vw_problem *p;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vw_text_trim(text);
    if (problems->n == problems->room && !grow(problems)) {
        problems->lost++;
        return;
    }
    p = &problems->list[problems->n];
    p->text = strdup(text);
    if (!p->text) {
        problems->lost++;
        return;
    }
    p->file = file;
    p->line = line;
    p->number = problems->n++;
}

static int compare(const void *left, const void *right)
{
    const vw_problem *a = left, *b = right;

    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a->number < b->number ? -1 : 1;
}

/* As many whole lines as fit, leaving room for the count of the rest. */
static void write_text(const vw_problems *problems, vw_error *err)
{
    size_t total = problems->n + problems->lost, shown = 0, used = 0;

    err->text[0] = '\0';
    for (; shown < problems->n; shown++) {
        const char *text = problems->list[shown].text;
        size_t need = strlen(text) + 1;
        size_t rest = shown + 1 < total ? MORE_BYTES : 0;
        if (used + need + rest > sizeof err->text)
            break;
        used += (size_t)snprintf(err->text + used, sizeof err->text - used, "%s%s",
                                 shown ? "\n" : "", text);
    }
    if (shown < total)
        snprintf(err->text + used, sizeof err->text - used, "%s... and %zu more", used ? "\n" : "",
                 total - shown);
}

void vw_problems_sort(vw_problems *problems)
{
    if (problems->n > 1)
        qsort(problems->list, problems->n, sizeof *problems->list, compare);
}

vw_status vw_problems_end(vw_problems *problems, vw_error *err)
{
    vw_status status = problems->n + problems->lost ? VW_E_CONFIG : VW_OK;

    vw_problems_sort(problems);
    if (status != VW_OK && err) {
        write_text(problems, err);
        err->code = status;
    }
    for (size_t i = 0; i < problems->n; i++)
        free(problems->list[i].text);
    free(problems->list);
    memset(problems, 0, sizeof *problems);
    return status;
}
