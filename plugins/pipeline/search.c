/* search.c - pipeline/search: a schedule made for the durations at hand.
 *
 * Published schedules are drawn for steps of equal length and messages that take no time.  This one
 * is told how long they take and simulates thousands of schedules (hunt.h); it answers with the
 * shortest.  In its placement it is never worse than DualPipe or DualPipeV, since it starts from
 * them, and it keeps within a limit of activations that is given.
 *
 * The last answer is kept, because the ranks' lists are asked for one by one.
 */
#include "plugins/pipeline/hunt.h"

/* ---- options: [pipeline.search] -------------------------------------------------------------- */

typedef struct config {
    int32_t placement;
    double effort;
} config;

static const char *const placements[] = {"straight", "crossed", "folded", NULL};

static const vw_option options[] = {
    {"placement", VW_OPTION_ENUM, "folded", 0, 0, placements, offsetof(config, placement), 0,
     "straight: a stage a rank; crossed: two copies, as dualpipe; folded: two stages, as dualpipev"},
    {"effort", VW_OPTION_REAL, "10", 0, 1e6, NULL, offsetof(config, effort), VW_OPTION_RANGE,
     "millions of steps to simulate; 20 take about a second"},
    VW_OPTION_END,
};

/* ---- an instance: the last answer ------------------------------------------------------------ */

/* What an answer was found for. */
typedef struct question {
    greedy_problem p;
    bool has_edges;
    uint64_t edges; /* a hash of the matrix, which the caller may change */
} question;

typedef struct state {
    const vw_host *host;
    const config *config;
    question asked;
    greedy_step *steps;  /* [P][GREEDY_STEPS]; NULL: nothing yet */
    int32_t *n_steps;    /* [P] */
} state;

static vw_status open_search(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    state *s = host->alloc(host->core, sizeof *s);

    if (!s)
        return vw_fail(err, VW_E_NOMEM, "no memory for pipeline/search");
    memset(s, 0, sizeof *s);
    s->host = host;
    s->config = config_;
    *self = s;
    return VW_OK;
}

static void forget(state *s)
{
    s->host->free(s->host->core, s->steps);
    s->host->free(s->host->core, s->n_steps);
    s->steps = NULL;
    s->n_steps = NULL;
}

static void close_search(void *self)
{
    state *s = self;

    forget(s);
    s->host->free(s->host->core, s);
}

/* ---- questions and answers ------------------------------------------------------------------- */

static uint64_t hash_of(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static bool is_same(const question *a, const question *b)
{
    const greedy_problem *p = &a->p, *q = &b->p;

    return p->where == q->where && p->n_ranks == q->n_ranks && p->n_micro == q->n_micro &&
           p->max_live == q->max_live && p->forward == q->forward && p->backward == q->backward &&
           p->weight == q->weight && p->overlap == q->overlap && p->comm == q->comm &&
           a->has_edges == b->has_edges && a->edges == b->edges;
}

static vw_status find(state *s, const question *q, vw_error *err)
{
    const vw_host *host = s->host;
    size_t n_ranks = (size_t)q->p.n_ranks;
    vw_status status;

    forget(s);
    s->steps = host->alloc(host->core, n_ranks * GREEDY_STEPS(&q->p) * sizeof *s->steps);
    s->n_steps = host->alloc(host->core, n_ranks * sizeof *s->n_steps);
    status = s->steps && s->n_steps
                 ? hunt(host, &q->p, 1e6 * s->config->effort, s->steps, s->n_steps, err)
                 : vw_fail(err, VW_E_NOMEM, "no memory for the search");
    s->asked = *q;
    if (status != VW_OK)
        forget(s);
    return status;
}

/* The problem in the terms of the search, or why it cannot be. */
static vw_status understand(const state *s, const vw_pipeline_problem *problem, int32_t rank,
                            question *q, vw_error *err)
{
    static const vw_pipeline_costs assumed = VW_PIPELINE_COSTS_ASSUMED;
    const vw_pipeline_costs *costs = problem->costs ? problem->costs : &assumed;
    vw_pipeline_layout layout = {.size = sizeof layout};
    vw_status status = check_problem(problem, rank, err);
    placement where = (placement)s->config->placement;

    if (status != VW_OK)
        return status;
    placement_layout(where, problem->n_ranks, &layout);
    if (where == CROSSED && (problem->n_ranks % 2 != 0 || problem->n_micro % 2 != 0))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "two directions need an even number of ranks and of micro-batches, not %d "
                       "and %d; placement = folded takes any", problem->n_ranks, problem->n_micro);
    if (problem->max_activations > 0 && problem->max_activations < layout.n_chunks)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%d activations at a time are too few: %d chunks on a rank need one each",
                       problem->max_activations, layout.n_chunks);
    if ((double)problem->n_ranks * layout.n_chunks * problem->n_micro > 1e9)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%d micro-batches on %d ranks are too many to search among",
                       problem->n_micro, problem->n_ranks);
    *q = (question){.p = {.where = where,
                          .n_ranks = problem->n_ranks,
                          .n_micro = problem->n_micro,
                          .n_chunks = layout.n_chunks,
                          .n_stages = layout.n_stages,
                          .n_each = problem->n_micro / layout.n_directions,
                          .max_live = problem->max_activations,
                          .forward = costs->forward,
                          .backward = costs->backward,
                          .weight = costs->weight,
                          .overlap = costs->overlap,
                          .comm = costs->comm,
                          .edge = costs->edge}};
    if (q->p.max_live <= 0) /* what 1F1B and DualPipe keep */
        q->p.max_live = where == STRAIGHT ? layout.n_stages : layout.n_stages + 1;
    q->has_edges = costs->edge != NULL;
    if (costs->edge)
        q->edges = hash_of(costs->edge, (size_t)q->p.n_ranks * (size_t)q->p.n_ranks *
                                            sizeof *costs->edge);
    return VW_OK;
}

static vw_status layout(void *self, const vw_pipeline_problem *problem, vw_pipeline_layout *layout,
                        vw_error *err)
{
    question q;
    vw_status status = understand(self, problem, 0, &q, err);

    if (status == VW_OK)
        placement_layout(q.p.where, problem->n_ranks, layout);
    return status;
}

static int32_t stage(void *self, const vw_pipeline_problem *problem, int32_t rank, int32_t chunk)
{
    const state *s = self;

    return placement_stage((placement)s->config->placement, problem->n_ranks, rank, chunk);
}

static vw_status schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                          vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    state *s = self;
    step_list l = {problem->n_ranks, rank, steps, steps ? room : 0, 0};
    question q;
    vw_status status = understand(s, problem, rank, &q, err);

    if (status == VW_OK && (!s->steps || !is_same(&q, &s->asked)))
        status = find(s, &q, err);
    if (status != VW_OK)
        return status;
    const greedy_step *from = s->steps + (size_t)rank * GREEDY_STEPS(&q.p);
    int32_t second = q.p.where == CROSSED ? q.p.n_each : 0; /* of chunk 1: the first micro-batch */
    for (int32_t i = 0; i < s->n_steps[rank]; i++) {
        int32_t micro = from[i].number + (from[i].chunk == 1 ? second : 0);
        int32_t other = from[i].other_number + (from[i].other_chunk == 1 ? second : 0);
        if (from[i].kind == VW_STEP_OVERLAP)
            step_add_pair(&l, from[i].chunk, micro, from[i].other_chunk, other);
        else
            step_add(&l, from[i].kind, from[i].chunk, micro);
    }
    *n = l.n;
    return VW_OK;
}

/* ---- the description ------------------------------------------------------------------------- */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "any number of ranks and micro-batches, unless crossed");
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
    .name = "search",
    .summary = "the best of thousands of simulated schedules, for the durations at hand",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NEVER, /* it wants durations, which nobody has before the first run */
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_search,
    .close = close_search,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(pipeline, search)
{
    return &description;
}
