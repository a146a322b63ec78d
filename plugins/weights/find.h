/* find.h - a tensor by its name, in a list that is ordered by name.
 */
#ifndef VW_WEIGHTS_FIND_H
#define VW_WEIGHTS_FIND_H

#include <vishwamai/weights.h>

/* NULL when it is not there; and the name that is most like it, NULL when none is. */
const vw_weights_tensor *weights_find(const vw_weights_tensor *tensors, size_t n, const char *name);
const char *weights_nearest(const vw_weights_tensor *tensors, size_t n, const char *name);

#endif
