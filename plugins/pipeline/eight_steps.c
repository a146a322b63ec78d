/* eight_steps.c - the order of work of DualPipe and DualPipeV (DeepSeek-AI, DualPipe, 2025).
 *
 * A rank works on two streams of micro-batches, its phases: phase 0 enters the pipeline on its
 * side, phase 1 comes from the other side.  Backwards of one phase run beside forwards of the
 * other.
 *
 *     step  times        what
 *     1     2(H-h-1)     F0
 *     2     h+1          F0, F1
 *     3     H-h-1        I1, W, F1
 *     4     m-2H+h+1     F0+B1, F1+B0; the middle's first pair is not overlapped, so that its
 *                        activation leaves earlier
 *     5     H-h-1        B1, F1+B0
 *     6     h+1          B1, B0; the last h+1 of these 2(h+1) backwards are I
 *     7     H-h-1        W, I0
 *     8     h+1          W
 *
 * W is of the oldest I that has none, whichever its phase.  Letters as in the header: h depth, H
 * depths, m micro-batches of a phase.
 */
#include "plugins/pipeline/eight_steps.h"

/* How far the rank has come; B and I of a phase share a counter. */
typedef struct progress {
    step_list *list;
    const eight_steps *e;
    int32_t n_forward[2], n_backward[2], n_weight[2]; /* [phase] */
} progress;

static int32_t chunk_of(const progress *p, int phase)
{
    return phase == 0 ? p->e->first_chunk : 1 - p->e->first_chunk;
}

static int32_t micro_of(const progress *p, int phase, int32_t number)
{
    return p->e->first_micro[chunk_of(p, phase)] + number;
}

static void forward(progress *p, int phase)
{
    step_add(p->list, VW_STEP_FORWARD, chunk_of(p, phase),
             micro_of(p, phase, p->n_forward[phase]++));
}

static void backward(progress *p, int phase, int is_whole)
{
    step_add(p->list, is_whole ? VW_STEP_BACKWARD : VW_STEP_INPUT_GRAD, chunk_of(p, phase),
             micro_of(p, phase, p->n_backward[phase]++));
    p->n_weight[phase] += is_whole; /* it needs no W */
}

static void weight(progress *p, int phase)
{
    step_add(p->list, VW_STEP_WEIGHT_GRAD, chunk_of(p, phase),
             micro_of(p, phase, p->n_weight[phase]++));
}

/* F of one phase with B of the other. */
static void pair(progress *p, int phase)
{
    int other = 1 - phase;

    step_add_pair(p->list, chunk_of(p, phase), micro_of(p, phase, p->n_forward[phase]++),
                  chunk_of(p, other), micro_of(p, other, p->n_backward[other]++));
    p->n_weight[other]++;
}

/* Steps 1 to 3: the pipeline fills. */
static void fill(progress *p, int32_t h, int32_t H)
{
    for (int32_t i = 0; i < 2 * (H - h - 1); i++)
        forward(p, 0);
    for (int32_t i = 0; i < h + 1; i++) {
        forward(p, 0);
        forward(p, 1);
    }
    for (int32_t i = 0; i < H - h - 1; i++) {
        backward(p, 1, 0);
        weight(p, 1);
        forward(p, 1);
    }
}

/* Steps 4 and 5: it is full. */
static void stream(progress *p, int32_t h, int32_t H, int32_t m)
{
    for (int32_t i = 0; i < m - 2 * H + h + 1; i++) {
        if (i == 0 && h == H - 1) {
            forward(p, 0);
            backward(p, 1, 1);
        } else {
            pair(p, 0);
        }
        pair(p, 1);
    }
    for (int32_t i = 0; i < H - h - 1; i++) {
        backward(p, 1, 1);
        pair(p, 1);
    }
}

/* Steps 6 to 8: it drains.  Backward i of step 6 is of phase 1 if i is even; the W's follow the I's
 * of step 6 and then those of step 7, which are all of phase 0. */
static void drain(progress *p, int32_t h, int32_t H)
{
    for (int32_t i = 0; i < 2 * (h + 1); i++)
        backward(p, i % 2 == 0, i < h + 1);
    for (int32_t i = 0; i < H; i++) {
        weight(p, i < h + 1 && (h + 1 + i) % 2 == 0);
        if (i < H - h - 1)
            backward(p, 0, 0);
    }
}

void eight_steps_add(step_list *l, const eight_steps *e)
{
    progress p = {.list = l, .e = e};

    fill(&p, e->depth, e->n_depths);
    stream(&p, e->depth, e->n_depths, e->n_each);
    drain(&p, e->depth, e->n_depths);
}
