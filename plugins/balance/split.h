/* split.h - balance/vishwamai: dealing one batch to the copies of a fixed placement. */
#ifndef VW_BALANCE_SPLIT_H
#define VW_BALANCE_SPLIT_H

#include <vishwamai/balance.h>

size_t split_bytes(const vw_balance_problem *p);

/* One layer: expert[R], tokens[E] -> quota[R], with the smallest largest time that there is. */
vw_status split_layer(const vw_balance_problem *p, const int32_t *expert, const int64_t *tokens,
                      int64_t *quota, void *memory, vw_error *err);

#endif
