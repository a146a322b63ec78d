/* 1f1b.c - pipeline/1f1b: one forward, one backward (Narayanan et al. 2019, PipeDream-Flush).
 *
 * Rank r runs P - 1 - r forwards ahead, then a forward and a backward in turn, then the backwards
 * that are left.  It idles as long as GPipe, (P - 1)(F + B), but keeps P - r activations where
 * GPipe keeps all n.
 *
 * Letters: P ranks, n micro-batches, r rank.
 */
#include "plugins/pipeline/steps.h"

static vw_status schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    step_list l = {problem->n_ranks, rank, steps, steps ? room : 0, 0};
    vw_status status = check_problem(problem, rank, err);
    int32_t ahead = problem->n_ranks - 1 - rank, n_micro = problem->n_micro;

    (void)self;
    if (status != VW_OK)
        return status;
    if (ahead > n_micro)
        ahead = n_micro;
    for (int32_t m = 0; m < ahead; m++)
        step_add(&l, VW_STEP_FORWARD, 0, m);
    for (int32_t m = 0; m < n_micro; m++) {
        if (ahead + m < n_micro)
            step_add(&l, VW_STEP_FORWARD, 0, ahead + m);
        step_add(&l, VW_STEP_BACKWARD, 0, m);
    }
    *n = l.n;
    return VW_OK;
}

static const vw_pipeline_ops ops = {
    .size = sizeof ops,
    .layout = straight_layout,
    .stage = straight_stage,
    .schedule = schedule,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_PIPELINE,
    .ops_major = VW_PIPELINE_OPS_MAJOR,
    .ops_minor = VW_PIPELINE_OPS_MINOR,
    .name = "1f1b",
    .summary = "one forward, one backward in turn: GPipe's idle time with far fewer activations",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = straight_probe,
    .open = open_nothing,
    .close = close_nothing,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(pipeline, 1f1b)
{
    return &description;
}
