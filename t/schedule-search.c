/* schedule-search.c - pipeline/search is never worse than the published schedules, always gives the same
 * answer, and says when there is no memory.
 */
#include "t/schedule-case.h"
#include "t/tap/tap.h"

#include <math.h>

typedef struct outcome {
    double makespan, bubble;
    int32_t peak;
} outcome;

static outcome run_with(int32_t n_ranks, int32_t n_micro, const vw_pipeline_costs *costs)
{
    vw_error err = {VW_OK, ""};
    outcome o = {0, 0, 0};
    vw_schedule s;
    vw_simulation x;

    if (get_schedule(n_ranks, n_micro, costs, 0, &s, &err) != VW_OK ||
        vw_schedule_check(&s, VW_PIPELINE_BUFFERS, &err) != VW_OK ||
        vw_schedule_simulate(&s, costs, &x, &err) != VW_OK)
        bail_out("%s", err.text);
    o.makespan = x.makespan;
    o.bubble = x.bubble;
    for (int32_t r = 0; r < n_ranks; r++)
        o.peak = x.peak_activations[r] > o.peak ? x.peak_activations[r] : o.peak;
    vw_simulation_free(&x);
    vw_schedule_free(&s);
    return o;
}

/* Against DualPipe and DualPipeV with the same placement, memory and durations: never longer, and
 * in all these settings but one both shorter and with a smaller bubble.  The measured durations
 * (F, I + W, W, F + B since nothing was gained, message) are those of Qi et al. 2023, in
 * milliseconds. */
static void test_search(void)
{
    static const struct {
        double f, b, w, fb, comm;
        bool must_win;
        const char *what;
    } all[] = {
        {1, 2, 1, 3, 0, true, "equal steps, nothing gained by overlap"},
        {29.718, 49.371, 19.927, 79.089, 0.527, true, "6.2B parameters, as measured"},
        {11.347, 19.380, 8.132, 30.727, 0.377, true, "14.6B parameters, as measured"},
        {1, 2, 1, 2.5, 0.2, true, "overlap gains a sixth, messages take a fifth of a forward"},
        {1, 2, 1, 2, 0, true, "overlap gains a third"},
        {1, 2, 1, 2.5, 0, false, "overlap gains a sixth"}, /* ten times the effort finds 58 */
    };
    static const struct {
        const char *rival, *setting;
        int32_t n_ranks, n_micro;
    } sides[] = {{"dualpipe", "placement=crossed", 8, 20},
                 {"dualpipev", "placement=folded", 4, 10}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int k = 0; k < 2; k++) {
            vw_pipeline_costs costs = {sizeof costs, all[i].f, all[i].b, all[i].w, all[i].fb,
                                       all[i].comm, NULL};
            open_schedule(sides[k].rival, NULL);
            outcome rival = run_with(sides[k].n_ranks, sides[k].n_micro, &costs);
            mock_close(&mock, &opened);
            open_schedule("search", (const char *const[]){sides[k].setting, "effort=5", NULL});
            outcome found = run_with(sides[k].n_ranks, sides[k].n_micro, &costs);
            mock_close(&mock, &opened);
            ok(found.makespan <= rival.makespan && found.peak <= rival.peak,
               "%s: search %g (bubble %.1f %%), %s %g (%.1f %%)", all[i].what, found.makespan,
               100 * found.bubble, sides[k].rival, rival.makespan, 100 * rival.bubble);
            if (all[i].must_win)
                ok(found.bubble < rival.bubble && found.makespan < rival.makespan,
                   "and it beats %s in both", sides[k].rival);
        }
}

/* The same answer to every rank, in another instance, and when asked in another order. */
static void test_search_is_pure(void)
{
    static const char *const settings[] = {"effort=0.2", NULL};
    vw_error err = {VW_OK, ""};
    uint64_t hash[2];
    vw_schedule s, other;
    size_t n_ops;

    for (int i = 0; i < 2; i++) {
        open_schedule("search", settings);
        if (i == 1 && get_schedule(3, 5, NULL, 4, &other, &err) == VW_OK)
            vw_schedule_free(&other);
        s = schedule_of(4, 10);
        hash[i] = hash_of(&s, &n_ops);
        vw_schedule_free(&s);
        mock_close(&mock, &opened);
    }
    ok(hash[0] == hash[1], "search answers a question always alike");
    open_schedule("search", settings);
    for (int32_t most = 2; most <= 5; most++) {
        vw_pipeline_costs costs = VW_PIPELINE_COSTS_ASSUMED;
        if (get_schedule(4, 10, &costs, most, &s, &err) != VW_OK)
            bail_out("%s", err.text);
        vw_simulation x = times_of(&s, 1, 2, 1, 2.5);
        int32_t peak = 0;
        for (int32_t r = 0; r < 4; r++)
            peak = x.peak_activations[r] > peak ? x.peak_activations[r] : peak;
        ok(peak <= most, "search keeps within %d activations", most);
        vw_simulation_free(&x);
        vw_schedule_free(&s);
    }
    vw_pipeline_costs endless = {sizeof endless, INFINITY, 2, 1, 2.5, 0, NULL};
    is_int(get_schedule(4, 10, &endless, 0, &s, &err), VW_E_INVALID, "search with endless steps");
    like(err.text, "no schedule ends with these durations; they must be finite and not negative",
         "and says why");
    mock_close(&mock, &opened);
}

/* Out of memory at every place. */
static void test_search_memory(void)
{
    static const char *const settings[] = {"effort=0.01", NULL};
    int n_failed = 0;

    open_schedule("search", settings);
    for (long long k = 0; k < 8; k++) {
        vw_error err = {VW_OK, ""};
        vw_schedule s;
        mock.fail_after = k;
        vw_status status = get_schedule(2, 4, NULL, 0, &s, &err);
        mock.fail_after = -1;
        n_failed += status == VW_E_NOMEM && *err.text;
        if (status == VW_OK) {
            vw_schedule_free(&s);
            break;
        }
    }
    ok(n_failed >= 2, "search says that there is no memory, at %d places", n_failed);
    mock_close(&mock, &opened);
}

int main(void)
{
    test_search();
    test_search_is_pure();
    test_search_memory();
    return done_testing();
}
