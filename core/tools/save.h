/* save.h - a file that is written whole or not at all. */
#ifndef VW_TOOLS_SAVE_H
#define VW_TOOLS_SAVE_H

#include <vishwamai/vishwamai.h>

/* Write a file under a temporary name, sync and rename it.  What is no file, such as a device or a
 * pipe, is written to as it is. */
vw_status save_file(const char *path, const void *data, size_t bytes, vw_error *err);

#endif
