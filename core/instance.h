/* instance.h - opened components: which plugin, with which options, shared or not. */
#ifndef VW_CORE_INSTANCE_H
#define VW_CORE_INSTANCE_H

#include <vishwamai/vishwamai.h>

/* Close every instance of a core, the newest first, so that none outlives what it needs. */
void vw_instances_close(vw_core *core);

#endif
