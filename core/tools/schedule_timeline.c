/* schedule_timeline.c - a schedule as text: a line for each rank, time from left to right.
 *
 * A step is its name where all names fit.  Where they do not, it begins with its letter and lasts
 * as long as the dashes behind it: F, B, I, W, and X for a pair; those of a rank's other chunks in
 * lower case.  Dots are idle time.
 */
#include "schedule.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct timeline {
    const timed_schedule *t;
    double scale; /* columns a unit of time */
    int width;
    bool has_names;
} timeline;

static int column(const timeline *l, double time)
{
    return (int)lround(time * l->scale);
}

/* Do the names of all steps fit between their starts and ends? */
static bool names_fit(const timeline *l)
{
    const vw_schedule *s = &l->t->schedule;
    char name[64];

    for (int32_t r = 0; r < s->n_ranks; r++)
        for (size_t i = 0; i < s->n_steps[r]; i++) {
            const vw_step_time *time = &l->t->times.steps[r][i];
            if (s->steps[r][i].kind > VW_STEP_OVERLAP)
                continue;
            vw_step_text(s, &s->steps[r][i], name, sizeof name);
            if ((int)strlen(name) > column(l, time->end) - column(l, time->start))
                return false;
        }
    return true;
}

static void put_step(const timeline *l, const vw_step *step, char *line, int from, int to)
{
    char name[64];

    if (to <= from)
        return;
    vw_step_text(&l->t->schedule, step, name, sizeof name);
    if (l->has_names) {
        memset(line + from, ' ', (size_t)(to - from));
        memcpy(line + from, name, strlen(name));
        return;
    }
    char letter = step->kind == VW_STEP_OVERLAP ? 'X' : name[0];
    memset(line + from, '-', (size_t)(to - from));
    line[from] = (char)(step->chunk > 0 ? tolower((unsigned char)letter) : letter);
}

static void print_rank(const timeline *l, int32_t r, char *line)
{
    const vw_schedule *s = &l->t->schedule;

    memset(line, '.', (size_t)l->width);
    for (size_t i = 0; i < s->n_steps[r]; i++) {
        const vw_step_time *time = &l->t->times.steps[r][i];
        if (s->steps[r][i].kind <= VW_STEP_OVERLAP)
            put_step(l, &s->steps[r][i], line, column(l, time->start), column(l, time->end));
    }
    line[l->width] = '\0';
    printf("%4d |%s|\n", (int)r, line);
}

void timeline_print(const timed_schedule *t, int columns)
{
    enum { FRAME = 7 }; /* "  12 |" and "|" */
    timeline l = {.t = t, .width = columns - FRAME};
    char *line = malloc((size_t)l.width + 1);

    if (!line)
        return; /* the figures were printed; a drawing that fits no memory is left out */
    l.scale = t->times.makespan > 0 ? l.width / t->times.makespan : 0;
    l.has_names = names_fit(&l);
    for (int32_t r = 0; r < t->schedule.n_ranks; r++)
        print_rank(&l, r, line);
    printf("time  0%*.6g\n", l.width, t->times.makespan);
    free(line);
}
