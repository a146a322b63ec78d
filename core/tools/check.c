/* check.c - `vishwamai check`: is this INI file right?  Nothing is opened. */
#include "answer.h"

#include <string.h>

typedef struct check {
    choices c;
    opened o;
} check;

/* The errors one by one; they come as lines of one text. */
static void add_errors(vw_json_writer *w, const char *text)
{
    vw_json_begin_array(w, "errors");
    while (*text) {
        size_t n = strcspn(text, "\n");
        if (n)
            vw_json_add_bytes(w, NULL, text, n);
        text += n + (text[n] == '\n');
    }
    vw_json_end_array(w);
}

static int check_file(check *k, const char *path)
{
    vw_error err = {VW_OK, ""};
    k->c.file = path;
    vw_status status = open_settings(&k->c, &k->o, &err);
    if (k->c.is_json) {
        vw_json_writer w = {0};
        vw_error unwritten = {VW_OK, ""};
        vw_json_begin_object(&w, NULL);
        vw_json_add_string(&w, "file", path);
        vw_json_add_bool(&w, "ok", status == VW_OK);
        add_errors(&w, status == VW_OK ? "" : err.text);
        vw_json_end_object(&w);
        if (print_json(&w, &unwritten) != VW_OK)
            return report(&unwritten);
    } else if (status == VW_OK) {
        printf("%s: ok\n", path);
    } else {
        report(&err);
    }
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
        {'c', "config", OPT_TEXT, &k.c.file, "FILE", "the same as FILE without -c", NULL, 0, 0},
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
    word_list_free(&words);
    assignments_free(&k.c.set);
    return status;
}

const command command_check = {
    "check", "FILE [options]", "check an INI file without opening anything",
    "Every line that is wrong is told, all at once; the exit status is then 1.  With --json:\n"
    "{\"file\":...,\"ok\":...,\"errors\":[...]}.\n",
    "  vishwamai check my.ini\n", check_main};
