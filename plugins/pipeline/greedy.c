/* greedy.c - making a schedule by time (list scheduling).
 *
 * Ranks decide in the order of time, so whatever reaches a rank up to the moment of its decision is
 * known.  A chunk takes its micro-batches in order, forwards and backwards; what is ready is then a
 * few counters and the times at which inputs arrive.
 *
 * Letters: P ranks, r rank, c chunk, k number of a micro-batch within its chunk, t time.
 */
#include "plugins/pipeline/greedy.h"

#include <math.h>

/* How far a chunk has come. */
typedef struct chunk_state {
    double *input_at;    /* [n_each] when the input of F is here; NEVER: not known yet */
    double *gradient_at; /* [n_each] the same for B */
    int32_t n_forward, n_backward, n_split, n_weight; /* done; I's that were cut off; W's */
    int32_t *split;      /* [n_each] the numbers of the I's */
    int32_t live, stage;
} chunk_state;

typedef struct rank_state {
    double free_at;      /* when its last step ends */
    double ask_at;       /* when it decides next; NEVER: when something arrives */
    int32_t live, n_steps, n_chunks;
    chunk_state chunk[2];
    greedy_step *steps;  /* [3 x n_chunks x n_each] */
} rank_state;

struct greedy {
    greedy_problem p;
    rank_state *ranks;
    double makespan;
};

static const double NEVER = INFINITY;

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t rank_bytes(const greedy_problem *p)
{
    size_t n = (size_t)p->n_chunks * (size_t)p->n_each;

    return n * (2 * sizeof(double) + 3 * sizeof(greedy_step) + sizeof(int32_t)) + 64;
}

size_t greedy_bytes(const greedy_problem *p)
{
    return sizeof(greedy) + 64 + (size_t)p->n_ranks * (sizeof(rank_state) + rank_bytes(p));
}

static void *take(char **at, size_t bytes)
{
    void *memory = *at;

    *at += (bytes + 7) / 8 * 8;
    return memory;
}

greedy *greedy_init(void *memory, const greedy_problem *p)
{
    char *at = memory;
    greedy *g = take(&at, sizeof *g);
    size_t n = (size_t)p->n_each;

    g->p = *p;
    g->ranks = take(&at, (size_t)p->n_ranks * sizeof *g->ranks);
    for (int32_t r = 0; r < p->n_ranks; r++) {
        rank_state *it = &g->ranks[r];
        it->n_chunks = p->n_chunks;
        for (int32_t c = 0; c < p->n_chunks; c++) {
            it->chunk[c].stage = placement_stage(p->where, p->n_ranks, r, c);
            it->chunk[c].input_at = take(&at, n * sizeof(double));
            it->chunk[c].gradient_at = take(&at, n * sizeof(double));
            it->chunk[c].split = take(&at, n * sizeof(int32_t));
        }
        it->steps = take(&at, GREEDY_STEPS(p) * sizeof *it->steps);
    }
    return g;
}

static void restart(greedy *g)
{
    g->makespan = 0;
    for (int32_t r = 0; r < g->p.n_ranks; r++) {
        rank_state *it = &g->ranks[r];
        it->free_at = it->ask_at = 0;
        it->live = it->n_steps = 0;
        for (int32_t c = 0; c < g->p.n_chunks; c++) {
            chunk_state *x = &it->chunk[c];
            x->n_forward = x->n_backward = x->n_split = x->n_weight = x->live = 0;
            for (int32_t k = 0; k < g->p.n_each; k++) {
                x->input_at[k] = x->stage == 0 ? 0 : NEVER;
                x->gradient_at[k] = NEVER;
            }
        }
    }
}

/* ---- results travel -------------------------------------------------------------------------- */

/* Chunk c of rank r has a result for its neighbour at time t: an output (hops 1) or a gradient
 * (-1).  Wakes the rank that gets it. */
static void deliver(greedy *g, int32_t r, int32_t c, int32_t k, int32_t hops, double t)
{
    int32_t to = r + (c == 0 ? hops : -hops), to_chunk = c;
    int32_t stage = g->ranks[r].chunk[c].stage + hops;
    const greedy_problem *p = &g->p;

    if (hops > 0 && stage == p->n_stages) {
        g->ranks[r].chunk[c].gradient_at[k] = t; /* the loss */
        return;
    }
    if (stage < 0)
        return;
    if (to < 0 || to >= p->n_ranks) { /* the fold hands over to itself */
        to = r;
        to_chunk = 1 - c;
    } else {
        t += p->edge ? p->edge[(size_t)r * (size_t)p->n_ranks + (size_t)to] : p->comm;
    }
    rank_state *it = &g->ranks[to];
    (hops > 0 ? it->chunk[to_chunk].input_at : it->chunk[to_chunk].gradient_at)[k] = t;
    it->ask_at = fmin(it->ask_at, fmax(it->free_at, t));
}

/* ---- what is ready --------------------------------------------------------------------------- */

/* When the chunk's next F could start, judged by its input; NEVER if memory or policy forbids. */
static double forward_at(const greedy *g, const policy *by, int32_t r, int32_t c)
{
    const rank_state *it = &g->ranks[r];
    const chunk_state *x = &it->chunk[c];
    int32_t more = by->more + (by->shift ? by->shift[r] : 0);
    double ahead = by->ahead * (g->p.n_stages - x->stage) + more;
    int32_t most = it->n_chunks == 2 ? g->p.max_live - 1 : g->p.max_live;

    if (x->n_forward == g->p.n_each || it->live >= g->p.max_live || x->live >= most)
        return NEVER;
    if (x->n_forward - x->n_backward >= (ahead < 1 ? 1 : ahead))
        return NEVER;
    return x->input_at[x->n_forward];
}

static double backward_at(const greedy *g, int32_t r, int32_t c)
{
    const chunk_state *x = &g->ranks[r].chunk[c];

    return x->n_backward < x->n_forward ? x->gradient_at[x->n_backward] : NEVER;
}

/* The chunk of the F (or B) to take now, or -1; and the earliest time at which one will be ready. */
static int32_t choose(const greedy *g, const policy *by, int32_t r, double t, bool is_forward,
                      twist how, double *earliest)
{
    const rank_state *it = &g->ranks[r];
    bool is_far = is_forward ? by->prefers_far != (how == TWIST_CHUNK)
                             : by->prefers_far_back != (how == TWIST_CHUNK_BACK);
    int32_t best = -1;

    *earliest = NEVER;
    for (int32_t c = 0; c < it->n_chunks; c++) {
        double at = is_forward ? forward_at(g, by, r, c) : backward_at(g, r, c);
        *earliest = fmin(*earliest, at);
        if (at <= t && (best < 0 || (it->chunk[c].stage > it->chunk[best].stage) == is_far))
            best = c;
    }
    return best;
}

/* ---- taking a step --------------------------------------------------------------------------- */

static void put(greedy *g, int32_t r, greedy_step step, double end)
{
    rank_state *it = &g->ranks[r];

    it->steps[it->n_steps++] = step;
    it->free_at = it->ask_at = end;
    g->makespan = fmax(g->makespan, end);
}

static void forward_done(greedy *g, int32_t r, int32_t c, double end)
{
    chunk_state *x = &g->ranks[r].chunk[c];

    deliver(g, r, c, x->n_forward++, 1, end);
    x->live++;
    g->ranks[r].live++;
}

static void backward_done(greedy *g, int32_t r, int32_t c, double end, bool is_whole)
{
    chunk_state *x = &g->ranks[r].chunk[c];

    if (is_whole) {
        x->live--;
        g->ranks[r].live--;
    } else {
        x->split[x->n_split++] = x->n_backward;
    }
    deliver(g, r, c, x->n_backward++, -1, end);
}

static void take_forward(greedy *g, int32_t r, int32_t c, double t)
{
    double end = t + g->p.forward;

    put(g, r, (greedy_step){VW_STEP_FORWARD, c, g->ranks[r].chunk[c].n_forward, -1, -1}, end);
    forward_done(g, r, c, end);
}

static void take_backward(greedy *g, int32_t r, int32_t c, double t, bool is_whole)
{
    double end = t + g->p.backward - (is_whole ? 0 : g->p.weight);
    vw_step_kind kind = is_whole ? VW_STEP_BACKWARD : VW_STEP_INPUT_GRAD;

    put(g, r, (greedy_step){kind, c, g->ranks[r].chunk[c].n_backward, -1, -1}, end);
    backward_done(g, r, c, end, is_whole);
}

static void take_pair(greedy *g, int32_t r, int32_t c, int32_t other, double t)
{
    const rank_state *it = &g->ranks[r];
    double end = t + g->p.overlap;

    put(g, r, (greedy_step){VW_STEP_OVERLAP, c, it->chunk[c].n_forward, other,
                            it->chunk[other].n_backward}, end);
    backward_done(g, r, other, end, true);
    forward_done(g, r, c, end);
}

/* The oldest W of a chunk; false if there is none. */
static bool take_weight_of(greedy *g, int32_t r, int32_t c, double t)
{
    chunk_state *x = &g->ranks[r].chunk[c];

    if (x->n_weight == x->n_split)
        return false;
    put(g, r, (greedy_step){VW_STEP_WEIGHT_GRAD, c, x->split[x->n_weight++], -1, -1},
        t + g->p.weight);
    x->live--;
    g->ranks[r].live--;
    return true;
}

/* A W of the chunk that has most of them; false if there is none. */
static bool take_weight(greedy *g, int32_t r, double t)
{
    const rank_state *it = &g->ranks[r];
    int32_t best = -1;

    for (int32_t c = 0; c < it->n_chunks; c++) {
        const chunk_state *x = &it->chunk[c];
        if (x->n_weight < x->n_split &&
            (best < 0 || x->n_split - x->n_weight >
                             it->chunk[best].n_split - it->chunk[best].n_weight))
            best = c;
    }
    return best >= 0 && take_weight_of(g, r, best, t);
}

/* ---- deciding -------------------------------------------------------------------------------- */

static bool is_whole(const greedy *g, const policy *by, int32_t r, int32_t c, bool has_forward)
{
    const rank_state *it = &g->ranks[r];

    switch (by->split) {
    case SPLIT_ALWAYS:
        return false;
    case SPLIT_WHEN_WAITING:
        return has_forward || it->chunk[c].stage == 0;
    case SPLIT_AT_THE_END:
        for (int32_t i = 0; i < it->n_chunks; i++)
            if (it->chunk[i].n_forward < g->p.n_each)
                return true;
        return it->chunk[c].stage == 0;
    default:
        return true;
    }
}

static twist twist_of(const greedy *g, const policy *by, int32_t r)
{
    const rank_state *it = &g->ranks[r];

    if (!by->twist)
        return TWIST_NONE;
    return (twist)by->twist[(size_t)r * GREEDY_STEPS(&g->p) + (size_t)it->n_steps];
}

/* Rank r decides at time t.  True if it took a step; else *next is when to ask again, if known. */
static bool decide(greedy *g, const policy *by, int32_t r, double t, double *next)
{
    double forward_next, backward_next, soon = t + by->patience;
    twist how = twist_of(g, by, r);
    int32_t f = choose(g, by, r, t, true, how, &forward_next);
    int32_t b = choose(g, by, r, t, false, how, &backward_next);
    bool is_saving = by->pairs && how != TWIST_ALONE &&
                     g->p.overlap < g->p.forward + g->p.backward;

    *next = fmin(forward_next > t ? forward_next : NEVER,
                 backward_next > t ? backward_next : NEVER);
    if (how == TWIST_WEIGHT && take_weight(g, r, t))
        return true;
    if (how == TWIST_WAIT && *next < NEVER)
        return take_weight(g, r, t);
    if (f >= 0 && b >= 0 && is_saving) {
        take_pair(g, r, f, b, t);
        return true;
    }
    if (is_saving && by->patience > 0 &&
        ((f >= 0 && backward_next <= soon) || (b >= 0 && forward_next <= soon)))
        return take_weight(g, r, t);
    if (b >= 0 && !(f >= 0 && by->prefers_forward != (how == TWIST_ALONE))) {
        take_backward(g, r, b, t,
                      is_whole(g, by, r, b, f >= 0) != (how == TWIST_SPLIT));
        return true;
    }
    if (f >= 0) {
        take_forward(g, r, f, t);
        return true;
    }
    return take_weight(g, r, t);
}

/* Take a step that is prescribed, if its inputs are here and its turn has come. */
static bool follow(greedy *g, int32_t r, const greedy_step *step, double t, double *next)
{
    const rank_state *it = &g->ranks[r];
    const chunk_state *x = &it->chunk[step->chunk];
    bool is_pair = step->kind == VW_STEP_OVERLAP;
    int32_t back = is_pair ? step->other_chunk : step->chunk;
    double at = t;

    if (step->kind == VW_STEP_WEIGHT_GRAD)
        return take_weight_of(g, r, step->chunk, t);
    if (step->kind == VW_STEP_FORWARD || is_pair)
        at = it->live < g->p.max_live ? fmax(at, x->input_at[x->n_forward]) : NEVER;
    if (step->kind != VW_STEP_FORWARD)
        at = fmax(at, backward_at(g, r, back));
    *next = at;
    if (at > t)
        return false;
    if (is_pair)
        take_pair(g, r, step->chunk, back, t);
    else if (step->kind == VW_STEP_FORWARD)
        take_forward(g, r, step->chunk, t);
    else
        take_backward(g, r, step->chunk, t, step->kind == VW_STEP_BACKWARD);
    return true;
}

static bool has_ended(const greedy *g)
{
    for (int32_t r = 0; r < g->p.n_ranks; r++)
        for (int32_t c = 0; c < g->p.n_chunks; c++) {
            const chunk_state *x = &g->ranks[r].chunk[c];
            if (x->n_backward < g->p.n_each || x->n_weight < x->n_split)
                return false;
        }
    return true;
}

/* Let ranks decide in the order of time until nobody has anything to wait for. */
static double run(greedy *g, const policy *by, const greedy_step *const *steps,
                  const int32_t *n_steps)
{
    restart(g);
    for (;;) {
        rank_state *first = g->ranks;
        for (int32_t r = 1; r < g->p.n_ranks; r++)
            if (g->ranks[r].ask_at < first->ask_at)
                first = &g->ranks[r];
        if (first->ask_at == NEVER)
            break;
        double next = NEVER, t = first->ask_at;
        int32_t r = (int32_t)(first - g->ranks);
        bool has_stepped = by ? decide(g, by, r, t, &next)
                              : first->n_steps < n_steps[r] &&
                                    follow(g, r, &steps[r][first->n_steps], t, &next);
        if (!has_stepped)
            first->ask_at = next;
    }
    return has_ended(g) ? g->makespan : -1;
}

double greedy_run(greedy *g, const policy *by)
{
    return run(g, by, NULL, NULL);
}

double greedy_follow(greedy *g, const greedy_step *const *steps, const int32_t *n_steps)
{
    return run(g, NULL, steps, n_steps);
}

const greedy_step *greedy_steps(const greedy *g, int32_t rank, int32_t *n, double *end)
{
    *n = g->ranks[rank].n_steps;
    *end = g->ranks[rank].free_at;
    return g->ranks[rank].steps;
}
