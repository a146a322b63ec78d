/* adamw.c - optimizer/adamw: Adam with weight decay apart from the gradient (Loshchilov and Hutter
 * 2019, algorithm 2; the moments are Kingma and Ba's).
 *
 *     g = grad_scale * gradient
 *     m = beta1 m + (1 - beta1) g
 *     v = beta2 v + (1 - beta2) g^2
 *     parameter -= learning_rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
 *                                   + weight_decay * parameter)
 *
 * The step is bound by memory: four arrays are read, three written, and each of them once.
 */
#include "kernels/cpu/adamw.h"
#include "plugins/optimizer/checks.h"

typedef struct config {
    double beta1, beta2, eps;
} config;

typedef struct adamw {
    const vw_host *host;
    const config *config;
    vw_adamw_fn advance;
} adamw;

typedef struct work {
    vw_adamw_fn advance;
    vw_adamw_step step;
    const vw_update *update;
} work;

enum { N_STATES = 2 };

static int32_t states(void *self, int64_t rows, int64_t cols, vw_optimizer_state *out)
{
    (void)self;
    out[0] = (vw_optimizer_state){"exp_avg", rows * cols};
    out[1] = (vw_optimizer_state){"exp_avg_sq", rows * cols};
    return N_STATES;
}

static void advance_part(void *arg, int part, int n_parts)
{
    const work *w = arg;
    const vw_update *u = w->update;
    int64_t first = optimizer_first(u->n, part, n_parts);
    int64_t n = optimizer_first(u->n, part + 1, n_parts) - first;
    w->advance(&w->step, n, u->parameter + first, u->gradient + first, u->state[0] + first,
               u->state[1] + first);
}

static vw_adamw_step step_of(const config *c, const vw_update *u)
{
    double rest1 = 1 - c->beta1, rest2 = 1 - c->beta2, t = (double)u->step;
    return (vw_adamw_step){
        .grad_scale = (float)u->grad_scale,
        .beta1 = (float)c->beta1,
        .rest1 = (float)rest1,
        .beta2 = (float)c->beta2,
        .rest2 = (float)rest2,
        .root = (float)(1 / sqrt(-expm1(t * log(c->beta2)))),
        .eps = (float)c->eps,
        .rate = (float)(u->learning_rate / (c->beta1 > 0 ? -expm1(t * log(c->beta1)) : 1)),
        .shrink = (float)(u->learning_rate * u->weight_decay),
    };
}

static vw_status update(void *self, vw_stream *stream, const vw_update *u, vw_error *err)
{
    const adamw *it = self;
    vw_status st = optimizer_check(u, N_STATES, err);
    (void)stream;
    if (st)
        return st;
    work w = {it->advance, step_of(it->config, u), u};
    optimizer_run(it->host, u->n, advance_part, &w);
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    vw_cpu_isa isa;
    (void)about;
    if (!vw_cpu_choose(&isa, why, why_bytes))
        return 0;
    snprintf(why, why_bytes, "%s", vw_cpu_isa_name(isa));
    return 100;
}

static vw_status open_adamw(const vw_host *host, const void *options, void **self, vw_error *err)
{
    vw_cpu_isa isa;
    char why[160];
    if (!vw_cpu_choose(&isa, why, sizeof why))
        return vw_fail(err, VW_E_UNSUPPORTED, "%s", why);
    adamw *it = host->alloc(host->core, sizeof *it);
    if (!it)
        return vw_fail(err, VW_E_NOMEM, "no memory for the optimizer");
    *it = (adamw){host, options, vw_adamw_for(isa)};
    *self = it;
    return VW_OK;
}

static void close_adamw(void *self)
{
    adamw *it = self;
    it->host->free(it->host->core, it);
}

static const vw_optimizer_ops ops = {
    .size = sizeof ops,
    .states = states,
    .update = update,
};

static const vw_option options[] = {
    {"beta1", VW_OPTION_REAL, "0.9", 0, 0.99999, NULL, offsetof(config, beta1), VW_OPTION_RANGE,
     "share of the mean gradient that a step keeps"},
    {"beta2", VW_OPTION_REAL, "0.95", 0.1, 0.999999, NULL, offsetof(config, beta2), VW_OPTION_RANGE,
     "share of the mean squared gradient that a step keeps"},
    {"eps", VW_OPTION_REAL, "1e-8", 1e-30, 1, NULL, offsetof(config, eps), VW_OPTION_RANGE,
     "added to the root of the mean squared gradient"},
    VW_OPTION_END,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_OPTIMIZER,
    .ops_major = VW_OPTIMIZER_OPS_MAJOR,
    .ops_minor = VW_OPTIMIZER_OPS_MINOR,
    .name = "adamw",
    .summary = "Adam with decoupled weight decay, at the speed of memory",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_adamw,
    .close = close_adamw,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(optimizer, adamw)
{
    return &description;
}
