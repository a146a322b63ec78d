/* balance_result.c - asking a plugin, and the figures of what it answers.
 *
 * The figures are computed here from the placement alone, so that they mean the same for every
 * plugin.
 */
#include "balance_job.h"

#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- figures --------------------------------------------------------------------------------- */

void balance_before(const vw_balance_problem *p, size_t layer, int32_t *expert)
{
    int32_t n_nodes = vw_balance_keeps_groups(p) ? p->n_nodes : 1;
    int32_t n = p->n_experts / n_nodes, per_node = p->n_devices / n_nodes, slot = 0, k = 0;
    if (p->previous) {
        memcpy(expert, p->previous + layer * (size_t)p->n_replicas,
               (size_t)p->n_replicas * sizeof *expert);
        return;
    }
    for (int32_t d = 0; d < p->n_devices; d++) {
        k = d % per_node ? k : 0;
        for (int32_t s = vw_balance_slots(p, d); s > 0; s--, k++)
            expert[slot++] = d / per_node * n + k % n;
    }
}

static void count_copies(const vw_balance_problem *p, const int32_t *expert, int32_t *count)
{
    memset(count, 0, (size_t)p->n_experts * sizeof *count);
    for (int32_t s = 0; s < p->n_replicas; s++)
        count[expert[s]]++;
}

void balance_times(const vw_balance_problem *p, const double *load, const int32_t *expert,
                   int32_t *count, double *time)
{
    int32_t slot = 0;
    count_copies(p, expert, count);
    for (int32_t d = 0; d < p->n_devices; d++) {
        time[d] = 0;
        for (int32_t s = vw_balance_slots(p, d); s > 0; s--, slot++)
            time[d] += load[expert[slot]] / count[expert[slot]];
        if (p->speed)
            time[d] /= p->speed[d];
    }
}

/* Largest over mean; the mean is all loads over all speeds. */
static double over_mean(const vw_balance_problem *p, const double *time)
{
    double most = 0, total = 0, speeds = 0;
    for (int32_t d = 0; d < p->n_devices; d++) {
        double speed = p->speed ? p->speed[d] : 1;
        most = fmax(most, time[d]);
        total += time[d] * speed;
        speeds += speed;
    }
    return total > 0 ? most * speeds / total : 1;
}

static int32_t held(const int32_t *expert, int32_t first, int32_t end, int32_t e)
{
    int32_t n = 0;
    for (int32_t s = first; s < end; s++)
        n += expert[s] == e;
    return n;
}

static void count_moves(const vw_balance_problem *p, const int32_t *before, const int32_t *after,
                        balance_layer *l)
{
    for (int32_t d = 0, first = 0; d < p->n_devices; d++) {
        int32_t end = first + vw_balance_slots(p, d), is_double = 0;
        for (int32_t s = first; s < end; s++) {
            is_double |= held(after, first, end, after[s]) > 1;
            if (p->previous) /* of several copies on the device, as many as it had stay */
                l->moves += held(after, first, s + 1, after[s]) > held(before, first, end, after[s]);
        }
        l->doubles += is_double;
        first = end;
    }
}

static double dealt_over_mean(const vw_balance_problem *p, const int64_t *quota, double *time)
{
    int32_t slot = 0;
    for (int32_t d = 0; d < p->n_devices; d++) {
        time[d] = 0;
        for (int32_t s = vw_balance_slots(p, d); s > 0; s--)
            time[d] += (double)quota[slot++];
        if (p->speed)
            time[d] /= p->speed[d];
    }
    return over_mean(p, time);
}

/* Scratch of the figures. */
typedef struct room {
    int32_t *before, *count;
    double *time, *tokens;
} room;

static void measure_layer(const balance_input *in, const balance_result *r, size_t layer,
                          const room *o)
{
    const vw_balance_problem *p = &in->problem;
    const int32_t *expert = r->expert + layer * (size_t)p->n_replicas;
    const double *load = p->load + layer * (size_t)p->n_experts;
    balance_layer *l = &r->layers[layer];
    balance_before(p, layer, o->before);
    balance_times(p, load, o->before, o->count, o->time);
    l->before = over_mean(p, o->time);
    balance_times(p, load, expert, o->count, o->time);
    l->after = over_mean(p, o->time);
    l->bound = r->bound[layer];
    for (int32_t e = 0; e < p->n_experts; e++)
        l->most_copies = o->count[e] > l->most_copies ? o->count[e] : l->most_copies;
    count_moves(p, o->before, expert, l);
    if (!in->batch)
        return;
    for (int32_t e = 0; e < p->n_experts; e++)
        o->tokens[e] = (double)in->batch[layer * (size_t)p->n_experts + (size_t)e];
    balance_times(p, o->tokens, expert, o->count, o->time);
    l->even = over_mean(p, o->time);
    if (r->quota)
        l->dealt = dealt_over_mean(p, r->quota + layer * (size_t)p->n_replicas, o->time);
}

static vw_status measure(const balance_input *in, balance_result *r, vw_error *err)
{
    const vw_balance_problem *p = &in->problem;
    room o = {malloc((size_t)p->n_replicas * sizeof *o.before),
              malloc((size_t)p->n_experts * sizeof *o.count),
              malloc((size_t)p->n_devices * sizeof *o.time),
              malloc((size_t)p->n_experts * sizeof *o.tokens)};
    int has_room = o.before && o.count && o.time && o.tokens;
    for (size_t l = 0; has_room && l < (size_t)p->n_layers; l++)
        measure_layer(in, r, l, &o);
    free(o.before);
    free(o.count);
    free(o.time);
    free(o.tokens);
    return has_room ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the figures");
}

/* ---- a plugin -------------------------------------------------------------------------------- */

/* What comes from a plugin is checked before it is used as an index. */
static vw_status check_placement(const vw_balance_problem *p, const balance_result *r,
                                 vw_error *err)
{
    size_t n = (size_t)p->n_layers * (size_t)p->n_replicas;
    for (size_t i = 0; i < n; i++)
        if (r->expert[i] < 0 || r->expert[i] >= p->n_experts || r->copy[i] < 0 ||
            r->copy[i] >= p->n_replicas)
            return vw_fail(err, VW_E_FORMAT, "balance/%s: slot %zu holds expert %d, copy %d; that "
                           "is none", r->plugin, i, r->expert[i], r->copy[i]);
    return VW_OK;
}

/* The plugin's own split, if it has one. */
static vw_status deal(const balance_input *in, const vw_component *c, balance_result *r,
                      vw_error *err)
{
    const vw_balance_ops *ops = c->ops;
    size_t n = (size_t)in->problem.n_layers * (size_t)in->problem.n_replicas;
    vw_error said = {VW_OK, ""};
    r->quota = malloc(n * sizeof *r->quota);
    if (!r->quota)
        return vw_fail(err, VW_E_NOMEM, "no memory for the split");
    vw_status status = ops->split(c->self, &in->problem, r->expert, in->batch, r->quota, &said);
    if (status == VW_OK)
        return VW_OK;
    free(r->quota);
    r->quota = NULL;
    if (status != VW_E_UNSUPPORTED)
        return vw_fail(err, status, "%s", said.text);
    return VW_OK;
}

static double cpu_seconds(void)
{
    struct timespec t = {0, 0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

vw_status balance_run(const balance_input *in, const vw_component *component, balance_result *r,
                      vw_error *err)
{
    const vw_balance_problem *p = &in->problem;
    const vw_balance_ops *ops = component->ops;
    size_t n_layers = (size_t)p->n_layers, n_slots = (size_t)p->n_replicas;
    if (n_slots > SIZE_MAX / 64 / n_layers)
        return vw_fail(err, VW_E_NOMEM, "no memory for %d layers of %d slots", p->n_layers,
                       p->n_replicas);
    r->plugin = component->plugin->name;
    r->expert = malloc(n_layers * n_slots * sizeof *r->expert);
    r->copy = malloc(n_layers * n_slots * sizeof *r->copy);
    r->bound = malloc(n_layers * sizeof *r->bound);
    r->layers = calloc(n_layers, sizeof *r->layers);
    if (!r->expert || !r->copy || !r->bound || !r->layers)
        return vw_fail(err, VW_E_NOMEM, "no memory for %d layers of %d slots", p->n_layers,
                       p->n_replicas);
    vw_balance_placement out = {sizeof out, r->expert, r->copy, r->bound};
    double began = now_seconds(), cpu_began = cpu_seconds();
    vw_status status = ops->place(component->self, p, &out, err);
    r->seconds = now_seconds() - began;
    r->cpu_seconds = cpu_seconds() - cpu_began;
    if (status == VW_OK)
        status = check_placement(p, r, err);
    if (status == VW_OK && in->batch)
        status = deal(in, component, r, err);
    if (status == VW_OK)
        status = measure(in, r, err);
    return status;
}

void balance_result_free(balance_result *r)
{
    free(r->expert);
    free(r->copy);
    free(r->bound);
    free(r->quota);
    free(r->layers);
    r->expert = r->copy = NULL;
    r->bound = NULL;
    r->quota = NULL;
    r->layers = NULL;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* slots[E][X], padded with -1. */
static void add_log2phy(vw_json_writer *w, const vw_balance_problem *p, const int32_t *slots,
                        int32_t most)
{
    vw_json_begin_array(w, "log2phy");
    for (int32_t e = 0; e < p->n_experts; e++)
        add_ids(w, NULL, slots + (size_t)e * (size_t)most, (size_t)most);
    vw_json_end_array(w);
}

static void add_layer(vw_json_writer *w, const balance_input *in, const balance_result *r,
                      size_t layer, int32_t most, int32_t *slots, int32_t *count)
{
    const vw_balance_problem *p = &in->problem;
    size_t n_slots = (size_t)p->n_replicas;
    const int32_t *expert = r->expert + layer * n_slots, *copy = r->copy + layer * n_slots;
    const balance_layer *l = &r->layers[layer];
    for (size_t i = 0; i < (size_t)p->n_experts * (size_t)most; i++)
        slots[i] = -1;
    for (size_t s = 0; s < n_slots; s++)
        if (copy[s] < most)
            slots[(size_t)expert[s] * (size_t)most + (size_t)copy[s]] = (int32_t)s;
    count_copies(p, expert, count);
    vw_json_begin_object(w, NULL);
    add_ids(w, "phy2log", expert, n_slots);
    add_log2phy(w, p, slots, most);
    add_ids(w, "logcnt", count, (size_t)p->n_experts);
    vw_json_add_double(w, "max_over_mean", l->after);
    vw_json_add_double(w, "lower_bound", l->bound);
    vw_json_add_int(w, "moves", l->moves);
    if (in->batch)
        vw_json_add_double(w, "batch_even", l->even);
    if (r->quota) {
        vw_json_add_double(w, "batch_split", l->dealt);
        vw_json_begin_array(w, "quota");
        for (size_t s = 0; s < n_slots; s++)
            vw_json_add_int(w, NULL, r->quota[layer * n_slots + s]);
        vw_json_end_array(w);
    }
    vw_json_end_object(w);
}

vw_status balance_add_layers(vw_json_writer *w, const balance_input *in, const balance_result *r,
                             vw_error *err)
{
    const vw_balance_problem *p = &in->problem;
    int32_t most = 1;
    for (int32_t l = 0; l < p->n_layers; l++)
        most = r->layers[l].most_copies > most ? r->layers[l].most_copies : most;
    int32_t *slots = malloc((size_t)p->n_experts * (size_t)most * sizeof *slots);
    int32_t *count = malloc((size_t)p->n_experts * sizeof *count);
    vw_json_begin_array(w, "layers");
    for (size_t l = 0; slots && count && l < (size_t)p->n_layers; l++)
        add_layer(w, in, r, l, most, slots, count);
    vw_json_end_array(w);
    vw_status status = slots && count ? VW_OK
                                      : vw_fail(err, VW_E_NOMEM, "no memory for the answer");
    free(slots);
    free(count);
    return status;
}
