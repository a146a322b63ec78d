/* mock_host.c - the stand-in's table, and opening a plugin's option table; mock_plugins.c finds them. */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void mock_log(void *core, vw_log_level level, const char *format, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    mock_host *mock = core;
    va_list args;

    if (level <= VW_LOG_WARN)
        mock->n_logged++;
    if (mock->is_quiet || level == VW_LOG_DEBUG)
        return;
    fprintf(stderr, "# %s: ", names[level]);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* Filled with a pattern, whose floats are small and not zero: the contract promises no zeros. */
static void *mock_alloc(void *core, size_t bytes)
{
    mock_host *mock = core;
    void *memory;

    mock->n_allocs++;
    if (mock->fail_after == 0)
        return NULL;
    if (mock->fail_after > 0)
        mock->fail_after--;
    if (bytes > SIZE_MAX - 64)
        return NULL;
    memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (memory) {
        memset(memory, 0xA5, bytes);
        mock->n_live++;
    }
    return memory;
}

static void mock_free(void *core, void *memory)
{
    mock_host *mock = core;

    if (memory)
        mock->n_live--;
    free(memory);
}

static void mock_parallel_for(void *core, int n_parts, vw_part_fn fn, void *arg)
{
    mock_host *mock = core;

    mock->n_parallel++;
    for (int i = 0; i < n_parts; i++)
        fn(arg, mock->is_backwards ? n_parts - 1 - i : i, n_parts);
}

static int mock_n_threads(void *core)
{
    return ((mock_host *)core)->n_threads;
}

static const vw_component *mock_component(void *core, vw_kind kind, vw_error *err)
{
    mock_host *mock = core;

    if ((unsigned)kind < VW_KIND_COUNT && mock->component[kind])
        return mock->component[kind];
    vw_fail(err, VW_E_NOTFOUND, "this test has no %s", mock_kind_name(kind));
    return NULL;
}

static const void *mock_service(void *core, const char *name, uint32_t major)
{
    mock_host *mock = core;

    return mock->service ? mock->service(mock->arg, name, major) : NULL;
}

static void mock_count(void *core, const char *counter, uint64_t amount)
{
    mock_host *mock = core;

    if (mock->count)
        mock->count(mock->arg, counter, amount);
}

void mock_host_init(mock_host *mock)
{
    memset(mock, 0, sizeof *mock);
    mock->fail_after = -1;
    mock->n_threads = 1;
    mock->host =
        (vw_host){sizeof(vw_host),   mock,           mock_log,       mock_alloc,   mock_free,
                  mock_parallel_for, mock_n_threads, mock_component, mock_service, mock_count};
}

/* The words of a comma-separated list, in one block: the pointers, then the text. */
static const char *const *split_list(const char *text)
{
    size_t n = 0, length = strlen(text);
    const char **list = malloc((length / 2 + 2) * sizeof *list + length + 1);
    char *copy, *word, *state;

    if (!list)
        bail_out("no memory");
    copy = (char *)(list + length / 2 + 2);
    memcpy(copy, text, length + 1);
    for (word = strtok_r(copy, ",", &state); word; word = strtok_r(NULL, ",", &state)) {
        word += strspn(word, " ");
        for (size_t end = strlen(word); end > 0 && word[end - 1] == ' '; end--)
            word[end - 1] = '\0';
        list[n++] = word;
    }
    list[n] = NULL;
    return list;
}

static bool is_one_of(const char *text, const char *const *words, int32_t *index)
{
    for (*index = 0; words && words[*index]; ++*index)
        if (!strcmp(words[*index], text))
            return true;
    return false;
}

/* Put one value where it belongs; false if the text is none of its type. */
static bool set_option(mock_instance *it, const vw_option *o, const char *text)
{
    static const char *const bools[] = {"no", "yes", "false", "true", "off", "on", "0", "1", NULL};
    char *at = (char *)it->config + o->offset, *end = NULL;
    int32_t index;
    int64_t integer;
    double real;

    switch (o->type) {
    case VW_OPTION_BOOL:
        if (!is_one_of(text, bools, &index))
            return false;
        index &= 1;
        memcpy(at, &index, sizeof index);
        return true;
    case VW_OPTION_ENUM:
        if (!is_one_of(text, o->choices, &index))
            return false;
        memcpy(at, &index, sizeof index);
        return true;
    case VW_OPTION_INT:
    case VW_OPTION_SIZE:
        integer = strtoll(text, &end, 10);
        if (o->type == VW_OPTION_SIZE && *end && strchr("KMGT", *end))
            for (int i = (int)(strchr("KMGT", *end++) - "KMGT"); i >= 0; i--)
                integer *= 1024;
        memcpy(at, &integer, sizeof integer);
        real = (double)integer;
        break;
    case VW_OPTION_REAL:
        real = strtod(text, &end);
        memcpy(at, &real, sizeof real);
        break;
    case VW_OPTION_LIST:
        if (it->n_owned == (int)(sizeof it->owned / sizeof *it->owned))
            return false;
        it->owned[it->n_owned] = (void *)split_list(text);
        memcpy(at, &it->owned[it->n_owned++], sizeof(void *));
        return true;
    default:
        memcpy(at, &text, sizeof text);
        return true;
    }
    return end != text && !*end &&
           (!(o->flags & VW_OPTION_RANGE) || (real >= o->min && real <= o->max));
}

static void fill_config(const vw_plugin *plugin, const char *const *settings, mock_instance *it)
{
    it->config = calloc(1, plugin->config_size + 1);
    if (!it->config)
        bail_out("no memory");
    for (const vw_option *o = plugin->options; o && o->key; o++)
        if (!set_option(it, o, o->def ? o->def : ""))
            bail_out("%s: the default of %s is not a value: \"%s\"", plugin->name, o->key, o->def);
    for (; settings && *settings; settings++) {
        const vw_option *o = plugin->options;
        size_t n = strcspn(*settings, "=");
        while (o && o->key && (strncmp(o->key, *settings, n) || o->key[n]))
            o++;
        if (!o || !o->key || !(*settings)[n] || !set_option(it, o, *settings + n + 1))
            bail_out("%s: a setting that does not fit: %s", plugin->name, *settings);
    }
}

static void free_config(mock_instance *it)
{
    while (it->n_owned > 0)
        free(it->owned[--it->n_owned]);
    free(it->config);
    it->config = NULL;
}

vw_status mock_try_open(mock_host *mock, const vw_plugin *plugin, const char *const *settings,
                        mock_instance *out, vw_error *err)
{
    vw_status status;

    memset(out, 0, sizeof *out);
    fill_config(plugin, settings, out);
    out->component.plugin = plugin;
    out->component.ops = plugin->ops;
    status = plugin->open(&mock->host, out->config, &out->component.self, err);
    if (status)
        free_config(out);
    return status;
}

bool mock_open(mock_host *mock, const vw_plugin *plugin, const char *const *settings,
               mock_instance *out)
{
    vw_probe about = {.size = sizeof about};
    vw_error err = {VW_OK, ""};
    char why[256] = "", name[64];

    snprintf(name, sizeof name, "%s/%s", mock_kind_name(plugin->kind), plugin->name);
    if (plugin->probe(&about, why, sizeof why) <= 0) {
        skip_unless_required(name, 1, "%s: %s", name, *why ? why : "its probe gives no reason");
        return false;
    }
    if (mock_try_open(mock, plugin, settings, out, &err) == VW_OK)
        return true;
    ok(false, "%s opens: %s", name, err.text);
    return false;
}

void mock_close(mock_host *mock, mock_instance *instance)
{
    const vw_plugin *plugin = instance->component.plugin;

    plugin->close(instance->component.self);
    free_config(instance);
    is_int(mock->n_live, 0, "%s/%s: all memory is given back", mock_kind_name(plugin->kind),
           plugin->name);
}
