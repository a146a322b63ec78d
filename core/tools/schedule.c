/* schedule.c - `vishwamai schedule`: what each rank of a pipeline does when, and what idles. */
#include "schedule.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_RANKS = 512, MAX_MICRO = 4096 };

/* ---- answers --------------------------------------------------------------------------------- */

/* The compute steps of a rank, separated by blanks; NULL without memory. */
static char *rank_text(const vw_schedule *s, int32_t r)
{
    char *text = malloc(64 * s->n_steps[r] + 1), *end = text;

    if (!text)
        return NULL;
    for (size_t i = 0; i < s->n_steps[r]; i++)
        if (s->steps[r][i].kind <= VW_STEP_OVERLAP) {
            if (end > text)
                *end++ = ' ';
            vw_step_text(s, &s->steps[r][i], end, 63);
            end += strlen(end);
        }
    *end = '\0';
    return text;
}

static vw_status print_one_json(const timed_schedule *t, vw_error *err)
{
    vw_json_writer w = {0};

    vw_json_begin_object(&w, NULL);
    vw_json_begin_array(&w, "ranks");
    for (int32_t r = 0; r < t->schedule.n_ranks; r++) {
        char *text = rank_text(&t->schedule, r);
        if (!text) {
            vw_json_writer_free(&w);
            return vw_fail(err, VW_E_NOMEM, "no memory for the answer");
        }
        vw_json_add_string(&w, NULL, text);
        free(text);
    }
    vw_json_end_array(&w);
    vw_json_add_double(&w, "bubble", t->times.bubble);
    vw_json_add_double(&w, "makespan", t->times.makespan);
    vw_json_begin_array(&w, "peak_activations");
    for (int32_t r = 0; r < t->schedule.n_ranks; r++)
        vw_json_add_int(&w, NULL, t->times.peak_activations[r]);
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

/* How wide the terminal is, or $COLUMNS says; within reason. */
static int terminal_columns(void)
{
    struct winsize size;
    const char *said = getenv("COLUMNS");
    int64_t columns = 100;

    if (!said || !parse_int(said, &columns))
        columns = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
                          size.ws_col > 0
                      ? size.ws_col
                      : 100;
    return columns < 40 ? 40 : columns > 1000 ? 1000 : (int)columns;
}

static void print_one(const schedule_job *j)
{
    const timed_schedule *t = &j->all[0];
    int32_t least = t->times.peak_activations[0], most = timed_schedule_peak(t);

    for (int32_t r = 1; r < t->schedule.n_ranks; r++)
        if (t->times.peak_activations[r] < least)
            least = t->times.peak_activations[r];
    printf("%s: %d ranks, %d micro-batches, %d stages; makespan %g, bubble %.1f %%, ", t->name,
           t->schedule.n_ranks, t->schedule.n_micro, t->schedule.n_stages, t->times.makespan,
           100 * t->times.bubble);
    if (least == most)
        printf("%d activations a rank at most\n", most);
    else
        printf("%d to %d activations a rank at most\n", least, most);
    timeline_print(t, terminal_columns());
}

/* Copies of the model's parameters that all ranks hold together. */
static double copies(const vw_schedule *s)
{
    return (double)s->n_ranks * s->n_chunks / s->n_stages;
}

static vw_status print_comparison_json(const schedule_job *j, vw_error *err)
{
    vw_json_writer w = {0};

    vw_json_begin_object(&w, NULL);
    vw_json_begin_array(&w, "schedules");
    for (int i = 0; i < j->n; i++) {
        const timed_schedule *t = &j->all[i];
        vw_json_begin_object(&w, NULL);
        vw_json_add_string(&w, "name", j->names[i]);
        if (*j->refusal[i]) {
            vw_json_add_string(&w, "refusal", j->refusal[i]);
        } else {
            vw_json_add_double(&w, "makespan", t->times.makespan);
            vw_json_add_double(&w, "bubble", t->times.bubble);
            vw_json_add_double(&w, "activations", timed_schedule_peak(t) * j->share[i]);
            vw_json_add_double(&w, "parameters", copies(&t->schedule));
            vw_json_add_int(&w, "stages", t->schedule.n_stages);
        }
        vw_json_end_object(&w);
    }
    vw_json_end_array(&w);
    vw_json_end_object(&w);
    return print_json(&w, err);
}

static void print_comparison(const schedule_job *j)
{
    printf("%-14s %9s %9s %12s %11s  (%lld ranks, %lld micro-batches)\n", "schedule", "makespan",
           "bubble", "activations", "parameters", (long long)j->n_ranks, (long long)j->n_micro);
    for (int i = 0; i < j->n; i++) {
        const timed_schedule *t = &j->all[i];
        if (*j->refusal[i])
            printf("%-14s %s\n", j->names[i], j->refusal[i]);
        else
            printf("%-14s %9.6g %7.1f %% %12g %10gx\n", j->names[i], t->times.makespan,
                   100 * t->times.bubble, timed_schedule_peak(t) * j->share[i],
                   copies(&t->schedule));
    }
}

static vw_status draw(const schedule_job *j, vw_error *err)
{
    timed_schedule drawn[MAX_SCHEDULES];
    svg s = {0};
    int n = 0;

    for (int i = 0; i < j->n; i++)
        if (!*j->refusal[i])
            drawn[n++] = j->all[i];
    schedule_draw(&s, drawn, n);
    vw_status status = svg_save(&s, j->svg_path, err);
    svg_free(&s);
    return status;
}

static vw_status work(schedule_job *j, vw_error *err)
{
    vw_status status = open_core(&j->c, &j->o, err);

    if (status == VW_OK)
        status = j->is_comparing ? schedule_get_all(j, err) : schedule_get_one(j, err);
    if (status == VW_OK && j->svg_path)
        status = draw(j, err);
    if (status != VW_OK || (j->svg_path && strcmp(j->svg_path, "-") == 0))
        return status;
    if (j->c.is_json)
        return j->is_comparing ? print_comparison_json(j, err) : print_one_json(&j->all[0], err);
    if (j->is_comparing)
        print_comparison(j);
    else
        print_one(j);
    return VW_OK;
}

static int use(schedule_job *j, const word_list *words)
{
    vw_error err = {VW_OK, ""};

    if (words->n > 1)
        return wrong_use(&command_schedule, "'%s' is not expected here", words->words[1]);
    if (j->is_comparing ? words->n > 0 : words->n == 0)
        return wrong_use(&command_schedule, j->is_comparing
                             ? "--compare shows all schedules; '%s' is not expected"
                             : "the NAME of a schedule is needed, or --compare",
                         words->n ? words->words[0] : "");
    if (j->n_ranks == 0 || j->n_micro == 0)
        return wrong_use(&command_schedule, "--ranks P and --microbatches N are needed");
    j->name = words->n ? words->words[0] : NULL;
    if (j->name && strncmp(j->name, "pipeline/", 9) == 0)
        j->name += 9;
    return work(j, &err) == VW_OK ? STATUS_OK : report(&err);
}

static void job_free(schedule_job *j)
{
    for (int i = 0; i < MAX_SCHEDULES; i++)
        timed_schedule_free(&j->all[i]);
    for (int i = 0; i < j->n_names; i++)
        free((char *)j->names[i]);
    free(j->edge);
    close_opened(&j->o);
    assignments_free(&j->c.set);
    free(j);
}

static int schedule_main(int argc, char **argv)
{
    schedule_job *j = calloc(1, sizeof *j);
    word_list words = {NULL, 0};
    int status;

    if (!j) {
        fputs("vishwamai: out of memory\n", stderr);
        return STATUS_FAILED;
    }
    j->forward = 1, j->backward = 2, j->weight = 1, j->overlap = 2.5, j->comm = "0";
    const opt sizes[] = {
        {0, "ranks", OPT_INT, &j->n_ranks, "P", "ranks in the pipeline", NULL, 1, MAX_RANKS},
        {0, "microbatches", OPT_INT, &j->n_micro, "N", "micro-batches in a step of the optimiser",
         NULL, 1, MAX_MICRO},
        {0, "max-activations", OPT_INT, &j->max_activations, "M",
         "of a stage, alive on a rank at a time; 0: as the schedule likes", NULL, 0, 1e9},
        END_OPTIONS};
    const opt durations[] = {
        {0, "forward", OPT_REAL, &j->forward, "X", "of a forward, F (default: 1)", NULL, 0, 1e9},
        {0, "backward", OPT_REAL, &j->backward, "X", "of a whole backward, B (default: 2)", NULL, 0,
         1e9},
        {0, "weight", OPT_REAL, &j->weight, "X",
         "of its part for the weights, W; I takes the rest, B - W (default: 1)", NULL, 0, 1e9},
        {0, "overlap", OPT_REAL, &j->overlap, "X",
         "of a forward and a backward, overlapped (default: 2.5)", NULL, 0, 1e9},
        {0, "comm", OPT_TEXT, &j->comm, "X",
         "of a message; or one for each link, X,Y,... (default: 0)", NULL, 0, 0},
        END_OPTIONS};
    const opt general[] = {
        {0, "compare", OPT_FLAG, &j->is_comparing, NULL, "a table of all schedules", NULL, 0, 0},
        {0, "svg", OPT_TEXT, &j->svg_path, "FILE", "draw a chart; -: to standard output", NULL,
         0, 0},
        CHOICE_OPTIONS(&j->c), END_OPTIONS};
    const opt_group groups[] = {{"sizes", sizes},
                                {"durations, in any one unit", durations},
                                {"general", general},
                                {NULL, NULL}};
    if (options_parse(&command_schedule, groups, argc, argv, &words, &status))
        status = use(j, &words);
    word_list_free(&words);
    job_free(j);
    return status;
}

const command command_schedule = {
    "schedule", "NAME | --compare  --ranks P --microbatches N [options]",
    "show what each rank of a pipeline does when",
    "Prints a line for each rank; time goes from left to right.  F is a forward, B a backward, I\n"
    "its part for the input, W that for the weights, F+B a pair that is overlapped; the number is\n"
    "the micro-batch, ' marks the second chunk of a rank: the other direction, or the way back.\n"
    "Where names do not fit, a step is its letter (X: a pair; small: of the second chunk) and\n"
    "dashes.\n"
    "The bubble is idle time / (ranks x makespan).  Every schedule is checked before it is shown.\n"
    "Durations are those of a stage.  --compare gives all schedules the same model on the same\n"
    "ranks: those of stages that are half a rank's part of it take half the time.  It counts\n"
    "activations and parameters in shares of the model: activations in P-ths of it, parameters in\n"
    "whole copies.\n",
    "  vishwamai schedule dualpipe --ranks 8 --microbatches 20\n"
    "  vishwamai schedule --compare --ranks 8 --microbatches 32 --comm 0.1\n"
    "  vishwamai schedule search --ranks 4 --microbatches 10 --svg chart.svg\n",
    schedule_main};
