/* settings_print.c - settings and option tables as INI text.
 *
 * What is printed can be read back.  Paths are made absolute, since the text will lie elsewhere; a
 * value that no file can hold, such as one with a line break, becomes a comment that says so.
 */
#include "core/ini_reader.h"
#include "core/option.h"
#include "core/registry.h"
#include "core/sections.h"
#include "core/settings.h"

#include <errno.h>
#include <unistd.h>

enum { COMMENT_COLUMN = 32 };

/* ---- one line -------------------------------------------------------------------------------- */

static bool is_key(const char *key)
{
    size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && n <= VW_INI_MAX_WORD && key[n] == '\0';
}

/* Would the value come back from a file as it is? */
static bool is_writable(const char *key, const char *value)
{
    size_t n = strlen(value);

    if (!is_key(key) || strlen(key) + 3 + n > VW_INI_MAX_LINE || strstr(value, " ;") ||
        strstr(value, "\t;") || *value == ';')
        return false;
    if (n > 0 && (strchr(" \t", value[0]) || strchr(" \t", value[n - 1])))
        return false;
    for (const char *c = value; *c; c++)
        if (((unsigned char)*c < 32 && *c != '\t') || *c == 127)
            return false;
    return true;
}

/* Origins name files, and the name of a file may hold anything. */
static void make_plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 32 || *text == 127)
            *text = '?';
}

/* "key = value    ; comment", the comment in a line of its own if it does not fit. */
static void print_line(FILE *to, const char *key, const char *value, const char *comment)
{
    int used = (int)(strlen(key) + 3 + strlen(value));
    int gap = used < COMMENT_COLUMN ? COMMENT_COLUMN - used : 1;

    if (!is_writable(key, value))
        fprintf(to, "; %s has a value that no file can hold (%s)\n",
                is_key(key) ? key : "a key of no plugin", comment);
    else if ((size_t)(used + gap) + 2 + strlen(comment) > VW_INI_MAX_LINE)
        fprintf(to, "; %s\n%s = %s\n", comment, key, value);
    else
        fprintf(to, "%s = %s%*s; %s\n", key, value, gap, "", comment);
}

/* ---- what is in effect ----------------------------------------------------------------------- */

typedef struct walk {
    const vw_settings *settings;
    void (*visit)(void *arg, const vw_settings_entry *entry);
    void *arg;
} walk;

/* The values that a setting overrides, by their origins: "presets/h200.ini:3, site.ini:1". */
static void word_overridden(const vw_settings *settings, const vw_setting *setting, char *text,
                            size_t room)
{
    size_t used = 0;

    *text = '\0';
    for (size_t i = settings->n; i-- > 0 && used < room;) {
        const vw_setting *s = &settings->list[i];
        if (s != setting && strcmp(s->key, setting->key) == 0 &&
            strcmp(s->section, setting->section) == 0)
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
                                     s->origin.where);
    }
}

static void word_path(const vw_setting *setting, char *text, size_t room)
{
    char here[4096];

    if (*setting->value == '/' || *setting->value == '\0')
        snprintf(text, room, "%s", setting->value);
    else if (setting->origin.folder)
        snprintf(text, room, "%s/%s", setting->origin.folder, setting->value);
    else
        snprintf(text, room, "%s/%s", getcwd(here, sizeof here) ? here : ".", setting->value);
}

/* `option` is NULL for a key of no known table. */
static void visit_set(const walk *w, const vw_setting *setting, const vw_option *option)
{
    char overridden[512], path[8192];
    vw_settings_entry entry = {setting->section,      setting->key, setting->value,
                               setting->origin.where, overridden,   option};

    word_overridden(w->settings, setting, overridden, sizeof overridden);
    if (option && option->type == VW_OPTION_PATH) {
        word_path(setting, path, sizeof path);
        entry.value = path;
    }
    if (option && option->flags & VW_OPTION_SECRET)
        entry.value = "***";
    w->visit(w->arg, &entry);
}

/* By its table: all that was set, and the defaults of the rest; then what the table does not
 * have. */
static void visit_section(const walk *w, const char *section, const vw_option *options)
{
    const vw_settings *settings = w->settings;

    for (const vw_option *o = options; o && o->key; o++) {
        const vw_setting *setting = vw_settings_find(settings, section, o->key);
        const vw_settings_entry entry = {section, o->key, o->def, NULL, "", o};
        if (setting)
            visit_set(w, setting, o);
        else if (!(o->flags & VW_OPTION_REQUIRED))
            w->visit(w->arg, &entry);
    }
    for (size_t i = 0; i < settings->n; i++) {
        const vw_setting *s = &settings->list[i];
        if (strcmp(s->section, section) == 0 && !vw_option_find(options, s->key) &&
            vw_settings_find(settings, section, s->key) == s)
            visit_set(w, s, NULL);
    }
}

static void visit_plugin(const walk *w, vw_kind kind, const char *label, const char *plugin)
{
    char section[160];
    const vw_module *module;
    bool is_known = vw_registry_open(kind, plugin, &module, NULL) == VW_OK;

    vw_section_write(section, sizeof section, kind, label, plugin);
    visit_section(w, section, is_known ? module->plugin->options : NULL);
}

static bool is_first_of_section(const vw_settings *settings, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (strcmp(settings->list[j].section, settings->list[i].section) == 0)
            return false;
    return true;
}

/* [kind:label], its chosen plugin's section, and those of others in the order in which they were
 * first set. */
static void visit_instance(const walk *w, vw_kind kind, const char *label)
{
    const vw_settings *settings = w->settings;
    char section[112];
    const char *chosen;

    vw_section_write(section, sizeof section, kind, label, NULL);
    visit_section(w, section, vw_kind_section(kind));
    chosen = vw_settings_get(settings, section, "plugin");
    if (!chosen || strcmp(chosen, "auto") == 0)
        chosen = "";
    if (*chosen)
        visit_plugin(w, kind, label, chosen);
    for (size_t i = 0; i < settings->n; i++) {
        const vw_section_name name = vw_section_parse(settings->list[i].section);
        if (!name.core && name.kind == kind && strcmp(name.label, label) == 0 && *name.plugin &&
            strcmp(name.plugin, chosen) != 0 && is_first_of_section(settings, i))
            visit_plugin(w, kind, label, name.plugin);
    }
}

void vw_settings_visit(const vw_settings *settings,
                       void (*visit)(void *arg, const vw_settings_entry *entry), void *arg)
{
    const walk w = {settings, visit, arg};
    const vw_option *options;
    const char *section, *help;
    char label[64];

    for (size_t i = 0; (options = vw_core_section(i, &section, &help)) != NULL; i++) {
        vw_kind kind = vw_kind_from_name(section);
        if (kind == VW_KIND_NONE) {
            visit_section(&w, section, options);
            continue;
        }
        visit_instance(&w, kind, "");
        for (size_t j = 0; vw_settings_label(settings, kind, j, label, sizeof label); j++)
            visit_instance(&w, kind, label);
    }
}

/* ---- as an INI file -------------------------------------------------------------------------- */

typedef struct printer {
    FILE *to;
    char section[160]; /* the one that was begun last */
} printer;

/* Advanced defaults are left out. */
static void print_entry(void *arg, const vw_settings_entry *e)
{
    printer *p = arg;
    char origins[1024];

    if (strcmp(e->section, p->section) != 0) {
        snprintf(p->section, sizeof p->section, "%s", e->section);
        fprintf(p->to, "\n[%s]\n", e->section);
    }
    if (!e->origin && e->option->flags & VW_OPTION_ADVANCED)
        return;
    snprintf(origins, sizeof origins, "%s%s%s", e->origin ? e->origin : "default",
             *e->overridden ? ", not " : "", e->overridden);
    make_plain(origins);
    print_line(p->to, e->key, e->value, origins);
}

vw_status vw_settings_print(const vw_settings *settings, FILE *to, vw_error *err)
{
    printer p = {to, ""};

    fprintf(to, "; settings of VishwamAI %s\n", VW_VERSION);
    vw_settings_visit(settings, print_entry, &p);
    if (fflush(to) != 0 || ferror(to))
        return vw_fail(err, VW_E_IO, "the settings cannot be written: %s", strerror(errno));
    return VW_OK;
}

/* ---- option tables --------------------------------------------------------------------------- */

static void print_options(const vw_option *options, FILE *to)
{
    char expects[512];

    for (const vw_option *o = options; o && o->key; o++) {
        vw_option_expects(o, expects, sizeof expects);
        fprintf(to, "; %s (%s%s)\n", o->help, expects,
                o->flags & VW_OPTION_REQUIRED ? ", required" : "");
        fprintf(to, "%s%s = %s\n", o->flags & VW_OPTION_REQUIRED ? ";" : "", o->key,
                o->def && !(o->flags & VW_OPTION_REQUIRED) ? o->def : "");
    }
}

void vw_options_print(const char *section, const vw_option *options, FILE *to)
{
    fprintf(to, "[%s]\n", section);
    print_options(options, to);
    if (strchr(section, '.') && !vw_option_find(options, "threads"))
        print_options(vw_implicit_options, to);
}
