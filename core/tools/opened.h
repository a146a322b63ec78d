/* opened.h - from a command line to settings, a core and a model that is ready.
 *
 * The way every subcommand goes: the INI file of -c, then the words of the command line in their
 * order (--set, and options such as --temp that stand for a setting), all checked at once; then the
 * core with its threads; then, for those that need one, the model.
 */
#ifndef VW_TOOLS_OPENED_H
#define VW_TOOLS_OPENED_H

#include "options.h"

#include <vishwamai/vishwamai.h>

/* What the command line says; begin with zeros. */
typedef struct choices {
    const char *file;        /* -c */
    assignments set;         /* --set and friends */
    int is_json;             /* --json */
    const char *model;       /* -m */
    const char *name;        /* -M */
    int is_verbose;          /* --verbose */
    void (*told)(void *arg, vw_log_level level, const char *line); /* set by the subcommand: of the
                                settings' errors and warnings; NULL: errors are printed */
    void *told_arg;
    int needs_no_tokenizer;  /* set by the subcommand */
    int needs_no_weights;    /* likewise: its memory plan alone is wanted */
} choices;

/* Entries for the option tables of subcommands: every one takes the first three. */
#define CHOICE_OPTIONS(c)                                                                      \
    {'c', "config", OPT_ONCE, &(c)->file, "FILE", "read an INI file", NULL, 0, 0},             \
    {0, "set", OPT_SETTING, &(c)->set, "SECTION.KEY=VALUE", "change a setting; repeatable",    \
     NULL, 0, 0},                                                                              \
    {0, "json", OPT_FLAG, &(c)->is_json, NULL, "print the answer as JSON", NULL, 0, 0}

#define MODEL_OPTIONS(c)                                                                       \
    {'m', "model", OPT_TEXT, &(c)->model, "DIR", "model folder (default: the bundled model)",  \
     NULL, 0, 0},                                                                              \
    {'M', "model-name", OPT_TEXT, &(c)->name, "NAME", "the settings' [model:NAME]", NULL, 0, 0}, \
    {'t', "threads", OPT_SETTING, &(c)->set, "N", "threads (default: one per core)",           \
     "vishwamai.threads", 0, 0}

#define VERBOSE_OPTION(c)                                                                      \
    {'v', "verbose", OPT_FLAG, &(c)->is_verbose, NULL, "say what is used and how fast it is",  \
     NULL, 0, 0}

#define END_OPTIONS {0, NULL, OPT_END, NULL, NULL, NULL, NULL, 0, 0}

/* What is open; begin with zeros, and close whatever came of it. */
typedef struct opened {
    vw_settings *settings;
    vw_core *core;
    vw_engine *engine;
    vw_engine_info info;  /* of the engine */
    double load_seconds;  /* from the start of open_core() to a model that is ready */
} opened;

/* Each includes the one before; a second call of an earlier one does nothing. */
vw_status open_settings(const choices *c, opened *o, vw_error *err);
vw_status open_core(const choices *c, opened *o, vw_error *err);
vw_status open_model(const choices *c, opened *o, vw_error *err);
void close_opened(opened *o);

/* Are they in the vocabulary?  Fails with a sentence that names the first that is not. */
vw_status check_ids(const opened *o, const int32_t *ids, size_t n, vw_error *err);

#endif
