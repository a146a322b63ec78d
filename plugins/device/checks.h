/* checks.h - what every device asks of a tensor before it works on it. */
#ifndef PLUGINS_DEVICE_CHECKS_H
#define PLUGINS_DEVICE_CHECKS_H

#include <vishwamai/device.h>

/* VW_OK if t is a matrix of that dtype with its values side by side and `rows` x `cols` (any, where
 * negative); words the error with the operation's and the tensor's name. */
static inline vw_status device_check(const char *op, const char *name, const vw_tensor *t,
                                     vw_dtype dtype, int64_t rows, int64_t cols, vw_error *err)
{
    if (t->dtype != dtype)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: %s is %s; %s would be right", op, name,
                       vw_dtype_name(t->dtype), vw_dtype_name(dtype));
    if (t->n_dims != 2 || t->stride[1] != 1)
        return vw_fail(err, VW_E_INVALID, "%s: %s must have 2 dimensions and values side by side",
                       op, name);
    if ((rows >= 0 && t->shape[0] != rows) || (cols >= 0 && t->shape[1] != cols))
        return vw_fail(err, VW_E_INVALID, "%s: %s is [%lld, %lld]; [%lld, %lld] would be right", op,
                       name, (long long)t->shape[0], (long long)t->shape[1],
                       (long long)(rows >= 0 ? rows : t->shape[0]),
                       (long long)(cols >= 0 ? cols : t->shape[1]));
    if (t->shape[0] > 1 && t->stride[0] < t->shape[1])
        return vw_fail(err, VW_E_INVALID, "%s: the rows of %s overlap", op, name);
    return VW_OK;
}

#endif
