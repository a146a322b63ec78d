/* host.c - the functions of the host table.
 *
 * `core` of the table is the instance, so a plugin that passes it on is known by it.
 */
#include "core/host.h"
#include "core/log.h"

static void host_log(void *core, vw_log_level level, const char *format, ...)
{
    const vw_instance *instance = core;
    va_list args;

    va_start(args, format);
    vw_log_args(instance->core->log_level, level, instance->name, format, args);
    va_end(args);
}

static void *host_alloc(void *core, size_t bytes)
{
    return vw_memory_alloc(&((vw_instance *)core)->memory, bytes);
}

static void host_free(void *core, void *memory)
{
    vw_memory_free(&((vw_instance *)core)->memory, memory);
}

static void host_parallel_for(void *core, int n_parts, vw_part_fn fn, void *arg)
{
    const vw_instance *instance = core;

    vw_pool_run(instance->core->pool, instance->threads, n_parts, fn, arg);
}

static int host_n_threads(void *core)
{
    const vw_instance *instance = core;
    int all = vw_pool_threads(instance->core->pool);

    return instance->threads > 0 && instance->threads < all ? instance->threads : all;
}

static bool says_it_needs(const vw_plugin *plugin, const char *kind)
{
    for (const char *const *need = plugin->needs; need && *need; need++)
        if (strcmp(*need, kind) == 0)
            return true;
    return false;
}

static const vw_component *host_component(void *core, vw_kind kind, vw_error *err)
{
    const vw_instance *instance = core;
    const char *name = vw_kind_name(kind), *label;
    const vw_component *component;
    char section[112];

    if (!name || !says_it_needs(instance->module->plugin, name)) {
        vw_fail(err, VW_E_INVALID, "it asks for a %s, which is not among the needs of its "
                "description", name ? name : "component of no kind");
        return NULL;
    }
    vw_section_write(section, sizeof section, instance->module->kind, instance->label, NULL);
    label = vw_settings_get(instance->core->settings, section, name);
    if (vw_core_component(instance->core, kind, label, NULL, &component, err) != VW_OK)
        return NULL;
    return component;
}

static const void *host_service(void *core, const char *name, uint32_t major)
{
    const vw_core *c = ((const vw_instance *)core)->core;

    for (int i = 0; i < c->n_services; i++)
        if (c->services[i].major == major && strcmp(c->services[i].name, name) == 0)
            return c->services[i].table;
    return NULL;
}

/* Counters are only ever added, so looking one up needs no lock. */
static vw_counter *find_counter(const vw_core *core, const char *name)
{
    int n = atomic_load(&core->n_counters);

    for (int i = 0; i < n; i++)
        if (strncmp(core->counters[i].name, name, VW_COUNTER_BYTES - 1) == 0)
            return (vw_counter *)&core->counters[i];
    return NULL;
}

static vw_counter *add_counter(vw_core *core, const char *name)
{
    vw_counter *counter;

    pthread_mutex_lock(&core->counters_lock);
    counter = find_counter(core, name);
    if (!counter && core->n_counters < VW_MAX_COUNTERS) {
        counter = &core->counters[core->n_counters];
        snprintf(counter->name, sizeof counter->name, "%s", name);
        atomic_fetch_add(&core->n_counters, 1);
    }
    pthread_mutex_unlock(&core->counters_lock);
    return counter;
}

static void host_count(void *core, const char *name, uint64_t amount)
{
    vw_core *c = ((vw_instance *)core)->core;
    vw_counter *counter = find_counter(c, name);

    if (!counter)
        counter = add_counter(c, name);
    if (counter)
        atomic_fetch_add_explicit(&counter->value, amount, memory_order_relaxed);
}

uint64_t vw_core_counter(const vw_core *core, const char *name)
{
    const vw_counter *counter = find_counter(core, name);

    return counter ? atomic_load(&counter->value) : 0;
}

void vw_host_init(vw_instance *instance)
{
    instance->host = (vw_host){
        .size = sizeof instance->host,
        .core = instance,
        .log = host_log,
        .alloc = host_alloc,
        .free = host_free,
        .parallel_for = host_parallel_for,
        .n_threads = host_n_threads,
        .component = host_component,
        .service = host_service,
        .count = host_count,
    };
}
