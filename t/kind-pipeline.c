/* kind-pipeline.c - what holds for every schedule: it runs to its end and computes the right thing.
 *
 * All ranks are simulated at once with buffered sends and receives that wait for their own message,
 * which is the core's rule.  A step whose input is not there is an error, a rank that waits for ever
 * a deadlock, and at the end each (stage, micro-batch) must have had one forward, then one backward
 * or input gradient, and its weight gradient once, and every message must have been received.  How
 * fast a schedule is does not matter here.
 *
 * Letters: P ranks, n micro-batches, r rank, s stage, m micro-batch.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/pipeline.h>

#include <stdlib.h>

enum { MAX_RANKS = 8, MAX_CHUNKS = 4, MAX_STAGES = 32, MAX_MICRO = 24, MAX_STEPS = 2048 };
enum { GUARD = 12345 };

/* All ranks' lists. */
typedef struct program {
    int32_t n_ranks, n_micro, n_chunks, n_stages;
    int32_t stage[MAX_RANKS][MAX_CHUNKS];
    vw_step steps[MAX_RANKS][MAX_STEPS];
    size_t n[MAX_RANKS];
} program;

typedef bool cells[MAX_STAGES][MAX_MICRO];

/* What each rank holds, what is under way, and what was counted. */
typedef struct machine {
    const program *p;
    size_t at[MAX_RANKS];
    cells output[MAX_RANKS];                  /* of a stage's forward, computed here or received */
    cells gradient[MAX_RANKS];                /* of a stage's input */
    cells forward[MAX_RANKS];                 /* computed here, not yet backward */
    cells under_way[2][MAX_RANKS][MAX_RANKS]; /* [forward, backward][from][to] */
    int32_t queue[MAX_RANKS][MAX_CHUNKS][MAX_MICRO]; /* weight gradients that wait */
    int32_t n_queued[MAX_RANKS][MAX_CHUNKS];
    int n_forward[MAX_STAGES][MAX_MICRO], n_backward[MAX_STAGES][MAX_MICRO];
    int n_weight[MAX_STAGES][MAX_MICRO];
} machine;

static vw_status run_forward(machine *x, int32_t r, int32_t chunk, int32_t m, vw_error *err)
{
    int32_t s = x->p->stage[r][chunk];

    if (s > 0 && !x->output[r][s - 1][m])
        return vw_fail(err, VW_E_INVALID, "forward of stage %d has no input", s);
    if (x->n_forward[s][m]++)
        return vw_fail(err, VW_E_INVALID, "a second forward of stage %d", s);
    x->forward[r][s][m] = x->output[r][s][m] = true;
    return VW_OK;
}

static vw_status run_backward(machine *x, int32_t r, int32_t chunk, int32_t m, bool is_whole,
                              vw_error *err)
{
    int32_t s = x->p->stage[r][chunk];

    if (!x->forward[r][s][m])
        return vw_fail(err, VW_E_INVALID, "backward of stage %d before its forward", s);
    if (s < x->p->n_stages - 1 && !x->gradient[r][s + 1][m])
        return vw_fail(err, VW_E_INVALID, "backward of stage %d has no gradient", s);
    x->n_backward[s][m]++;
    x->forward[r][s][m] = false;
    x->gradient[r][s][m] = true;
    if (is_whole)
        x->n_weight[s][m]++;
    else
        x->queue[r][chunk][x->n_queued[r][chunk]++] = m;
    return VW_OK;
}

static vw_status run_weight(machine *x, int32_t r, int32_t chunk, int32_t m, vw_error *err)
{
    int32_t *queue = x->queue[r][chunk], *n = &x->n_queued[r][chunk];

    if (*n == 0 || queue[0] != m)
        return vw_fail(err, VW_E_INVALID, "weight gradient of %d, but the oldest queued is %d", m,
                       *n ? queue[0] : -1);
    memmove(queue, queue + 1, (size_t)-- * n * sizeof *queue);
    x->n_weight[x->p->stage[r][chunk]][m]++;
    return VW_OK;
}

/* A receive whose message has not come returns VW_E_TIMEOUT without a word: try again later. */
static vw_status run_message(machine *x, int32_t r, const vw_step *step, vw_error *err)
{
    int32_t s = x->p->stage[r][step->chunk], m = step->micro, peer = step->peer;
    bool is_back = step->kind == VW_STEP_SEND_BACKWARD || step->kind == VW_STEP_RECEIVE_BACKWARD;
    bool is_send = step->kind == VW_STEP_SEND_FORWARD || step->kind == VW_STEP_SEND_BACKWARD;
    cells *holds = is_back ? &x->gradient[r] : &x->output[r];

    if (peer < 0 || peer >= x->p->n_ranks || peer == r)
        return vw_fail(err, VW_E_INVALID, "a message with rank %d", peer);
    if (is_send) {
        bool *slot = &x->under_way[is_back][r][peer][s][m];
        if (!(*holds)[s][m] || *slot)
            return vw_fail(err, VW_E_INVALID, "sends what it does not have, or sends it twice");
        *slot = true;
        return VW_OK;
    }
    s += is_back ? 1 : -1;
    if (s < 0 || s >= x->p->n_stages)
        return vw_fail(err, VW_E_INVALID, "receives from stage %d", s);
    if (!x->under_way[is_back][peer][r][s][m])
        return VW_E_TIMEOUT;
    x->under_way[is_back][peer][r][s][m] = false;
    (*holds)[s][m] = true;
    return VW_OK;
}

static vw_status run_step(machine *x, int32_t r, const vw_step *step, vw_error *err)
{
    const program *p = x->p;
    bool is_pair = step->kind == VW_STEP_OVERLAP;
    vw_status status;

    if (step->chunk < 0 || step->chunk >= p->n_chunks || step->micro < 0 ||
        step->micro >= p->n_micro)
        return vw_fail(err, VW_E_INVALID, "chunk %d, micro-batch %d", step->chunk, step->micro);
    if (is_pair && (step->other_chunk < 0 || step->other_chunk >= p->n_chunks ||
                    step->other_micro < 0 || step->other_micro >= p->n_micro))
        return vw_fail(err, VW_E_INVALID, "other chunk %d, micro-batch %d", step->other_chunk,
                       step->other_micro);
    switch (step->kind) {
    case VW_STEP_FORWARD:
        return run_forward(x, r, step->chunk, step->micro, err);
    case VW_STEP_BACKWARD:
    case VW_STEP_INPUT_GRAD:
        return run_backward(x, r, step->chunk, step->micro, step->kind == VW_STEP_BACKWARD, err);
    case VW_STEP_WEIGHT_GRAD:
        return run_weight(x, r, step->chunk, step->micro, err);
    case VW_STEP_OVERLAP: /* the backward first: it may not use this forward's result */
        status = run_backward(x, r, step->other_chunk, step->other_micro, true, err);
        return status ? status : run_forward(x, r, step->chunk, step->micro, err);
    default:
        if (step->kind < VW_STEP_SEND_FORWARD || step->kind > VW_STEP_RECEIVE_BACKWARD)
            return vw_fail(err, VW_E_INVALID, "unknown kind of step %d", (int)step->kind);
        return run_message(x, r, step, err);
    }
}

static vw_status check_counts(const machine *x, vw_error *err)
{
    for (int32_t s = 0; s < x->p->n_stages; s++)
        for (int32_t m = 0; m < x->p->n_micro; m++)
            if (x->n_forward[s][m] != 1 || x->n_backward[s][m] != 1 || x->n_weight[s][m] != 1)
                return vw_fail(err, VW_E_INVALID,
                               "stage %d, micro-batch %d: %d forwards, %d backwards, %d weight "
                               "gradients",
                               s, m, x->n_forward[s][m], x->n_backward[s][m], x->n_weight[s][m]);
    for (size_t i = 0; i < sizeof x->under_way; i++)
        if (((const bool *)x->under_way)[i])
            return vw_fail(err, VW_E_INVALID, "a message is never received");
    return VW_OK;
}

/* Each rank goes on as far as it can, in turn, until all have ended or none can move. */
static vw_status simulate(const program *p, vw_error *err)
{
    static machine machines;
    machine *x = &machines;
    bool has_moved = true;

    memset(x, 0, sizeof *x);
    x->p = p;
    while (has_moved) {
        has_moved = false;
        for (int32_t r = 0; r < p->n_ranks; r++)
            while (x->at[r] < p->n[r]) {
                vw_status status = run_step(x, r, &p->steps[r][x->at[r]], err);
                if (status == VW_E_TIMEOUT)
                    break;
                if (status)
                    return vw_fail_in(err, status, "rank %d, step %zu", r, x->at[r]);
                x->at[r]++;
                has_moved = true;
            }
    }
    for (int32_t r = 0; r < p->n_ranks; r++)
        if (x->at[r] < p->n[r])
            return vw_fail(err, VW_E_INVALID, "deadlock: rank %d waits at step %zu", r, x->at[r]);
    return check_counts(x, err);
}

/* ---- getting the lists ------------------------------------------------------------------------ */

/* One rank's list, asked for three times: the length alone, half of it, all. */
static vw_status fetch_rank(const vw_pipeline_ops *ops, void *self, program *p, int32_t r,
                            vw_error *err)
{
    size_t length = 0, n = 0, half;
    vw_step *steps = p->steps[r];
    vw_status status = ops->schedule(self, p->n_ranks, p->n_micro, r, NULL, 0, &length, err);

    if (status)
        return status;
    if (length >= MAX_STEPS)
        return vw_fail(err, VW_E_INVALID, "%zu steps are more than this test expects", length);
    half = length / 2;
    steps[half].chunk = steps[length].chunk = GUARD;
    status = ops->schedule(self, p->n_ranks, p->n_micro, r, steps, half, &n, err);
    if (status == VW_OK && (n != length || steps[half].chunk != GUARD))
        return vw_fail(err, VW_E_INVALID, "room for %zu of %zu steps: says %zu, or writes more",
                       half, length, n);
    if (status == VW_OK)
        status = ops->schedule(self, p->n_ranks, p->n_micro, r, steps, length, &n, err);
    if (status == VW_OK && (n != length || steps[length].chunk != GUARD))
        return vw_fail(err, VW_E_INVALID, "%zu steps, then %zu, or it writes more", length, n);
    p->n[r] = length;
    return status;
}

static vw_status fetch(const vw_pipeline_ops *ops, void *self, int32_t n_ranks, int32_t n_micro,
                       program *p, vw_error *err)
{
    vw_status status = VW_OK;

    memset(p, 0, sizeof *p);
    p->n_ranks = n_ranks;
    p->n_micro = n_micro;
    p->n_chunks = ops->n_chunks(self);
    if (p->n_chunks < 1 || p->n_chunks > MAX_CHUNKS)
        return vw_fail(err, VW_E_INVALID, "%d chunks on a rank", p->n_chunks);
    for (int32_t r = 0; r < n_ranks; r++)
        for (int32_t c = 0; c < p->n_chunks; c++) {
            int32_t s = ops->stage(self, n_ranks, r, c);
            if (s < 0 || s >= n_ranks * p->n_chunks)
                return vw_fail(err, VW_E_INVALID, "rank %d, chunk %d: stage %d", r, c, s);
            p->stage[r][c] = s;
            if (s >= p->n_stages)
                p->n_stages = s + 1;
        }
    for (int32_t r = 0; r < n_ranks && status == VW_OK; r++)
        status = fetch_rank(ops, self, p, r, err);
    return status;
}

/* ---- planted errors --------------------------------------------------------------------------- */

/* Take out, repeat or change every single step of a right program: each must be noticed. */
static void plant(const char *name, const program *right)
{
    static program wrong;
    int n_missed[4] = {0}, n_tried = 0;

    for (int32_t r = 0; r < right->n_ranks; r++)
        for (size_t i = 0; i < right->n[r]; i++)
            for (int how = 0; how < 4; how++) {
                vw_step *at = &wrong.steps[r][i];
                wrong = *right;
                if (how == 0)
                    memmove(at, at + 1, (--wrong.n[r] - i) * sizeof *at);
                else if (how == 1)
                    memmove(at + 1, at, (wrong.n[r]++ - i) * sizeof *at);
                else if (how == 2)
                    at->micro = (at->micro + 1) % right->n_micro;
                else
                    at->kind = at->kind == VW_STEP_BACKWARD ? VW_STEP_INPUT_GRAD : VW_STEP_BACKWARD;
                n_missed[how] += simulate(&wrong, NULL) == VW_OK;
                n_tried++;
            }
    is_int(n_missed[0], 0, "%s, planted: a missing step, %d places", name, n_tried / 4);
    is_int(n_missed[1], 0, "%s, planted: a step twice", name);
    is_int(n_missed[2], 0, "%s, planted: another micro-batch", name);
    is_int(n_missed[3], 0, "%s, planted: another kind", name);
}

/* Two ranks that both receive before they send. */
static void plant_deadlock(void)
{
    static program p = {.n_ranks = 2, .n_micro = 1, .n_chunks = 1, .n_stages = 2, .n = {3, 4}};
    vw_error err = {VW_OK, ""};

    p.stage[1][0] = 1;
    p.steps[0][0] = (vw_step){VW_STEP_FORWARD, 0, 0, -1, -1, -1};
    p.steps[0][1] = (vw_step){VW_STEP_RECEIVE_BACKWARD, 0, 0, -1, -1, 1};
    p.steps[0][2] = (vw_step){VW_STEP_SEND_FORWARD, 0, 0, -1, -1, 1};
    p.steps[1][0] = (vw_step){VW_STEP_RECEIVE_FORWARD, 0, 0, -1, -1, 0};
    ok(simulate(&p, &err) != VW_OK, "planted: a deadlock");
    like(err.text, "deadlock: rank 0 waits at step 1", "and it is called one");
}

/* ---- every plugin ----------------------------------------------------------------------------- */

static vw_status check_refusals(const vw_pipeline_ops *ops, void *self, vw_error *err)
{
    static const int32_t wrong[][3] = {{0, 4, 0}, {2, 0, 0}, {2, 4, 2}, {2, 4, -1}, {-1, 4, 0}};

    for (int i = 0; i < 5; i++) {
        vw_error said = {VW_OK, ""};
        size_t n = 7;
        if (ops->schedule(self, wrong[i][0], wrong[i][1], wrong[i][2], NULL, 0, &n, &said) ==
                VW_OK ||
            !*said.text || n != 7)
            return vw_fail(err, VW_E_INVALID, "rank %d of %d with %d micro-batches is no error",
                           wrong[i][2], wrong[i][0], wrong[i][1]);
    }
    return VW_OK;
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    static program p, last;
    mock_host mock;
    mock_instance it;
    int n_run = 0;
    vw_error err = {VW_OK, ""};

    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    for (int32_t n_ranks = 1; n_ranks <= MAX_RANKS; n_ranks++)
        for (int32_t n_micro = 1; n_micro <= MAX_MICRO; n_micro++) {
            vw_status status;
            err.text[0] = '\0';
            status = fetch(it.component.ops, it.component.self, n_ranks, n_micro, &p, &err);
            if (status == VW_E_UNSUPPORTED && *err.text)
                continue;
            if (status == VW_OK)
                status = simulate(&p, &err);
            n_run++;
            if (status)
                ok(false, "%s: %d ranks, %d micro-batches: %s", plugin->name, n_ranks, n_micro,
                   err.text);
            else if (n_ranks > 1 && n_ranks <= 4 && n_micro > 1 && n_micro <= 8)
                last = p;
        }
    ok(n_run > 0, "%s: %d pairs of ranks and micro-batches", plugin->name, n_run);
    ok(last.n_ranks > 1, "%s: at least one of them is small", plugin->name);
    plant(plugin->name, &last);
    err.text[0] = '\0';
    ok(check_refusals(it.component.ops, it.component.self, &err) == VW_OK,
       "%s: wrong sizes are refused %s", plugin->name, err.text);
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_PIPELINE, test_one, NULL) > 0, "there are plugins");
    plant_deadlock();
    return done_testing();
}
