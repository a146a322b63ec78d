/* instance.c - from the settings to an opened component.
 *
 * [kind] or [kind:label] says which plugin; `auto` is decided once for each model folder and
 * remembered.  Before anything is opened, everything that it needs, and what that needs, must have
 * a plugin.  Then the options are filled, and open() is called, which may ask for those.
 */
#include "core/instance.h"
#include "core/host.h"
#include "core/option.h"
#include "core/registry.h"
#include "core/settings.h"
#include "core/stubs.h"

#include <stdlib.h>

/* ---- choosing -------------------------------------------------------------------------------- */

/* What a section's `plugin` came to. */
typedef struct vw_choice {
    struct vw_choice *next;
    vw_kind kind;
    char *label, *folder;
    const vw_module *module;
} vw_choice;

/* What is asked for: a kind, and what helps to choose. */
typedef struct wish {
    vw_kind kind;
    const char *label; /* "" for the first */
    vw_probe about;
} wish;

/* Only what reads a model's folder is chosen by it. */
static bool asks_for_folder(vw_kind kind)
{
    return kind == VW_KIND_MODEL || kind == VW_KIND_WEIGHTS || kind == VW_KIND_TOKENIZER;
}

static wish wish_for(vw_kind kind, const char *label, const vw_probe *about)
{
    wish w = {kind, label ? label : "", {sizeof(vw_probe), NULL, NULL}};

    if (about && asks_for_folder(kind))
        w.about.folder = about->folder;
    return w;
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

static const vw_module *remembered(const vw_core *core, const wish *w)
{
    for (const vw_choice *c = core->choices; c; c = c->next)
        if (c->kind == w->kind && strcmp(c->label, w->label) == 0 &&
            strcmp(c->folder, text_or_empty(w->about.folder)) == 0)
            return c->module;
    return NULL;
}

static void choice_free(vw_choice *c)
{
    free(c->label);
    free(c->folder);
    free(c);
}

/* Without memory the choice is made again next time. */
static void remember(vw_core *core, const wish *w, const vw_module *module)
{
    vw_choice *c = calloc(1, sizeof *c);

    if (!c)
        return;
    c->kind = w->kind;
    c->module = module;
    c->label = strdup(w->label);
    c->folder = strdup(text_or_empty(w->about.folder));
    if (!c->label || !c->folder) {
        choice_free(c);
        return;
    }
    c->next = core->choices;
    core->choices = c;
}

/* A plugin that was asked for by name: can it be used? */
static vw_status check_named(const vw_module *m, const vw_probe *about, char *why, size_t room,
                             vw_error *err)
{
    if (!vw_loader_runs_on(m, about->device))
        return vw_fail(err, VW_E_UNSUPPORTED, "%s/%s does not run on the device %s",
                       vw_kind_name(m->kind), m->name, about->device);
    if (vw_loader_probe(m, about, why, room) == 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s/%s cannot be used here: %s",
                       vw_kind_name(m->kind), m->name, why);
    return VW_OK;
}

static void log_choice(vw_core *core, const wish *w, const vw_module *m, const char *how,
                       const char *why)
{
    char section[112];

    vw_section_write(section, sizeof section, w->kind, w->label, NULL);
    vw_core_log(core, VW_LOG_INFO, "%s: %s (%s, rank %d)%s%s", section, m->name, how,
                (int)m->plugin->rank, *why ? ": " : "", why);
}

static vw_status choose(vw_core *core, wish *w, const vw_module **module, vw_error *err);

/* The device that a component of this section will run on; NULL when no device is installed. */
static const char *device_name(vw_core *core, const wish *w, const char *label)
{
    wish device = wish_for(VW_KIND_DEVICE, label, NULL);
    const vw_module *m;
    vw_error err;

    if (w->kind == VW_KIND_DEVICE || choose(core, &device, &m, &err) != VW_OK)
        return NULL;
    return m->name;
}

static vw_status choose(vw_core *core, wish *w, const vw_module **module, vw_error *err)
{
    vw_config_kind config;
    char section[112], why[512];
    bool is_auto;
    vw_status status;

    *module = remembered(core, w);
    if (*module)
        return VW_OK;
    /* A section that nobody wrote would silently be one of defaults. */
    status = vw_settings_find_label(core->settings, w->kind, w->label, err);
    if (status != VW_OK)
        return status;
    vw_section_write(section, sizeof section, w->kind, w->label, NULL);
    status = vw_settings_bind(core->settings, section, vw_kind_options, &config, err);
    if (status != VW_OK)
        return status;
    w->about.device = device_name(core, w, config.device);
    is_auto = strcmp(config.plugin, "auto") == 0;
    if (is_auto)
        status = vw_registry_choose(w->kind, &w->about, module, why, sizeof why, err);
    else
        status = vw_registry_open(w->kind, config.plugin, module, err);
    if (status == VW_OK && !is_auto)
        status = check_named(*module, &w->about, why, sizeof why, err);
    if (status != VW_OK)
        return vw_fail_in(err, status, "[%s] plugin = %s", section, config.plugin);
    remember(core, w, *module);
    log_choice(core, w, *module, is_auto ? "auto" : "by name", why);
    return VW_OK;
}

/* ---- what it needs --------------------------------------------------------------------------- */

static vw_status check_needs(vw_core *core, const vw_module *m, const wish *w, int depth,
                             vw_error *err)
{
    char section[112];

    if (depth > VW_KIND_COUNT)
        return vw_fail(err, VW_E_CONFIG, "%s/%s needs itself, through what it needs",
                       vw_kind_name(m->kind), m->name);
    vw_section_write(section, sizeof section, w->kind, w->label, NULL);
    for (const char *const *need = m->plugin->needs; need && *need; need++) {
        wish other = wish_for(vw_kind_from_name(*need),
                              vw_settings_get(core->settings, section, *need), &w->about);
        const vw_module *found;
        vw_status status = choose(core, &other, &found, err);
        if (status == VW_OK)
            status = check_needs(core, found, &other, depth + 1, err);
        if (status != VW_OK)
            return vw_fail_in(err, status, "%s/%s needs a %s", vw_kind_name(m->kind), m->name,
                              *need);
    }
    return VW_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The least of the `threads` of [kind] and [kind.plugin] that is not 0. */
static void read_threads(const vw_settings *settings, const char *section, int *threads,
                         vw_problems *problems)
{
    vw_config_implicit config = {0};

    vw_settings_fill(settings, section, vw_implicit_options, &config, problems);
    if (config.threads > 0 && (*threads == 0 || config.threads < *threads))
        *threads = (int)config.threads;
}

static vw_status read_options(vw_instance *in, vw_error *err)
{
    const vw_settings *settings = in->core->settings;
    const vw_plugin *plugin = in->module->plugin;
    vw_problems problems = {NULL, 0, 0, 0};
    char section[160];

    if (plugin->config_size > 0) {
        in->config = vw_memory_zalloc(&in->memory, plugin->config_size);
        if (!in->config)
            return vw_fail(err, VW_E_NOMEM, "out of memory");
    }
    vw_section_write(section, sizeof section, in->module->kind, in->label, NULL);
    read_threads(settings, section, &in->threads, &problems);
    vw_section_write(section, sizeof section, in->module->kind, in->label, in->module->name);
    vw_settings_fill(settings, section, plugin->options, in->config, &problems);
    read_threads(settings, section, &in->threads, &problems);
    return vw_problems_end(&problems, err);
}

static void instance_free(vw_instance *in)
{
    vw_memory_free(&in->memory, in->config);
    free(in->label);
    free(in);
}

static vw_instance *instance_new(vw_core *core, const vw_module *module, const char *label,
                                 bool is_shared)
{
    vw_instance *in = calloc(1, sizeof *in);

    if (!in)
        return NULL;
    in->label = strdup(label);
    if (!in->label) {
        free(in);
        return NULL;
    }
    in->core = core;
    in->module = module;
    in->is_shared = is_shared;
    in->memory.above = &core->memory;
    in->component.plugin = module->plugin;
    in->component.ops = module->ops;
    snprintf(in->name, sizeof in->name, "%s/%s%s%s%s", vw_kind_name(module->kind), module->name,
             *label ? " (" : "", label, *label ? ")" : "");
    vw_host_init(in);
    return in;
}

static vw_status open_instance(vw_core *core, const vw_module *module, const char *label,
                               bool is_shared, const vw_component **component, vw_error *err)
{
    vw_instance *in = instance_new(core, module, label, is_shared);
    vw_status status;

    if (!in)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    status = read_options(in, err);
    if (status == VW_OK) {
        vw_error why = {VW_OK, ""};
        status = module->plugin->open(&in->host, in->config, &in->component.self, &why);
        if (status != VW_OK)
            vw_fail(err, status, "%s: %s", in->name,
                    why.text[0] ? why.text : vw_status_text(status));
    }
    if (status != VW_OK) {
        instance_free(in);
        return status;
    }
    vw_stubs_opened(module->kind, in->component.self, module->name);
    in->next = core->instances;
    core->instances = in;
    *component = &in->component;
    return VW_OK;
}

static const vw_component *find_shared(const vw_core *core, const vw_module *module,
                                       const char *label)
{
    for (const vw_instance *in = core->instances; in; in = in->next)
        if (in->is_shared && in->module == module && strcmp(in->label, label) == 0)
            return &in->component;
    return NULL;
}

static vw_status open_wish(vw_core *core, wish *w, bool is_shared, const vw_component **component,
                           vw_error *err)
{
    const vw_component *shared;
    const vw_module *module;
    vw_status status = choose(core, w, &module, err);

    if (status != VW_OK)
        return status;
    shared = is_shared ? find_shared(core, module, w->label) : NULL;
    if (shared) {
        *component = shared;
        return VW_OK;
    }
    status = check_needs(core, module, w, 1, err);
    return status == VW_OK ? open_instance(core, module, w->label, is_shared, component, err)
                           : status;
}

static vw_status check_kind(vw_kind kind, vw_error *err)
{
    return vw_kind_name(kind) ? VW_OK : vw_fail(err, VW_E_INVALID, "%d is no kind", (int)kind);
}

vw_status vw_core_component(vw_core *core, vw_kind kind, const char *label, const vw_probe *about,
                            const vw_component **component, vw_error *err)
{
    wish w = wish_for(kind, label, about);
    vw_status status = check_kind(kind, err);

    return status == VW_OK ? open_wish(core, &w, true, component, err) : status;
}

vw_status vw_core_instance_open(vw_core *core, vw_kind kind, const char *label,
                                const vw_probe *about, const vw_component **component,
                                vw_error *err)
{
    wish w = wish_for(kind, label, about);
    vw_status status = check_kind(kind, err);

    return status == VW_OK ? open_wish(core, &w, false, component, err) : status;
}

vw_status vw_core_plugin(vw_core *core, vw_kind kind, const char *name,
                         const vw_component **component, vw_error *err)
{
    wish w = wish_for(kind, NULL, NULL);
    const vw_component *shared;
    const vw_module *module;
    char why[512];
    vw_status status = check_kind(kind, err);

    if (status == VW_OK)
        status = vw_registry_open(kind, name, &module, err);
    if (status != VW_OK)
        return vw_fail_in(err, status, "%s/%s", vw_kind_name(kind), name);
    shared = find_shared(core, module, "");
    if (shared) {
        *component = shared;
        return VW_OK;
    }
    w.about.device = device_name(core, &w, NULL);
    status = check_named(module, &w.about, why, sizeof why, err);
    if (status == VW_OK)
        status = check_needs(core, module, &w, 1, err);
    return status == VW_OK ? open_instance(core, module, "", true, component, err) : status;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void close_instance(vw_instance *in)
{
    int64_t left;

    in->module->plugin->close(in->component.self);
    vw_stubs_closed(in->module->kind, in->component.self, in->module->name);
    left = atomic_load(&in->memory.live) - (in->config != NULL);
    if (left != 0)
        vw_core_log(in->core, VW_LOG_WARN, "%s: %lld allocations were not freed", in->name,
                    (long long)left);
    instance_free(in);
}

void vw_core_instance_close(vw_core *core, const vw_component *component)
{
    vw_instance **link = &core->instances;

    while (*link && &(*link)->component != component)
        link = &(*link)->next;
    if (*link) {
        vw_instance *in = *link;
        *link = in->next;
        close_instance(in);
    }
}

void vw_instances_close(vw_core *core)
{
    while (core->instances) {
        vw_instance *in = core->instances;
        core->instances = in->next;
        close_instance(in);
    }
    while (core->choices) {
        vw_choice *c = core->choices;
        core->choices = c->next;
        choice_free(c);
    }
}
