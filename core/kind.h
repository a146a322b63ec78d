/* kind.h - what the core knows about each kind of component.
 *
 * Only names, versions and the shape of the tables; never what they do.  A new kind is one line in
 * kind.c and its stubs in stubs.c.
 */
#ifndef VW_CORE_KIND_H
#define VW_CORE_KIND_H

#include <vishwamai/vishwamai.h>

typedef struct vw_kind_info {
    const char *name, *help;
    uint32_t ops_major, ops_minor;
    size_t ops_bytes;               /* of the kind's table here: a size, then functions alone */
    const char *const *operations;  /* their names, in the order of the table */
    const void *stubs;              /* a whole table: NULL where a plugin must bring its own */
} vw_kind_info;

/* For a valid kind. */
const vw_kind_info *vw_kind_get(vw_kind kind);

#endif
