/* search.h - balance/vishwamai: improving what lies on a field, a step at a time. */
#ifndef VW_BALANCE_SEARCH_H
#define VW_BALANCE_SEARCH_H

#include "plugins/balance/field.h"

/* Step by step until the largest time is `target` or less, no single step helps, or the budget is
 * spent.  With had[], steps that move little come first.  Returns the largest time. */
double field_descend(field *f, double target);

/* The same, and where steps do not help: small random changes, and again, `patience` times without
 * success.  What is left in the field is the best that was met. */
double field_search(field *f, double target, int patience);

/* Take changes against had[] back as long as the largest time stays at `target` or less. */
void field_settle(field *f, double target);

#endif
