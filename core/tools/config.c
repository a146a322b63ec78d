/* config.c - `vishwamai config`: the settings as they are in effect, and who said so. */
#include "answer.h"

#include <string.h>

/* One option table as an array of {section, key, value, origin}. */
static void add_section(vw_json_writer *w, const vw_settings *settings, const char *section,
                        const vw_option *options)
{
    for (const vw_option *o = options; o && o->key; o++) {
        const char *value = vw_settings_get(settings, section, o->key);
        const char *origin = vw_settings_origin(settings, section, o->key);
        vw_json_begin_object(w, NULL);
        vw_json_add_string(w, "section", section);
        vw_json_add_string(w, "key", o->key);
        if (value && (o->flags & VW_OPTION_SECRET))
            vw_json_add_string(w, "value", "***");
        else
            vw_json_add_string(w, "value", value ? value : o->def);
        vw_json_add_string(w, "origin", value ? origin : "default");
        vw_json_end_object(w);
    }
}

typedef struct sections {
    vw_json_writer *json;
    const vw_settings *settings;
} sections;

static int add_plugin(void *arg, const vw_plugin_entry *e)
{
    const sections *s = arg;
    char section[96];
    snprintf(section, sizeof section, "%s.%s", vw_kind_name(e->kind), e->name);
    if (e->plugin && !e->hidden_by)
        add_section(s->json, s->settings, section, e->plugin->options);
    return 0;
}

static vw_status print_as_json(const vw_settings *settings, vw_error *err)
{
    vw_json_writer w = {0};
    sections s = {&w, settings};
    const vw_option *options;
    const char *section, *help;
    vw_json_begin_object(&w, NULL);
    vw_json_begin_array(&w, "settings");
    for (size_t i = 0; (options = vw_core_section(i, &section, &help)) != NULL; i++)
        add_section(&w, settings, section, options);
    vw_status status = vw_plugins_visit(VW_KIND_NONE, NULL, add_plugin, &s, err);
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    if (status == VW_OK)
        return print_json(&w, err);
    vw_json_writer_free(&w);
    return status;
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
    "The text is itself a valid INI file.\n",
    "  vishwamai config -c my.ini --set gemm.plugin=blas\n", config_main};
