/* checks.h - what every rule asks of an update, and how it cuts one into parts for threads. */
#ifndef VW_OPTIMIZER_CHECKS_H
#define VW_OPTIMIZER_CHECKS_H

#include <vishwamai/optimizer.h>

/* Below this, waking another thread costs more than the work. */
enum { OPTIMIZER_PART = 16384 };

static inline vw_status optimizer_check(const vw_update *u, int32_t n_states, vw_error *err)
{
    if (u->size < sizeof *u || u->step < 1)
        return vw_fail(err, VW_E_INVALID, "the update is not complete, or its step %lld is below 1",
                       (long long)u->step);
    if (u->n < 0 || u->rows < 0 || u->cols < 0 || (u->cols > 0 && u->rows > INT64_MAX / u->cols) ||
        u->n != u->rows * u->cols)
        return vw_fail(err, VW_E_INVALID, "%lld values are no matrix of %lld x %lld",
                       (long long)u->n, (long long)u->rows, (long long)u->cols);
    int is_whole = u->n == 0 || (u->parameter && u->gradient);
    for (int32_t i = 0; i < n_states && u->n > 0; i++)
        is_whole = is_whole && u->state[i];
    if (!is_whole)
        return vw_fail(err, VW_E_INVALID, "the parameter, its gradient or its state is missing");
    if (!isfinite(u->learning_rate) || !isfinite(u->grad_scale) || !isfinite(u->weight_decay))
        return vw_fail(err, VW_E_INVALID,
                       "learning rate %g, gradient scale %g, weight decay %g: all must be finite",
                       u->learning_rate, u->grad_scale, u->weight_decay);
    return VW_OK;
}

/* Run `part` over the values of an update, on as many threads as are worth it. */
static inline void optimizer_run(const vw_host *host, int64_t n, vw_part_fn part, void *arg)
{
    int threads = host->n_threads(host->core);
    int64_t parts = n / OPTIMIZER_PART;
    if (parts > threads)
        parts = threads;
    if (parts > 1)
        host->parallel_for(host->core, (int)parts, part, arg);
    else
        part(arg, 0, 1);
}

/* The first value of a part; that of part n_parts is n.  Parts begin at whole cache lines. */
static inline int64_t optimizer_first(int64_t n, int part, int n_parts)
{
    int64_t lines = (n + 15) / 16;
    int64_t first = 16 * (lines / n_parts * part + lines % n_parts * part / n_parts);
    return first < n ? first : n;
}

#endif
