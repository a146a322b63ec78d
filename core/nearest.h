/* nearest.h - "did you mean": the known word that a mistyped one is closest to. */
#ifndef VW_CORE_NEAREST_H
#define VW_CORE_NEAREST_H

#include <stddef.h>

/* Collects candidates one by one, so that no list has to be built. */
typedef struct vw_nearest {
    const char *word;
    const char *best; /* NULL: nothing is near enough */
    size_t distance;
} vw_nearest;

vw_nearest vw_nearest_to(const char *word);
void vw_nearest_offer(vw_nearest *nearest, const char *candidate); /* kept by address */

#endif
