/* examine.h - looking at a plugin file that may bring the process down.
 *
 * A child process loads it, reads its description and probes it.  Whatever happens there, here it
 * is a sentence.
 */
#ifndef VW_CORE_EXAMINE_H
#define VW_CORE_EXAMINE_H

#include <vishwamai/vishwamai.h>

typedef struct vw_examination {
    int32_t is_good;   /* it loaded, and its probe came back */
    char problem[sizeof((vw_error *)0)->text]; /* else why not; begins with the path */
    int32_t rank;
    int32_t runs_here; /* on about->device */
    int32_t score;     /* of the probe */
    char why[512];
} vw_examination;

/* VW_OK whenever there is a verdict, good or bad.  `about` may be NULL. */
vw_status vw_examine(vw_kind kind, const char *name, const char *path, const vw_probe *about,
                     vw_examination *examination, vw_error *err);

#endif
