/* @NAME@.c - balance/@NAME@: placing the experts of a mixture on devices.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/balance.h.
 * A plugin links nothing of the library: all that it needs comes through the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai balance --plugin @NAME@ --loads FILE --devices 4
 */
#include <vishwamai/balance.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [balance.@NAME@] --------------------------------------------------------------- */

typedef struct config {
    int64_t example;
} config;

static const vw_option options[] = {
    {"example", VW_OPTION_INT, "3", 0, 10, NULL, offsetof(config, example), VW_OPTION_RANGE,
     "a number that does nothing"},
    VW_OPTION_END,
};

/* ---- an instance ----------------------------------------------------------------------------- */

typedef struct state {
    const vw_host *host;
    const config *config;
} state;

/* Can it be used here?  A score, or 0 with the reason. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "a template");
    return 1;
}

static vw_status open_instance(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    state *s = host->alloc(host->core, sizeof *s);

    if (!s)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    s->host = host;
    s->config = config_;
    *self = s;
    return VW_OK;
}

static void close_instance(void *self)
{
    state *s = self;

    s->host->free(s->host->core, s);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* One layer, by numbers alone: the experts of a node's groups in order, and again from the first
 * where there are more slots than experts.  Yours looks at load[]. */
static void place_layer(const vw_balance_problem *p, const double *load, int32_t *expert,
                        int32_t *copy)
{
    int32_t n_nodes = vw_balance_keeps_groups(p) ? p->n_nodes : 1;
    int32_t n_experts = p->n_experts / n_nodes, n_slots = p->n_replicas / n_nodes;

    for (int32_t s = 0; s < p->n_replicas; s++) {
        expert[s] = s / n_slots * n_experts + s % n_slots % n_experts;
        copy[s] = s % n_slots / n_experts;
    }
}

/* Required.  What is wrong with the problem is told before anything is written. */
static vw_status place(void *self, const vw_balance_problem *problem,
                       const vw_balance_placement *placement, vw_error *err)
{
    state *s = self;
    size_t n_slots = (size_t)problem->n_replicas;
    vw_status status = vw_balance_check(problem, err);
    int32_t *copy;

    if (status != VW_OK)
        return status;
    if (problem->slots)
        return vw_fail(err, VW_E_UNSUPPORTED, "balance/@NAME@ takes devices with equal slots only");
    copy = s->host->alloc(s->host->core, n_slots * sizeof *copy);
    if (!copy)
        return vw_fail(err, VW_E_NOMEM, "no memory for %d slots", problem->n_replicas);
    for (size_t l = 0; l < (size_t)problem->n_layers; l++) {
        place_layer(problem, problem->load + l * (size_t)problem->n_experts,
                    placement->expert + l * n_slots,
                    placement->copy ? placement->copy + l * n_slots : copy);
        if (placement->bound)
            placement->bound[l] = 1;
    }
    s->host->free(s->host->core, copy);
    return VW_OK;
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_balance_ops ops = {
    .size = sizeof ops,
    .place = place,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_BALANCE,
    .ops_major = VW_BALANCE_OPS_MAJOR,
    .ops_minor = VW_BALANCE_OPS_MINOR,
    .name = "@NAME@",
    .summary = "one line about @NAME@",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "your name",
    .url = "https://example.org/@NAME@",
    .rank = VW_RANK_NEVER, /* only by name; VW_RANK_NORMAL when `auto` may choose it */
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_instance,
    .close = close_instance,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(balance, @NAME@)
{
    return &description;
}
