/* kind-pipeline.c - what holds for every schedule: it can be executed and computes the right thing.
 *
 * The core's own check judges the lists of every installed plugin, for all sizes up to 16 ranks
 * and 64 micro-batches that the plugin takes and that its time allows; here the check itself is
 * shown to notice whatever is changed in a list, and a plugin is held to what pipeline.h says of
 * its answers.  How fast a schedule is does not matter here.
 *
 * Letters: P ranks, n micro-batches, r rank.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/schedule.h>

#include <stdlib.h>
#include <time.h>

enum { MAX_RANKS = 16, MAX_MICRO = 64, N_SIZES = MAX_RANKS * MAX_MICRO };
enum { GUARD = 12345, SECONDS = 3 };

/* ---- planted errors -------------------------------------------------------------------------- */

typedef enum change { MISSING, TWICE, MICRO, CHUNK, KIND, PEER, OTHER_MICRO, N_CHANGES } change;

static const char *const change_names[N_CHANGES] = {
    "a step is missing", "a step twice", "another micro-batch", "another chunk", "another kind",
    "another peer", "another micro-batch in the backward of a pair"};

/* Change step i of rank r in place, if this change means anything for it. */
static bool make_change(vw_schedule *s, int32_t r, size_t i, change how)
{
    vw_step *at = &s->steps[r][i];
    bool is_message = at->kind > VW_STEP_OVERLAP, is_pair = at->kind == VW_STEP_OVERLAP;

    switch (how) {
    case MISSING:
        memmove(at, at + 1, (--s->n_steps[r] - i) * sizeof *at);
        return true;
    case TWICE:
        memmove(at + 1, at, (s->n_steps[r]++ - i) * sizeof *at);
        return true;
    case MICRO:
        at->micro = (at->micro + 1) % s->n_micro;
        return true;
    case CHUNK:
        at->chunk = s->n_chunks > 1 ? (at->chunk + 1) % s->n_chunks : 1;
        return true;
    case KIND:
        at->kind = at->kind == VW_STEP_BACKWARD ? VW_STEP_INPUT_GRAD : VW_STEP_BACKWARD;
        return true;
    case PEER:
        at->peer = (at->peer + 1) % s->n_ranks;
        return is_message;
    case OTHER_MICRO:
        at->other_micro = (at->other_micro + 1) % s->n_micro;
        return is_pair;
    default:
        return false;
    }
}

/* Every step of a right schedule, changed in every way: each must be noticed, with a sentence. */
static void plant(const char *name, vw_schedule *right)
{
    for (int how = 0; how < N_CHANGES; how++) {
        int n_tried = 0, n_missed = 0;
        for (int32_t r = 0; r < right->n_ranks; r++)
            for (size_t i = 0; i < right->n_steps[r]; i++) {
                size_t n = right->n_steps[r];
                vw_step *kept = right->steps[r];
                vw_error err = {VW_OK, ""};
                right->steps[r] = calloc(n + 2, sizeof *kept);
                memcpy(right->steps[r], kept, n * sizeof *kept);
                if (make_change(right, r, i, how)) {
                    n_missed += vw_schedule_check(right, 0, &err) == VW_OK || !*err.text;
                    n_tried++;
                }
                free(right->steps[r]);
                right->steps[r] = kept;
                right->n_steps[r] = n;
            }
        if (n_tried == 0) /* a list without messages or pairs */
            continue;
        is_int(n_missed, 0, "%s, planted in %d places: %s", name, n_tried, change_names[how]);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

/* One rank's list, asked for with room for all but one step and for one more. */
static vw_status check_room(const vw_component *c, const vw_pipeline_problem *problem, int32_t r,
                            vw_error *err)
{
    const vw_pipeline_ops *ops = c->ops;
    size_t length = 0, n = 0;
    vw_step *steps;
    vw_status status = ops->schedule(c->self, problem, r, NULL, 0, &length, err);

    if (status != VW_OK || length == 0)
        return status;
    steps = calloc(length + 1, sizeof *steps);
    for (size_t room = length - 1; room <= length && status == VW_OK; room++) {
        steps[room].chunk = GUARD;
        status = ops->schedule(c->self, problem, r, steps, room, &n, err);
        if (status == VW_OK && (n != length || steps[room].chunk != GUARD))
            status = vw_fail(err, VW_E_INVALID, "room for %zu of %zu steps: it says %zu, or writes "
                             "more", room, length, n);
    }
    free(steps);
    return status;
}

/* Right, within the buffers that there are, and no faster than its busiest rank can be. */
static vw_status check_one(const vw_component *c, const vw_pipeline_problem *problem,
                           vw_schedule *s, vw_error *err)
{
    static const vw_pipeline_costs costs = VW_PIPELINE_COSTS_ASSUMED;
    vw_simulation sim;
    vw_status status = vw_schedule_get(c, problem, s, err);

    if (status != VW_OK)
        return status;
    status = vw_schedule_check(s, VW_PIPELINE_BUFFERS, err);
    if (status == VW_OK)
        status = vw_schedule_simulate(s, &costs, &sim, err);
    if (status == VW_OK) {
        for (int32_t r = 0; r < s->n_ranks && status == VW_OK; r++)
            if (sim.busy[r] > sim.makespan * (1 + 1e-12) || sim.peak_activations[r] < 1)
                status = vw_fail(err, VW_E_INVALID, "rank %d is busy for %g of %g", r, sim.busy[r],
                                 sim.makespan);
        vw_simulation_free(&sim);
    }
    if (status == VW_OK)
        status = check_room(c, problem, problem->n_ranks - 1, err);
    if (status != VW_OK)
        vw_schedule_free(s);
    return status == VW_E_UNSUPPORTED ? VW_E_INVALID : status;
}

static vw_status check_refusals(const vw_component *c, vw_error *err)
{
    static const int32_t wrong[][3] = {{0, 4, 0}, {2, 0, 0}, {2, 4, 2}, {2, 4, -1}, {-1, 4, 0}};
    const vw_pipeline_ops *ops = c->ops;

    for (int i = 0; i < 5; i++) {
        vw_pipeline_problem problem = {sizeof problem, wrong[i][0], wrong[i][1], 0, NULL};
        vw_error said = {VW_OK, ""};
        size_t n = 7;
        if (ops->schedule(c->self, &problem, wrong[i][2], NULL, 0, &n, &said) == VW_OK ||
            !*said.text || n != 7)
            return vw_fail(err, VW_E_INVALID, "rank %d of %d with %d micro-batches is no error",
                           wrong[i][2], wrong[i][0], wrong[i][1]);
    }
    return VW_OK;
}

/* ---- every plugin ---------------------------------------------------------------------------- */

/* All sizes in a scattered order, so that what is left out when a plugin takes its time is a bit of
 * everything: 601 has no factor in common with N_SIZES.  The order begins with 4 ranks and 8
 * micro-batches, and is followed until there was a small schedule, however long that takes; with
 * VW_ALL_SIZES=1 in the environment, to its end. */
static int run_sizes(const vw_component *c, vw_schedule *small, int *n_refused)
{
    const int first = 3 + 7 * MAX_RANKS;
    const bool is_whole = getenv("VW_ALL_SIZES") != NULL;
    clock_t began = clock();
    int n_run = 0;

    for (int k = 0; k < N_SIZES && (is_whole || !small->steps ||
                                    clock() - began < SECONDS * (clock_t)CLOCKS_PER_SEC); k++) {
        int size = (first + k * 601) % N_SIZES;
        vw_pipeline_problem problem = {sizeof problem, 1 + size % MAX_RANKS, 1 + size / MAX_RANKS,
                                       0, NULL};
        vw_pipeline_layout layout = {.size = sizeof layout};
        vw_error err = {VW_OK, ""};
        vw_schedule s;
        if (((const vw_pipeline_ops *)c->ops)->layout(c->self, &problem, &layout, &err) ==
                VW_E_UNSUPPORTED && *err.text) {
            ++*n_refused;
            continue;
        }
        n_run++;
        if (check_one(c, &problem, &s, &err) != VW_OK) {
            ok(false, "%s: %d ranks, %d micro-batches: %s", c->plugin->name, problem.n_ranks,
               problem.n_micro, err.text);
            continue;
        }
        if (!small->steps && s.n_ranks > 1 && s.n_ranks <= 4 && s.n_micro > 1 && s.n_micro <= 12)
            *small = s;
        else
            vw_schedule_free(&s);
    }
    return n_run;
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    vw_schedule small = {.size = sizeof small};
    mock_host mock;
    mock_instance it;
    int n_run, n_refused = 0;
    vw_error err = {VW_OK, ""};

    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    n_run = run_sizes(&it.component, &small, &n_refused);
    ok(n_run > 0, "%s: %d sizes, %d refused, of %d", plugin->name, n_run, n_refused, N_SIZES);
    ok(small.n_ranks > 1, "%s: at least one of them is small", plugin->name);
    if (small.n_ranks > 1)
        plant(plugin->name, &small);
    vw_schedule_free(&small);
    ok(check_refusals(&it.component, &err) == VW_OK, "%s: wrong sizes are refused %s",
       plugin->name, err.text);
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_PIPELINE, test_one, NULL) > 0, "there are plugins");
    return done_testing();
}
