/* options.h - the words of a subcommand, as a table.
 *
 * From one table come parsing, checking, "did you mean" and --help.  Options may stand anywhere
 * among the other words, as -x VALUE, -xVALUE, --name VALUE or --name=VALUE; "--" ends them.  A
 * negative number is a value, not an option.
 */
#ifndef VW_TOOLS_OPTIONS_H
#define VW_TOOLS_OPTIONS_H

#include "command.h"

#include <stddef.h>
#include <stdint.h>

typedef enum opt_type {
    OPT_END = 0,
    OPT_FLAG,   /* int *: becomes 1 */
    OPT_TEXT,   /* const char **: borrowed from the command line, the last one wins */
    OPT_ONCE,   /* the same, but a second one is refused */
    OPT_INT,    /* int64_t *, within [min, max] */
    OPT_REAL,   /* double *, within [min, max] */
    OPT_LIST,   /* word_list *: may be given many times */
    OPT_SETTING /* assignments *: stands for `--set SETTING=VALUE`; the core checks the value.
                   Without a value of its own it says "yes" */
} opt_type;

typedef struct opt {
    char letter;         /* 0: none */
    const char *name;    /* without dashes */
    opt_type type;
    void *to;
    const char *value;   /* its name in the help; NULL: it takes none */
    const char *help;
    const char *setting; /* with OPT_SETTING: "section.key"; NULL: the value is the assignment */
    double min, max;     /* min = max = 0: any */
} opt;

/* Options under one heading of the help. */
typedef struct opt_group {
    const char *title;
    const opt *options; /* ends with OPT_END; NULL ends the groups */
} opt_group;

typedef struct word_list {
    const char **words; /* NULL-terminated once it has a word, else NULL */
    size_t n;
} word_list;

/* Settings given on the command line, in their order. */
typedef struct assignment {
    const char *setting; /* "section.key", or NULL when `value` is the whole assignment */
    const char *value;
    const char *name;    /* of the option that said it */
} assignment;

typedef struct assignments {
    assignment *items;
    size_t n;
} assignments;

/* Parse argv[1 ..].  Words that are no options go to `rest` (may be NULL: then there must be none).
 *
 * Returns 1 to go on.  Returns 0 when the subcommand is to end with *status: help was printed, or
 * the words are wrong, which has been said.  Lists are the caller's to free, in either case. */
int options_parse(const command *c, const opt_group *groups, int argc, char **argv,
                  word_list *rest, int *status);

void word_list_free(word_list *list);
void assignments_free(assignments *list);

/* A whole number or a real one that fills the entire text; 0 when it does not. */
int parse_int(const char *text, int64_t *value);
int parse_real(const char *text, double *value);

#endif
