/* schedules.c - the bundled schedules are those that were published, and take the time that they
 * should.
 *
 * Reference sequences, hashes, counts, makespans and start times come from the specification of
 * DualPipe, where two programs found them that share nothing with this one; the rest are formulas.
 *
 * Letters: P ranks, n micro-batches, r rank, F B I W and FB what the steps take; H, h and m as in
 * plugins/pipeline/eight_steps.c.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/schedule.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TEXT = 1 << 16 };

/* ---- schedules by name ----------------------------------------------------------------------- */

static mock_host mock;
static mock_instance opened;

static void open_schedule(const char *name, const char *const *settings)
{
    const vw_plugin *plugin = mock_plugin(VW_KIND_PIPELINE, name);

    mock_host_init(&mock);
    if (!plugin || !mock_open(&mock, plugin, settings, &opened))
        bail_out("pipeline/%s is not there", name);
}

static vw_status get(int32_t n_ranks, int32_t n_micro, const vw_pipeline_costs *costs,
                     int32_t max_activations, vw_schedule *s, vw_error *err)
{
    vw_pipeline_problem problem = {sizeof problem, n_ranks, n_micro, max_activations, costs};

    return vw_schedule_get(&opened.component, &problem, s, err);
}

/* Of the opened component; ends the test when there is none. */
static vw_schedule schedule_of(int32_t n_ranks, int32_t n_micro)
{
    vw_error err = {VW_OK, ""};
    vw_schedule s;

    if (get(n_ranks, n_micro, NULL, 0, &s, &err) != VW_OK)
        bail_out("%s", err.text);
    return s;
}

static vw_simulation times_of(const vw_schedule *s, double f, double b, double w, double fb)
{
    vw_pipeline_costs costs = {sizeof costs, f, b, w, fb, 0, NULL};
    vw_error err = {VW_OK, ""};
    vw_simulation x;

    if (vw_schedule_simulate(s, &costs, &x, &err) != VW_OK)
        bail_out("%s", err.text);
    return x;
}

static double makespan_of(const vw_schedule *s, double f, double b, double w, double fb)
{
    vw_simulation x = times_of(s, f, b, w, fb);
    double makespan = x.makespan;

    vw_simulation_free(&x);
    return makespan;
}

/* The canonical text of a rank: compute steps, one blank between them. */
static void rank_text(const vw_schedule *s, int32_t r, char *text)
{
    char *end = text;

    *end = '\0';
    for (size_t i = 0; i < s->n_steps[r]; i++)
        if (s->steps[r][i].kind <= VW_STEP_OVERLAP) {
            if (end > text)
                *end++ = ' ';
            vw_step_text(s, &s->steps[r][i], end, 64);
            end += strlen(end);
        }
}

static uint64_t fnv(const char *text, uint64_t hash)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

#define FNV_START 0xcbf29ce484222325u

static uint64_t hash_of(const vw_schedule *s, size_t *n_ops)
{
    static char text[MAX_TEXT];
    uint64_t hash = FNV_START;

    *n_ops = 0;
    for (int32_t r = 0; r < s->n_ranks; r++) {
        rank_text(s, r, text);
        hash = fnv(text, r > 0 ? fnv("\n", hash) : hash);
        for (size_t i = 0; i < s->n_steps[r]; i++)
            *n_ops += s->steps[r][i].kind <= VW_STEP_OVERLAP;
    }
    return hash;
}

/* ---- published sequences --------------------------------------------------------------------- */

static FILE *data_file(const char *name)
{
    const char *top = getenv("top_srcdir");
    char path[1024];
    FILE *file;

    snprintf(path, sizeof path, "%s/t/data/%s", top ? top : ".", name);
    file = fopen(path, "r");
    if (!file)
        bail_out("%s: cannot be opened", path);
    return file;
}

/* The next line without its newline, comments and blank lines left out. */
static bool next_line(FILE *file, char *line)
{
    while (fgets(line, MAX_TEXT, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (*line && *line != '#')
            return true;
    }
    return false;
}

static void test_sequences(void)
{
    static char line[MAX_TEXT], text[MAX_TEXT];
    FILE *file = data_file("schedules.txt");
    char name[32];
    int32_t n_ranks, n_micro, n_files = 0;
    uint64_t hash;
    size_t n_ops;

    while (next_line(file, line)) {
        if (sscanf(line, "%31s %" SCNd32 " %" SCNd32 " %" SCNx64, name, &n_ranks, &n_micro,
                   &hash) != 4)
            bail_out("schedules.txt: %s", line);
        open_schedule(name, NULL);
        vw_schedule s = schedule_of(n_ranks, n_micro);
        for (int32_t r = 0; r < n_ranks && next_line(file, line); r++) {
            rank_text(&s, r, text);
            is_str(text, line, "%s %d, %d: rank %d", name, n_ranks, n_micro, r);
        }
        ok(hash_of(&s, &n_ops) == hash, "%s %d, %d: the hash", name, n_ranks, n_micro);
        vw_schedule_free(&s);
        mock_close(&mock, &opened);
        n_files++;
    }
    fclose(file);
    is_int(n_files, 9, "all sequences were seen");
}

typedef struct figures {
    const char *name;
    int32_t n_ranks, n_micro;
    uint64_t hash;
    size_t n_ops;
    double with_3, with_2; /* makespan of (1, 2, 1, 3) and (1, 2, 1, 2) */
    int32_t peak;
} figures;

static void test_figures(void)
{
    static const figures all[] = {
        {"dualpipe", 2, 4, 0xa917725a9386c114, 16, 12, 11, 3},
        {"dualpipe", 4, 8, 0x0aaa37edca345102, 62, 26, 22, 5},
        {"dualpipe", 4, 10, 0x4d465dd7853eb9ce, 70, 32, 26, 5},
        {"dualpipe", 8, 20, 0x63f912b785af108d, 282, 66, 52, 9},
        {"dualpipe", 16, 64, 0xb2ee055d38bc2efd, 1522, 206, 152, 17},
        {"dualpipev", 1, 2, 0xc6cb5a3f4eb1c023, 8, 12, 11, 3},
        {"dualpipev", 2, 4, 0x6fdc63f8dc569a80, 31, 26, 22, 5},
        {"dualpipev", 4, 9, 0x0f16cfb14f6d4aa0, 133, 60, 48, 9},
        {"dualpipev", 4, 10, 0x0f3d5b93bcc7d776, 141, 66, 52, 9},
        {"dualpipev", 8, 32, 0x7323298ae4f0391e, 761, 206, 152, 17},
        {"1f1b", 4, 8, 0x323ab0eacb93d441, 64, 33, 33, 4},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const figures *f = &all[i];
        size_t n_ops;
        open_schedule(f->name, NULL);
        vw_schedule s = schedule_of(f->n_ranks, f->n_micro);
        vw_simulation x = times_of(&s, 1, 2, 1, 3);
        ok(hash_of(&s, &n_ops) == f->hash, "%s %d, %d: hash", f->name, f->n_ranks, f->n_micro);
        is_int(n_ops, f->n_ops, "steps");
        near(x.makespan, f->with_3, 0, "makespan without a gain from overlap");
        near(makespan_of(&s, 1, 2, 1, 2), f->with_2, 0, "makespan with all of it");
        for (int32_t r = 0; r < s.n_ranks; r++)
            is_int(x.peak_activations[r], s.n_chunks == 2 ? f->peak : s.n_ranks - r,
                   "rank %d: activations at a time", r);
        vw_simulation_free(&x);
        vw_schedule_free(&s);
        mock_close(&mock, &opened);
    }
}

/* Lines one by one, where the whole is too long to be in a file. */
static void test_long_lines(void)
{
    static const uint64_t lines[8] = {0xadfe5018f24eedce, 0xa4dd7068e9b61a61, 0x4763c5e8ae1f4300,
                                      0x62a238866d4598f3, 0xd2b4c10303a97a7e, 0xd9423f37f6510fd4,
                                      0x8ef98e3e817cdadd, 0x15de1f2a8ca7fc96};
    static const char *const names[] = {"dualpipe", "dualpipev"};
    static char text[MAX_TEXT];

    for (int i = 0; i < 2; i++) {
        open_schedule(names[i], NULL);
        vw_schedule s = i == 0 ? schedule_of(16, 64) : schedule_of(8, 32);
        for (int32_t r = 0; r < 8; r++) {
            rank_text(&s, r, text);
            ok(fnv(text, FNV_START) == lines[r], "%s, many: rank %d", names[i], r);
        }
        vw_schedule_free(&s);
        mock_close(&mock, &opened);
    }
}

/* Steps of each kind, by the formulas. */
static void check_counts(const vw_schedule *s, int32_t H, int32_t m, int32_t r, int32_t h, int *bad)
{
    size_t n[VW_STEP_RECEIVE_BACKWARD + 1] = {0};
    int32_t mid = h == H - 1;
    int32_t want[] = {0, 3 * H - h - 1 + mid, H + mid, 2 * H - h - 1, 2 * H - h - 1,
                      2 * m - 3 * H + h + 1 - mid};

    for (size_t i = 0; i < s->n_steps[r]; i++)
        n[s->steps[r][i].kind]++;
    for (int kind = VW_STEP_FORWARD; kind <= VW_STEP_OVERLAP; kind++)
        *bad += n[kind] != (size_t)want[kind];
}

static void test_counts(void)
{
    int n_bad = 0, n_seen = 0;

    open_schedule("dualpipe", NULL);
    for (int32_t P = 2; P <= 16; P += 2)
        for (int32_t n = 2 * P; n <= 64; n += 2, n_seen++) {
            vw_schedule s = schedule_of(P, n);
            for (int32_t r = 0; r < P; r++)
                check_counts(&s, P / 2, n / 2, r, r < P / 2 ? r : P - 1 - r, &n_bad);
            vw_schedule_free(&s);
        }
    mock_close(&mock, &opened);
    open_schedule("dualpipev", NULL);
    for (int32_t P = 1; P <= 11; P++)
        for (int32_t n = 2 * P; n <= 64; n++, n_seen++) {
            vw_schedule s = schedule_of(P, n);
            for (int32_t r = 0; r < P; r++)
                check_counts(&s, P, n, r, r, &n_bad);
            vw_schedule_free(&s);
        }
    mock_close(&mock, &opened);
    is_int(n_bad, 0, "steps of each kind in %d schedules", n_seen);
}

/* ---- time ------------------------------------------------------------------------------------ */

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

/* The first half of DualPipe's ranks runs DualPipeV's rows. */
static void test_cut_in_half(void)
{
    static char whole[MAX_TEXT], half[MAX_TEXT];
    static const int32_t sizes[][2] = {{2, 4}, {4, 8}, {8, 20}, {16, 64}, {12, 30}};

    for (int i = 0; i < 5; i++) {
        int n_bad = 0;
        open_schedule("dualpipe", NULL);
        vw_schedule one = schedule_of(sizes[i][0], sizes[i][1]);
        mock_close(&mock, &opened);
        open_schedule("dualpipev", NULL);
        vw_schedule two = schedule_of(sizes[i][0] / 2, sizes[i][1] / 2);
        mock_close(&mock, &opened);
        for (int32_t r = 0; r < two.n_ranks; r++) {
            rank_text(&one, r, whole);
            rank_text(&two, r, half);
            n_bad += strcmp(whole, half) != 0;
        }
        is_int(n_bad, 0, "dualpipe %d, %d, cut in half", sizes[i][0], sizes[i][1]);
        vw_schedule_free(&one);
        vw_schedule_free(&two);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_refusals(void)
{
    static const struct {
        const char *name;
        int32_t n_ranks, n_micro, max_activations;
        vw_status status;
        const char *words;
    } all[] = {
        {"dualpipe", 3, 20, 0, VW_E_UNSUPPORTED,
         "pipeline/dualpipe: two directions need an even number of ranks, not 3; dualpipev takes "
         "any"},
        {"dualpipe", 4, 9, 0, VW_E_UNSUPPORTED,
         "pipeline/dualpipe: two directions need an even number of micro-batches, not 9"},
        {"dualpipe", 4, 6, 0, VW_E_UNSUPPORTED,
         "pipeline/dualpipe: 4 ranks need at least 8 micro-batches, two for each rank, not 6"},
        {"dualpipev", 4, 7, 0, VW_E_UNSUPPORTED,
         "pipeline/dualpipev: 4 ranks need at least 8 micro-batches, two for each rank, not 7"},
        {"1f1b", 4, 0, 0, VW_E_INVALID,
         "4 ranks and 0 micro-batches: at least one of each is needed"},
        {"1f1b", 0, 4, 0, VW_E_INVALID,
         "0 ranks and 4 micro-batches: at least one of each is needed"},
        {"search", 100000, 100000, 0, VW_E_UNSUPPORTED,
         "pipeline/search: 100000 micro-batches on 100000 ranks are too many to search among"},
        {"search", 4, 8, 1, VW_E_UNSUPPORTED,
         "pipeline/search: 1 activations at a time are too few: 2 chunks on a rank need one each"},
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        vw_error err = {VW_OK, ""};
        vw_schedule s;
        open_schedule(all[i].name, NULL);
        is_int(get(all[i].n_ranks, all[i].n_micro, NULL, all[i].max_activations, &s, &err),
               all[i].status, "%s refuses %d ranks, %d micro-batches", all[i].name,
               all[i].n_ranks, all[i].n_micro);
        is_str(err.text, all[i].words, "and says why");
        mock_close(&mock, &opened);
    }
    open_schedule("search", (const char *const[]){"placement=crossed", NULL});
    vw_error err = {VW_OK, ""};
    vw_schedule s;
    is_int(get(3, 8, NULL, 0, &s, &err), VW_E_UNSUPPORTED, "search, crossed, three ranks");
    is_str(err.text, "pipeline/search: two directions need an even number of ranks and of "
                     "micro-batches, not 3 and 8; placement = folded takes any", "and says why");
    mock_close(&mock, &opened);
}

/* ---- all sizes ------------------------------------------------------------------------------- */

/* Up to 16 ranks and 64 micro-batches; `n_want` sizes are taken, the others refused. */
static void check_all_sizes(const char *name, const char *const *settings, int n_want)
{
    int n_right = 0, n_refused = 0;

    open_schedule(name, settings);
    for (int32_t P = 1; P <= 16; P++)
        for (int32_t n = 1; n <= 64; n++) {
            vw_error err = {VW_OK, ""};
            vw_schedule s;
            vw_status status = get(P, n, NULL, 0, &s, &err);
            if (status == VW_E_UNSUPPORTED) {
                n_refused++;
                continue;
            }
            if (status == VW_OK) {
                status = vw_schedule_check(&s, VW_PIPELINE_BUFFERS, &err);
                vw_schedule_free(&s);
            }
            if (status != VW_OK)
                diag("%s: %d ranks, %d micro-batches: %s", name, P, n, err.text);
            n_right += status == VW_OK;
        }
    is_int(n_right, n_want, "%s%s%s: sizes that pass the check", name, settings ? ", " : "",
           settings ? settings[0] : "");
    is_int(n_refused, 1024 - n_want, "and the others are refused");
    mock_close(&mock, &opened);
}

static void test_all_sizes(void)
{
    int n_dualpipe = 0, n_dualpipev = 0;

    for (int P = 1; P <= 16; P++)
        for (int n = 2 * P; n <= 64; n++) {
            n_dualpipev++;
            n_dualpipe += P % 2 == 0 && n % 2 == 0;
        }
    check_all_sizes("gpipe", NULL, 1024);
    check_all_sizes("1f1b", NULL, 1024);
    check_all_sizes("zb1p", NULL, 1024);
    check_all_sizes("dualpipe", NULL, n_dualpipe);
    check_all_sizes("dualpipev", NULL, n_dualpipev);
    for (int i = 0; i < 3; i++) {
        static const char *const placements[] = {"placement=folded", "placement=straight",
                                                 "placement=crossed"};
        const char *const settings[] = {placements[i], "effort=0.02", NULL};
        check_all_sizes("search", settings, i < 2 ? 1024 : 8 * 32); /* crossed: even numbers */
    }
}

/* ---- the search ------------------------------------------------------------------------------ */

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

    if (get(n_ranks, n_micro, costs, 0, &s, &err) != VW_OK ||
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
        if (i == 1 && get(3, 5, NULL, 4, &other, &err) == VW_OK)
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
        if (get(4, 10, &costs, most, &s, &err) != VW_OK)
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
    is_int(get(4, 10, &endless, 0, &s, &err), VW_E_INVALID, "search with endless steps");
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
        vw_status status = get(2, 4, NULL, 0, &s, &err);
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
    test_sequences();
    test_figures();
    test_long_lines();
    test_counts();
    test_starts();
    test_dualpipe_formula();
    test_beyond_the_formula();
    test_older_formulas();
    test_side_by_side();
    test_cut_in_half();
    test_refusals();
    test_all_sizes();
    test_search();
    test_search_is_pure();
    test_search_memory();
    return done_testing();
}
