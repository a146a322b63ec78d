/* schedule.c - `vishwamai schedule`: what each rank of a pipeline does when, and what idles.
 *
 * Every schedule that is shown was checked first: dependencies, counts, messages, and that it ends
 * with the buffers that every executor has.
 */
#include "schedule.h"

#include "answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_SCHEDULES = 64, MAX_RANKS = 1024, MAX_MICRO = 16384 };

typedef struct schedule_job {
    choices c;
    int64_t n_ranks, n_micro, max_activations;
    double forward, backward, weight, overlap;
    const char *comm;     /* one number, or one for each link between neighbours */
    const char *svg_path;
    int is_comparing;
    const char *name;     /* of the one schedule */
    opened o;
    double comm_all, *edge; /* [n_ranks][n_ranks], or NULL */
    const char *names[MAX_SCHEDULES]; /* copies */
    int n_names;
    timed_schedule all[MAX_SCHEDULES];
    char refusal[MAX_SCHEDULES][320]; /* why there is none */
    double share[MAX_SCHEDULES];      /* of a rank's part of the model in one of its stages */
    int n;
} schedule_job;

void timed_schedule_free(timed_schedule *t)
{
    vw_simulation_free(&t->times);
    vw_schedule_free(&t->schedule);
}

int32_t timed_schedule_peak(const timed_schedule *t)
{
    int32_t peak = 0;

    for (int32_t r = 0; r < t->schedule.n_ranks; r++)
        if (t->times.peak_activations[r] > peak)
            peak = t->times.peak_activations[r];
    return peak;
}

/* ---- words to durations ----------------------------------------------------------------------- */

/* --comm 0.1,0.2,0.1: of the links 0-1, 1-2, 2-3; who is further apart adds them up. */
static vw_status read_links(schedule_job *j, vw_error *err)
{
    size_t n = (size_t)j->n_ranks, n_links = 0;
    double *link = calloc(n, sizeof *link);
    char *words = strdup(j->comm), *rest = words;
    vw_status status = VW_OK;

    j->edge = calloc(n * n, sizeof *j->edge);
    if (!link || !words || !j->edge)
        status = vw_fail(err, VW_E_NOMEM, "no memory for %zu links", n);
    for (char *word = strtok_r(words, ",", &rest); word && status == VW_OK;
         word = strtok_r(NULL, ",", &rest)) {
        double x = -1;
        if (!parse_real(word, &x) || x < 0)
            status = vw_fail(err, VW_E_CONFIG, "--comm %s: '%s' is no duration", j->comm, word);
        else if (n_links + 1 < n)
            link[n_links] = x;
        n_links++;
    }
    if (status == VW_OK && n_links != n - 1)
        status = vw_fail(err, VW_E_CONFIG,
                         "--comm %s: %zu durations, but %zu ranks in a row have %zu links", j->comm,
                         n_links, n, n - 1);
    for (size_t from = 0; from < n && status == VW_OK; from++)
        for (size_t to = 0; to < n; to++)
            for (size_t i = from < to ? from : to; i < (from < to ? to : from); i++)
                j->edge[from * n + to] += link[i];
    free(link);
    free(words);
    return status;
}

static vw_status read_comm(schedule_job *j, vw_error *err)
{
    if (strchr(j->comm, ','))
        return read_links(j, err);
    if (!parse_real(j->comm, &j->comm_all) || j->comm_all < 0)
        return vw_fail(err, VW_E_CONFIG, "--comm %s: a duration is expected, or one for each link "
                       "between neighbours, separated by commas", j->comm);
    return VW_OK;
}

/* Durations of a stage that holds `share` of a rank's part of the model. */
static vw_pipeline_costs costs_of(const schedule_job *j, double share)
{
    return (vw_pipeline_costs){.size = sizeof(vw_pipeline_costs),
                               .forward = j->forward * share,
                               .backward = j->backward * share,
                               .weight = j->weight * share,
                               .overlap = j->overlap * share,
                               .comm = j->comm_all,
                               .edge = j->edge};
}

/* ---- getting schedules ------------------------------------------------------------------------ */

/* Fetch, check and time.  `share` scales the durations. */
static vw_status get_one(schedule_job *j, const vw_component *component, double share,
                         timed_schedule *t, vw_error *err)
{
    vw_pipeline_problem problem = {.size = sizeof problem,
                                   .n_ranks = (int32_t)j->n_ranks,
                                   .n_micro = (int32_t)j->n_micro,
                                   .max_activations = (int32_t)j->max_activations,
                                   .costs = &t->costs};
    vw_status status;

    t->costs = costs_of(j, share);
    status = vw_schedule_get(component, &problem, &t->schedule, err);
    if (status != VW_OK)
        return status;
    status = vw_schedule_check(&t->schedule, VW_PIPELINE_BUFFERS, err);
    if (status == VW_OK)
        status = vw_schedule_simulate(&t->schedule, &t->costs, &t->times, err);
    if (status == VW_OK && j->max_activations > 0 && timed_schedule_peak(t) > j->max_activations)
        status = vw_fail(err, VW_E_UNSUPPORTED,
                         "it keeps %d activations, more than the %lld that are allowed",
                         timed_schedule_peak(t), (long long)j->max_activations);
    else if (status == VW_OK)
        return VW_OK;
    timed_schedule_free(t);
    return vw_fail_in(err, status, "pipeline/%s", component->plugin->name);
}

static vw_status get_by_name(schedule_job *j, const char *name, timed_schedule *t, vw_error *err)
{
    const vw_component *component;
    vw_status status = vw_core_plugin(j->o.core, VW_KIND_PIPELINE, name, &component, err);

    if (status == VW_OK)
        status = get_one(j, component, 1, t, err);
    if (status == VW_OK)
        t->name = component->plugin->name;
    return status;
}

/* To compare: stages that are a part of a rank's share of the model take that part of the time. */
static vw_status get_fairly(schedule_job *j, int i, vw_error *err)
{
    timed_schedule *t = &j->all[i];
    const vw_component *component;
    vw_status status = vw_core_plugin(j->o.core, VW_KIND_PIPELINE, j->names[i], &component, err);

    if (status == VW_OK)
        status = get_one(j, component, 1, t, err);
    if (status != VW_OK)
        return status;
    j->share[i] = (double)t->schedule.n_ranks / t->schedule.n_stages;
    t->name = component->plugin->name;
    if (j->share[i] == 1)
        return VW_OK;
    timed_schedule_free(t);
    return get_one(j, component, j->share[i], t, err);
}

static int add_name(void *arg, const vw_plugin_entry *e)
{
    schedule_job *j = arg;

    if (e->plugin && !e->hidden_by && j->n_names < MAX_SCHEDULES)
        j->names[j->n_names] = strdup(e->name);
    j->n_names += j->n_names < MAX_SCHEDULES && j->names[j->n_names];
    return 0;
}

/* Those that refuse the sizes stay in the table with what they say. */
static vw_status get_all(schedule_job *j, vw_error *err)
{
    vw_status status = vw_plugins_visit(VW_KIND_PIPELINE, NULL, add_name, j, err);

    for (int i = 0; i < j->n_names && status == VW_OK; i++) {
        vw_error why = {VW_OK, ""};
        if (get_fairly(j, i, &why) == VW_E_UNSUPPORTED)
            snprintf(j->refusal[i], sizeof j->refusal[i], "%s", why.text);
        else if (why.code != VW_OK)
            status = vw_fail(err, why.code, "%s", why.text);
        vw_text_trim(j->refusal[i]);
        j->n++;
    }
    if (status == VW_OK && j->n_names == 0)
        status = vw_fail(err, VW_E_NOTFOUND, "no component of the kind pipeline is installed");
    return status;
}

/* ---- answers ---------------------------------------------------------------------------------- */

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
    if (n == 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s", j->refusal[0]);
    schedule_draw(&s, drawn, n);
    vw_status status = svg_save(&s, j->svg_path, err);
    svg_free(&s);
    return status;
}

static vw_status work(schedule_job *j, vw_error *err)
{
    vw_status status = open_core(&j->c, &j->o, err);

    if (status == VW_OK)
        status = read_comm(j, err);
    if (status == VW_OK && j->is_comparing)
        status = get_all(j, err);
    else if (status == VW_OK && (status = get_by_name(j, j->name, &j->all[0], err)) == VW_OK)
        j->n = 1;
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
        {0, "comm", OPT_TEXT, &j->comm, "X", "of a message; or of each link, X01,X12,... (default: 0)",
         NULL, 0, 0},
        END_OPTIONS};
    const opt general[] = {
        {0, "compare", OPT_FLAG, &j->is_comparing, NULL, "a table of all schedules", NULL, 0, 0},
        {0, "svg", OPT_TEXT, &j->svg_path, "FILE", "draw a chart; -: to standard output", NULL, 0, 0},
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
    "Prints a line for each rank; time goes from left to right.  F is a forward, B a backward, I its\n"
    "part for the input, W that for the weights, F+B a pair that is overlapped; the number is the\n"
    "micro-batch, ' marks the second chunk of a rank: the other direction, or the way back.  Where\n"
    "names do not fit, a step is its letter (X: a pair; small: of the second chunk) and dashes.\n"
    "The bubble is idle time / (ranks x makespan).  Every schedule is checked before it is shown.\n"
    "Durations are those of a stage.  --compare gives all schedules the same model on the same\n"
    "ranks: those of stages that are half a rank's part of it take half the time.  It counts\n"
    "activations and parameters in shares of the model: activations in P-ths of it, parameters in\n"
    "whole copies.\n",
    "  vishwamai schedule dualpipe --ranks 8 --microbatches 20\n"
    "  vishwamai schedule --compare --ranks 8 --microbatches 32 --comm 0.1\n"
    "  vishwamai schedule search --ranks 4 --microbatches 10 --svg chart.svg\n",
    schedule_main};
