/* zb1p.c - pipeline/zb1p: 1F1B whose weight gradients fill the gaps (Qi et al. 2023, ZB-H1).
 *
 * A backward is cut in I, which the rank before waits for, and W, which nobody waits for.  The
 * order of F and I is that of 1F1B; rank r puts its W's off by r micro-batches, so that gradients
 * travel up the ranks at the speed of I, and what is left of the W's fills the time in which 1F1B
 * idles at its end.  Every rank keeps P activations, as many as 1F1B's first rank, and idles (P -
 * 1)(F + B - 2W) where F = I = W.
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
        step_add(&l, VW_STEP_INPUT_GRAD, 0, m);
        if (m >= rank)
            step_add(&l, VW_STEP_WEIGHT_GRAD, 0, m - rank);
    }
    for (int32_t m = n_micro > rank ? n_micro - rank : 0; m < n_micro; m++)
        step_add(&l, VW_STEP_WEIGHT_GRAD, 0, m);
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
    .name = "zb1p",
    .summary = "1F1B with weight gradients put off to fill its idle time",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL + 32, /* 1F1B for as many activations and less idle time */
    .caps = VW_CAP_THREAD_SAFE,
    .probe = straight_probe,
    .open = open_nothing,
    .close = close_nothing,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(pipeline, zb1p)
{
    return &description;
}
