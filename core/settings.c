/* settings.c - the store of settings: adding, finding, and filling a component's struct. */
#include "core/settings.h"
#include "core/nearest.h"
#include "core/option.h"
#include "core/sections.h"

#include <stdlib.h>

vw_status vw_settings_new(vw_settings **settings, vw_error *err)
{
    vw_settings *s = calloc(1, sizeof *s);

    if (s)
        s->texts = vw_texts_new();
    if (!s || !s->texts) {
        free(s);
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    }
    *settings = s;
    return VW_OK;
}

void vw_settings_free(vw_settings *settings)
{
    if (!settings)
        return;
    vw_texts_free(settings->texts);
    free(settings->list);
    free(settings->sections);
    free(settings);
}

const vw_setting *vw_settings_find(const vw_settings *settings, const char *section,
                                   const char *key)
{
    for (size_t i = settings->n; i-- > 0;)
        if (strcmp(settings->list[i].key, key) == 0 &&
            strcmp(settings->list[i].section, section) == 0)
            return &settings->list[i];
    return NULL;
}

/* A list with room for one more, or NULL. */
static void *grown(void *list, size_t n, size_t *room, size_t bytes)
{
    size_t more = *room ? 2 * *room : 16;

    if (n < *room)
        return list;
    list = realloc(list, more * bytes);
    if (list)
        *room = more;
    return list;
}

bool vw_settings_add(vw_settings *settings, const vw_setting *setting)
{
    vw_setting *list =
        grown(settings->list, settings->n, &settings->room, sizeof *settings->list);

    if (!list)
        return false;
    settings->list = list;
    settings->list[settings->n++] = *setting;
    settings->has_warned = false;
    return true;
}

bool vw_settings_add_section(vw_settings *settings, const vw_section_line *line)
{
    vw_section_line *list = grown(settings->sections, settings->n_sections,
                                  &settings->sections_room, sizeof *settings->sections);

    if (!list)
        return false;
    settings->sections = list;
    settings->sections[settings->n_sections++] = *line;
    return true;
}

vw_status vw_settings_set(vw_settings *settings, const char *section, const char *key,
                          const char *value, const char *where, vw_error *err)
{
    vw_texts *texts = settings->texts;
    vw_setting setting = {vw_texts_keep(texts, section),
                          vw_texts_keep(texts, key),
                          vw_texts_keep(texts, value),
                          {vw_texts_keep(texts, where), NULL, settings->n_files, 0}};

    if (!setting.section || !setting.key || !setting.value || !setting.origin.where ||
        !vw_settings_add(settings, &setting))
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    settings->n_files++;
    return VW_OK;
}

static vw_status bad_assignment(const char *assignment, const char *where, const char *what,
                                vw_error *err)
{
    return vw_fail(err, VW_E_CONFIG, "%s: \"%.200s\": %s; write section.key=value, as in "
                   "gemm.plugin=ref", where, assignment, what);
}

vw_status vw_settings_assign(vw_settings *settings, const char *assignment, const char *where,
                             vw_error *err)
{
    const char *equals = strchr(assignment, '='), *dot = NULL;
    char section[128], key[128];
    size_t n_section, n_key;

    if (!equals)
        return bad_assignment(assignment, where, "no '='", err);
    for (const char *c = assignment; c < equals; c++)
        if (*c == '.')
            dot = c;
    if (!dot)
        return bad_assignment(assignment, where, "no '.' between section and key", err);
    n_section = (size_t)(dot - assignment);
    n_key = (size_t)(equals - dot) - 1;
    if (n_section == 0 || n_key == 0)
        return bad_assignment(assignment, where, "section or key is empty", err);
    if (n_section >= sizeof section || n_key >= sizeof key)
        return bad_assignment(assignment, where, "section or key is too long", err);
    memcpy(section, assignment, n_section);
    section[n_section] = '\0';
    memcpy(key, dot + 1, n_key);
    key[n_key] = '\0';
    return vw_settings_set(settings, section, key, equals + 1, where, err);
}

const char *vw_settings_get(const vw_settings *settings, const char *section, const char *key)
{
    const vw_setting *setting = vw_settings_find(settings, section, key);

    return setting ? setting->value : NULL;
}

const char *vw_settings_origin(const vw_settings *settings, const char *section, const char *key)
{
    const vw_setting *setting = vw_settings_find(settings, section, key);

    return setting ? setting->origin.where : NULL;
}

/* ---- binding --------------------------------------------------------------------------------- */

void vw_settings_complain(vw_problems *problems, const vw_setting *setting, const char *format, ...)
{
    char what[1024], value[128];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(value, sizeof value, "%s", setting->value);
    vw_text_trim(value);
    if (strlen(setting->value) >= sizeof value)
        memcpy(value + sizeof value - 5, "...", 4);
    vw_problems_add(problems, setting->origin.file, setting->origin.line, "%s: [%s] %s = %s: %s",
                    setting->origin.where, setting->section, setting->key, value, what);
}

void vw_settings_take(const vw_settings *settings, const vw_setting *setting, const vw_option *o,
                      void *field, vw_problems *problems)
{
    vw_setting shown = *setting;
    vw_error err;
    vw_status status = vw_option_parse(o, setting->value, setting->origin.folder, settings->texts,
                                       field, &err);

    if (status == VW_OK && o->type == VW_OPTION_LABEL)
        status = vw_settings_find_label(settings, vw_kind_from_name(o->choices[0]), setting->value,
                                        &err);
    if (o->flags & VW_OPTION_SECRET)
        shown.value = "***";
    if (status != VW_OK)
        vw_settings_complain(problems, &shown, "%s", err.text);
}

/* One option into its field. */
static void fill(const vw_settings *settings, const char *section, const vw_option *o, void *field,
                 vw_problems *problems)
{
    const vw_setting *setting = vw_settings_find(settings, section, o->key);
    vw_error err;

    if (!setting && (o->flags & VW_OPTION_REQUIRED)) {
        vw_problems_add(problems, settings->n_files, 0, "[%s] %s is not set; %s", section, o->key,
                        o->help);
        return;
    }
    if (setting) {
        vw_settings_take(settings, setting, o, field, problems);
    } else if (vw_option_parse(o, o->def, NULL, settings->texts, field, &err) != VW_OK) {
        vw_problems_add(problems, settings->n_files, 0, "[%s] %s has a wrong default: %s", section,
                        o->key, err.text);
    }
}

void vw_settings_fill(const vw_settings *settings, const char *section, const vw_option *options,
                      void *config, vw_problems *problems)
{
    for (const vw_option *o = options; o && o->key; o++)
        fill(settings, section, o, (char *)config + o->offset, problems);
}

/* The struct is filled whole before it is known to be right, so a copy is filled first. */
vw_status vw_settings_bind(const vw_settings *settings, const char *section,
                           const vw_option *options, void *config, vw_error *err)
{
    vw_problems problems = {NULL, 0, 0, 0};
    size_t bytes = 0;
    char *copy;
    vw_status status;

    for (const vw_option *o = options; o && o->key; o++)
        if (o->offset + vw_option_bytes(o->type) > bytes)
            bytes = o->offset + vw_option_bytes(o->type);
    if (bytes == 0)
        return VW_OK;
    copy = malloc(bytes);
    if (!copy)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    memcpy(copy, config, bytes);
    vw_settings_fill(settings, section, options, copy, &problems);
    status = vw_problems_end(&problems, err);
    if (status == VW_OK)
        memcpy(config, copy, bytes);
    free(copy);
    return status;
}

vw_log_level vw_settings_log_level(const vw_settings *settings)
{
    vw_config_log config = {VW_LOG_WARN};

    vw_settings_bind(settings, "log", vw_log_options, &config, NULL);
    return (vw_log_level)config.level;
}

/* ---- labels ---------------------------------------------------------------------------------- */

static const char *section_at(const vw_settings *settings, size_t i)
{
    return i < settings->n_sections ? settings->sections[i].section
                                    : settings->list[i - settings->n_sections].section;
}

static bool is_labelled(const vw_section_name *name, vw_kind kind)
{
    return !name->core && name->kind == kind && *name->label;
}

static bool is_new(const vw_settings *settings, size_t i, const vw_section_name *name)
{
    for (size_t j = 0; j < i; j++) {
        const vw_section_name other = vw_section_parse(section_at(settings, j));
        if (is_labelled(&other, name->kind) && !strcmp(other.label, name->label))
            return false;
    }
    return true;
}

const char *vw_settings_label(const vw_settings *settings, vw_kind kind, size_t i, char *label,
                              size_t room)
{
    for (size_t j = 0; j < settings->n_sections + settings->n; j++) {
        const vw_section_name name = vw_section_parse(section_at(settings, j));
        if (!is_labelled(&name, kind) || !is_new(settings, j, &name) || i-- > 0)
            continue;
        snprintf(label, room, "%s", name.label);
        return label;
    }
    return NULL;
}

vw_status vw_settings_find_label(const vw_settings *settings, vw_kind kind, const char *label,
                                 vw_error *err)
{
    const char *name = vw_kind_name(kind);
    char one[64], best[64], all[400] = "";
    vw_nearest nearest;
    size_t used = 0;

    if (!label || *label == '\0')
        return VW_OK;
    nearest = vw_nearest_to(label);
    for (size_t i = 0; vw_settings_label(settings, kind, i, one, sizeof one); i++) {
        if (strcmp(one, label) == 0)
            return VW_OK;
        vw_nearest_offer(&nearest, one);
        if (nearest.best == one)
            nearest.best = strcpy(best, one);
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", one);
    }
    vw_text_trim(all);
    if (nearest.best)
        return vw_fail(err, VW_E_NOTFOUND, "there is no [%s:%.50s]; did you mean [%s:%s]?", name,
                       label, name, best);
    return vw_fail(err, VW_E_NOTFOUND, "there is no [%s:%.50s]; the labels of this kind are: %s", name,
                   label, *all ? all : "none");
}
