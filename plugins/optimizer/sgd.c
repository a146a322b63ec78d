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
#include "plugins/optimizer/checks.h"

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

static int32_t states(void *self, int64_t rows, int64_t cols, vw_optimizer_state *out)
{
    const sgd *it = self;

    if (!(it->config->momentum > 0))
        return 0;
    out[0] = (vw_optimizer_state){"momentum", rows * cols};
    return 1;
}

static void update_part(void *arg, int part, int n_parts)
{
    const work *w = arg;
    const vw_update *u = w->update;
    double momentum = w->config->momentum;
    int64_t end = optimizer_first(u->n, part + 1, n_parts);

    for (int64_t i = optimizer_first(u->n, part, n_parts); i < end; i++) {
        double p = u->parameter[i];
        double g = u->grad_scale * u->gradient[i] + u->weight_decay * p, v = g;
        if (momentum > 0) {
            v = momentum * u->state[0][i] + g;
            u->state[0][i] = (float)v;
        }
        u->parameter[i] =
            (float)(p - u->learning_rate * (w->config->nesterov ? g + momentum * v : v));
    }
}

static vw_status update(void *self, vw_stream *stream, const vw_update *u, vw_error *err)
{
    const sgd *it = self;
    work w = {it->config, u};
    vw_status status = optimizer_check(u, it->config->momentum > 0, err);

    (void)stream;
    if (status == VW_OK)
        optimizer_run(it->host, u->n, update_part, &w);
    return status;
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
    .states = states,
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
