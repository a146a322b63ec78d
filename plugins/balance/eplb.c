/* eplb.c - balance/eplb: DeepSeek's published balancer, bit for bit (eplb_place.c).
 *
 * Speeds and the previous placement are checked and otherwise ignored, as the original knows
 * neither; it lays R/P slots on every device, so slots that differ are refused.
 */
#include "plugins/balance/bound.h"
#include "plugins/balance/eplb_place.h"

/* All layers into memory of our own first: outputs are written on success only. */
static vw_status place(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                       vw_error *err)
{
    const vw_host *host = self;
    vw_status status = vw_balance_check(p, err);
    size_t n_experts, n_slots, copies_at;
    int32_t *copy;
    char *scratch;

    if (status != VW_OK)
        return status;
    for (int32_t d = 0; d < p->n_devices; d++)
        if (vw_balance_slots(p, d) != vw_balance_slots(p, 0))
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "balance/eplb gives every device the same number of slots, and device "
                           "%d has %d where device 0 has %d; balance/vishwamai takes any",
                           d, vw_balance_slots(p, d), vw_balance_slots(p, 0));
    n_experts = (size_t)p->n_experts;
    n_slots = (size_t)p->n_replicas;
    for (int32_t l = 0; l < p->n_layers; l++)
        if (!eplb_can_add(p, p->load + (size_t)l * n_experts))
            return vw_fail(err, VW_E_INVALID,
                           "layer %d: balance/eplb adds in float32, and the sum of its loads must "
                           "be below 1.7e38; divide all of them by one number",
                           l);
    copies_at = (eplb_scratch_bytes(p) + bound_scratch_bytes(p) + 63) / 64 * 64;
    scratch = host->alloc(host->core, copies_at + n_slots * sizeof(int32_t));
    if (!scratch)
        return vw_fail(err, VW_E_NOMEM, "no memory to place %d experts in %d slots", p->n_experts,
                       p->n_replicas);
    copy = (int32_t *)(scratch + copies_at);
    for (size_t l = 0; l < (size_t)p->n_layers; l++) {
        eplb_place_layer(p, p->load + l * n_experts, out->expert + l * n_slots,
                         out->copy ? out->copy + l * n_slots : copy, scratch);
        if (out->bound)
            out->bound[l] = bound_over_mean(p, p->load + l * n_experts, vw_balance_keeps_groups(p), 1,
                                            scratch);
    }
    host->free(host->core, scratch);
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "plain C");
    return 1;
}

static vw_status open_eplb(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config, (void)err;
    *self = (void *)host;
    return VW_OK;
}

static void close_eplb(void *self)
{
    (void)self;
}

static const vw_balance_ops ops = {.size = sizeof ops, .place = place};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_BALANCE,
    .ops_major = VW_BALANCE_OPS_MAJOR,
    .ops_minor = VW_BALANCE_OPS_MINOR,
    .name = "eplb",
    .summary = "DeepSeek's EPLB to the bit: copies by load, heaviest first onto the lightest",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_eplb,
    .close = close_eplb,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(balance, eplb)
{
    return &description;
}
