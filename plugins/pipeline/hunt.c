/* hunt.c - thousands of simulated schedules on the way to a good one.
 *
 * First what DualPipe would do, where it applies; then greedy schedules under random policies
 * (greedy.h), changes to the best policy, single decisions against its rules; at last small changes
 * to the best lists of all (moves.h), where a change for the worse is kept now and then, less and
 * less, so that the search leaves the hollow in which it happens to be.
 *
 * Sums, products and comparisons decide, no function of a library whose last bit may differ, and
 * the generator always starts alike: every rank of a run finds the same schedule.
 *
 * Letters: P ranks, r rank.
 */
#include "plugins/pipeline/hunt.h"

#include "plugins/pipeline/buffers.h"
#include "plugins/pipeline/eight_steps.h"
#include "plugins/pipeline/moves.h"

/* All ranks' lists, each with room for GREEDY_STEPS + 1. */
typedef struct lists {
    greedy_step **steps;
    int32_t *n;
} lists;

typedef struct hunt_state {
    const vw_host *host;
    const greedy_problem *p;
    size_t room;            /* GREEDY_STEPS + 1 */
    greedy *g;
    void *buffers;
    draws draws;
    double best;            /* makespan; negative: none yet */
    lists found;            /* of it */
    double best_greedy;
    policy best_policy;
    int32_t *shift, *best_shift; /* [P] */
    uint8_t *twists;        /* [P][GREEDY_STEPS] */
} hunt_state;

/* ---- what was found -------------------------------------------------------------------------- */

static void copy_list(lists *to, const greedy_step *steps, int32_t n, int32_t r)
{
    memcpy(to->steps[r], steps, (size_t)n * sizeof *steps);
    to->n[r] = n;
}

/* Keep what the last run made, if it is the best so far and needs no more buffers than there are. */
static void keep(hunt_state *h, double makespan)
{
    if (makespan < 0 || (h->best >= 0 && makespan >= h->best) ||
        !buffers_suffice(h->g, h->p, h->buffers))
        return;
    h->best = makespan;
    for (int32_t r = 0; r < h->p->n_ranks; r++) {
        int32_t n;
        double end;
        const greedy_step *steps = greedy_steps(h->g, r, &n, &end);
        copy_list(&h->found, steps, n, r);
    }
}

/* Makespan, and a little of the ranks' mean end, so that a step in the right direction shows;
 * negative if there is no makespan. */
static double worth(const hunt_state *h, double makespan)
{
    double sum = 0;

    if (makespan < 0)
        return -1;
    for (int32_t r = 0; r < h->p->n_ranks; r++) {
        int32_t n;
        double end;
        greedy_steps(h->g, r, &n, &end);
        sum += end;
    }
    return makespan + sum / (1024.0 * h->p->n_ranks);
}

static double follow(hunt_state *h, const lists *l)
{
    return greedy_follow(h->g, (const greedy_step *const *)l->steps, l->n);
}

/* ---- a schedule that is known ---------------------------------------------------------------- */

/* DualPipe's and DualPipeV's own order, where there are micro-batches enough. */
static void try_eight_steps(hunt_state *h, lists *l, vw_step *all, size_t room)
{
    const greedy_problem *p = h->p;
    bool is_crossed = p->where == CROSSED;

    if (p->where == STRAIGHT || p->n_micro < 2 * p->n_ranks)
        return;
    for (int32_t r = 0; r < p->n_ranks; r++) {
        int32_t last = p->n_ranks - 1 - r;
        step_list list = {p->n_ranks, r, all, room, 0};
        eight_steps_add(&list, &(eight_steps){.depth = is_crossed && r > last ? last : r,
                                              .n_depths = is_crossed ? p->n_ranks / 2 : p->n_ranks,
                                              .n_each = p->n_each,
                                              .first_chunk = is_crossed && r > last});
        l->n[r] = 0;
        for (size_t i = 0; i < list.n; i++)
            if (all[i].kind <= VW_STEP_OVERLAP)
                l->steps[r][l->n[r]++] =
                    (greedy_step){all[i].kind, all[i].chunk, all[i].micro, all[i].other_chunk,
                                  all[i].other_micro};
    }
    keep(h, follow(h, l));
}

/* ---- policies -------------------------------------------------------------------------------- */

static const double ahead_choices[] = {1, 1.25, 1.5, 1.75, 2, 3, 8};
enum { N_AHEAD = sizeof ahead_choices / sizeof *ahead_choices };

static double draw_patience(hunt_state *h)
{
    return draw(&h->draws, 3) == 0 ? 0 : draw(&h->draws, 64) * (1.0 / 32) * h->p->forward;
}

static policy draw_policy(hunt_state *h)
{
    draws *d = &h->draws;
    policy by = {.shift = h->shift};

    memset(h->shift, 0, (size_t)h->p->n_ranks * sizeof *h->shift);
    for (int32_t r = 0; r < h->p->n_ranks && draw(d, 2); r++)
        h->shift[r] = draw(d, 3) - 1;
    by.ahead = ahead_choices[draw(d, N_AHEAD)];
    by.more = draw(d, 4) - 1;
    by.split = (splitting)draw(d, N_SPLITTINGS);
    by.pairs = draw(d, 4) > 0;
    by.prefers_forward = draw(d, 3) == 0;
    by.prefers_far = draw(d, 2);
    by.prefers_far_back = draw(d, 2);
    by.patience = draw_patience(h);
    return by;
}

/* The best policy with one number changed. */
static policy change_policy(hunt_state *h)
{
    draws *d = &h->draws;
    policy by = h->best_policy;

    memcpy(h->shift, h->best_shift, (size_t)h->p->n_ranks * sizeof *h->shift);
    by.shift = h->shift;
    switch (draw(d, 8)) {
    case 0:
        by.ahead = ahead_choices[draw(d, N_AHEAD)];
        break;
    case 1:
        by.more += draw(d, 2) ? 1 : -1;
        break;
    case 2:
        by.split = (splitting)draw(d, N_SPLITTINGS);
        break;
    case 3:
        by.prefers_forward = !by.prefers_forward;
        break;
    case 4:
        by.patience = draw_patience(h);
        break;
    default:
        h->shift[draw(d, h->p->n_ranks)] += draw(d, 2) ? 1 : -1;
    }
    return by;
}

static void try_policy(hunt_state *h, policy by)
{
    double makespan = greedy_run(h->g, &by);

    keep(h, makespan);
    if (makespan < 0 || (h->best_greedy >= 0 && makespan > h->best_greedy))
        return;
    h->best_greedy = makespan;
    h->best_policy = by;
    memcpy(h->best_shift, by.shift, (size_t)h->p->n_ranks * sizeof *h->shift);
}

/* ---- single decisions ------------------------------------------------------------------------ */

enum { AT_ONCE = 3 }; /* changes between two looks, at most */

/* Another twist for one to three decisions of one rank or two; what was changed, to undo it. */
typedef struct twisted {
    int32_t n;
    uint8_t *at[AT_ONCE], old[AT_ONCE];
} twisted;

static twisted change_twists(hunt_state *h)
{
    int32_t r = draw(&h->draws, h->p->n_ranks);
    twisted t = {.n = 1 + draw(&h->draws, AT_ONCE - 1)};

    for (int32_t k = 0; k < t.n; k++) {
        int32_t n_steps;
        double end;
        greedy_steps(h->g, r, &n_steps, &end);
        t.at[k] = h->twists + (size_t)r * GREEDY_STEPS(h->p) +
                  draw(&h->draws, n_steps > 0 ? n_steps : 1);
        t.old[k] = *t.at[k];
        *t.at[k] = (uint8_t)draw(&h->draws, N_TWISTS);
        if (draw(&h->draws, 2))
            r = h->p->n_ranks - 1 - r;
    }
    return t;
}

/* Decisions of the best policy otherwise, kept unless it gets worse. */
static void try_twists(hunt_state *h, int64_t tries)
{
    policy by = h->best_policy;

    by.shift = h->best_shift;
    by.twist = h->twists;
    double now = worth(h, greedy_run(h->g, &by));
    for (int64_t i = 0; i < tries; i++) {
        twisted t = change_twists(h);
        double makespan = greedy_run(h->g, &by), then = worth(h, makespan);
        if (then >= 0 && then <= now) {
            now = then;
            keep(h, makespan);
            continue;
        }
        while (t.n-- > 0)
            *t.at[t.n] = t.old[t.n];
    }
}

/* ---- moves in lists -------------------------------------------------------------------------- */

/* How much worse may be taken: at first a part of a forward now and then, at the end nothing. */
static double draw_leave(hunt_state *h, int64_t i, int64_t tries)
{
    double u = draw(&h->draws, 1024) * (1.0 / 1024), left = 1 - (double)i / (double)tries;

    return 0.125 * h->p->forward * left * u * u * u * u;
}

/* The list of the rank on the other side, in a placement that is its own mirror image. */
static void mirror_list(lists *l, int32_t from, int32_t to)
{
    copy_list(l, l->steps[from], l->n[from], to);
    for (int32_t i = 0; i < l->n[to]; i++) {
        greedy_step *step = &l->steps[to][i];
        step->chunk = 1 - step->chunk;
        if (step->kind == VW_STEP_OVERLAP)
            step->other_chunk = 1 - step->other_chunk;
    }
}

/* From the lists that were found; `l` is for the current ones, `next` for those that are tried. */
static void try_moves(hunt_state *h, int64_t tries, lists *l, lists *next)
{
    const int32_t n_ranks = h->p->n_ranks;
    bool pairs = h->p->overlap < h->p->forward + h->p->backward;

    for (int32_t r = 0; r < n_ranks; r++) {
        copy_list(l, h->found.steps[r], h->found.n[r], r);
        copy_list(next, h->found.steps[r], h->found.n[r], r);
    }
    double now = worth(h, follow(h, l));
    for (int64_t i = 0; i < tries; i++) {
        int32_t r = draw(&h->draws, n_ranks), other = n_ranks - 1 - r;
        bool is_changed = false;
        for (int32_t k = draw(&h->draws, AT_ONCE); k >= 0; k--)
            is_changed |= move_step(next->steps[r], &next->n[r], pairs, &h->draws);
        if (is_changed && h->p->where == CROSSED && draw(&h->draws, 4) > 0)
            mirror_list(next, r, other);
        else if (draw(&h->draws, AT_ONCE) == 0)
            is_changed |= move_step(next->steps[other], &next->n[other], pairs, &h->draws);
        if (!is_changed)
            continue;
        double makespan = follow(h, next), then = worth(h, makespan);
        bool is_taken = then >= 0 && then <= now + draw_leave(h, i, tries);
        const lists *from = is_taken ? next : l;
        lists *to = is_taken ? l : next;
        copy_list(to, from->steps[r], from->n[r], r);
        copy_list(to, from->steps[other], from->n[other], other);
        if (is_taken) {
            now = then;
            keep(h, makespan);
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Moves are many: most of them end soon, and cost little. */
static vw_status look(hunt_state *h, double effort, lists *l, lists *next, vw_step *all,
                      size_t n_all, vw_error *err)
{
    double each = (double)h->p->n_ranks * (double)GREEDY_STEPS(h->p);
    int64_t eighth = 1 + (int64_t)(effort / each / 8);
    policy safe = {.ahead = 0, .shift = h->shift}; /* one micro-batch at a time always ends */

    try_eight_steps(h, l, all, n_all);
    try_policy(h, safe);
    if (h->best < 0)
        return vw_fail(err, VW_E_INVALID, "no schedule ends with these durations; they must be "
                       "finite and not negative");
    for (int64_t i = 0; i < eighth; i++)
        try_policy(h, draw_policy(h));
    for (int64_t i = 0; i < eighth; i++)
        try_policy(h, change_policy(h));
    try_twists(h, 2 * eighth);
    try_moves(h, 16 * eighth, l, next);
    return VW_OK;
}

/* Pieces of one block of memory. */
static void *take(char **at, size_t bytes)
{
    void *piece = *at;

    *at += (bytes + 15) / 16 * 16;
    return piece;
}

static lists take_lists(char **at, const hunt_state *h)
{
    size_t n_ranks = (size_t)h->p->n_ranks;
    lists l = {take(at, n_ranks * sizeof *l.steps), take(at, n_ranks * sizeof *l.n)};

    for (size_t r = 0; r < n_ranks; r++)
        l.steps[r] = take(at, h->room * sizeof **l.steps);
    return l;
}

vw_status hunt(const vw_host *host, const greedy_problem *p, double effort, greedy_step *steps,
               int32_t *n_steps, vw_error *err)
{
    size_t n_ranks = (size_t)p->n_ranks, n = GREEDY_STEPS(p);
    size_t n_all = 7 * (size_t)p->n_chunks * (size_t)p->n_each;
    hunt_state h = {.host = host, .p = p, .room = n + 1, .draws = {88172645463325252u},
                    .best = -1, .best_greedy = -1};
    size_t bytes = greedy_bytes(p) + buffers_bytes(p) + n_all * sizeof(vw_step) + 4096 +
                   n_ranks * (3 * ((n + 1) * sizeof(greedy_step) + sizeof(greedy_step *) + 64) + n +
                              2 * sizeof(int32_t));
    char *memory = host->alloc(host->core, bytes), *at = memory;
    vw_status status;

    if (!memory)
        return vw_fail(err, VW_E_NOMEM, "no memory for the search");
    memset(memory, 0, bytes);
    h.g = greedy_init(take(&at, greedy_bytes(p)), p);
    h.buffers = take(&at, buffers_bytes(p));
    h.found = take_lists(&at, &h);
    lists l = take_lists(&at, &h), next = take_lists(&at, &h);
    h.shift = take(&at, n_ranks * sizeof *h.shift);
    h.best_shift = take(&at, n_ranks * sizeof *h.best_shift);
    h.twists = take(&at, n_ranks * n);
    status = look(&h, effort, &l, &next, take(&at, n_all * sizeof(vw_step)), n_all, err);
    for (size_t r = 0; r < n_ranks && status == VW_OK; r++) {
        memcpy(steps + r * n, h.found.steps[r], (size_t)h.found.n[r] * sizeof *steps);
        n_steps[r] = h.found.n[r];
    }
    host->free(host->core, memory);
    return status;
}
