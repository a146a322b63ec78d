/* schedule_get.c - from the words of `vishwamai schedule` to schedules that were checked and timed.
 *
 * Nothing is shown that was not checked: dependencies, counts, messages, and that it ends with the
 * buffers that every executor has.
 */
#include "schedule.h"

#include <stdlib.h>
#include <string.h>

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

/* ---- words to durations ---------------------------------------------------------------------- */

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

/* ---- getting schedules ----------------------------------------------------------------------- */

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

vw_status schedule_get_one(schedule_job *j, vw_error *err)
{
    const vw_component *component;
    vw_status status = read_comm(j, err);

    if (status == VW_OK)
        status = vw_core_plugin(j->o.core, VW_KIND_PIPELINE, j->name, &component, err);
    if (status == VW_OK)
        status = get_one(j, component, 1, &j->all[0], err);
    if (status != VW_OK)
        return status;
    j->all[0].name = component->plugin->name;
    j->n = 1;
    return VW_OK;
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

vw_status schedule_get_all(schedule_job *j, vw_error *err)
{
    vw_status status = read_comm(j, err);
    int n_good = 0;

    if (status == VW_OK)
        status = vw_plugins_visit(VW_KIND_PIPELINE, NULL, add_name, j, err);
    if (status == VW_OK && j->n_names == 0)
        status = vw_fail(err, VW_E_NOTFOUND, "no component of the kind pipeline is installed");
    for (int i = 0; i < j->n_names && status == VW_OK; i++) {
        vw_error why = {VW_OK, ""};
        if (get_fairly(j, i, &why) != VW_OK)
            snprintf(j->refusal[i], sizeof j->refusal[i], "%.319s", why.text);
        vw_text_trim(j->refusal[i]);
        n_good += why.code == VW_OK;
        j->n++;
    }
    if (status == VW_OK && n_good == 0)
        status = vw_fail(err, VW_E_UNSUPPORTED, "%s", j->refusal[0]);
    return status;
}
