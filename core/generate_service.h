/* generate_service.h - the table that plugins get as the service "generate". */
#ifndef VW_CORE_GENERATE_SERVICE_H
#define VW_CORE_GENERATE_SERVICE_H

#include <vishwamai/generate.h>

extern const vw_generate_service vw_generate_table;

#endif
