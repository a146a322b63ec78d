/* dualpipe.c - pipeline/dualpipe: two directions, forwards overlapped with backwards.
 *
 * Two copies of the model lie on the ranks in opposite orders, and half of the micro-batches
 * enters at each end.  In the middle of the run every step is a forward of one direction beside a
 * backward of the other, so that the communication of one runs under the computation of the other;
 * without that gain it barely beats zb1p.  Ranks r and P - 1 - r hold the same two stages, so the
 * second copy of the weights is also the data-parallel partner of the first.
 *
 * Source: DeepSeek-AI, DualPipe (2025), and the DeepSeek-V3 report (arXiv 2412.19437), section
 * 3.2.1.
 *
 * Letters: P ranks, n micro-batches, r rank.
 */
#include "plugins/pipeline/eight_steps.h"

static vw_status check(const vw_pipeline_problem *problem, int32_t rank, vw_error *err)
{
    int32_t n_ranks = problem->n_ranks, n_micro = problem->n_micro;
    vw_status status = check_problem(problem, rank, err);

    if (status != VW_OK)
        return status;
    if (n_ranks % 2 != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "two directions need an even number of ranks, not %d; dualpipev takes any",
                       n_ranks);
    if (n_micro % 2 != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "two directions need an even number of micro-batches, not %d", n_micro);
    if (n_micro / 2 < n_ranks)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%d ranks need at least %lld micro-batches, two for each rank, not %d",
                       n_ranks, 2LL * n_ranks, n_micro);
    return VW_OK;
}

static vw_status layout(void *self, const vw_pipeline_problem *problem, vw_pipeline_layout *layout,
                        vw_error *err)
{
    vw_status status = check(problem, 0, err);

    (void)self;
    if (status == VW_OK)
        placement_layout(CROSSED, problem->n_ranks, layout);
    return status;
}

static int32_t stage(void *self, const vw_pipeline_problem *problem, int32_t rank, int32_t chunk)
{
    (void)self;
    return placement_stage(CROSSED, problem->n_ranks, rank, chunk);
}

static vw_status schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    step_list l = {problem->n_ranks, rank, steps, steps ? room : 0, 0};
    vw_status status = check(problem, rank, err);
    int32_t last = problem->n_ranks - 1 - rank;

    (void)self;
    if (status != VW_OK)
        return status;
    eight_steps_add(&l, &(eight_steps){.depth = rank < last ? rank : last,
                                       .n_depths = problem->n_ranks / 2,
                                       .n_each = problem->n_micro / 2,
                                       .first_chunk = rank > last,
                                       .first_micro = {0, problem->n_micro / 2}});
    *n = l.n;
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "even numbers of ranks and micro-batches, two of these for each rank");
    return 1;
}

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
    .name = "dualpipe",
    .summary = "two directions, forwards overlapped with backwards; two copies of the model",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL - 32, /* not for every number of ranks and micro-batches */
    .caps = VW_CAP_THREAD_SAFE,
    .probe = probe,
    .open = open_nothing,
    .close = close_nothing,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(pipeline, dualpipe)
{
    return &description;
}
