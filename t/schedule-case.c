/* schedule-case.c - see schedule-case.h. */
#include "t/schedule-case.h"

#include "t/tap/tap.h"

#include <stdlib.h>
#include <string.h>

mock_host mock;
mock_instance opened;

void open_schedule(const char *name, const char *const *settings)
{
    const vw_plugin *plugin = mock_plugin(VW_KIND_PIPELINE, name);

    mock_host_init(&mock);
    if (!plugin || !mock_open(&mock, plugin, settings, &opened))
        bail_out("pipeline/%s is not there", name);
}

vw_status get_schedule(int32_t n_ranks, int32_t n_micro, const vw_pipeline_costs *costs,
                       int32_t max_activations, vw_schedule *s, vw_error *err)
{
    vw_pipeline_problem problem = {sizeof problem, n_ranks, n_micro, max_activations, costs};

    return vw_schedule_get(&opened.component, &problem, s, err);
}

vw_schedule schedule_of(int32_t n_ranks, int32_t n_micro)
{
    vw_error err = {VW_OK, ""};
    vw_schedule s;

    if (get_schedule(n_ranks, n_micro, NULL, 0, &s, &err) != VW_OK)
        bail_out("%s", err.text);
    return s;
}

vw_simulation times_of(const vw_schedule *s, double f, double b, double w, double fb)
{
    vw_pipeline_costs costs = {sizeof costs, f, b, w, fb, 0, NULL};
    vw_error err = {VW_OK, ""};
    vw_simulation x;

    if (vw_schedule_simulate(s, &costs, &x, &err) != VW_OK)
        bail_out("%s", err.text);
    return x;
}

double makespan_of(const vw_schedule *s, double f, double b, double w, double fb)
{
    vw_simulation x = times_of(s, f, b, w, fb);
    double makespan = x.makespan;

    vw_simulation_free(&x);
    return makespan;
}

void rank_text(const vw_schedule *s, int32_t r, char *text)
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

uint64_t fnv(const char *text, uint64_t hash)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

uint64_t hash_of(const vw_schedule *s, size_t *n_ops)
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

FILE *data_file(const char *name)
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

bool next_line(FILE *file, char *line)
{
    while (fgets(line, MAX_TEXT, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (*line && *line != '#')
            return true;
    }
    return false;
}
