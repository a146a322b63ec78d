/* attempt.c - domains of a layer to fields and back; groups to domains. */
#include "plugins/balance/attempt.h"

#include "plugins/balance/bound.h"

static int groups_of_domain(const layer *l)
{
    return l->n_groups / l->n_domains;
}

static int group_size(const layer *l)
{
    return l->p->n_experts / l->n_groups;
}

static int devices_of_domain(const layer *l)
{
    return l->p->n_devices / l->n_domains;
}

static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t attempt_bytes(const layer *l)
{
    return rounded((size_t)l->n_groups * sizeof(int32_t)) +
           rounded((size_t)l->p->n_replicas * sizeof(int32_t)) +
           2 * rounded((size_t)l->n_domains * sizeof(double));
}

void attempt_lay_out(attempt *a, const layer *l, void *memory)
{
    char *at = memory;

    a->time = (double *)at;
    a->bound = (double *)(at += rounded((size_t)l->n_domains * sizeof(double)));
    a->group = (int32_t *)(at += rounded((size_t)l->n_domains * sizeof(double)));
    a->expert = (int32_t *)(at + rounded((size_t)l->n_groups * sizeof(int32_t)));
}

void attempt_copy(attempt *to, const attempt *from, const layer *l)
{
    memcpy(to->group, from->group, (size_t)l->n_groups * sizeof *to->group);
    memcpy(to->expert, from->expert, (size_t)l->p->n_replicas * sizeof *to->expert);
    memcpy(to->time, from->time, (size_t)l->n_domains * sizeof *to->time);
    memcpy(to->bound, from->bound, (size_t)l->n_domains * sizeof *to->bound);
}

/* ---- a domain and its field ------------------------------------------------------------------ */

/* Expert i of a domain, by its groups. */
static int expert_of(const attempt *a, const layer *l, int domain, int i)
{
    int size = group_size(l);

    return a->group[domain * groups_of_domain(l) + i / size] * size + i % size;
}

/* The experts of the domain, their loads and numbers, its devices and slots. */
static void load_domain(const attempt *a, layer *l, int domain)
{
    int n = l->p->n_experts / l->n_domains, n_devices = devices_of_domain(l);
    int device = domain * n_devices, base = l->first[device];

    for (int e = 0; e < l->p->n_experts; e++)
        l->local[e] = -1;
    for (int i = 0; i < n; i++) {
        int e = expert_of(a, l, domain, i);
        l->local[e] = i;
        l->domain_load[i] = l->load[e];
    }
    for (int d = 0; d <= n_devices; d++)
        l->domain_first[d] = l->first[device + d] - base;
    l->field.load = l->domain_load;
    l->field.first = l->domain_first;
    l->field.speed = l->p->speed ? l->p->speed + device : NULL;
    l->field.n_slots = l->domain_first[n_devices];
    for (int s = 0; s < l->field.n_slots; s++)
        l->field.slot[s] = a->expert[base + s] < 0 ? -1 : l->local[a->expert[base + s]];
}

/* Which experts each device of the domain holds by the previous placement. */
static void load_previous(layer *l, int domain)
{
    int n = l->field.n_experts, n_devices = l->field.n_devices;

    memset(l->domain_had, 0, (size_t)n * (size_t)n_devices);
    for (int d = 0; d < n_devices; d++) {
        int device = domain * n_devices + d;
        for (int s = l->first[device]; s < l->first[device + 1]; s++) {
            int i = l->local[l->previous[s]];
            if (i >= 0)
                l->domain_had[(size_t)i * (size_t)n_devices + (size_t)d] = 1;
        }
    }
    l->field.had = l->domain_had;
}

static void store_domain(attempt *a, const layer *l, int domain)
{
    int base = l->first[domain * devices_of_domain(l)];

    for (int s = 0; s < l->field.n_slots; s++)
        a->expert[base + s] = expert_of(a, l, domain, l->field.slot[s]);
    a->time[domain] = field_max_time(&l->field);
}

static double bound_of_domain(layer *l)
{
    const field *f = &l->field;
    double sum = 0, speeds = 0, fastest = 0, share;
    int64_t most = 0;

    for (int e = 0; e < f->n_experts; e++)
        sum += f->load[e];
    for (int d = 0; d < f->n_devices; d++) {
        double v = f->speed ? f->speed[d] : 1;
        speeds += v;
        fastest = fmax(fastest, v);
        most += (f->first[d + 1] - f->first[d] + f->n_experts - 1) / f->n_experts;
    }
    share = bound_share(f->load, f->n_experts, f->n_slots, most, l->scratch);
    return fmax(sum / speeds, share / fastest);
}

double attempt_search(attempt *a, layer *l, int domain, double target, int patience, int how)
{
    field *f = &l->field;

    load_domain(a, l, domain);
    f->had = NULL;
    f->max_moves = INT64_MAX;
    if (how & STICKY)
        load_previous(l, domain);
    if (how & FROM_NOTHING)
        field_fill(f);
    else
        field_repair(f);
    if ((how & STICKY) && l->max_moves < INT64_MAX)
        f->max_moves = f->moves > l->max_moves ? f->moves : l->max_moves;
    f->random = 88172645463325252u;
    f->budget = l->budget;
    a->bound[domain] = bound_of_domain(l);
    if (patience > 0)
        field_search(f, target, patience);
    else
        field_descend(f, target);
    l->budget = f->budget > 0 ? f->budget : 0;
    if ((how & STICKY) && l->max_moves < INT64_MAX)
        l->max_moves = l->max_moves > f->moves ? l->max_moves - f->moves : 0;
    store_domain(a, l, domain);
    return a->time[domain];
}

void attempt_settle(attempt *a, layer *l, int domain, double target)
{
    load_domain(a, l, domain);
    load_previous(l, domain);
    field_recount(&l->field);
    field_settle(&l->field, target);
    store_domain(a, l, domain);
}

double attempt_time(const attempt *a, const layer *l, int *domain)
{
    int worst = 0;

    for (int i = 1; i < l->n_domains; i++)
        if (a->time[i] > a->time[worst])
            worst = i;
    if (domain)
        *domain = worst;
    return a->time[worst];
}

/* ---- groups ---------------------------------------------------------------------------------- */

double group_load(const layer *l, int g)
{
    int size = group_size(l);
    double sum = 0;

    for (int i = 0; i < size; i++)
        sum += l->load[g * size + i];
    return sum;
}

static int domain_of_slot(const layer *l, int s)
{
    int low = 0, high = l->n_domains - 1;

    while (low < high) { /* the last domain that begins at s or before */
        int middle = (low + high + 1) / 2;
        if (l->first[middle * devices_of_domain(l)] <= s)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* held[N][G]: how many slots of a domain hold experts of a group. */
static void count_held(layer *l, const int32_t *expert)
{
    int size = group_size(l);

    memset(l->held, 0, (size_t)l->n_domains * (size_t)l->n_groups * sizeof *l->held);
    for (int domain = 0; domain < l->n_domains; domain++)
        for (int s = l->first[domain * devices_of_domain(l)];
             s < l->first[(domain + 1) * devices_of_domain(l)]; s++)
            if (expert[s] >= 0)
                l->held[domain * l->n_groups + expert[s] / size]++;
}

/* Most slots first; a domain takes no more groups than its part. */
static void give_groups(attempt *a, layer *l, const int32_t *expert)
{
    int per_domain = groups_of_domain(l);

    count_held(l, expert);
    for (int k = 0; k < l->n_groups; k++)
        a->group[k] = -1;
    for (int n = 0; n < l->n_groups; n++) {
        int most = -1, group = 0, place = 0;
        for (int domain = 0; domain < l->n_domains; domain++) {
            int free = domain * per_domain;
            while (free < (domain + 1) * per_domain && a->group[free] >= 0)
                free++;
            if (free == (domain + 1) * per_domain)
                continue;
            for (int g = 0; g < l->n_groups; g++)
                if (l->held[domain * l->n_groups + g] > most) {
                    most = l->held[domain * l->n_groups + g];
                    group = g;
                    place = free;
                }
        }
        a->group[place] = group;
        for (int domain = 0; domain < l->n_domains; domain++)
            l->held[domain * l->n_groups + group] = -1;
    }
}

void attempt_from(attempt *a, layer *l, const int32_t *expert)
{
    int size = group_size(l), per_domain = groups_of_domain(l);

    if (l->n_domains == 1)
        for (int g = 0; g < l->n_groups; g++)
            a->group[g] = g;
    else
        give_groups(a, l, expert);
    for (int s = 0; s < l->p->n_replicas; s++) {
        int domain = domain_of_slot(l, s), is_here = 0;
        for (int k = domain * per_domain; k < (domain + 1) * per_domain && expert[s] >= 0; k++)
            is_here |= a->group[k] == expert[s] / size;
        a->expert[s] = is_here ? expert[s] : -1;
    }
    for (int i = 0; i < l->n_domains; i++)
        a->time[i] = INFINITY;
}

static int domain_of_group(const attempt *a, const layer *l, int g)
{
    int k = 0;

    while (a->group[k] != g)
        k++;
    return k / groups_of_domain(l);
}

void attempt_exchange(attempt *a, layer *l, int g, int h)
{
    int size = group_size(l);

    for (int k = 0; k < l->n_groups; k++)
        a->group[k] = a->group[k] == g ? h : a->group[k] == h ? g : a->group[k];
    for (int s = 0; s < l->p->n_replicas; s++)
        if (a->expert[s] >= 0 && (a->expert[s] / size == g || a->expert[s] / size == h))
            a->expert[s] = -1;
    a->time[domain_of_group(a, l, g)] = a->time[domain_of_group(a, l, h)] = INFINITY;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Slots that devices d (of the attempt) and k (of before) have in common. */
static int common(const attempt *a, const layer *l, int d, int k)
{
    int n = 0;

    for (int s = l->first[d]; s < l->first[d + 1]; s++)
        for (int t = l->first[k]; t < l->first[k + 1]; t++)
            if (a->expert[s] == l->previous[t]) {
                n++;
                break;
            }
    return n;
}

static int are_alike(const layer *l, int d, int k)
{
    return vw_balance_slots(l->p, d) == vw_balance_slots(l->p, k) &&
           (!l->p->speed || l->p->speed[d] == l->p->speed[k]);
}

static void exchange_devices(attempt *a, const layer *l, int d, int k)
{
    for (int i = 0; i < vw_balance_slots(l->p, d) && d != k; i++) {
        int32_t swap = a->expert[l->first[d] + i];
        a->expert[l->first[d] + i] = a->expert[l->first[k] + i];
        a->expert[l->first[k] + i] = swap;
    }
}

static void exchange_domains(attempt *a, const layer *l, int i, int k)
{
    int n = groups_of_domain(l), n_devices = devices_of_domain(l);
    double time = a->time[i], bound = a->bound[i];

    for (int j = 0; j < n; j++) {
        int32_t swap = a->group[i * n + j];
        a->group[i * n + j] = a->group[k * n + j];
        a->group[k * n + j] = swap;
    }
    for (int d = 0; d < n_devices; d++)
        exchange_devices(a, l, i * n_devices + d, k * n_devices + d);
    a->time[i] = a->time[k];
    a->bound[i] = a->bound[k];
    a->time[k] = time;
    a->bound[k] = bound;
}

/* Slots that domain k has by before for the groups of domain i. */
static int common_groups(const attempt *a, const layer *l, int i, int k)
{
    int n = 0, per_domain = groups_of_domain(l);

    for (int j = i * per_domain; j < (i + 1) * per_domain; j++)
        n += l->held[k * l->n_groups + a->group[j]];
    return n;
}

void attempt_rename(attempt *a, layer *l)
{
    int n_devices = devices_of_domain(l);

    count_held(l, l->previous);
    for (int i = 0; i < l->n_domains && !l->p->speed && !l->p->slots; i++) {
        int best = i;
        for (int k = i + 1; k < l->n_domains; k++)
            if (common_groups(a, l, k, i) > common_groups(a, l, best, i))
                best = k;
        if (best != i)
            exchange_domains(a, l, i, best);
    }
    for (int i = 0; i < l->n_domains; i++)
        for (int d = i * n_devices; d < (i + 1) * n_devices; d++) {
            int best = d;
            for (int k = d + 1; k < (i + 1) * n_devices; k++)
                if (are_alike(l, d, k) && common(a, l, k, d) > common(a, l, best, d))
                    best = k;
            exchange_devices(a, l, d, best);
        }
}

void attempt_arrange(const attempt *a, const layer *l, int32_t *expert)
{
    for (int d = 0; d < l->p->n_devices; d++) {
        int first = l->first[d], end = l->first[d + 1];
        memcpy(expert + first, a->expert + first, (size_t)(end - first) * sizeof *expert);
        for (int s = first; l->previous && s < end; s++) {
            int t = s;
            while (t < end && expert[t] != l->previous[s])
                t++;
            if (t == end)
                continue;
            expert[t] = expert[s];
            expert[s] = l->previous[s];
        }
    }
}
