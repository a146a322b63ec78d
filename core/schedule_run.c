/* schedule_run.c - running a schedule without a model: is it right, and when does what happen?
 *
 * One machine answers both.  All ranks are run at once, each as far as it can, until all have ended
 * or none can move; every step is judged when it runs, and gets its times.  Neither the verdict nor
 * a time depends on who moves first: a receive waits for one certain message and a send for a
 * certain number of receives, so that what comes before what is given by the lists alone.
 *
 * Letters: P ranks, n micro-batches, C chunks of a rank, r rank, c chunk, s stage, m micro-batch.
 * Way 0 is that of activations, way 1 that of gradients.
 */
#include "core/schedule_run.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* A message on its way into a chunk, and what became of it. */
typedef enum message_state { NOT_SENT, UNDER_WAY, RECEIVED } message_state;

/* A chunk and a micro-batch. */
typedef struct cell {
    double sent_at[2];      /* [way], of the message that comes in */
    int32_t sender[2];
    uint8_t incoming[2];    /* message_state */
    bool has_sent[2];       /* the message that goes out */
    bool is_forward_done, is_backward_done, is_weight_done;
} cell;

/* The I's of a chunk that have no W yet. */
typedef struct queue {
    int32_t *micro; /* [n] */
    int32_t first, end;
} queue;

typedef struct machine {
    const vw_schedule *s;
    const vw_pipeline_costs *costs; /* NULL: nobody asks for times */
    vw_simulation *out;             /* or NULL */
    int32_t n_buffers;
    cell *cells;                    /* [P][C][n] */
    queue *queues;                  /* [P][C] */
    int32_t *queued;                /* their memory, [P][C][n] */
    int32_t *under_way;             /* [P][P] messages from, to */
    size_t *at;                     /* [P] the next step */
    double *clock;                  /* [P] */
    int32_t *live;                  /* [P] */
    vw_error *err;
} machine;

enum outcome { WRONG = -1, WAITS = 0, DONE = 1 };

static int32_t stage_of(const vw_schedule *s, int32_t r, int32_t c)
{
    return s->stage[(size_t)r * (size_t)s->n_chunks + (size_t)c];
}

/* The chunk of rank r that is stage `stage`, or -1. */
static int32_t chunk_of(const vw_schedule *s, int32_t r, int32_t stage)
{
    for (int32_t c = 0; c < s->n_chunks; c++)
        if (stage_of(s, r, c) == stage)
            return c;
    return -1;
}

static cell *cell_at(const machine *x, int32_t r, int32_t c, int32_t m)
{
    const vw_schedule *s = x->s;

    return &x->cells[((size_t)r * (size_t)s->n_chunks + (size_t)c) * (size_t)s->n_micro +
                     (size_t)m];
}

static int32_t *under_way_at(const machine *x, int32_t from, int32_t to)
{
    return &x->under_way[(size_t)from * (size_t)x->s->n_ranks + (size_t)to];
}

/* ---- what is wrong --------------------------------------------------------------------------- */

/* "rank 2, step 17 (B3'): ..." */
VW_PRINTF(3, 4)
static enum outcome wrong(const machine *x, int32_t r, const char *format, ...)
{
    char what[512], step[64];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    vw_step_text(x->s, &x->s->steps[r][x->at[r]], step, sizeof step);
    vw_fail(x->err, VW_E_INVALID, "rank %d, step %zu (%s): %s", r, x->at[r], step, what);
    return WRONG;
}

static bool is_cell(const vw_schedule *s, int32_t c, int32_t m)
{
    return c >= 0 && c < s->n_chunks && m >= 0 && m < s->n_micro;
}

static enum outcome check_step(const machine *x, int32_t r, const vw_step *step)
{
    if (step->kind < VW_STEP_FORWARD || step->kind > VW_STEP_RECEIVE_BACKWARD)
        return wrong(x, r, "no such kind of step is known here");
    if (!is_cell(x->s, step->chunk, step->micro))
        return wrong(x, r, "there is no chunk %d or no micro-batch %d", step->chunk, step->micro);
    if (step->kind == VW_STEP_OVERLAP && !is_cell(x->s, step->other_chunk, step->other_micro))
        return wrong(x, r, "there is no chunk %d or no micro-batch %d", step->other_chunk,
                     step->other_micro);
    if (step->kind >= VW_STEP_SEND_FORWARD &&
        (step->peer < 0 || step->peer >= x->s->n_ranks || step->peer == r))
        return wrong(x, r, "a message to or from rank %d", step->peer);
    return DONE;
}

/* ---- computing ------------------------------------------------------------------------------- */

/* Is the output (way 0) or the gradient (way 1) of the neighbouring stage on this rank? */
static bool is_here(const machine *x, int32_t r, int32_t c, int32_t m, int way)
{
    int32_t neighbour = chunk_of(x->s, r, stage_of(x->s, r, c) + (way ? 1 : -1));
    const cell *local;

    if (cell_at(x, r, c, m)->incoming[way] == RECEIVED)
        return true;
    if (neighbour < 0)
        return false;
    local = cell_at(x, r, neighbour, m);
    return way ? local->is_backward_done : local->is_forward_done;
}

static enum outcome forward(machine *x, int32_t r, int32_t c, int32_t m)
{
    cell *it = cell_at(x, r, c, m);
    int32_t stage = stage_of(x->s, r, c);

    if (it->is_forward_done)
        return wrong(x, r, "a second forward of stage %d for the same micro-batch", stage);
    if (stage > 0 && !is_here(x, r, c, m, 0))
        return wrong(x, r, "the output of stage %d is not here", stage - 1);
    it->is_forward_done = true;
    x->live[r]++;
    return DONE;
}

static enum outcome backward(machine *x, int32_t r, int32_t c, int32_t m, bool is_whole)
{
    cell *it = cell_at(x, r, c, m);
    queue *q = &x->queues[(size_t)r * (size_t)x->s->n_chunks + (size_t)c];
    int32_t stage = stage_of(x->s, r, c);

    if (!it->is_forward_done)
        return wrong(x, r, "a backward of stage %d before its forward", stage);
    if (it->is_backward_done)
        return wrong(x, r, "a second backward of stage %d for the same micro-batch", stage);
    if (stage < x->s->n_stages - 1 && !is_here(x, r, c, m, 1))
        return wrong(x, r, "the gradient of stage %d is not here", stage + 1);
    it->is_backward_done = true;
    if (is_whole)
        it->is_weight_done = true;
    else
        q->micro[q->end++] = m;
    return DONE;
}

static enum outcome weight(machine *x, int32_t r, int32_t c, int32_t m)
{
    queue *q = &x->queues[(size_t)r * (size_t)x->s->n_chunks + (size_t)c];

    if (q->first == q->end)
        return wrong(x, r, "no I of this chunk waits for its W");
    if (q->micro[q->first] != m)
        return wrong(x, r, "the chunk's oldest I without a W is of micro-batch %d, this is %d",
                     q->micro[q->first], m);
    q->first++;
    cell_at(x, r, c, m)->is_weight_done = true;
    return DONE;
}

static double duration(const vw_pipeline_costs *costs, vw_step_kind kind)
{
    switch (kind) {
    case VW_STEP_FORWARD:
        return costs->forward;
    case VW_STEP_BACKWARD:
        return costs->backward;
    case VW_STEP_INPUT_GRAD:
        return costs->backward - costs->weight;
    case VW_STEP_WEIGHT_GRAD:
        return costs->weight;
    case VW_STEP_OVERLAP:
        return costs->overlap;
    default:
        return 0;
    }
}

/* A compute step.  In a pair the backward is judged first: it may not need this forward, and the
 * forward never needs a backward. */
static enum outcome compute(machine *x, int32_t r, const vw_step *step)
{
    enum outcome what;
    bool frees = step->kind != VW_STEP_FORWARD && step->kind != VW_STEP_INPUT_GRAD;

    if (step->kind == VW_STEP_FORWARD)
        what = forward(x, r, step->chunk, step->micro);
    else if (step->kind == VW_STEP_WEIGHT_GRAD)
        what = weight(x, r, step->chunk, step->micro);
    else if (step->kind != VW_STEP_OVERLAP)
        what = backward(x, r, step->chunk, step->micro, step->kind == VW_STEP_BACKWARD);
    else if ((what = backward(x, r, step->other_chunk, step->other_micro, true)) == DONE)
        what = forward(x, r, step->chunk, step->micro);
    if (what != DONE || !x->out)
        return what;
    vw_step_time *time = &x->out->steps[r][x->at[r]];
    double seconds = duration(x->costs, step->kind);
    time->start = x->clock[r];
    time->end = x->clock[r] += seconds;
    time->live = x->live[r];
    x->out->busy[r] += seconds;
    if (time->live > x->out->peak_activations[r])
        x->out->peak_activations[r] = time->live;
    x->live[r] -= frees;
    return DONE;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* The way of a message, and the cell that it comes into: of the sender's neighbour for a send. */
static enum outcome address(const machine *x, int32_t r, const vw_step *step, int *way, cell **into)
{
    bool is_send = step->kind == VW_STEP_SEND_FORWARD || step->kind == VW_STEP_SEND_BACKWARD;
    int32_t stage = stage_of(x->s, r, step->chunk), other, chunk;

    *way = step->kind == VW_STEP_SEND_BACKWARD || step->kind == VW_STEP_RECEIVE_BACKWARD;
    other = stage + ((*way == 0) == is_send ? 1 : -1);
    if (other < 0 || other >= x->s->n_stages)
        return wrong(x, r, "stage %d is the %s: there is nobody to exchange this with", stage,
                     other < 0 ? "first" : "last");
    chunk = chunk_of(x->s, step->peer, other);
    if (chunk < 0)
        return wrong(x, r, "rank %d does not hold stage %d", step->peer, other);
    *into = is_send ? cell_at(x, step->peer, chunk, step->micro)
                    : cell_at(x, r, step->chunk, step->micro);
    return DONE;
}

static enum outcome send(machine *x, int32_t r, const vw_step *step)
{
    cell *into, *from = cell_at(x, r, step->chunk, step->micro);
    int way;

    if (address(x, r, step, &way, &into) != DONE)
        return WRONG;
    if (!(way ? from->is_backward_done : from->is_forward_done))
        return wrong(x, r, "it sends what it has not computed");
    if (from->has_sent[way] || into->incoming[way] != NOT_SENT)
        return wrong(x, r, "it is sent for the second time");
    if (x->n_buffers > 0 && *under_way_at(x, r, step->peer) >= x->n_buffers)
        return WAITS;
    ++*under_way_at(x, r, step->peer);
    from->has_sent[way] = true;
    into->incoming[way] = UNDER_WAY;
    into->sender[way] = r;
    into->sent_at[way] = x->clock[r];
    return DONE;
}

static enum outcome receive(machine *x, int32_t r, const vw_step *step)
{
    cell *into;
    int way;

    if (address(x, r, step, &way, &into) != DONE)
        return WRONG;
    if (into->incoming[way] == RECEIVED)
        return wrong(x, r, "it is received for the second time");
    if (into->incoming[way] == NOT_SENT)
        return WAITS;
    if (into->sender[way] != step->peer)
        return wrong(x, r, "rank %d has sent it", into->sender[way]);
    --*under_way_at(x, step->peer, r);
    into->incoming[way] = RECEIVED;
    if (x->out) {
        const double *edge = x->costs->edge;
        double takes = edge ? edge[(size_t)step->peer * (size_t)x->s->n_ranks + (size_t)r]
                            : x->costs->comm;
        x->clock[r] = fmax(x->clock[r], into->sent_at[way] + takes);
    }
    return DONE;
}

static enum outcome exchange(machine *x, int32_t r, const vw_step *step)
{
    bool is_send = step->kind == VW_STEP_SEND_FORWARD || step->kind == VW_STEP_SEND_BACKWARD;
    double began = x->clock[r];
    enum outcome what = is_send ? send(x, r, step) : receive(x, r, step);

    if (what == DONE && x->out)
        x->out->steps[r][x->at[r]] = (vw_step_time){began, x->clock[r], x->live[r]};
    return what;
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* Rank r goes on as far as it can; true if it went on at all. */
static bool advance(machine *x, int32_t r, bool *is_wrong)
{
    size_t began = x->at[r];

    while (x->at[r] < x->s->n_steps[r]) {
        const vw_step *step = &x->s->steps[r][x->at[r]];
        enum outcome what = check_step(x, r, step);
        if (what == DONE)
            what = step->kind <= VW_STEP_OVERLAP ? compute(x, r, step) : exchange(x, r, step);
        *is_wrong = what == WRONG;
        if (what != DONE)
            break;
        x->at[r]++;
    }
    return x->at[r] > began;
}

/* Nobody moves: say what one of those who wait is waiting for. */
static vw_status say_who_waits(const machine *x)
{
    for (int32_t r = 0; r < x->s->n_ranks; r++) {
        const vw_step *step;
        bool is_send;
        if (x->at[r] == x->s->n_steps[r])
            continue;
        step = &x->s->steps[r][x->at[r]];
        is_send = step->kind == VW_STEP_SEND_FORWARD || step->kind == VW_STEP_SEND_BACKWARD;
        if (x->at[step->peer] == x->s->n_steps[step->peer])
            wrong(x, r, "rank %d has ended without %s this", step->peer,
                  is_send ? "receiving" : "sending");
        else
            wrong(x, r, "deadlock: it waits for rank %d, which waits at its step %zu%s",
                  step->peer, x->at[step->peer],
                  is_send ? "; with more buffers it might go on" : "");
        break;
    }
    return VW_E_INVALID;
}

/* Once forwards, backwards and for the weights through every stage, whoever holds it. */
static vw_status check_counts(const machine *x)
{
    const vw_schedule *s = x->s;
    size_t n = (size_t)s->n_stages * (size_t)s->n_micro;
    uint16_t (*counts)[3] = calloc(n, sizeof *counts);
    vw_status status = VW_OK;

    if (!counts)
        return vw_fail(x->err, VW_E_NOMEM, "no memory to check the schedule");
    for (int32_t r = 0; r < s->n_ranks; r++)
        for (int32_t c = 0; c < s->n_chunks; c++)
            for (int32_t m = 0; m < s->n_micro; m++) {
                const cell *it = cell_at(x, r, c, m);
                uint16_t *of = counts[(size_t)stage_of(s, r, c) * (size_t)s->n_micro + (size_t)m];
                of[0] = (uint16_t)(of[0] + it->is_forward_done);
                of[1] = (uint16_t)(of[1] + it->is_backward_done);
                of[2] = (uint16_t)(of[2] + it->is_weight_done);
            }
    for (size_t i = 0; i < n && status == VW_OK; i++)
        if (counts[i][0] != 1 || counts[i][1] != 1 || counts[i][2] != 1)
            status = vw_fail(x->err, VW_E_INVALID,
                             "micro-batch %d has %d forwards, %d backwards and %d weight gradients "
                             "of stage %d; one of each is right",
                             (int)(i % (size_t)s->n_micro), counts[i][0], counts[i][1],
                             counts[i][2], (int)(i / (size_t)s->n_micro));
    free(counts);
    return status;
}

/* Messages that nobody has received. */
static vw_status check_messages(const machine *x)
{
    const vw_schedule *s = x->s;

    for (int32_t r = 0; r < s->n_ranks; r++)
        for (int32_t c = 0; c < s->n_chunks; c++)
            for (int32_t m = 0; m < s->n_micro; m++)
                for (int way = 0; way < 2; way++) {
                    const cell *it = cell_at(x, r, c, m);
                    if (it->incoming[way] == UNDER_WAY)
                        return vw_fail(x->err, VW_E_INVALID,
                                       "rank %d never receives the %s of micro-batch %d for its "
                                       "chunk %d that rank %d has sent",
                                       r, way ? "gradient" : "activation", m, c, it->sender[way]);
                }
    return VW_OK;
}

static vw_status run(machine *x)
{
    bool has_moved = true, is_wrong = false;
    vw_status status;

    while (has_moved) {
        has_moved = false;
        for (int32_t r = 0; r < x->s->n_ranks; r++) {
            has_moved |= advance(x, r, &is_wrong);
            if (is_wrong)
                return VW_E_INVALID;
        }
    }
    for (int32_t r = 0; r < x->s->n_ranks; r++)
        if (x->at[r] < x->s->n_steps[r])
            return say_who_waits(x);
    status = check_messages(x);
    return status == VW_OK ? check_counts(x) : status;
}

static void machine_free(machine *x)
{
    free(x->cells);
    free(x->queues);
    free(x->queued);
    free(x->under_way);
    free(x->at);
    free(x->clock);
    free(x->live);
}

static vw_status start_and_run(machine *x)
{
    const vw_schedule *s = x->s;
    size_t n_ranks = (size_t)s->n_ranks, n_chunks = n_ranks * (size_t)s->n_chunks;
    size_t n_cells = n_chunks * (size_t)s->n_micro;
    vw_status status;

    x->cells = calloc(n_cells, sizeof *x->cells);
    x->queues = calloc(n_chunks, sizeof *x->queues);
    x->queued = calloc(n_cells, sizeof *x->queued);
    x->under_way = calloc(n_ranks * n_ranks, sizeof *x->under_way);
    x->at = calloc(n_ranks, sizeof *x->at);
    x->clock = calloc(n_ranks, sizeof *x->clock);
    x->live = calloc(n_ranks, sizeof *x->live);
    if (!x->cells || !x->queues || !x->queued || !x->under_way || !x->at || !x->clock || !x->live) {
        status = vw_fail(x->err, VW_E_NOMEM, "no memory to check a schedule of %d ranks and %d "
                         "micro-batches", s->n_ranks, s->n_micro);
    } else {
        for (size_t i = 0; i < n_chunks; i++)
            x->queues[i].micro = x->queued + i * (size_t)s->n_micro;
        status = run(x);
    }
    machine_free(x);
    return status;
}

vw_status vw_schedule_run(const vw_schedule *schedule, int32_t n_buffers,
                          const vw_pipeline_costs *costs, vw_simulation *out, vw_error *err)
{
    return start_and_run(&(machine){
        .s = schedule, .costs = costs, .out = out, .n_buffers = n_buffers, .err = err});
}
