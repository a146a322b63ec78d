/* vishwamai.c - balance/vishwamai: our own placement, and the exact split of a batch.
 *
 * It knows all that a problem can say: the previous placement, speeds, slots that differ.  The
 * search is in layer.c, its steps in search.c, the split in split.c; etc/decisions says why so.
 * Layers are independent and run on the threads of the pool; how many there are changes no bit.
 */
#include "plugins/balance/layer.h"
#include "plugins/balance/split.h"

/* ---- options --------------------------------------------------------------------------------- */

typedef struct config {
    int64_t effort, max_moves;
    double slack;
    int32_t groups;
} config;

enum { GROUPS_KEEP, GROUPS_FREE };

static const char *const groups_choices[] = {"keep", "free", NULL};

static const vw_option options[] = {
    {"effort", VW_OPTION_INT, "300", 1, 100000, NULL, offsetof(config, effort), VW_OPTION_RANGE,
     "how long to search, in thousands of looks at a possible step of a layer"},
    {"slack", VW_OPTION_REAL, "0.003", 0, 1, NULL, offsetof(config, slack), VW_OPTION_RANGE,
     "part of the largest time that is given up for fewer moves; never so much that EPLB is better"},
    {"max_moves", VW_OPTION_INT, "-1", -1, 2147483647, NULL, offsetof(config, max_moves),
     VW_OPTION_RANGE, "copies that may be fetched in a layer after a previous placement; -1: any"},
    {"groups", VW_OPTION_ENUM, "keep", 0, 0, groups_choices, offsetof(config, groups), 0,
     "keep: experts of a group stay on one node, where the groups divide among the nodes; free: "
     "anywhere"},
    VW_OPTION_END,
};

typedef struct state {
    const vw_host *host;
    const config *config;
} state;

static layer_rules rules_of(const state *s)
{
    return (layer_rules){
        .keeps_groups = s->config->groups == GROUPS_KEEP,
        .effort = s->config->effort * 1000,
        .max_moves = s->config->max_moves < 0 ? INT64_MAX : s->config->max_moves,
        .slack = s->config->slack,
    };
}

/* ---- place ----------------------------------------------------------------------------------- */

/* Layers part, part + n_parts ... with the part's memory. */
typedef struct placing {
    const vw_balance_problem *p;
    const vw_balance_placement *out;
    layer_rules rules;
    char *memory;
    size_t bytes; /* of one part */
} placing;

static void place_part(void *arg, int part, int n_parts)
{
    const placing *job = arg;
    const vw_balance_placement *out = job->out;
    size_t n_slots = (size_t)job->p->n_replicas;

    for (size_t l = (size_t)part; l < (size_t)job->p->n_layers; l += (size_t)n_parts)
        layer_place(job->p, &job->rules, l, out->expert + l * n_slots,
                    out->copy ? out->copy + l * n_slots : NULL, out->bound ? out->bound + l : NULL,
                    job->memory + (size_t)part * job->bytes);
}

/* The search keeps how many copies of each expert a device has in 8 bits. */
static vw_status check(const vw_balance_problem *p, vw_error *err)
{
    vw_status status = vw_balance_check(p, err);

    for (int32_t d = 0; d < p->n_devices && status == VW_OK; d++)
        if (vw_balance_slots(p, d) / p->n_experts > 254)
            status = vw_fail(err, VW_E_UNSUPPORTED,
                             "device %d: %d slots for %d experts; balance/vishwamai takes 254 for "
                             "each expert at most",
                             d, vw_balance_slots(p, d), p->n_experts);
    return status;
}

static vw_status place(void *self, const vw_balance_problem *p, const vw_balance_placement *out,
                       vw_error *err)
{
    const state *s = self;
    const vw_host *host = s->host;
    placing job = {.p = p, .out = out, .rules = rules_of(s)};
    vw_status status = check(p, err);
    int n_parts;

    if (status != VW_OK)
        return status;
    n_parts = host->n_threads(host->core);
    n_parts = n_parts < p->n_layers ? n_parts : p->n_layers;
    job.bytes = layer_bytes(p, &job.rules);
    if (job.bytes > 0 && job.bytes < SIZE_MAX / (size_t)n_parts)
        job.memory = host->alloc(host->core, job.bytes * (size_t)n_parts);
    if (!job.memory)
        return vw_fail(err, VW_E_NOMEM, "no memory to place %d experts on %d devices",
                       p->n_experts, p->n_devices);
    host->parallel_for(host->core, n_parts, place_part, &job);
    host->free(host->core, job.memory);
    return VW_OK;
}

/* ---- split ----------------------------------------------------------------------------------- */

static vw_status split(void *self, const vw_balance_problem *p, const int32_t *expert,
                       const int64_t *tokens, int64_t *quota, vw_error *err)
{
    const vw_host *host = ((state *)self)->host;
    vw_status status = vw_balance_check(p, err);
    size_t n_slots, n_experts, bytes, n;
    int64_t *dealt;
    void *memory;

    if (status != VW_OK)
        return status;
    n_slots = (size_t)p->n_replicas;
    n_experts = (size_t)p->n_experts;
    n = (size_t)p->n_layers * n_slots;
    bytes = (split_bytes(p) + 63) / 64 * 64;
    memory = host->alloc(host->core, bytes + n * sizeof *dealt);
    if (!memory)
        return vw_fail(err, VW_E_NOMEM, "no memory to split a batch over %d slots", p->n_replicas);
    dealt = (int64_t *)((char *)memory + bytes);
    for (size_t l = 0; l < (size_t)p->n_layers && status == VW_OK; l++)
        if ((status = split_layer(p, expert + l * n_slots, tokens + l * n_experts,
                                  dealt + l * n_slots, memory, err)) != VW_OK)
            status = vw_fail_in(err, status, "layer %zu", l);
    if (status == VW_OK)
        memcpy(quota, dealt, n * sizeof *dealt);
    host->free(host->core, memory);
    return status;
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "plain C");
    return 1;
}

static vw_status open_instance(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    state *s = host->alloc(host->core, sizeof *s);

    if (!s)
        return vw_fail(err, VW_E_NOMEM, "no memory for balance/vishwamai");
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

static const vw_balance_ops ops = {.size = sizeof ops, .place = place, .split = split};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_BALANCE,
    .ops_major = VW_BALANCE_OPS_MAJOR,
    .ops_minor = VW_BALANCE_OPS_MINOR,
    .name = "vishwamai",
    .summary = "local search from what is there: close to the optimum, few moves, no doubles",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_PREFERRED,
    .caps = VW_CAP_THREAD_SAFE,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_instance,
    .close = close_instance,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(balance, vishwamai)
{
    return &description;
}
