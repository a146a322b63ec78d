/* core.h - the core as the library's own parts see it: the engine, the services, the tests. */
#ifndef VW_CORE_CORE_H
#define VW_CORE_CORE_H

#include <stdbool.h>
#include <vishwamai/vishwamai.h>

#include "core/places.h"
#include "core/sections.h"

const vw_settings *vw_core_settings(const vw_core *core);

/* Log a line, as [log] level allows. */
VW_PRINTF(3, 4)
void vw_core_log(vw_core *core, vw_log_level level, const char *format, ...);

/* Memory of the core's own, aligned to 64 bytes and counted; freed with vw_core_release(). */
void *vw_core_alloc(vw_core *core, size_t bytes);
void vw_core_release(vw_core *core, void *memory);

/* Give plugins a service table under a name, for host->service(); it must outlive the core.  The
 * same name and major again replaces the table. */
vw_status vw_core_register_service(vw_core *core, const char *name, uint32_t major,
                                   const void *table, vw_error *err);

/* An instance that is nobody else's, as vw_core_component() would choose it: for components that
 * hold one model or one file.  Closed by vw_core_instance_close(), or with the core. */
vw_status vw_core_instance_open(vw_core *core, vw_kind kind, const char *label,
                                const vw_probe *about, const vw_component **component,
                                vw_error *err);
void vw_core_instance_close(vw_core *core, const vw_component *component);

/* What caches of all engines of this core hold together.  Take `bytes` more if that stays within
 * `limit`; give them back. */
bool vw_core_kv_take(vw_core *core, uint64_t bytes, uint64_t limit);
void vw_core_kv_give(vw_core *core, uint64_t bytes);
uint64_t vw_core_kv_bytes(const vw_core *core);

/* A counter of host->count(); 0 when nobody counted. */
uint64_t vw_core_counter(const vw_core *core, const char *counter);

#endif
