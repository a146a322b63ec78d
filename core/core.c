/* core.c - a core's life, and what it lends to the library's own parts. */
#include "core/engine.h"
#include "core/generate_service.h"
#include "core/host.h"
#include "core/instance.h"
#include "core/log.h"

#include <stdlib.h>

static vw_status read_settings(vw_core *core, int *threads, vw_error *err)
{
    vw_config_vishwamai config;
    vw_config_log log;
    vw_status status = vw_settings_check(core->settings, err);

    if (status == VW_OK)
        status = vw_settings_bind(core->settings, "vishwamai", vw_vishwamai_options, &config, err);
    if (status == VW_OK)
        status = vw_settings_bind(core->settings, "log", vw_log_options, &log, err);
    if (status != VW_OK)
        return status;
    core->log_level = (vw_log_level)log.level;
    *threads = (int)config.threads;
    return VW_OK;
}

vw_status vw_core_new(const vw_settings *settings, vw_core **core, vw_error *err)
{
    vw_core *c = calloc(1, sizeof *c);
    vw_status status;
    int threads = 0;

    if (!c)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    c->settings = settings;
    pthread_mutex_init(&c->counters_lock, NULL);
    status = read_settings(c, &threads, err);
    if (status == VW_OK)
        status = vw_pool_new(threads, &c->pool, err);
    if (status == VW_OK)
        status = vw_core_register_service(c, "json", VW_JSON_MAJOR, vw_json_service(), err);
    if (status == VW_OK)
        status = vw_core_register_service(c, "nn", VW_NN_MAJOR, &vw_nn_table, err);
    if (status == VW_OK)
        status =
            vw_core_register_service(c, "generate", VW_GENERATE_MAJOR, &vw_generate_table, err);
    if (status != VW_OK) {
        vw_core_free(c);
        return status;
    }
    vw_core_log(c, VW_LOG_INFO, "%d threads", vw_pool_threads(c->pool));
    *core = c;
    return VW_OK;
}

void vw_core_free(vw_core *core)
{
    if (!core)
        return;
    vw_instances_close(core);
    vw_pool_free(core->pool);
    pthread_mutex_destroy(&core->counters_lock);
    free(core);
}

int vw_core_threads(const vw_core *core)
{
    return vw_pool_threads(core->pool);
}

void vw_core_parallel_for(vw_core *core, int n_parts, vw_part_fn fn, void *arg)
{
    vw_pool_run(core->pool, 0, n_parts, fn, arg);
}

uint64_t vw_core_allocations(const vw_core *core)
{
    return atomic_load(&core->memory.allocations);
}

const vw_settings *vw_core_settings(const vw_core *core)
{
    return core->settings;
}

void vw_core_log(vw_core *core, vw_log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vw_log_args(core->log_level, level, NULL, format, args);
    va_end(args);
}

void *vw_core_alloc(vw_core *core, size_t bytes)
{
    return vw_memory_alloc(&core->memory, bytes);
}

void vw_core_release(vw_core *core, void *memory)
{
    vw_memory_free(&core->memory, memory);
}

bool vw_core_kv_take(vw_core *core, uint64_t bytes, uint64_t limit)
{
    uint64_t before = atomic_fetch_add(&core->kv_bytes, bytes);

    if (before + bytes <= limit)
        return true;
    atomic_fetch_sub(&core->kv_bytes, bytes);
    return false;
}

void vw_core_kv_give(vw_core *core, uint64_t bytes)
{
    atomic_fetch_sub(&core->kv_bytes, bytes);
}

uint64_t vw_core_kv_bytes(const vw_core *core)
{
    return atomic_load(&core->kv_bytes);
}

vw_status vw_core_register_service(vw_core *core, const char *name, uint32_t major,
                                   const void *table, vw_error *err)
{
    int i = 0;

    while (i < core->n_services && !(core->services[i].major == major &&
                                     strcmp(core->services[i].name, name) == 0))
        i++;
    if (i == VW_MAX_SERVICES)
        return vw_fail(err, VW_E_FULL, "no room for the service \"%s\"", name);
    core->services[i] = (vw_service){name, major, table};
    if (i == core->n_services)
        core->n_services++;
    return VW_OK;
}
