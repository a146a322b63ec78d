/* eplb_place.h - the published placement of experts (DeepSeek's EPLB of 2025-03), to the bit.
 *
 * Used by balance/eplb, whose answer it is, and by balance/vishwamai, which starts from it and must
 * not be worse.
 */
#ifndef VW_BALANCE_EPLB_PLACE_H
#define VW_BALANCE_EPLB_PLACE_H

#include <vishwamai/balance.h>

/* Working memory for one layer. */
size_t eplb_scratch_bytes(const vw_balance_problem *p);

/* Can the loads of a layer be added as float32?  Theirs are. */
int eplb_can_add(const vw_balance_problem *p, const double *load);

/* Place one layer: expert[R], copy[R].  The problem is in order and has no `slots` that differ. */
void eplb_place_layer(const vw_balance_problem *p, const double *load, int32_t *expert,
                      int32_t *copy, void *scratch);

#endif
