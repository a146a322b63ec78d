/* core/json.h - how the core itself reaches the JSON reader that plugins get as the service "json".
 */
#ifndef VW_CORE_JSON_H
#define VW_CORE_JSON_H

#include <vishwamai/json.h>

/* The one table.  Static; any thread. */
const vw_json *vw_json_service(void);

#endif
