/* buffers.c - running lists without times, with a bound on the messages under way.
 *
 * In a greedy run sends never wait; here they do.  Every step is a few points at which its rank can
 * be held up: what it receives, one message after the other, then what it sends.
 *
 * Letters: P ranks, r rank, c chunk.
 */
#include "plugins/pipeline/buffers.h"

/* [chunk] of a rank: messages that have come in and that were taken, forwards (way 0) and backwards
 * (way 1).  They come in order, so that numbers are enough. */
typedef struct traffic {
    int32_t n_come[2][2], n_taken[2][2]; /* [chunk][way] */
    int32_t under_way[2];                /* [from r - 1, from r + 1] */
    int32_t step, point;
} traffic;

size_t buffers_bytes(const greedy_problem *p)
{
    return (size_t)p->n_ranks * sizeof(traffic);
}

/* The rank from which (hops -1) or to which (1) a chunk's messages of a way go; -1: nobody. */
static int32_t peer_of(const greedy_problem *p, int32_t r, int32_t c, int way, int32_t hops)
{
    int32_t peer = r + (c == 0 ? hops : -hops) * (way == 0 ? 1 : -1);

    return peer < 0 || peer >= p->n_ranks ? -1 : peer;
}

static bool receive(const greedy_problem *p, traffic *all, int32_t r, int32_t c, int way)
{
    traffic *it = &all[r];
    int32_t peer = peer_of(p, r, c, way, -1);

    if (peer < 0)
        return true;
    if (it->n_come[c][way] == it->n_taken[c][way])
        return false;
    it->n_taken[c][way]++;
    it->under_way[peer > r]--;
    return true;
}

static bool send(const greedy_problem *p, traffic *all, int32_t r, int32_t c, int way)
{
    int32_t peer = peer_of(p, r, c, way, 1);

    if (peer < 0)
        return true;
    if (all[peer].under_way[r > peer] >= VW_PIPELINE_BUFFERS)
        return false;
    all[peer].under_way[r > peer]++;
    all[peer].n_come[c][way]++;
    return true;
}

/* Point 0 and 1 receive for the forward and the backward of a step, 2 and 3 send. */
static bool pass(const greedy_problem *p, traffic *all, int32_t r, const greedy_step *step,
                 int point)
{
    int way = point % 2;
    bool is_pair = step->kind == VW_STEP_OVERLAP;
    bool has_way = is_pair || (way == 0 ? step->kind == VW_STEP_FORWARD
                                        : step->kind == VW_STEP_BACKWARD ||
                                              step->kind == VW_STEP_INPUT_GRAD);
    int32_t c = is_pair && way == 1 ? step->other_chunk : step->chunk;

    if (!has_way)
        return true;
    return point < 2 ? receive(p, all, r, c, way) : send(p, all, r, c, way);
}

bool buffers_suffice(const greedy *g, const greedy_problem *p, void *memory)
{
    traffic *all = memory;
    bool has_moved = true, has_ended = false;

    memset(all, 0, buffers_bytes(p));
    while (has_moved) {
        has_moved = false;
        has_ended = true;
        for (int32_t r = 0; r < p->n_ranks; r++) {
            int32_t n;
            double end;
            const greedy_step *steps = greedy_steps(g, r, &n, &end);
            traffic *it = &all[r];
            while (it->step < n && pass(p, all, r, &steps[it->step], it->point)) {
                it->point = (it->point + 1) % 4;
                it->step += it->point == 0;
                has_moved = true;
            }
            has_ended &= it->step == n;
        }
    }
    return has_ended;
}
