/* moves.h - small changes of a rank's list of compute steps. */
#ifndef VW_PIPELINE_MOVES_H
#define VW_PIPELINE_MOVES_H

#include "plugins/pipeline/draws.h"
#include "plugins/pipeline/greedy.h"

/* Change a list of *n steps, in memory for one step more, at random: a step elsewhere, a backward
 * cut in I and W or made whole again, a pair parted or made (with `pairs`).  The list still does
 * everything once; whether it can be followed is for greedy_follow().  False: nothing was changed.
 * Numbers in the steps lose their meaning: chunks take their micro-batches in order. */
bool move_step(greedy_step *steps, int32_t *n, bool pairs, draws *d);

#endif
