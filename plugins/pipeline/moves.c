/* moves.c - the neighbours of a list, for a local search. */
#include "plugins/pipeline/moves.h"

enum { REACH = 6, FAR_REACH = 8 }; /* places that a step moves, and that a W is put off by */

static void insert(greedy_step *steps, int32_t *n, int32_t at, greedy_step step)
{
    memmove(steps + at + 1, steps + at, (size_t)(*n - at) * sizeof step);
    steps[at] = step;
    ++*n;
}

static greedy_step take_out(greedy_step *steps, int32_t *n, int32_t at)
{
    greedy_step step = steps[at];

    --*n;
    memmove(steps + at, steps + at + 1, (size_t)(*n - at) * sizeof step);
    return step;
}

static bool move_elsewhere(greedy_step *steps, int32_t *n, int32_t i, draws *d)
{
    int32_t to = i + draw(d, 2 * REACH + 1) - REACH;

    if (to < 0 || to >= *n || to == i)
        return false;
    greedy_step step = take_out(steps, n, i);
    insert(steps, n, to, step);
    return true;
}

static bool cut(greedy_step *steps, int32_t *n, int32_t i, draws *d)
{
    int32_t at = i + 1 + draw(d, FAR_REACH);
    greedy_step w = steps[i];

    if (w.kind != VW_STEP_BACKWARD)
        return false;
    steps[i].kind = VW_STEP_INPUT_GRAD;
    w.kind = VW_STEP_WEIGHT_GRAD;
    insert(steps, n, at < *n ? at : *n, w);
    return true;
}

/* The chunk's next W goes; which I it was of does not matter, since W's come in order. */
static bool make_whole(greedy_step *steps, int32_t *n, int32_t i)
{
    if (steps[i].kind != VW_STEP_INPUT_GRAD)
        return false;
    for (int32_t k = i + 1; k < *n; k++)
        if (steps[k].kind == VW_STEP_WEIGHT_GRAD && steps[k].chunk == steps[i].chunk) {
            steps[i].kind = VW_STEP_BACKWARD;
            take_out(steps, n, k);
            return true;
        }
    return false;
}

static bool part(greedy_step *steps, int32_t *n, int32_t i, draws *d)
{
    greedy_step pair = steps[i];
    greedy_step f = {VW_STEP_FORWARD, pair.chunk, pair.number, -1, -1};
    greedy_step b = {VW_STEP_BACKWARD, pair.other_chunk, pair.other_number, -1, -1};
    bool is_forward_first = draw(d, 2);

    steps[i] = is_forward_first ? f : b;
    insert(steps, n, i + 1, is_forward_first ? b : f);
    return true;
}

static bool join(greedy_step *steps, int32_t *n, int32_t i)
{
    vw_step_kind one = steps[i].kind, two = i + 1 < *n ? steps[i + 1].kind : one;

    if (!(one == VW_STEP_FORWARD && two == VW_STEP_BACKWARD) &&
        !(one == VW_STEP_BACKWARD && two == VW_STEP_FORWARD))
        return false;
    greedy_step after = take_out(steps, n, i + 1), *at = &steps[i];
    greedy_step f = one == VW_STEP_FORWARD ? *at : after;
    greedy_step b = one == VW_STEP_FORWARD ? after : *at;
    *at = (greedy_step){VW_STEP_OVERLAP, f.chunk, f.number, b.chunk, b.number};
    return true;
}

bool move_step(greedy_step *steps, int32_t *n, bool pairs, draws *d)
{
    int32_t i = draw(d, *n);

    switch (draw(d, 5)) {
    case 0:
    case 1:
        return move_elsewhere(steps, n, i, d);
    case 2:
        return cut(steps, n, i, d);
    case 3:
        return make_whole(steps, n, i);
    default:
        return steps[i].kind == VW_STEP_OVERLAP ? part(steps, n, i, d)
                                                : pairs && join(steps, n, i);
    }
}
