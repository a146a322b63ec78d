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

/* ---- settings -------------------------------------------------------------------------------- */

/* "site.ini:12, not presets/h200.ini:3": where it was set, and the values that it overrides. */
static void word_origins(const vw_settings *settings, const vw_setting *setting, char *text,
                         size_t room)
{
    size_t used = (size_t)snprintf(text, room, "%s", setting->origin.where);
    const char *before = ", not ";

    for (size_t i = settings->n; i-- > 0 && used < room;) {
        const vw_setting *s = &settings->list[i];
        if (s == setting || strcmp(s->key, setting->key) != 0 ||
            strcmp(s->section, setting->section) != 0)
            continue;
        used += (size_t)snprintf(text + used, room - used, "%s%s", before, s->origin.where);
        before = ", ";
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

static void print_setting(const vw_settings *settings, const vw_setting *setting,
                          const vw_option *option, FILE *to)
{
    char origins[512], path[8192];
    const char *value = setting->value;

    word_origins(settings, setting, origins, sizeof origins);
    make_plain(origins);
    if (option && option->type == VW_OPTION_PATH) {
        word_path(setting, path, sizeof path);
        value = path;
    }
    print_line(to, setting->key, option && option->flags & VW_OPTION_SECRET ? "***" : value,
               origins);
}

/* A section by its table: all that was set, and the defaults of the rest.  Advanced defaults are
 * left out. */
static void print_known(const vw_settings *settings, const char *section, const vw_option *options,
                        FILE *to)
{
    for (const vw_option *o = options; o && o->key; o++) {
        const vw_setting *setting = vw_settings_find(settings, section, o->key);
        if (setting)
            print_setting(settings, setting, o, to);
        else if (!(o->flags & (VW_OPTION_ADVANCED | VW_OPTION_REQUIRED)))
            print_line(to, o->key, o->def, "default");
    }
}

/* What was set in a section that a table does not have. */
static void print_unknown(const vw_settings *settings, const char *section,
                          const vw_option *options, FILE *to)
{
    for (size_t i = 0; i < settings->n; i++) {
        const vw_setting *s = &settings->list[i];
        if (strcmp(s->section, section) == 0 && !vw_option_find(options, s->key) &&
            vw_settings_find(settings, section, s->key) == s)
            print_setting(settings, s, NULL, to);
    }
}

static void print_section(const vw_settings *settings, const char *section,
                          const vw_option *options, FILE *to)
{
    fprintf(to, "\n[%s]\n", section);
    print_known(settings, section, options, to);
    print_unknown(settings, section, options, to);
}

/* The table of [kind.plugin]; NULL when it is not known. */
static const vw_option *plugin_options(const vw_section_name *name)
{
    const vw_module *module;

    if (vw_registry_open(name->kind, name->plugin, &module, NULL) != VW_OK)
        return NULL;
    return module->plugin->options;
}

/* Sections of the kind beside [kind] itself, in the order in which they were first set. */
static void print_kind(const vw_settings *settings, const char *kind, FILE *to)
{
    char chosen[112];
    const char *plugin = vw_settings_get(settings, kind, "plugin");
    bool has_chosen = plugin && strcmp(plugin, "auto") != 0;

    snprintf(chosen, sizeof chosen, "%s.%s", kind, has_chosen ? plugin : "");
    if (has_chosen) {
        vw_section_name name = vw_section_parse(chosen);
        print_section(settings, chosen, *name.plugin ? plugin_options(&name) : NULL, to);
    }
    for (size_t i = 0; i < settings->n; i++) {
        const char *section = settings->list[i].section;
        vw_section_name name = vw_section_parse(section);
        bool is_new = strcmp(section, kind) != 0 && strcmp(section, chosen) != 0 && !name.core &&
                      name.kind == vw_kind_from_name(kind);
        for (size_t j = 0; is_new && j < i; j++)
            is_new = strcmp(settings->list[j].section, section) != 0;
        if (is_new)
            print_section(settings, section,
                          *name.plugin ? plugin_options(&name) : vw_kind_section(name.kind), to);
    }
}

vw_status vw_settings_print(const vw_settings *settings, FILE *to, vw_error *err)
{
    const vw_option *options;
    const char *section, *help;

    fprintf(to, "; settings of VishwamAI %s\n", VW_VERSION);
    for (size_t i = 0; (options = vw_core_section(i, &section, &help)) != NULL; i++) {
        print_section(settings, section, options, to);
        if (vw_kind_from_name(section) != VW_KIND_NONE)
            print_kind(settings, section, to);
    }
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
