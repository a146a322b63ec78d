/* sgd.c - optimizer/sgd: stochastic gradient descent, with momentum if asked (Sutskever et al. 2013).
 *
 *     g = grad_scale * gradient + weight_decay * parameter
 *     v = momentum * v + g
 *     parameter -= learning_rate * (nesterov ? g + momentum * v : v)
 *
 * without momentum v = g, and there is no state.  Decay is part of the gradient here, as is usual
 * for this rule, so it passes through the momentum; AdamW's does not.  Each element is computed in
 * double and rounded once, and elements know nothing of each other: threads change no bit.
 */
#include <vishwamai/optimizer.h>

#include <math.h>

/* Below this, waking another thread costs more than the work. */
enum { ELEMENTS_PER_PART = 16384 };

typedef struct config {
    double momentum;
    int32_t nesterov;
} config;

typedef struct sgd {
    const vw_host *host;
    const config *config;
} sgd;

typedef struct work {
    const config *config;
    const vw_update *update;
} work;

static int64_t state_floats(void *self, int64_t rows, int64_t cols)
{
    const sgd *it = self;

    return it->config->momentum > 0 ? rows * cols : 0;
}

static void update_part(void *arg, int part, int n_parts)
{
    const work *w = arg;
    const vw_update *u = w->update;
    double momentum = w->config->momentum;
    int64_t first = u->n / n_parts * part + u->n % n_parts * part / n_parts;
    int64_t end = u->n / n_parts * (part + 1) + u->n % n_parts * (part + 1) / n_parts;

    for (int64_t i = first; i < end; i++) {
        double p = u->parameter[i];
        double g = u->grad_scale * u->gradient[i] + u->weight_decay * p, v = g;
        if (momentum > 0) {
            v = momentum * u->state[i] + g;
            u->state[i] = (float)v;
        }
        u->parameter[i] =
            (float)(p - u->learning_rate * (w->config->nesterov ? g + momentum * v : v));
    }
}

static vw_status check(const sgd *it, const vw_update *u, vw_error *err)
{
    if (u->size < sizeof *u || u->step < 1)
        return vw_fail(err, VW_E_INVALID, "the update is not complete, or its step %lld is below 1",
                       (long long)u->step);
    if (u->n < 0 || u->rows < 0 || u->cols < 0 || (u->cols > 0 && u->rows > INT64_MAX / u->cols) ||
        u->n != u->rows * u->cols)
        return vw_fail(err, VW_E_INVALID, "%lld values are no matrix of %lld x %lld",
                       (long long)u->n, (long long)u->rows, (long long)u->cols);
    if (u->n > 0 && (!u->parameter || !u->gradient || (it->config->momentum > 0 && !u->state)))
        return vw_fail(err, VW_E_INVALID, "the parameter, its gradient or its state is missing");
    if (!isfinite(u->learning_rate) || !isfinite(u->grad_scale) || !isfinite(u->weight_decay))
        return vw_fail(err, VW_E_INVALID,
                       "learning rate %g, gradient scale %g, weight decay %g: all must be finite",
                       u->learning_rate, u->grad_scale, u->weight_decay);
    return VW_OK;
}

static vw_status update(void *self, vw_stream *stream, const vw_update *u, vw_error *err)
{
    const sgd *it = self;
    work w = {it->config, u};
    int64_t parts;
    int threads = it->host->n_threads(it->host->core);
    vw_status status = check(it, u, err);

    (void)stream;
    if (status)
        return status;
    parts = u->n / ELEMENTS_PER_PART;
    if (parts > threads)
        parts = threads;
    if (parts > 1)
        it->host->parallel_for(it->host->core, (int)parts, update_part, &w);
    else
        update_part(&w, 0, 1);
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "plain C");
    return 1;
}

static vw_status open_sgd(const vw_host *host, const void *options, void **self, vw_error *err)
{
    const config *c = options;
    sgd *it;

    if (c->nesterov && !(c->momentum > 0))
        return vw_fail(err, VW_E_CONFIG, "nesterov = yes needs a momentum above 0");
    it = host->alloc(host->core, sizeof *it);
    if (!it)
        return vw_fail(err, VW_E_NOMEM, "no memory for the optimizer");
    *it = (sgd){host, c};
    *self = it;
    return VW_OK;
}

static void close_sgd(void *self)
{
    sgd *it = self;

    it->host->free(it->host->core, it);
}

static const vw_optimizer_ops ops = {
    .size = sizeof ops,
    .state_floats = state_floats,
    .update = update,
};

static const vw_option options[] = {
    {"momentum", VW_OPTION_REAL, "0", 0, 0.9999, NULL, offsetof(config, momentum), VW_OPTION_RANGE,
     "share of the last update's direction that is kept; 0 needs no state"},
    {"nesterov", VW_OPTION_BOOL, "no", 0, 0, NULL, offsetof(config, nesterov), 0,
     "look ahead along the momentum"},
    VW_OPTION_END,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_OPTIMIZER,
    .ops_major = VW_OPTIMIZER_OPS_MAJOR,
    .ops_minor = VW_OPTIMIZER_OPS_MINOR,
    .name = "sgd",
    .summary = "stochastic gradient descent, with or without momentum",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_sgd,
    .close = close_sgd,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(optimizer, sgd)
{
    return &description;
}
