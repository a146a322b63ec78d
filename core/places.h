/* places.h - where plugins and data lie.
 *
 * An installed tree may be moved as a whole, so both are looked for beside the library before the
 * folders that configure was told.  The current directory is never one of them.
 */
#ifndef VW_CORE_PLACES_H
#define VW_CORE_PLACES_H

#include <stdbool.h>
#include <stddef.h>

enum { VW_PLACE_BYTES = 4096 };

/* The i-th folder that plugins are looked for in, absolute: the entries of VW_PLUGIN_PATH, then,
 * unless VW_PLUGIN_PATH_ONLY is 1, <libdir>/vishwamai and configure's.  False after the last. */
bool vw_place_plugins(size_t i, char *path, size_t room);

/* All of them, ", " between, for messages. */
void vw_place_plugins_text(char *text, size_t room);

/* A file or folder of the data folder ("presets/small.ini", "models/tiny-vishwamai") that exists:
 * VW_DATA_PATH, then <libdir>/../share/vishwamai, then configure's.  False if there is none. */
bool vw_place_data(const char *name, char *path, size_t room);

#endif
