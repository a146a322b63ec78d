/* balance-refusals.h - problems of placement with one thing wrong, and what is to be said of each. */
#ifndef VW_T_BALANCE_REFUSALS_H
#define VW_T_BALANCE_REFUSALS_H

#include "t/mock_host.h"

#include <vishwamai/balance.h>

/* place() makes each of them an error with its sentence, and leaves the output as it was; otherwise
 * VW_E_INVALID and which it was. */
vw_status balance_refusals(const vw_balance_ops *ops, void *self, vw_error *err);

/* Asserts that vw_balance_check() refuses each of them with its sentence. */
void balance_check_refusals(void);

#endif
