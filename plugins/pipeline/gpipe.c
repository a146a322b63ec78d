/* gpipe.c - pipeline/gpipe: all forwards, then all backwards (Huang et al. 2019).
 *
 * The simplest schedule that is right: rank r computes stage r, and each micro-batch passes down
 * the ranks and its gradient up again.  It keeps all n micro-batches' activations until the
 * backwards, which is why others exist, and idles for (P - 1)(F + B) of its time.
 *
 * Backwards go in ascending order too, though any order is allowed: weight gradients are then added
 * in the order in which one process would add them, and come out with the same bits.
 *
 * Letters: P ranks, n micro-batches.
 */
#include "plugins/pipeline/steps.h"

static vw_status schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    step_list l = {problem->n_ranks, rank, steps, steps ? room : 0, 0};
    vw_status status = check_problem(problem, rank, err);

    (void)self;
    if (status != VW_OK)
        return status;
    for (int32_t m = 0; m < problem->n_micro; m++)
        step_add(&l, VW_STEP_FORWARD, 0, m);
    for (int32_t m = 0; m < problem->n_micro; m++)
        step_add(&l, VW_STEP_BACKWARD, 0, m);
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
    .name = "gpipe",
    .summary = "all forwards, then all backwards: simple, and the most activations kept",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .probe = straight_probe,
    .open = open_nothing,
    .close = close_nothing,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(pipeline, gpipe)
{
    return &description;
}
