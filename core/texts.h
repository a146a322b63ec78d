/* texts.h - strings that live as long as their owner.
 *
 * Settings hand out borrowed strings; a string that is kept twice is stored once, so that binding
 * the same options again and again does not grow anything.
 */
#ifndef VW_CORE_TEXTS_H
#define VW_CORE_TEXTS_H

#include <stddef.h>

typedef struct vw_texts vw_texts;

vw_texts *vw_texts_new(void);      /* NULL without memory */
void vw_texts_free(vw_texts *texts);

/* A copy that stays; NULL without memory. */
const char *vw_texts_keep(vw_texts *texts, const char *text);

/* The parts of "a, b, c", trimmed, NULL-terminated; "" has none.  NULL without memory. */
const char *const *vw_texts_list(vw_texts *texts, const char *comma_separated);

#endif
