/* eight_steps.h - the eight steps that DualPipe and DualPipeV have in common. */
#ifndef VW_PIPELINE_EIGHT_STEPS_H
#define VW_PIPELINE_EIGHT_STEPS_H

#include "plugins/pipeline/steps.h"

/* What a rank does depends on how far it is from the end of the pipeline where its micro-batches
 * enter, and on nothing else of the placement. */
typedef struct eight_steps {
    int32_t depth;       /* h: 0 at the end, n_depths - 1 in the middle or at the fold */
    int32_t n_depths;    /* H */
    int32_t n_each;      /* m: forwards of each phase, at least 2H */
    int32_t first_chunk; /* the chunk of phase 0; phase 1 is the other one */
    int32_t first_micro[2]; /* [chunk] number of its first micro-batch */
} eight_steps;

void eight_steps_add(step_list *l, const eight_steps *e);

#endif
