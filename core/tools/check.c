/* check.c - `vishwamai check`: is this INI file right?  Nothing is opened. */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

typedef struct lines {
    FILE *file;
    char *text;
    size_t bytes;
} lines;

typedef struct check {
    choices c;
    opened o;
    lines errors, warnings; /* with --json */
} check;

static void keep(void *arg, vw_log_level level, const char *line)
{
    check *k = arg;
    fprintf(level == VW_LOG_ERROR ? k->errors.file : k->warnings.file, "%s\n", line);
}

static int begin_lines(lines *l)
{
    l->file = open_memstream(&l->text, &l->bytes);
    return l->file != NULL;
}

static int end_lines(lines *l)
{
    FILE *file = l->file;
    l->file = NULL;
    return fclose(file) == 0;
}

static void free_lines(lines *l)
{
    if (l->file)
        fclose(l->file);
    free(l->text);
}

static void add_lines(vw_json_writer *w, const char *key, const char *text)
{
    vw_json_begin_array(w, key);
    for (size_t n; *text; text += n + 1) {
        n = strcspn(text, "\n");
        vw_json_add_bytes(w, NULL, text, n);
    }
    vw_json_end_array(w);
}

static vw_status print_as_json(check *k, const char *path, vw_error *err)
{
    vw_error wrong = {VW_OK, ""};
    if (!begin_lines(&k->errors) || !begin_lines(&k->warnings))
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    k->c.told = keep;
    k->c.told_arg = k;
    vw_status status = open_settings(&k->c, &k->o, &wrong);
    /* What is no line of a file, such as a --set without '='. */
    if (status != VW_OK && ftello(k->errors.file) == 0)
        keep(k, VW_LOG_ERROR, wrong.text);
    if (!end_lines(&k->errors) || !end_lines(&k->warnings))
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    vw_json_writer w = {0};
    vw_json_begin_object(&w, NULL);
    vw_json_add_string(&w, "file", path);
    vw_json_add_bool(&w, "ok", status == VW_OK);
    add_lines(&w, "errors", k->errors.text);
    add_lines(&w, "warnings", k->warnings.text);
    vw_json_end_object(&w);
    vw_status printed = print_json(&w, err);
    return printed != VW_OK ? printed : status;
}

static int check_file(check *k, const char *path)
{
    vw_error err = {VW_OK, ""};
    k->c.file = path;
    vw_status status = k->c.is_json ? print_as_json(k, path, &err)
                                    : open_settings(&k->c, &k->o, &err);
    if (status == VW_OK && !k->c.is_json)
        printf("%s: ok\n", path);
    report(&err);
    return status == VW_OK ? STATUS_OK : STATUS_FAILED;
}

static int check_main(int argc, char **argv)
{
    check k = {.c = {0}};
    word_list words = {NULL, 0};
    int status;
    const opt options[] = {
        {0, "set", OPT_SETTING, &k.c.set, "SECTION.KEY=VALUE", "change a setting; repeatable",
         NULL, 0, 0},
        {'c', "config", OPT_ONCE, &k.c.file, "FILE", "the same as FILE without -c", NULL, 0, 0},
        {0, "json", OPT_FLAG, &k.c.is_json, NULL, "print the answer as JSON", NULL, 0, 0},
        END_OPTIONS};
    const opt_group groups[] = {{"options", options}, {NULL, NULL}};
    if (options_parse(&command_check, groups, argc, argv, &words, &status)) {
        const char *path = words.n ? words.words[0] : k.c.file;
        if (words.n + !!k.c.file != 1)
            status = wrong_use(&command_check, "one FILE is needed");
        else
            status = check_file(&k, path);
    }
    close_opened(&k.o);
    free_lines(&k.errors);
    free_lines(&k.warnings);
    word_list_free(&words);
    assignments_free(&k.c.set);
    return status;
}

const command command_check = {
    "check", "FILE [options]", "check an INI file without opening anything",
    "Every line that is wrong is told, all at once; the exit status is then 1.  With --json:\n"
    "{\"file\":...,\"ok\":...,\"errors\":[...],\"warnings\":[...]}.\n",
    "  vishwamai check my.ini\n", check_main};
