/* static.c - balance/static: experts by their numbers, as without any balancing.
 *
 * A node's slots hold the experts of its groups in order, and from the beginning again where there
 * are more slots than experts; without groups to keep, all devices together are one node.  Loads
 * are checked and not looked at: this is what others are measured against, and what a run starts
 * from before it has loads.
 */
#include "plugins/balance/bound.h"

static void place_layer(const vw_balance_problem *p, int32_t *expert, int32_t *copy)
{
    int32_t n_nodes = vw_balance_keeps_groups(p) ? p->n_nodes : 1;
    int32_t n = p->n_experts / n_nodes, slot = 0;

    for (int32_t node = 0; node < n_nodes; node++) {
        int32_t first = p->n_devices / n_nodes * node, last = p->n_devices / n_nodes + first;
        int32_t k = 0;
        for (int32_t d = first; d < last; d++)
            for (int32_t s = vw_balance_slots(p, d); s > 0; s--, k++, slot++) {
                expert[slot] = node * n + k % n;
                if (copy)
                    copy[slot] = k / n;
            }
    }
}

static vw_status place(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                       vw_error *err)
{
    const vw_host *host = self;
    vw_status status = vw_balance_check(p, err);
    void *scratch = NULL;

    if (status == VW_OK && out->bound) {
        scratch = host->alloc(host->core, bound_scratch_bytes(p));
        if (!scratch)
            return vw_fail(err, VW_E_NOMEM, "no memory for the bound of %d experts", p->n_experts);
    }
    for (size_t l = 0; status == VW_OK && l < (size_t)p->n_layers; l++) {
        size_t at = l * (size_t)p->n_replicas;
        place_layer(p, out->expert + at, out->copy ? out->copy + at : NULL);
        if (out->bound)
            out->bound[l] = bound_over_mean(p, p->load + l * (size_t)p->n_experts,
                                            vw_balance_keeps_groups(p), 1, scratch);
    }
    host->free(host->core, scratch);
    return status;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "a baseline, used when asked for by name");
    return 1;
}

static vw_status open_static(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config, (void)err;
    *self = (void *)host;
    return VW_OK;
}

static void close_static(void *self)
{
    (void)self;
}

static const vw_balance_ops ops = {.size = sizeof ops, .place = place};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_BALANCE,
    .ops_major = VW_BALANCE_OPS_MAJOR,
    .ops_minor = VW_BALANCE_OPS_MINOR,
    .name = "static",
    .summary = "experts by number, whatever their loads: what balancing is measured against",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NEVER,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_static,
    .close = close_static,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(balance, static)
{
    return &description;
}
