/* options.c - parsing by table, and the help that comes from the same table. */
#include "options.h"

#include "core/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    const command *command;
    const opt_group *groups;
    char **next; /* the word after the current one; ends with NULL */
    int status;
} parser;

/* ---- values ---------------------------------------------------------------------------------- */

int parse_int(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return 0;
    *value = x;
    return 1;
}

int parse_real(const char *text, double *value)
{
    char *end;
    errno = 0;
    double x = strtod(text, &end);
    if (end == text || *end || !isfinite(x))
        return 0;
    *value = x;
    return 1;
}

static int add_word(word_list *list, const char *word)
{
    const char **grown = realloc(list->words, (list->n + 2) * sizeof *grown);
    if (!grown)
        return 0;
    grown[list->n++] = word;
    grown[list->n] = NULL;
    list->words = grown;
    return 1;
}

static int add_assignment(assignments *list, const opt *o, const char *value)
{
    assignment *grown = realloc(list->items, (list->n + 1) * sizeof *grown);
    if (!grown)
        return 0;
    grown[list->n++] = (assignment){o->setting, value, o->name};
    list->items = grown;
    return 1;
}

void word_list_free(word_list *list)
{
    free(list->words);
    *list = (word_list){NULL, 0};
}

void assignments_free(assignments *list)
{
    free(list->items);
    *list = (assignments){NULL, 0};
}

static int is_outside(const opt *o, double x)
{
    return (o->min != 0 || o->max != 0) && (x < o->min || x > o->max);
}

static int wrong_number(parser *p, const opt *o, const char *value, const char *what)
{
    if (o->min != 0 || o->max != 0) {
        if (o->max >= 1e9)
            p->status = wrong_use(p->command, "--%s %s: %s of at least %g is expected", o->name,
                                  value, what, o->min);
        else
            p->status = wrong_use(p->command, "--%s %s: %s from %g to %g is expected", o->name,
                                  value, what, o->min, o->max);
    } else {
        p->status = wrong_use(p->command, "--%s %s: %s is expected", o->name, value, what);
    }
    return 0;
}

/* Give an option its value (NULL for a flag). */
static int take(parser *p, const opt *o, const char *value)
{
    int64_t i;
    double x;
    int is_stored = 1;
    switch (o->type) {
    case OPT_FLAG:
        *(int *)o->to = 1;
        break;
    case OPT_TEXT:
        *(const char **)o->to = value;
        break;
    case OPT_ONCE:
        if (*(const char **)o->to) {
            p->status = wrong_use(p->command, "--%s is given twice: '%s' and '%s'; let one include "
                                  "the other", o->name, *(const char **)o->to, value);
            return 0;
        }
        *(const char **)o->to = value;
        break;
    case OPT_INT:
        if (!parse_int(value, &i) || is_outside(o, (double)i))
            return wrong_number(p, o, value, "a whole number");
        *(int64_t *)o->to = i;
        break;
    case OPT_REAL:
        if (!parse_real(value, &x) || is_outside(o, x))
            return wrong_number(p, o, value, "a number");
        *(double *)o->to = x;
        break;
    case OPT_LIST:
        is_stored = add_word(o->to, value);
        break;
    case OPT_SETTING:
        is_stored = add_assignment(o->to, o, value ? value : "yes");
        break;
    case OPT_END:
        break;
    }
    if (!is_stored) {
        fputs("vishwamai: out of memory\n", stderr);
        p->status = STATUS_FAILED;
    }
    return is_stored;
}

/* ---- words ----------------------------------------------------------------------------------- */

static const opt *find(const parser *p, char letter, const char *name, size_t length)
{
    for (const opt_group *g = p->groups; g->options; g++)
        for (const opt *o = g->options; o->type != OPT_END; o++)
            if (letter ? o->letter == letter
                       : o->name && strlen(o->name) == length && !strncmp(o->name, name, length))
                return o;
    return NULL;
}

static int unknown(parser *p, const char *word, const char *name, size_t length)
{
    char wrong[64];
    snprintf(wrong, sizeof wrong, "%.*s", (int)length, name);
    vw_nearest nearest = vw_nearest_to(wrong);
    for (const opt_group *g = p->groups; g->options; g++)
        for (const opt *o = g->options; o->type != OPT_END; o++)
            if (o->name)
                vw_nearest_offer(&nearest, o->name);
    if (nearest.best)
        p->status = wrong_use(p->command, "there is no option '%s'; did you mean '--%s'?", word,
                              nearest.best);
    else
        p->status = wrong_use(p->command, "there is no option '%s'", word);
    return 0;
}

static int value_of(parser *p, const opt *o, const char *word, const char *attached)
{
    if (!o->value)
        return take(p, o, NULL);
    if (attached)
        return take(p, o, attached);
    if (!*p->next) {
        p->status = wrong_use(p->command, "'%s' needs a value: %s", word, o->value);
        return 0;
    }
    return take(p, o, *p->next++);
}

static int long_option(parser *p, const char *word)
{
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const opt *o = find(p, 0, name, length);
    if (!o)
        return unknown(p, word, name, length);
    if (equals && !o->value) {
        p->status = wrong_use(p->command, "--%s takes no value", o->name);
        return 0;
    }
    return value_of(p, o, word, equals ? equals + 1 : NULL);
}

/* -n 64, -n64, or flags together: -vi. */
static int letters(parser *p, const char *word)
{
    for (const char *letter = word + 1; *letter; letter++) {
        const opt *o = find(p, *letter, NULL, 0);
        if (!o)
            return unknown(p, word, word + 1, strlen(word + 1));
        if (o->value)
            return value_of(p, o, word, letter[1] ? letter + 1 : NULL);
        if (!take(p, o, NULL))
            return 0;
    }
    return 1;
}

static int is_option(const char *word)
{
    double number;
    return word[0] == '-' && word[1] && !parse_real(word, &number);
}

/* ---- help ------------------------------------------------------------------------------------ */

static void print_option(const opt *o)
{
    char left[64];
    if (o->letter && o->name)
        snprintf(left, sizeof left, "-%c, --%s%s%s", o->letter, o->name, o->value ? " " : "",
                 o->value ? o->value : "");
    else if (o->letter)
        snprintf(left, sizeof left, "-%c%s%s", o->letter, o->value ? " " : "",
                 o->value ? o->value : "");
    else
        snprintf(left, sizeof left, "    --%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
    if (strlen(left) > 26)
        printf("  %s\n  %-26s  %s\n", left, "", o->help);
    else
        printf("  %-26s  %s\n", left, o->help);
}

static void print_help(const parser *p)
{
    const command *c = p->command;
    printf("usage: vishwamai %s %s\n\n%c%s.\n", c->name, c->usage,
           toupper((unsigned char)c->summary[0]), c->summary + 1);
    for (const opt_group *g = p->groups; g->options; g++) {
        printf("\n%s:\n", g->title);
        for (const opt *o = g->options; o->type != OPT_END; o++)
            print_option(o);
    }
    puts("  -h, --help                  this text");
    if (c->about)
        printf("\n%s", c->about);
    printf("\nexample:\n%s", c->example);
}

int options_parse(const command *c, const opt_group *groups, int argc, char **argv,
                  word_list *rest, int *status)
{
    parser p = {c, groups, argv + (argc > 0), STATUS_OK};
    int is_over = 0;
    *status = STATUS_OK;
    while (*p.next) {
        const char *word = *p.next++;
        int is_good;
        if (!is_over && strcmp(word, "--") == 0) {
            is_over = 1;
            continue;
        }
        if (!is_over && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(&p);
            return 0;
        }
        if (is_over || !is_option(word)) {
            is_good = rest && add_word(rest, word);
            if (!is_good)
                p.status = wrong_use(c, "'%s' is not expected here", word);
        } else {
            is_good = word[1] == '-' ? long_option(&p, word) : letters(&p, word);
        }
        if (!is_good) {
            *status = p.status;
            return 0;
        }
    }
    return 1;
}
