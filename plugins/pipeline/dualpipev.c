/* dualpipev.c - pipeline/dualpipev: DualPipe cut in half and folded, with one copy of the model.
 *
 * P ranks hold 2P stages: rank r holds stage r on the way out and stage 2P - 1 - r on the way back,
 * so every micro-batch enters and leaves at rank 0 and turns at the last rank, which hands over to
 * itself.  The ranks run what the first P of 2P ranks run in DualPipe.
 *
 * Source: DeepSeek-AI, DualPipe (2025); the "cut-in-half" note of Sea AI Lab.
 *
 * Letters: P ranks, n micro-batches, r rank.
 */
#include "plugins/pipeline/eight_steps.h"

static vw_status check(const vw_pipeline_problem *problem, int32_t rank, vw_error *err)
{
    vw_status status = check_problem(problem, rank, err);

    if (status == VW_OK && problem->n_micro / 2 < problem->n_ranks)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%d ranks need at least %lld micro-batches, two for each rank, not %d",
                       problem->n_ranks, 2LL * problem->n_ranks, problem->n_micro);
    return status;
}

static vw_status layout(void *self, const vw_pipeline_problem *problem, vw_pipeline_layout *layout,
                        vw_error *err)
{
    vw_status status = check(problem, 0, err);

    (void)self;
    if (status == VW_OK)
        placement_layout(FOLDED, problem->n_ranks, layout);
    return status;
}

static int32_t stage(void *self, const vw_pipeline_problem *problem, int32_t rank, int32_t chunk)
{
    (void)self;
    return placement_stage(FOLDED, problem->n_ranks, rank, chunk);
}

static vw_status schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    step_list l = {problem->n_ranks, rank, steps, steps ? room : 0, 0};
    vw_status status = check(problem, rank, err);

    (void)self;
    if (status != VW_OK)
        return status;
    eight_steps_add(&l, &(eight_steps){.depth = rank,
                                       .n_depths = problem->n_ranks,
                                       .n_each = problem->n_micro,
                                       .first_chunk = 0,
                                       .first_micro = {0, 0}});
    *n = l.n;
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "any number of ranks, two micro-batches for each rank or more");
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
    .name = "dualpipev",
    .summary = "DualPipe folded onto half the ranks: one copy of the model, two stages a rank",
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

VW_PLUGIN_DEFINE(pipeline, dualpipev)
{
    return &description;
}
