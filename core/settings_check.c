/* settings_check.c - is everything that was set something that somebody reads?
 *
 * Every setting is held against the table that owns it: the core's, the kind's, or the plugin's
 * own.  A value that was overridden is checked too, for its file is wrong all the same.  A section
 * of a plugin that is not installed is dormant: its keys cannot be judged, which the log mentions.
 */
#include "core/log.h"
#include "core/nearest.h"
#include "core/option.h"
#include "core/registry.h"
#include "core/sections.h"
#include "core/settings.h"

/* ---- sections -------------------------------------------------------------------------------- */

static void offer_sections(vw_nearest *nearest)
{
    const char *section, *help;

    for (size_t i = 0; vw_core_section(i, &section, &help); i++)
        vw_nearest_offer(nearest, section);
}

/* "no such section; did you mean [gemm.cpu]?"; the tail after the kind is kept as it was. */
static void word_section(const char *section, char *text, size_t room)
{
    size_t n = strcspn(section, ":.");
    char head[64], lower[64];
    vw_nearest nearest;

    snprintf(head, sizeof head, "%.*s", (int)(n < sizeof head ? n : sizeof head - 1), section);
    if (vw_kind_from_name(head) != VW_KIND_NONE) {
        snprintf(text, room, "not a section's name; write [%s], [%s.plugin], [%s:label] or "
                 "[%s:label.plugin]", head, head, head, head);
        return;
    }
    for (n = 0; head[n]; n++)
        lower[n] = head[n] >= 'A' && head[n] <= 'Z' ? (char)(head[n] + 32) : head[n];
    lower[n] = '\0';
    nearest = vw_nearest_to(lower);
    offer_sections(&nearest);
    if (nearest.best)
        snprintf(text, room, "no such section; did you mean [%s%s]?", nearest.best,
                 section + strcspn(section, ":."));
    else
        snprintf(text, room, "no such section; `vishwamai config` prints them all");
}

static bool is_section(const vw_section_name *name)
{
    return name->core || name->kind != VW_KIND_NONE;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* Up to two tables that a section's keys may come from. */
typedef struct tables {
    const vw_option *list[2];
} tables;

static const vw_option *find_option(const tables *t, const char *key)
{
    for (size_t i = 0; i < 2; i++) {
        const vw_option *o = vw_option_find(t->list[i], key);
        if (o)
            return o;
    }
    return NULL;
}

static void word_key(const tables *t, const char *key, char *text, size_t room)
{
    vw_nearest nearest = vw_nearest_to(key);
    size_t used;

    for (size_t i = 0; i < 2; i++)
        for (const vw_option *o = t->list[i]; o && o->key; o++)
            vw_nearest_offer(&nearest, o->key);
    if (nearest.best) {
        snprintf(text, room, "no such key; did you mean \"%s\"?", nearest.best);
        return;
    }
    used = (size_t)snprintf(text, room, "no such key; there are ");
    for (size_t i = 0, n = 0; i < 2; i++)
        for (const vw_option *o = t->list[i]; o && o->key && used < room; o++)
            used += (size_t)snprintf(text + used, room - used, "%s%s", n++ ? ", " : "", o->key);
}

/* ---- plugins --------------------------------------------------------------------------------- */

static bool is_auto(const char *plugin)
{
    return strcmp(plugin, "auto") == 0;
}

/* Is this plugin the one that its kind's section names? */
static bool is_chosen(const vw_settings *settings, const vw_section_name *name)
{
    char section[128];
    const char *chosen;

    vw_section_write(section, sizeof section, name->kind, name->label, NULL);
    chosen = vw_settings_get(settings, section, "plugin");
    return chosen && strcmp(chosen, name->plugin) == 0;
}

static void warn(const vw_settings *settings, const vw_section_name *name, const char *where,
                 const char *why)
{
    char line[2048];

    snprintf(line, sizeof line, "%s: the section of %s/%s is not checked: %s", where,
             vw_kind_name(name->kind), name->plugin, why);
    vw_text_trim(line);
    vw_log_line(vw_settings_log_level(settings), VW_LOG_WARN, "settings", "%s", line);
    if (settings->told)
        settings->told(settings->told_arg, VW_LOG_WARN, line);
}

/* The tables of a section that exists.  False when its keys cannot be judged. */
static bool find_tables(const vw_settings *settings, const vw_section_name *name,
                        const char *where, tables *t)
{
    const vw_module *module;
    vw_error err;

    memset(t, 0, sizeof *t);
    if (name->core || !*name->plugin) {
        t->list[0] = name->core ? name->core : vw_kind_section(name->kind);
        return true;
    }
    if (vw_registry_open(name->kind, name->plugin, &module, &err) == VW_OK) {
        t->list[0] = module->plugin->options;
        t->list[1] = vw_implicit_options;
        return true;
    }
    if (where && !settings->has_warned && !is_chosen(settings, name))
        warn(settings, name, where, err.text);
    return false;
}

static void check_choice(const vw_setting *setting, vw_kind kind, vw_problems *problems)
{
    const vw_module *module;
    vw_error err;

    if (*setting->value == '\0')
        vw_settings_complain(problems, setting, "the value is missing; the name of a plugin, or "
                             "auto");
    else if (!is_auto(setting->value) &&
             vw_registry_open(kind, setting->value, &module, &err) != VW_OK)
        vw_settings_complain(problems, setting, "%s", err.text);
}

/* ---- all ------------------------------------------------------------------------------------- */

static bool is_first_of_section(const vw_settings *settings, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(settings->list[j].section, settings->list[i].section) == 0)
            return false;
    return true;
}

static void check_setting(const vw_settings *settings, size_t i, vw_problems *problems)
{
    const vw_setting *setting = &settings->list[i];
    const vw_section_name name = vw_section_parse(setting->section);
    const vw_option *o;
    char text[768];
    tables t;

    if (!is_section(&name)) {
        /* A file's section has a line of its own, which is reported once. */
        word_section(setting->section, text, sizeof text);
        if (setting->origin.line == 0)
            vw_settings_complain(problems, setting, "%s", text);
        return;
    }
    if (!find_tables(settings, &name,
                     is_first_of_section(settings, i) ? setting->origin.where : NULL, &t))
        return;
    o = find_option(&t, setting->key);
    if (!o) {
        word_key(&t, setting->key, text, sizeof text);
        vw_settings_complain(problems, setting, "%s", text);
    } else if (!name.core && !*name.plugin && strcmp(o->key, "plugin") == 0) {
        check_choice(setting, name.kind, problems);
    } else {
        vw_settings_take(settings, setting, o, NULL, problems);
    }
}

void vw_settings_find_problems(const vw_settings *settings, vw_problems *problems)
{
    char text[256];

    for (size_t i = 0; i < settings->n_sections; i++) {
        const vw_section_line *line = &settings->sections[i];
        const vw_section_name name = vw_section_parse(line->section);
        if (is_section(&name))
            continue;
        word_section(line->section, text, sizeof text);
        vw_problems_add(problems, line->origin.file, line->origin.line, "%s: [%s]: %s",
                        line->origin.where, line->section, text);
    }
    for (size_t i = 0; i < settings->n; i++)
        check_setting(settings, i, problems);
    ((vw_settings *)settings)->has_warned = true;
}

void vw_settings_listen(vw_settings *settings,
                        void (*told)(void *arg, vw_log_level level, const char *line), void *arg)
{
    settings->told = told;
    settings->told_arg = arg;
}

vw_status vw_settings_end(const vw_settings *settings, vw_problems *problems, vw_error *err)
{
    vw_problems_sort(problems);
    for (size_t i = 0; settings->told && i < problems->n; i++)
        settings->told(settings->told_arg, VW_LOG_ERROR, problems->list[i].text);
    return vw_problems_end(problems, err);
}

vw_status vw_settings_check(const vw_settings *settings, vw_error *err)
{
    vw_problems problems = {NULL, 0, 0, 0};

    vw_settings_find_problems(settings, &problems);
    return vw_settings_end(settings, &problems, err);
}
