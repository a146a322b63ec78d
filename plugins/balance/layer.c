/* layer.c - where the search starts, what it aims at, and which outcome counts.
 *
 * Without a placement from before, the search starts from EPLB's, without its doubles.  With one,
 * it starts there: steps that move little, down to a target; and only when that cannot reach what a
 * fresh search reaches, it goes further, at last to the fresh placement under the names that fit
 * best.  Changes that turn out to be unnecessary are taken back.
 *
 * The target is never above EPLB's largest time, unless EPLB reaches that only with two copies of
 * an expert on one device.
 */
#include "plugins/balance/layer.h"

#include "plugins/balance/attempt.h"
#include "plugins/balance/bound.h"
#include "plugins/balance/eplb_place.h"

/* A search ends this close to the lower bound: no one can tell the difference. */
static const double CLOSE_ENOUGH = 1 + 1e-3;

enum { PATIENCE = 400, MAX_EXCHANGES = 64 };

typedef struct job {
    layer l;
    const layer_rules *rules;
    attempt now, fresh, trial;
    int32_t *eplb, *eplb_copy; /* [R] */
    void *eplb_scratch;
    double eplb_time;          /* INFINITY: there is none */
    double bound;              /* of the whole layer */
} job;

/* ---- memory ---------------------------------------------------------------------------------- */

typedef struct arena {
    char *at;
    size_t bytes;
    int is_full; /* the sum is no size_t any more */
} arena;

/* With `at` NULL it only counts. */
static void *take(arena *a, size_t n, size_t size)
{
    size_t bytes = n > (SIZE_MAX / 4 - 63) / (size ? size : 1) ? SIZE_MAX : n * size;
    void *memory = a->at ? a->at + a->bytes : NULL;

    if (bytes > SIZE_MAX / 4 - 63 || a->bytes > SIZE_MAX / 4) {
        a->is_full = 1;
        return NULL;
    }
    a->bytes += (bytes + 63) / 64 * 64;
    return memory;
}

static void take_attempt(arena *a, attempt *t, const layer *l)
{
    void *memory = take(a, attempt_bytes(l), 1);

    if (memory)
        attempt_lay_out(t, l, memory);
}

static int most_slots_of_domain(const vw_balance_problem *p, int n_domains)
{
    int most = 0, per_domain = p->n_devices / n_domains;

    if (!p->slots)
        return p->n_replicas / n_domains;
    for (int i = 0; i < n_domains; i++) {
        int n = 0;
        for (int d = i * per_domain; d < (i + 1) * per_domain; d++)
            n += p->slots[d];
        most = n > most ? n : most;
    }
    return most;
}

static void lay_out(job *j, const vw_balance_problem *p, const layer_rules *rules, arena *a)
{
    layer *l = &j->l;
    int keeps = rules->keeps_groups && vw_balance_keeps_groups(p);
    size_t n_experts, n_devices, n_slots;
    void *memory;

    *j = (job){.rules = rules};
    l->p = p;
    l->n_domains = keeps ? p->n_nodes : 1;
    l->n_groups = keeps ? p->n_groups : 1;
    n_experts = (size_t)(p->n_experts / l->n_domains);
    n_devices = (size_t)(p->n_devices / l->n_domains);
    n_slots = (size_t)most_slots_of_domain(p, l->n_domains);
    l->first = take(a, (size_t)p->n_devices + 1, sizeof *l->first);
    l->domain_load = take(a, n_experts, sizeof *l->domain_load);
    l->domain_first = take(a, n_devices + 1, sizeof *l->domain_first);
    l->local = take(a, (size_t)p->n_experts, sizeof *l->local);
    l->domain_had = take(a, n_devices, n_experts);
    l->held = take(a, (size_t)l->n_domains * (size_t)l->n_groups, sizeof *l->held);
    l->scratch = take(a, bound_scratch_bytes(p), 1);
    memory = take(a, field_bytes((int)n_experts, (int)n_devices, (int)n_slots), 1);
    if (memory)
        field_lay_out(&l->field, (int)n_experts, (int)n_devices, (int)n_slots, memory);
    take_attempt(a, &j->now, l);
    take_attempt(a, &j->fresh, l);
    take_attempt(a, &j->trial, l);
    j->eplb = take(a, (size_t)p->n_replicas, sizeof *j->eplb);
    j->eplb_copy = take(a, (size_t)p->n_replicas, sizeof *j->eplb_copy);
    j->eplb_scratch = take(a, eplb_scratch_bytes(p), 1);
}

size_t layer_bytes(const vw_balance_problem *p, const layer_rules *rules)
{
    arena a = {0};
    job j;

    lay_out(&j, p, rules, &a);
    return a.is_full ? 0 : a.bytes;
}

/* ---- EPLB, as a start and as a measure ------------------------------------------------------- */

static double time_of(const job *j, const int32_t *expert)
{
    const layer *l = &j->l;
    int32_t *count = l->local;
    double most = 0;

    memset(count, 0, (size_t)l->p->n_experts * sizeof *count);
    for (int s = 0; s < l->p->n_replicas; s++)
        count[expert[s]]++;
    for (int d = 0; d < l->p->n_devices; d++) {
        double sum = 0;
        for (int s = l->first[d]; s < l->first[d + 1]; s++)
            sum += l->load[expert[s]] / count[expert[s]];
        most = fmax(most, sum / (l->p->speed ? l->p->speed[d] : 1));
    }
    return most;
}

/* Loads that are all zero, or more than float32 can add, or slots that differ: no EPLB. */
static void find_eplb(job *j)
{
    const vw_balance_problem *p = j->l.p;
    int is_possible = eplb_can_add(p, j->l.load) && j->bound > 0;

    for (int d = 1; d < p->n_devices; d++)
        is_possible &= vw_balance_slots(p, d) == vw_balance_slots(p, 0);
    j->eplb_time = INFINITY;
    if (is_possible) {
        eplb_place_layer(p, j->l.load, j->eplb, j->eplb_copy, j->eplb_scratch);
        j->eplb_time = time_of(j, j->eplb);
        return;
    }
    for (int s = 0; s < p->n_replicas; s++)
        j->eplb[s] = -1;
}

/* ---- a fresh placement ----------------------------------------------------------------------- */

/* From EPLB's placement, which is there and has been improved, or from one of our own: whichever is
 * lower is searched on. */
static double search_domain(job *j, attempt *a, int domain, double target, int patience)
{
    attempt_copy(&j->trial, a, &j->l);
    if (attempt_search(&j->trial, &j->l, domain, target, 0, FROM_NOTHING) < a->time[domain])
        attempt_copy(a, &j->trial, &j->l);
    if (a->time[domain] <= target)
        return a->time[domain];
    return attempt_search(a, &j->l, domain, target, patience, 0);
}

/* Domains one by one, the one with the highest bound first: the others need not be better. */
static void search_domains(job *j, attempt *a, int patience)
{
    layer *l = &j->l;
    double target = j->bound * CLOSE_ENOUGH;

    for (int i = 0; i < l->n_domains; i++)
        attempt_search(a, l, i, INFINITY, 0, 0);
    for (int n = 0; n < l->n_domains; n++) {
        int next = -1;
        for (int i = 0; i < l->n_domains; i++)
            if (a->time[i] > target && (next < 0 || a->bound[i] > a->bound[next]))
                next = i;
        if (next < 0)
            break;
        target = fmax(target, a->bound[next] * CLOSE_ENOUGH);
        if (a->time[next] > target)
            target = fmax(target, search_domain(j, a, next, target, patience));
    }
}

/* Sum of the loads of a domain's groups over the speeds of its devices. */
static double mean_of_domain(const job *j, const attempt *a, int domain)
{
    const layer *l = &j->l;
    int n = l->n_groups / l->n_domains, n_devices = l->p->n_devices / l->n_domains;
    double sum = 0, speeds = 0;

    for (int k = domain * n; k < (domain + 1) * n; k++)
        sum += group_load(l, a->group[k]);
    for (int d = domain * n_devices; d < (domain + 1) * n_devices; d++)
        speeds += l->p->speed ? l->p->speed[d] : 1;
    return sum / speeds;
}

/* Exchange groups g and h of a trial, which is a copy of `a`; is its mean good enough to try? */
static int exchange_helps(job *j, attempt *a, int domain, int other, int k, int m, double most)
{
    int32_t g = a->group[k], h = a->group[m];
    double time;

    a->group[k] = h;
    a->group[m] = g;
    time = fmax(mean_of_domain(j, a, domain), mean_of_domain(j, a, other));
    a->group[k] = g;
    a->group[m] = h;
    return time < most * (1 - 1e-4);
}

/* Try exchanges of a group of the hottest domain; the first that lowers the largest time of the two
 * is kept.  Returns 0 when none does. */
static int improve_groups(job *j, attempt *a, int *n_left)
{
    layer *l = &j->l;
    int n = l->n_groups / l->n_domains, hot;
    double most = attempt_time(a, l, &hot);

    for (int k = hot * n; k < (hot + 1) * n; k++)
        for (int m = 0; m < l->n_groups; m++) {
            int other = m / n;
            double time;
            if (other == hot || !exchange_helps(j, a, hot, other, k, m, most))
                continue;
            if (--*n_left < 0 || l->budget <= 0)
                return 0;
            attempt_copy(&j->trial, a, l);
            attempt_exchange(&j->trial, l, a->group[k], a->group[m]);
            time = attempt_search(&j->trial, l, hot, j->bound * CLOSE_ENOUGH, PATIENCE / 4, 0);
            if (time < most)
                time = fmax(time, attempt_search(&j->trial, l, other, j->bound * CLOSE_ENOUGH,
                                                 PATIENCE / 4, 0));
            if (time < most * (1 - 1e-6)) {
                attempt_copy(a, &j->trial, l);
                return 1;
            }
        }
    return 0;
}

static void search_groups(job *j, attempt *a)
{
    int n_left = MAX_EXCHANGES;

    if (j->l.n_domains > 1)
        while (attempt_time(a, &j->l, NULL) > j->bound * CLOSE_ENOUGH &&
               improve_groups(j, a, &n_left))
            continue;
}

/* EPLB is lower, so it has doubles (or we would have begun there): worth twenty times the effort. */
static void search_harder(job *j, attempt *a)
{
    int hot;

    j->l.budget = 20 * j->rules->effort;
    attempt_time(a, &j->l, &hot);
    attempt_search(a, &j->l, hot, j->bound * CLOSE_ENOUGH, 10 * PATIENCE, 0);
    search_domains(j, a, PATIENCE);
    search_groups(j, a);
}

static void place_fresh(job *j, attempt *a)
{
    attempt_from(a, &j->l, j->eplb);
    search_domains(j, a, PATIENCE);
    search_groups(j, a);
    if (attempt_time(a, &j->l, NULL) > fmax(j->eplb_time * (1 + 1e-9), j->bound * CLOSE_ENOUGH))
        search_harder(j, a);
}

/* ---- from what is there ---------------------------------------------------------------------- */

static void settle(job *j, double target)
{
    for (int i = 0; i < j->l.n_domains; i++)
        attempt_settle(&j->now, &j->l, i, fmax(target, j->now.time[i]));
}

/* All domains towards a target; returns the largest time. */
static double go_on(job *j, double target, int patience)
{
    for (int i = 0; i < j->l.n_domains; i++)
        if (j->now.time[i] > target)
            attempt_search(&j->now, &j->l, i, target, patience, STICKY);
    return attempt_time(&j->now, &j->l, NULL);
}

static void place_again(job *j)
{
    layer *l = &j->l;
    double slack = 1 + j->rules->slack, target, time;

    target = fmin(j->bound * slack, j->eplb_time);
    target = fmax(target, j->bound);
    attempt_from(&j->now, l, l->previous);
    time = go_on(j, target, 0);
    if (time > target && l->max_moves == INT64_MAX) {
        l->budget = j->rules->effort;
        place_fresh(j, &j->fresh);
        target = attempt_time(&j->fresh, l, NULL);
        target = fmax(target, fmin(target * slack, j->eplb_time));
        l->budget = j->rules->effort;
        time = go_on(j, target, PATIENCE / 4);
        if (time > target) {
            attempt_copy(&j->now, &j->fresh, l);
            attempt_rename(&j->now, l);
        }
    }
    settle(j, target);
}

/* ---- the layer ------------------------------------------------------------------------------- */

static void number_copies(const job *j, const int32_t *expert, int32_t *copy)
{
    int32_t *count = j->l.local;

    memset(count, 0, (size_t)j->l.p->n_experts * sizeof *count);
    for (int s = 0; s < j->l.p->n_replicas; s++)
        copy[s] = count[expert[s]]++;
}

void layer_place(const vw_balance_problem *p, const layer_rules *rules, size_t i, int32_t *expert,
                 int32_t *copy, double *bound, void *memory)
{
    arena a = {.at = memory};
    int32_t *first;
    layer *l;
    job j;

    lay_out(&j, p, rules, &a);
    l = &j.l;
    first = (int32_t *)l->first;
    first[0] = 0;
    for (int d = 0; d < p->n_devices; d++)
        first[d + 1] = first[d] + vw_balance_slots(p, d);
    l->load = p->load + i * (size_t)p->n_experts;
    l->previous = p->previous ? p->previous + i * (size_t)p->n_replicas : NULL;
    l->budget = rules->effort;
    l->max_moves = rules->max_moves;
    j.bound = bound_of_layer(p, l->load, l->n_domains > 1, 0, l->scratch);
    find_eplb(&j);
    if (l->previous)
        place_again(&j);
    else
        place_fresh(&j, &j.now);
    attempt_arrange(&j.now, l, expert);
    if (copy)
        number_copies(&j, expert, copy);
    if (bound)
        *bound = j.bound > 0 ? j.bound / bound_mean(p, l->load) : 1;
}
