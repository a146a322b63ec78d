/* config.c - `vishwamai config`: the settings as they are in effect, and who said so. */
#include "answer.h"

static void add_entry(void *arg, const vw_settings_entry *e)
{
    vw_json_writer *w = arg;
    vw_json_begin_object(w, NULL);
    vw_json_add_string(w, "section", e->section);
    vw_json_add_string(w, "key", e->key);
    vw_json_add_string(w, "value", e->value);
    vw_json_add_string(w, "origin", e->origin ? e->origin : "default");
    vw_json_end_object(w);
}

static vw_status print_as_json(const vw_settings *settings, vw_error *err)
{
    vw_json_writer w = {0};
    vw_json_begin_object(&w, NULL);
    vw_json_begin_array(&w, "settings");
    vw_settings_visit(settings, add_entry, &w);
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

static vw_status work(const choices *c, opened *o, vw_error *err)
{
    vw_status status = open_settings(c, o, err);
    if (status != VW_OK)
        return status;
    return c->is_json ? print_as_json(o->settings, err)
                      : vw_settings_print(o->settings, stdout, err);
}

static int config_main(int argc, char **argv)
{
    choices c = {0};
    opened o = {NULL, NULL, NULL, {0}, 0};
    int status;
    vw_error err = {VW_OK, ""};
    const opt options[] = {CHOICE_OPTIONS(&c), END_OPTIONS};
    const opt_group groups[] = {{"options", options}, {NULL, NULL}};
    if (options_parse(&command_config, groups, argc, argv, NULL, &status) &&
        work(&c, &o, &err) != VW_OK)
        status = report(&err);
    close_opened(&o);
    assignments_free(&c.set);
    return status;
}

const command command_config = {
    "config", "[-c FILE] [options]", "print the settings in effect and where each was set",
    "The text is itself a valid INI file.  With --json the same, and advanced defaults besides:\n"
    "{\"settings\":[{\"section\":...,\"key\":...,\"value\":...,\"origin\":...}, ...]}.\n",
    "  vishwamai config -c my.ini --set gemm.plugin=blas\n", config_main};
