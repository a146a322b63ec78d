/* @NAME@.c - pipeline/@NAME@: the order of micro-batches in a pipeline of stages.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/pipeline.h.
 * A plugin links nothing of the library: all that it needs comes through the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai schedule @NAME@ --ranks 4 --microbatches 8
 */
#include <vishwamai/pipeline.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [pipeline.@NAME@] -------------------------------------------------------------- */

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

/* All required.  This one is right and slow: rank r holds stage r, and a micro-batch has gone all
 * the way and back before the next one starts.  See it with `vishwamai schedule @NAME@`. */
static vw_status check(const vw_pipeline_problem *problem, int32_t rank, vw_error *err)
{
    if (problem->n_ranks < 1 || problem->n_micro < 1)
        return vw_fail(err, VW_E_INVALID, "%d ranks and %d micro-batches: at least one of each",
                       problem->n_ranks, problem->n_micro);
    if (rank < 0 || rank >= problem->n_ranks)
        return vw_fail(err, VW_E_INVALID, "there is no rank %d among %d", rank, problem->n_ranks);
    return VW_OK;
}

static vw_status layout(void *self, const vw_pipeline_problem *problem, vw_pipeline_layout *layout,
                        vw_error *err)
{
    vw_status status = check(problem, 0, err);

    if (status != VW_OK)
        return status;
    layout->n_chunks = 1;
    layout->n_stages = problem->n_ranks;
    layout->n_directions = 1;
    return VW_OK;
}

static int32_t stage(void *self, const vw_pipeline_problem *problem, int32_t rank, int32_t chunk)
{
    return rank;
}

static vw_status schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    static const vw_step_kind order[] = {
        VW_STEP_RECEIVE_FORWARD,  VW_STEP_FORWARD,  VW_STEP_SEND_FORWARD,
        VW_STEP_RECEIVE_BACKWARD, VW_STEP_BACKWARD, VW_STEP_SEND_BACKWARD,
    };
    const int32_t before = rank - 1, behind = rank + 1 < problem->n_ranks ? rank + 1 : -1;
    const int32_t peers[] = {before, -1, behind, behind, -1, before};
    vw_status status = check(problem, rank, err);
    size_t count = 0;

    if (status != VW_OK)
        return status;
    for (int32_t micro = 0; micro < problem->n_micro; micro++)
        for (int i = 0; i < 6; i++) {
            if (peers[i] < 0 && i % 3 != 1)
                continue; /* the first stage receives nothing, the last one sends nothing on */
            if (count < room)
                steps[count] = (vw_step){order[i], 0, micro, -1, -1, peers[i]};
            count++;
        }
    *n = count;
    return VW_OK;
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_pipeline_ops ops = {
    .size = sizeof ops,
    .layout = layout,
    .stage = stage,
    .schedule = schedule,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_PIPELINE,
    .ops_major = VW_PIPELINE_OPS_MAJOR,
    .ops_minor = VW_PIPELINE_OPS_MINOR,
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

VW_PLUGIN_DEFINE(pipeline, @NAME@)
{
    return &description;
}
