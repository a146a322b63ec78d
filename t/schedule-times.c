/* schedule-times.c - the bundled schedules take the time that they should.
 *
 * Makespans and start times come from the specification of DualPipe, where two programs found them that
 * share nothing with this one; the rest are formulas, in the letters of t/schedules.c.
 */
#include "t/schedule-case.h"
#include "t/tap/tap.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_starts(const vw_schedule *s, const vw_simulation *x, int32_t r, char *words)
{
    size_t i = 0;
    int n_bad = 0;

    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "), i++) {
        char text[64];
        while (i < s->n_steps[r] && s->steps[r][i].kind > VW_STEP_OVERLAP)
            i++;
        if (i == s->n_steps[r]) {
            n_bad++;
            break;
        }
        vw_step_text(s, &s->steps[r][i], text, sizeof text - 16);
        snprintf(text + strlen(text), 16, "@%g", x->steps[r][i].start);
        if (strcmp(text, word) != 0 && n_bad++ == 0)
            diag("rank %d: %s, expected %s", r, text, word);
    }
    is_int(n_bad, 0, "rank %d: every step starts when it should", r);
}

static void test_starts(void)
{
    static char line[MAX_TEXT];
    FILE *file = data_file("schedule-times.txt");
    int32_t n_ranks = 0, n_micro, n_lines = 0;
    vw_schedule s = {.size = sizeof s};
    vw_simulation x = {.size = sizeof x};
    char name[32];
    double makespan;

    while (next_line(file, line)) {
        if (line[0] >= '0' && line[0] <= '9') {
            char *words;
            long r = strtol(line, &words, 10);
            check_starts(&s, &x, (int32_t)r, words);
            n_lines++;
            continue;
        }
        if (n_ranks > 0) {
            vw_simulation_free(&x);
            vw_schedule_free(&s);
            mock_close(&mock, &opened);
        }
        if (sscanf(line, "%31s %" SCNd32 " %" SCNd32 " %lf", name, &n_ranks, &n_micro,
                   &makespan) != 4)
            bail_out("schedule-times.txt: %s", line);
        open_schedule(name, NULL);
        s = schedule_of(n_ranks, n_micro);
        x = times_of(&s, 1, 2, 1, 3);
        near(x.makespan, makespan, 0, "%s %d, %d: makespan", name, n_ranks, n_micro);
    }
    vw_simulation_free(&x);
    vw_schedule_free(&s);
    mock_close(&mock, &opened);
    fclose(file);
    is_int(n_lines, 10, "ranks whose starts are known");
}

/* T = (2H+1)F + (2H+1)B + (2m-2H-1)FB + (H-1)(FB+B-3W) where I = F and W <= F; the middle ranks
 * then idle for the last term, and all ranks do if FB = F + B. */
static void test_dualpipe_formula(void)
{
    static const double shares[] = {0.25, 0.5, 1}, gains[] = {0, 0.3, 1};
    int n_bad = 0, n_idle_bad = 0, n_seen = 0;

    open_schedule("dualpipe", NULL);
    for (int32_t H = 1; H <= 6; H++)
        for (int32_t m = 2 * H; m <= 2 * H + 7; m += 1)
            for (int i = 0; i < 9; i++, n_seen++) {
                double F = 1, W = shares[i % 3], B = F + W, FB = F + B - gains[i / 3] * F;
                double bubble = (H - 1) * (FB + B - 3 * W);
                double T = (2 * H + 1) * (F + B) + (2 * m - 2 * H - 1) * FB + bubble;
                vw_schedule s = schedule_of(2 * H, 2 * m);
                vw_simulation x = times_of(&s, F, B, W, FB);
                n_bad += fabs(x.makespan - T) > 1e-9 * T;
                for (int32_t r = 0; r < 2 * H; r++)
                    if (r == H - 1 || r == H || gains[i / 3] == 0)
                        n_idle_bad += fabs(x.makespan - x.busy[r] - bubble) > 1e-9 * T;
                vw_simulation_free(&x);
                vw_schedule_free(&s);
            }
    is_int(n_bad, 0, "dualpipe: the published formula in %d settings", n_seen);
    is_int(n_idle_bad, 0, "dualpipe: and it is what ranks idle");
    /* Idle per rank where pairs gain all that they can: the outer ones have fewer of them. */
    vw_schedule s = schedule_of(8, 20);
    vw_simulation x = times_of(&s, 1, 2, 1, 2);
    static const double idle[8] = {1, 2, 3, 3, 3, 3, 2, 1};
    for (int32_t r = 0; r < 8; r++)
        near(x.makespan - x.busy[r], idle[r], 1e-9, "dualpipe 8, 20: rank %d idles", r);
    vw_simulation_free(&x);
    vw_schedule_free(&s);
    mock_close(&mock, &opened);
}

/* Where the published formula does not hold: (F, B, W, FB), what it says and what is true. */
static void test_beyond_the_formula(void)
{
    static const double cases[][6] = {{1, 1.6, 0.8, 2, 3.6, 4.2}, {1, 2.2, 1, 2.6, 5.4, 4.8}};

    open_schedule("dualpipe", NULL);
    vw_schedule s = schedule_of(8, 20);
    for (int i = 0; i < 2; i++) {
        const double *c = cases[i];
        vw_simulation x = times_of(&s, c[0], c[1], c[2], c[3]);
        near(3 * (c[3] + c[1] - 3 * c[2]), c[4], 1e-9, "the formula says %g", c[4]);
        near(x.makespan - x.busy[3], c[5], 1e-9, "the middle rank idles for %g", c[5]);
        vw_simulation_free(&x);
    }
    vw_schedule_free(&s);
    mock_close(&mock, &opened);
}

/* (P-1)(F+B) for 1F1B and GPipe, whatever F and B; (P-1)(F+B-2W) for ZB1P where F = I = W. */
static void test_older_formulas(void)
{
    static const char *const names[] = {"gpipe", "1f1b", "zb1p"};

    for (int i = 0; i < 3; i++) {
        int n_bad = 0, n_seen = 0;
        open_schedule(names[i], NULL);
        for (int32_t P = 1; P <= 16; P++)
            for (int32_t n = P; n <= 64; n += 3, n_seen++) {
                double F = i == 2 ? 1 : 1 + n % 3 * 0.25, B = i == 2 ? 2 : 1.5 + P % 4 * 0.5;
                double idle = (P - 1) * (F + B - (i == 2 ? 2 : 0));
                vw_schedule s = schedule_of(P, n);
                vw_simulation x = times_of(&s, F, B, 1, F + B);
                for (int32_t r = 0; r < P; r++) {
                    n_bad += fabs(x.makespan - x.busy[r] - idle) > 1e-9;
                    n_bad += x.peak_activations[r] != (i == 0 ? n : i == 1 ? P - r : P);
                }
                n_bad += fabs(x.makespan - n * (F + B) - idle) > 1e-9;
                vw_simulation_free(&x);
                vw_schedule_free(&s);
            }
        is_int(n_bad, 0, "%s: idle time and activations by formula, %d sizes", names[i], n_seen);
        mock_close(&mock, &opened);
    }
}

static void test_side_by_side(void)
{
    static const struct {
        const char *name;
        double overlap, makespan;
    } all[] = {{"1f1b", 3, 81},   {"zb1p", 3, 67},       {"dualpipe", 3, 66},
               {"dualpipe", 2.5, 59}, {"dualpipe", 2, 52}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        open_schedule(all[i].name, NULL);
        vw_schedule s = schedule_of(8, 20);
        near(makespan_of(&s, 1, 2, 1, all[i].overlap), all[i].makespan, 1e-9,
             "8 ranks, 20 micro-batches, pairs of %g: %s", all[i].overlap, all[i].name);
        vw_schedule_free(&s);
        mock_close(&mock, &opened);
    }
}

int main(void)
{
    test_starts();
    test_dualpipe_formula();
    test_beyond_the_formula();
    test_older_formulas();
    test_side_by_side();
    return done_testing();
}
