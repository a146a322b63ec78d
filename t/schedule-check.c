/* schedule-check.c - the check of schedules and the simulation, on lists made here: what is wrong
 * is named, and times are those that one adds up by hand.
 *
 * Letters: F B c the durations of a forward, a backward and a message.
 */
#include "t/tap/tap.h"

#include <vishwamai/schedule.h>

#include <math.h>
#include <string.h>

enum { MAX_STEPS = 16 };

#define F VW_STEP_FORWARD
#define B VW_STEP_BACKWARD
#define I VW_STEP_INPUT_GRAD
#define W VW_STEP_WEIGHT_GRAD
#define FB VW_STEP_OVERLAP
#define SF VW_STEP_SEND_FORWARD
#define RF VW_STEP_RECEIVE_FORWARD
#define SB VW_STEP_SEND_BACKWARD
#define RB VW_STEP_RECEIVE_BACKWARD

/* Two ranks, a stage each, two micro-batches: lists that are right, in memory that may be changed. */
typedef struct two {
    vw_schedule s;
    int32_t stage[2];
    vw_step lists[2][MAX_STEPS];
    vw_step *steps[2];
    size_t n_steps[2];
} two;

static vw_step step(vw_step_kind kind, int32_t micro, int32_t peer)
{
    return (vw_step){kind, 0, micro, -1, -1, peer};
}

static void put(two *t, int32_t r, vw_step_kind kind, int32_t micro)
{
    bool is_message = kind > FB;

    t->lists[r][t->n_steps[r]++] = step(kind, micro, is_message ? 1 - r : -1);
}

static void two_init(two *t)
{
    static const vw_step_kind first[] = {F, SF}, last[] = {RB, B};

    memset(t, 0, sizeof *t);
    t->stage[1] = 1;
    for (int i = 0; i < 2; i++)
        t->steps[i] = t->lists[i];
    t->s = (vw_schedule){sizeof t->s, 2, 2, 1, 2, 1, t->stage, t->steps, t->n_steps};
    for (int32_t m = 0; m < 2; m++)
        for (int i = 0; i < 2; i++)
            put(t, 0, first[i], m);
    for (int32_t m = 0; m < 2; m++)
        for (int i = 0; i < 2; i++)
            put(t, 0, last[i], m);
    for (int32_t m = 0; m < 2; m++) {
        put(t, 1, RF, m);
        put(t, 1, F, m);
        put(t, 1, B, m);
        put(t, 1, SB, m);
    }
}

static void take_out(two *t, int32_t r, size_t i)
{
    t->n_steps[r]--;
    memmove(&t->lists[r][i], &t->lists[r][i + 1], (t->n_steps[r] - i) * sizeof t->lists[r][0]);
}

static void insert(two *t, int32_t r, size_t i, vw_step new_step)
{
    memmove(&t->lists[r][i + 1], &t->lists[r][i], (t->n_steps[r] - i) * sizeof new_step);
    t->lists[r][i] = new_step;
    t->n_steps[r]++;
}

/* ---- what is wrong --------------------------------------------------------------------------- */

/* `t` is no longer right: the check says so, in these words; and so does the simulation. */
static void is_wrong(const two *t, const char *words)
{
    static const vw_pipeline_costs costs = VW_PIPELINE_COSTS_ASSUMED;
    vw_error err = {VW_OK, ""};
    vw_simulation x = {.size = 0};

    is_int(vw_schedule_check(&t->s, 0, &err), VW_E_INVALID, "wrong: %s", words);
    is_str(err.text, words, "and that is what it says");
    err.text[0] = '\0';
    is_int(vw_schedule_simulate(&t->s, &costs, &x, &err), VW_E_INVALID, "so does the simulation");
    ok(x.size == 0 && strcmp(err.text, words) == 0, "in the same words, with nothing written");
}

#define WRONG(change, words)     \
    do {                         \
        two_init(&t);            \
        change;                  \
        is_wrong(&t, words);     \
    } while (0)

static void test_dependencies(void)
{
    two t;
    vw_error err = {VW_OK, ""};

    two_init(&t);
    is_int(vw_schedule_check(&t.s, 1, &err), VW_OK, "the lists are right, with one buffer %s",
           err.text);
    WRONG(take_out(&t, 1, 0),
          "rank 1, step 0 (F0): the output of stage 0 is not here");
    WRONG(take_out(&t, 0, 4),
          "rank 0, step 4 (B0): the gradient of stage 1 is not here");
    WRONG(insert(&t, 1, 1, step(B, 0, -1)),
          "rank 1, step 1 (B0): a backward of stage 1 before its forward");
    WRONG(insert(&t, 0, 1, step(F, 0, -1)),
          "rank 0, step 1 (F0): a second forward of stage 0 for the same micro-batch");
    WRONG(insert(&t, 1, 3, step(B, 0, -1)),
          "rank 1, step 3 (B0): a second backward of stage 1 for the same micro-batch");
    WRONG(insert(&t, 1, 3, step(W, 0, -1)),
          "rank 1, step 3 (W0): no I of this chunk waits for its W");
    WRONG(t.lists[0][0] = ((vw_step){VW_STEP_OVERLAP, 0, 0, 0, 0, -1}),
          "rank 0, step 0 (F0+B0): a backward of stage 0 before its forward");
    WRONG(t.lists[0][0].kind = (vw_step_kind)77,
          "rank 0, step 0 (kind 77): no such kind of step is known here");
    WRONG(t.lists[0][0].micro = 2,
          "rank 0, step 0 (F2): there is no chunk 0 or no micro-batch 2");
    WRONG(t.lists[0][0].chunk = -1,
          "rank 0, step 0 (F0): there is no chunk -1 or no micro-batch 0");
}

/* W's out of order: both backwards of rank 1 cut in I and W. */
static void cut_last(two *t, int32_t first, int32_t second)
{
    t->lists[1][2].kind = t->lists[1][6].kind = VW_STEP_INPUT_GRAD;
    put(t, 1, W, first);
    put(t, 1, W, second);
}

static void test_counts(void)
{
    two t;
    vw_error err = {VW_OK, ""};

    two_init(&t);
    cut_last(&t, 0, 1);
    is_int(vw_schedule_check(&t.s, 0, &err), VW_OK, "I's, then their W's in order %s", err.text);
    WRONG(cut_last(&t, 1, 0),
          "rank 1, step 8 (W1): the chunk's oldest I without a W is of micro-batch 0, this is 1");
    WRONG(t.lists[1][2].kind = VW_STEP_INPUT_GRAD,
          "micro-batch 0 has 1 forwards, 1 backwards and 0 weight gradients of stage 1; one of each "
          "is right");
    WRONG((take_out(&t, 0, 7), take_out(&t, 0, 6), take_out(&t, 1, 7)),
          "micro-batch 1 has 1 forwards, 0 backwards and 0 weight gradients of stage 0; one of each "
          "is right");
}

static void test_messages(void)
{
    two t;

    WRONG(t.lists[0][1].peer = 0,
          "rank 0, step 1 (send F0 to 0): a message to or from rank 0");
    WRONG(t.lists[0][1].peer = 2,
          "rank 0, step 1 (send F0 to 2): a message to or from rank 2");
    WRONG(t.lists[0][1].kind = VW_STEP_SEND_BACKWARD,
          "rank 0, step 1 (send B0 to 1): stage 0 is the first: there is nobody to exchange this "
          "with");
    WRONG(t.lists[1][0].kind = VW_STEP_RECEIVE_BACKWARD,
          "rank 1, step 0 (receive B0 from 0): stage 1 is the last: there is nobody to exchange "
          "this with");
    WRONG(t.stage[0] = 1,
          "rank 0, step 0 (F0): the output of stage 0 is not here");
    WRONG(take_out(&t, 0, 0),
          "rank 0, step 0 (send F0 to 1): it sends what it has not computed");
    WRONG(insert(&t, 0, 2, step(SF, 0, 1)),
          "rank 0, step 2 (send F0 to 1): it is sent for the second time");
    WRONG(insert(&t, 1, 1, step(RF, 0, 0)),
          "rank 1, step 1 (receive F0 from 0): it is received for the second time");
    WRONG((take_out(&t, 0, 6), take_out(&t, 0, 6)),
          "rank 0 never receives the gradient of micro-batch 1 for its chunk 0 that rank 1 has "
          "sent");
    WRONG(t.n_steps[1] = 4,
          "rank 0, step 6 (receive B1 from 1): rank 1 has ended without sending this");
}

/* A message from the wrong neighbour: three ranks, the last of which expects it from the first. */
static void test_sender(void)
{
    int32_t stage[] = {0, 1, 2};
    vw_step a[] = {step(F, 0, -1), step(SF, 0, 1)};
    vw_step b[] = {step(RF, 0, 0), step(F, 0, -1), step(SF, 0, 2)};
    vw_step c[] = {step(RF, 0, 0)};
    vw_step *steps[] = {a, b, c};
    size_t n_steps[] = {2, 3, 1};
    vw_schedule s = {sizeof s, 3, 1, 1, 3, 1, stage, steps, n_steps};
    vw_error err = {VW_OK, ""};

    is_int(vw_schedule_check(&s, 0, &err), VW_E_INVALID, "a message from the wrong rank");
    is_str(err.text, "rank 2, step 0 (receive F0 from 0): rank 0 does not hold stage 1",
           "it is named");
    stage[0] = 1; /* now it could have sent it, but did not */
    stage[1] = 1;
    a[0] = step(RF, 0, 1);
    n_steps[0] = 0;
    is_int(vw_schedule_check(&s, 0, &err), VW_E_INVALID, "a message that is never sent");
    is_str(err.text, "rank 1, step 0 (receive F0 from 0): rank 0 does not hold stage 0",
           "it is named");
}

static void test_deadlock(void)
{
    two t;
    vw_error err = {VW_OK, ""};

    /* Rank 0 wants the gradient before it sends what it is of. */
    WRONG((insert(&t, 0, 0, t.lists[0][4]), take_out(&t, 0, 5)),
          "rank 0, step 0 (receive B0 from 1): deadlock: it waits for rank 1, which waits at its "
          "step 0");
    /* Both micro-batches are sent before the first is received: wrong with one buffer alone. */
    two_init(&t);
    insert(&t, 1, 0, step(RF, 1, 0));
    take_out(&t, 1, 5);
    is_int(vw_schedule_check(&t.s, 2, &err), VW_OK, "two buffers are enough %s", err.text);
    is_int(vw_schedule_check(&t.s, 0, &err), VW_OK, "so are as many as one likes %s", err.text);
    is_int(vw_schedule_check(&t.s, 1, &err), VW_E_INVALID, "one buffer is not");
    is_str(err.text, "rank 0, step 3 (send F1 to 1): deadlock: it waits for rank 1, which waits at "
                     "its step 0; with more buffers it might go on", "that is named");
}

/* ---- times ----------------------------------------------------------------------------------- */

static vw_simulation simulate(const vw_schedule *s, const vw_pipeline_costs *costs)
{
    vw_error err = {VW_OK, ""};
    vw_simulation x;

    if (vw_schedule_simulate(s, costs, &x, &err) != VW_OK)
        bail_out("%s", err.text);
    return x;
}

/* F c F B c B on the way there and back, and once more F B on rank 1 for the second micro-batch. */
static void test_times(void)
{
    const double f = 3, b = 5, c = 0.5, edge[4] = {0, 1, 2, 0};
    vw_pipeline_costs costs = {sizeof costs, f, b, 2, f + b, c, NULL};
    two t;

    two_init(&t);
    vw_simulation x = simulate(&t.s, &costs);
    double end = f + c + 2 * (f + b) + c + b;
    near(x.makespan, end, 1e-12, "makespan with messages");
    near(x.busy[0], 2 * (f + b), 1e-12, "rank 0 is busy");
    near(x.bubble, 1 - 4 * (f + b) / (2 * end), 1e-12, "the bubble is idle time / (P makespan)");
    near(x.steps[1][0].end, f + c, 1e-12, "the first message is there");
    near(x.steps[1][1].start, f + c, 1e-12, "and its forward starts");
    near(x.steps[0][4].start, 2 * f, 1e-12, "rank 0 waits for the gradient");
    near(x.steps[0][4].end, f + c + f + b + c, 1e-12, "until it is there");
    is_int(x.steps[0][0].live, 1, "one activation");
    is_int(x.steps[0][2].live, 2, "two");
    is_int(x.steps[0][5].live, 2, "a backward still has its own");
    is_int(x.steps[0][7].live, 1, "which is then gone");
    is_int(x.peak_activations[0], 2, "rank 0 keeps two at most");
    is_int(x.peak_activations[1], 1, "rank 1 one");
    vw_simulation_free(&x);

    costs.edge = edge;
    x = simulate(&t.s, &costs);
    near(x.makespan, f + 1 + 2 * (f + b) + 2 + b, 1e-12, "each edge has its own duration");
    vw_simulation_free(&x);
    costs = (vw_pipeline_costs){sizeof costs, 0, 0, 0, 0, 0, NULL};
    x = simulate(&t.s, &costs);
    ok(x.makespan == 0 && x.bubble == 0, "where nothing takes time there is no bubble");
    vw_simulation_free(&x);
}

static void test_costs(void)
{
    vw_pipeline_costs all[] = {{sizeof *all, -1, 2, 1, 3, 0, NULL},
                               {sizeof *all, 1, NAN, 1, 3, 0, NULL},
                               {sizeof *all, 1, 2, 1, INFINITY, 0, NULL},
                               {sizeof *all, 1, 2, 1, 3, -0.1, NULL},
                               {sizeof *all, 1, 2, 1, 3, 0, (const double[]){0, -1, 0, 0}}};
    vw_pipeline_costs heavy = {sizeof heavy, 1, 1.5, 2, 3, 0, NULL};
    vw_error err = {VW_OK, ""};
    vw_simulation x;
    two t;

    two_init(&t);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        is_int(vw_schedule_simulate(&t.s, &all[i], &x, &err), VW_E_INVALID, "costs %zu", i);
        is_str(err.text, "a step or a message cannot take a negative or an infinite time",
               "and why they are refused");
    }
    is_int(vw_schedule_simulate(&t.s, &heavy, &x, &err), VW_E_INVALID, "a part above the whole");
    is_str(err.text, "the weights' part of a backward, 2, is longer than the whole, 1.5; it is a "
                     "part of it", "and why it is refused");
}

/* ---- components that make no sense ----------------------------------------------------------- */

typedef struct odd {
    int32_t n_chunks, n_stages, n_directions, stage_of_last;
    size_t length, length_again;
    int n_asked;
} odd;

static vw_status odd_layout(void *self, const vw_pipeline_problem *problem,
                            vw_pipeline_layout *layout, vw_error *err)
{
    const odd *o = self;

    (void)problem, (void)err;
    layout->n_chunks = o->n_chunks;
    layout->n_stages = o->n_stages;
    layout->n_directions = o->n_directions;
    return VW_OK;
}

static int32_t odd_stage(void *self, const vw_pipeline_problem *problem, int32_t rank,
                         int32_t chunk)
{
    const odd *o = self;

    return rank == problem->n_ranks - 1 && chunk == o->n_chunks - 1 ? o->stage_of_last
                                                                    : rank * o->n_chunks + chunk;
}

static vw_status odd_schedule(void *self, const vw_pipeline_problem *problem, int32_t rank,
                              vw_step *steps, size_t room, size_t *n, vw_error *err)
{
    odd *o = self;

    (void)problem, (void)rank, (void)err;
    *n = o->n_asked++ == 0 ? o->length : o->length_again;
    for (size_t i = 0; i < room && i < *n; i++)
        steps[i] = step(F, 0, -1);
    return VW_OK;
}

static void test_components(void)
{
    static const vw_pipeline_ops ops = {sizeof ops, odd_layout, odd_stage, odd_schedule};
    static const vw_plugin plugin = {.name = "odd"};
    static const struct {
        odd it;
        const char *words;
    } all[] = {
        {{0, 2, 1, 1, 0, 0, 0}, "2 stages in 0 chunks on each of 2 ranks make no sense"},
        {{1, 3, 1, 1, 0, 0, 0}, "3 stages in 1 chunks on each of 2 ranks make no sense"},
        {{1, 0, 1, 1, 0, 0, 0}, "0 stages in 1 chunks on each of 2 ranks make no sense"},
        {{1, 2, 3, 1, 0, 0, 0}, "4 micro-batches cannot go in 3 directions equally"},
        {{1, 2, 0, 1, 0, 0, 0}, "4 micro-batches cannot go in 0 directions equally"},
        {{1, 2, 1, 2, 0, 0, 0}, "chunk 0 of rank 1 is stage 2 of 2"},
        {{1, 2, 1, -1, 0, 0, 0}, "chunk 0 of rank 1 is stage -1 of 2"},
        {{2, 4, 1, 2, 0, 0, 0}, "rank 1 holds stage 2 twice"},
        {{1, 2, 1, 0, 0, 0, 0}, "no rank holds stage 1 of 2"},
        {{1, 2, 1, 1, 29, 29, 0},
         "rank 0 has 29 steps; 4 micro-batches in 1 chunks need 28 at most"},
        {{1, 2, 1, 1, (size_t)-1, 0, 0},
         "rank 0 has 18446744073709551615 steps; 4 micro-batches in 1 chunks need 28 at most"},
        {{1, 2, 1, 1, 3, 4, 0}, "rank 0 has 3 steps, and 4 when asked again"},
    };
    vw_pipeline_problem problem = {sizeof problem, 2, 4, 0, NULL};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        odd it = all[i].it;
        vw_component component = {&plugin, &ops, &it};
        vw_schedule s = {.size = 0};
        vw_error err = {VW_OK, ""};
        char words[256];
        snprintf(words, sizeof words, "pipeline/odd: %s", all[i].words);
        is_int(vw_schedule_get(&component, &problem, &s, &err), VW_E_INVALID, "%s", all[i].words);
        is_str(err.text, words, "and that is what it says");
        ok(s.size == 0, "with nothing written");
    }
}

static void test_too_large(void)
{
    static const vw_pipeline_ops ops = {sizeof ops, odd_layout, odd_stage, odd_schedule};
    static const vw_plugin plugin = {.name = "odd"};
    odd it = {1, 2, 1, 1, 0, 0, 0};
    vw_component component = {&plugin, &ops, &it};
    vw_pipeline_problem problem = {sizeof problem, 2000000000, 2000000000, 0, NULL};
    vw_error err = {VW_OK, ""};
    vw_schedule s;

    is_int(vw_schedule_get(&component, &problem, &s, &err), VW_E_UNSUPPORTED, "too large");
    is_str(err.text, "pipeline/odd: 2000000000 micro-batches through 1 chunks on each of 2000000000 "
                     "ranks are more than any memory holds", "and that is what it says");
}

static void test_names(void)
{
    vw_schedule s = {.n_micro = 8, .n_directions = 2};
    static const struct {
        vw_step step;
        const char *name;
    } all[] = {
        {{F, 0, 3, -1, -1, -1}, "F3"},
        {{B, 1, 7, -1, -1, -1}, "B3'"},
        {{I, 2, 0, -1, -1, -1}, "I0''"},
        {{W, 5, 1, -1, -1, -1}, "W1'5"},
        {{FB, 0, 3, 1, 5, -1}, "F3+B1'"},
        {{SF, 0, 2, -1, -1, 1}, "send F2 to 1"},
        {{RB, 1, 4, -1, -1, 0}, "receive B0' from 0"},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[64];
        vw_step_text(&s, &all[i].step, name, sizeof name);
        is_str(name, all[i].name, "%s", all[i].name);
    }
}

int main(void)
{
    test_dependencies();
    test_counts();
    test_messages();
    test_sender();
    test_deadlock();
    test_times();
    test_costs();
    test_components();
    test_too_large();
    test_names();
    return done_testing();
}
