/* ini_reader.h - an INI file line by line, every line accounted for.
 *
 * inih splits a line into section, key and value, but it gives no line numbers, cuts what is too
 * long, joins an indented line to the value before, and takes "key : value" as well.  So we read
 * the lines for it, count them, and let through only those that it understands as we do.
 */
#ifndef VW_CORE_INI_READER_H
#define VW_CORE_INI_READER_H

#include <vishwamai/status.h>

typedef struct vw_ini_events {
    void *arg;
    void (*section)(void *arg, int line, const char *section);
    void (*setting)(void *arg, int line, const char *section, const char *key, const char *value);
    /* `shown` is the wrong line or its beginning, or "" where it cannot be shown. */
    void (*wrong)(void *arg, int line, const char *shown, const char *what);
} vw_ini_events;

/* Read to the end, whatever is wrong on the way.  VW_E_IO when reading itself fails. */
vw_status vw_ini_read(FILE *file, const vw_ini_events *events, vw_error *err);

/* The longest line and the longest section or key that fit, in bytes: inih's limits as packaged. */
enum { VW_INI_MAX_LINE = 197, VW_INI_MAX_WORD = 49 };

#endif
