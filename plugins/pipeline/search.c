/* search.c - pipeline/search: a schedule made for the durations at hand.
 *
 * Published schedules are drawn for steps of equal length and messages that take no time.  This one
 * is told how long they take and simulates thousands of schedules on the way to a good one: what
 * DualPipe would do, where it applies; greedy schedules under random policies (greedy.h); changes to
 * the best policy; and at last single decisions against the best policy's rules.  It ends with the
 * shortest makespan that it has seen, so in its placement it is never worse than DualPipe, and its
 * memory keeps within a limit that is given.
 *
 * It draws from a generator that always starts alike and computes with sums and comparisons alone, so
 * that every rank of a run finds the same schedule.  The last answer is kept, because the ranks'
 * lists are asked for one by one.
 */
#include "plugins/pipeline/eight_steps.h"
#include "plugins/pipeline/greedy.h"

/* ---- options: [pipeline.search] -------------------------------------------------------------- */

typedef struct config {
    int32_t placement;
    int64_t tries;
} config;

static const char *const placements[] = {"straight", "crossed", "folded", NULL};

static const vw_option options[] = {
    {"placement", VW_OPTION_ENUM, "folded", 0, 0, placements, offsetof(config, placement), 0,
     "straight: a stage a rank; crossed: two copies, as dualpipe; folded: two stages, as dualpipev"},
    {"tries", VW_OPTION_INT, "2000", 1, 1e7, NULL, offsetof(config, tries), VW_OPTION_RANGE,
     "schedules to simulate; the time it takes grows with it"},
    VW_OPTION_END,
};

/* ---- an instance: the last answer ------------------------------------------------------------ */

/* What an answer was found for. */
typedef struct question {
    greedy_problem p;
    uint64_t edges; /* a hash of the matrix */
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

/* ---- the search ------------------------------------------------------------------------------ */

typedef struct hunt {
    state *s;
    greedy *g;
    const greedy_problem *p;
    uint64_t random;
    double best;            /* makespan; negative: none yet */
    policy best_policy;     /* of the best greedy one */
    double best_greedy;
    int32_t *shift, *best_shift; /* [P] */
    uint8_t *twists;        /* [P][GREEDY_STEPS] */
} hunt;

/* xorshift64*: a whole number below n. */
static int32_t draw(hunt *h, int32_t n)
{
    h->random ^= h->random >> 12;
    h->random ^= h->random << 25;
    h->random ^= h->random >> 27;
    return (int32_t)((h->random * 2685821657736338717u >> 33) * (uint64_t)n >> 31);
}

/* Keep what the last run made, if it is the best so far. */
static void keep(hunt *h, double makespan)
{
    if (makespan < 0 || (h->best >= 0 && makespan >= h->best))
        return;
    h->best = makespan;
    for (int32_t r = 0; r < h->p->n_ranks; r++) {
        double end;
        const greedy_step *steps = greedy_steps(h->g, r, &h->s->n_steps[r], &end);
        memcpy(h->s->steps + (size_t)r * GREEDY_STEPS(h->p), steps,
               (size_t)h->s->n_steps[r] * sizeof *steps);
    }
}

/* Makespan, and a little of the ranks' mean end, so that a step in the right direction shows. */
static double worth(const hunt *h, double makespan)
{
    double sum = 0;

    for (int32_t r = 0; r < h->p->n_ranks; r++) {
        int32_t n;
        double end;
        greedy_steps(h->g, r, &n, &end);
        sum += end;
    }
    return makespan + sum / (1024.0 * h->p->n_ranks);
}

/* DualPipe's and DualPipeV's own order, where there are micro-batches enough. */
static vw_status try_eight_steps(hunt *h, vw_error *err)
{
    const vw_host *host = h->s->host;
    const greedy_problem *p = h->p;
    bool is_crossed = p->where == CROSSED;
    size_t n = GREEDY_STEPS(p), room = 7 * (size_t)p->n_chunks * (size_t)p->n_each;
    size_t n_ranks = (size_t)p->n_ranks;

    if (p->where == STRAIGHT || p->n_micro < 2 * p->n_ranks || (is_crossed && p->n_ranks % 2))
        return VW_OK;
    greedy_step *steps = host->alloc(host->core, n_ranks * n * sizeof *steps);
    const greedy_step **lists = host->alloc(host->core, n_ranks * sizeof *lists);
    int32_t *n_steps = host->alloc(host->core, n_ranks * sizeof *n_steps);
    vw_step *all = host->alloc(host->core, room * sizeof *all);
    bool is_whole = steps && lists && n_steps && all;
    for (int32_t r = 0; r < p->n_ranks && is_whole; r++) {
        int32_t last = p->n_ranks - 1 - r, depth = is_crossed && r > last ? last : r;
        step_list l = {p->n_ranks, r, all, room, 0};
        greedy_step *to = steps + (size_t)r * n;
        eight_steps_add(&l, &(eight_steps){.depth = depth,
                                           .n_depths = is_crossed ? p->n_ranks / 2 : p->n_ranks,
                                           .n_each = p->n_each,
                                           .first_chunk = is_crossed && r > last});
        n_steps[r] = 0;
        lists[r] = to;
        for (size_t i = 0; i < l.n; i++)
            if (all[i].kind <= VW_STEP_OVERLAP)
                to[n_steps[r]++] = (greedy_step){all[i].kind, all[i].chunk, all[i].micro,
                                                 all[i].other_chunk, all[i].other_micro};
    }
    if (is_whole)
        keep(h, greedy_follow(h->g, lists, n_steps));
    host->free(host->core, steps);
    host->free(host->core, lists);
    host->free(host->core, n_steps);
    host->free(host->core, all);
    return is_whole ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the search");
}

static const double ahead_choices[] = {1, 1.25, 1.5, 1.75, 2, 3, 8};
enum { N_AHEAD = sizeof ahead_choices / sizeof *ahead_choices };

static double draw_patience(hunt *h)
{
    return draw(h, 3) == 0 ? 0 : draw(h, 64) * (1.0 / 32) * h->p->forward;
}

static policy draw_policy(hunt *h)
{
    for (int32_t r = 0; r < h->p->n_ranks; r++)
        h->shift[r] = 0;
    for (int32_t r = 0; r < h->p->n_ranks && draw(h, 2); r++)
        h->shift[r] = draw(h, 3) - 1;
    return (policy){.ahead = ahead_choices[draw(h, N_AHEAD)],
                    .more = draw(h, 4) - 1,
                    .split = (splitting)draw(h, N_SPLITTINGS),
                    .pairs = draw(h, 4) > 0,
                    .prefers_forward = draw(h, 3) == 0,
                    .prefers_far = draw(h, 2),
                    .prefers_far_back = draw(h, 2),
                    .patience = draw_patience(h),
                    .shift = h->shift};
}

/* The best policy with one number changed. */
static policy change_policy(hunt *h)
{
    policy by = h->best_policy;

    memcpy(h->shift, h->best_shift, (size_t)h->p->n_ranks * sizeof *h->shift);
    by.shift = h->shift;
    switch (draw(h, 8)) {
    case 0:
        by.ahead = ahead_choices[draw(h, N_AHEAD)];
        break;
    case 1:
        by.more += draw(h, 2) ? 1 : -1;
        break;
    case 2:
        by.split = (splitting)draw(h, N_SPLITTINGS);
        break;
    case 3:
        by.prefers_forward = !by.prefers_forward;
        break;
    case 4:
        by.patience = draw_patience(h);
        break;
    default:
        h->shift[draw(h, h->p->n_ranks)] += draw(h, 2) ? 1 : -1;
    }
    return by;
}

static void try_policy(hunt *h, policy by)
{
    double makespan = greedy_run(h->g, &by);

    keep(h, makespan);
    if (makespan < 0 || (h->best_greedy >= 0 && makespan > h->best_greedy))
        return;
    h->best_greedy = makespan;
    h->best_policy = by;
    memcpy(h->best_shift, by.shift, (size_t)h->p->n_ranks * sizeof *h->shift);
}

/* One or two decisions of the best policy otherwise, kept unless it gets worse. */
static void try_twists(hunt *h, int64_t tries)
{
    size_t n = GREEDY_STEPS(h->p);
    policy by = h->best_policy;
    double now, end;

    by.shift = h->best_shift;
    by.twist = h->twists;
    now = worth(h, greedy_run(h->g, &by));
    for (int64_t i = 0; i < tries; i++) {
        uint8_t *at[2], old[2];
        int32_t r = draw(h, h->p->n_ranks), n_changes = 1 + draw(h, 2);
        for (int k = 0; k < n_changes; k++) {
            int32_t n_steps;
            greedy_steps(h->g, r, &n_steps, &end);
            at[k] = h->twists + (size_t)r * n + draw(h, n_steps > 0 ? n_steps : 1);
            old[k] = *at[k];
            *at[k] = (uint8_t)draw(h, N_TWISTS);
            if (draw(h, 2))
                r = h->p->n_ranks - 1 - r;
        }
        double makespan = greedy_run(h->g, &by);
        double then = makespan < 0 ? -1 : worth(h, makespan);
        if (then >= 0 && then <= now) {
            now = then;
            keep(h, makespan);
        } else {
            for (int k = n_changes; k-- > 0;)
                *at[k] = old[k];
        }
    }
}

static vw_status look(hunt *h, int64_t tries, vw_error *err)
{
    /* One micro-batch at a time always comes to an end. */
    static const policy safe = {.ahead = 0};
    vw_status status = try_eight_steps(h, err);

    if (status != VW_OK)
        return status;
    policy by = safe;
    by.shift = h->shift;
    try_policy(h, by);
    for (int64_t i = 0; i < tries / 4; i++)
        try_policy(h, draw_policy(h));
    for (int64_t i = 0; i < tries / 4; i++)
        try_policy(h, change_policy(h));
    if (h->best < 0)
        return vw_fail(err, VW_E_INVALID, "no schedule ends with these durations; they must be "
                       "finite and not negative");
    try_twists(h, tries / 2);
    return VW_OK;
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
           !p->edge == !q->edge && a->edges == b->edges;
}

static vw_status find(state *s, const question *q, vw_error *err)
{
    const vw_host *host = s->host;
    size_t n_ranks = (size_t)q->p.n_ranks, n = GREEDY_STEPS(&q->p);
    hunt h = {.s = s, .p = &q->p, .random = 88172645463325252u, .best = -1, .best_greedy = -1};
    void *memory = host->alloc(host->core, greedy_bytes(&q->p));
    vw_status status;

    forget(s);
    s->steps = host->alloc(host->core, n_ranks * n * sizeof *s->steps);
    s->n_steps = host->alloc(host->core, n_ranks * sizeof *s->n_steps);
    h.twists = host->alloc(host->core, n_ranks * n);
    h.shift = host->alloc(host->core, 2 * n_ranks * sizeof *h.shift);
    if (memory && s->steps && s->n_steps && h.twists && h.shift) {
        memset(h.twists, 0, n_ranks * n);
        memset(h.shift, 0, 2 * n_ranks * sizeof *h.shift);
        h.best_shift = h.shift + n_ranks;
        h.g = greedy_init(memory, &q->p);
        status = look(&h, s->config->tries, err);
    } else {
        status = vw_fail(err, VW_E_NOMEM, "no memory for the search");
    }
    host->free(host->core, memory);
    host->free(host->core, h.twists);
    host->free(host->core, h.shift);
    s->asked = *q;
    s->asked.p.edge = NULL;
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
