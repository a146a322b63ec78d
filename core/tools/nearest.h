/* nearest.h - "did you mean": the known word that is closest to a wrong one. */
#ifndef VW_TOOLS_NEAREST_H
#define VW_TOOLS_NEAREST_H

typedef struct nearest {
    const char *wrong;
    const char *name; /* the best so far, NULL when none is near */
    int distance;
} nearest;

/* Offer every known word after nearest_to(); then `name` is the answer. */
nearest nearest_to(const char *wrong);
void nearest_offer(nearest *best, const char *known);

#endif
