/* schedules.c - the bundled schedules are those that were published.
 *
 * Reference sequences, hashes and counts come from the specification of DualPipe, where two programs
 * found them that share nothing with this one; the rest are formulas.
 *
 * Letters: P ranks, n micro-batches, r rank, F B I W and FB what the steps take; H, h and m as in
 * plugins/pipeline/eight_steps.c.
 */
#include "t/schedule-case.h"
#include "t/tap/tap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- published sequences --------------------------------------------------------------------- */

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
        is_int(get_schedule(all[i].n_ranks, all[i].n_micro, NULL, all[i].max_activations, &s, &err),
               all[i].status, "%s refuses %d ranks, %d micro-batches", all[i].name,
               all[i].n_ranks, all[i].n_micro);
        is_str(err.text, all[i].words, "and says why");
        mock_close(&mock, &opened);
    }
    open_schedule("search", (const char *const[]){"placement=crossed", NULL});
    vw_error err = {VW_OK, ""};
    vw_schedule s;
    is_int(get_schedule(3, 8, NULL, 0, &s, &err), VW_E_UNSUPPORTED, "search, crossed, three ranks");
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
            vw_status status = get_schedule(P, n, NULL, 0, &s, &err);
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

int main(void)
{
    test_sequences();
    test_figures();
    test_long_lines();
    test_counts();
    test_cut_in_half();
    test_refusals();
    test_all_sizes();
    return done_testing();
}
