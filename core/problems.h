/* problems.h - many errors as one.
 *
 * Whoever edits settings wants to see all that is wrong, in the order of the files.  Problems are
 * collected with their place and become the text of one vw_error, a line each.
 */
#ifndef VW_CORE_PROBLEMS_H
#define VW_CORE_PROBLEMS_H

#include <vishwamai/status.h>

typedef struct vw_problem {
    int file, line; /* order of printing: file, line, then order of coming */
    size_t number;
    char *text;
} vw_problem;

/* Zeros are an empty collection. */
typedef struct vw_problems {
    vw_problem *list;
    size_t n, room;
    size_t lost; /* for want of memory */
} vw_problems;

VW_PRINTF(4, 5)
void vw_problems_add(vw_problems *problems, int file, int line, const char *format, ...);

/* In the order of the files. */
void vw_problems_sort(vw_problems *problems);

/* VW_OK without problems, else VW_E_CONFIG with all of them; what does not fit is counted in the
 * last line, "... and 3 more".  Empties the collection. */
vw_status vw_problems_end(vw_problems *problems, vw_error *err);

#endif
