/* field.c - keeping counts, shares and times of a field; filling and repairing it. */
#include "plugins/balance/field.h"

#include <math.h>
#include <string.h>

static size_t rounded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t field_bytes(int n_experts, int n_devices, int n_slots)
{
    size_t e = (size_t)n_experts, p = (size_t)n_devices, r = (size_t)n_slots;

    return 3 * rounded(r * sizeof(int32_t)) + rounded(e * sizeof(int32_t)) +
           rounded(p * e) +
           3 * rounded(e * sizeof(double)) + rounded(p * sizeof(double));
}

void field_lay_out(field *f, int n_experts, int n_devices, int n_slots, void *memory)
{
    size_t e = (size_t)n_experts, p = (size_t)n_devices, r = (size_t)n_slots;
    char *at = memory;

    f->n_experts = n_experts;
    f->n_devices = n_devices;
    f->n_slots = n_slots;
    f->share = (double *)at;
    f->next = (double *)(at += rounded(e * sizeof(double)));
    f->more = (double *)(at += rounded(e * sizeof(double)));
    f->time = (double *)(at += rounded(e * sizeof(double)));
    f->slot = (int32_t *)(at += rounded(p * sizeof(double)));
    f->device = (int32_t *)(at += rounded(r * sizeof(int32_t)));
    f->best_slot = (int32_t *)(at += rounded(r * sizeof(int32_t)));
    f->count = (int32_t *)(at += rounded(r * sizeof(int32_t)));
    f->has = (uint8_t *)(at + rounded(e * sizeof(int32_t)));
}

static void retime(field *f, int d)
{
    double sum = 0;

    for (int s = f->first[d]; s < f->first[d + 1]; s++)
        sum += f->share[f->slot[s]];
    f->time[d] = sum / field_speed(f, d);
}

/* The shares of expert e by its count; without a copy, what the first would get. */
static void reshare(field *f, int e)
{
    int n = f->count[e];

    f->share[e] = n ? f->load[e] / n : f->load[e];
    f->next[e] = f->load[e] / (n + 1);
    f->more[e] = n > 1 ? f->load[e] / (n - 1) - f->share[e] : INFINITY;
}

void field_recount(field *f)
{
    memset(f->has, 0, (size_t)f->n_devices * (size_t)f->n_experts);
    memset(f->count, 0, (size_t)f->n_experts * sizeof *f->count);
    f->moves = 0;
    for (int d = 0; d < f->n_devices; d++)
        for (int s = f->first[d]; s < f->first[d + 1]; s++) {
            f->device[s] = d;
            if (f->slot[s] < 0)
                continue;
            f->count[f->slot[s]]++;
            (*field_has(f, d, f->slot[s]))++;
            f->moves += field_foreign(f, d, f->slot[s]);
        }
    for (int e = 0; e < f->n_experts; e++)
        reshare(f, e);
    for (int d = 0; d < f->n_devices; d++) {
        double sum = 0;
        for (int s = f->first[d]; s < f->first[d + 1]; s++)
            sum += f->slot[s] < 0 ? 0 : f->share[f->slot[s]];
        f->time[d] = sum / field_speed(f, d);
    }
}

double field_max_time(const field *f)
{
    double most = 0;

    for (int d = 0; d < f->n_devices; d++)
        most = fmax(most, f->time[d]);
    return most;
}

int field_hottest(const field *f)
{
    int h = 0;

    for (int d = 1; d < f->n_devices; d++)
        if (f->time[d] > f->time[h])
            h = d;
    return h;
}

/* Put expert y in slot s and bring the counts up to date; times only of device d. */
static void put(field *f, int s, int y)
{
    int d = f->device[s], x = f->slot[s];

    if (x >= 0) {
        (*field_has(f, d, x))--;
        f->count[x]--;
        f->moves -= field_foreign(f, d, x);
        reshare(f, x);
    }
    f->slot[s] = y;
    (*field_has(f, d, y))++;
    f->count[y]++;
    f->moves += field_foreign(f, d, y);
    reshare(f, y);
}

static void retime_holders(field *f, int e)
{
    for (int d = 0; d < f->n_devices; d++)
        if (*field_has(f, d, e))
            retime(f, d);
}

void field_recast(field *f, int s, int y)
{
    int x = f->slot[s];

    put(f, s, y);
    retime(f, f->device[s]);
    retime_holders(f, x);
    retime_holders(f, y);
}

void field_swap(field *f, int s, int t)
{
    int a = f->slot[s], b = f->slot[t];

    put(f, s, b);
    put(f, t, a);
    retime(f, f->device[s]);
    retime(f, f->device[t]);
}

/* ---- repair ---------------------------------------------------------------------------------- */

/* Does x come before y when a slot is free?  Those without a copy first, the heaviest of them; then
 * the largest share; fewer copies between equals. */
static int needs_more(const field *f, int x, int y)
{
    if ((f->count[x] == 0) != (f->count[y] == 0))
        return f->count[x] == 0;
    if (f->share[x] != f->share[y])
        return f->share[x] > f->share[y];
    return f->count[x] < f->count[y];
}

/* The expert that needs one more copy most and may lie on device d; there always is one. */
static int neediest(const field *f, int d)
{
    int best = -1;

    for (int e = 0; e < f->n_experts; e++)
        if (*field_has(f, d, e) < field_cap(f, d) && (best < 0 || needs_more(f, e, best)))
            best = e;
    return best;
}

/* A slot for expert e, which has none: one of whatever has the smallest share of several copies. */
static void make_place(field *f, int e)
{
    int best = -1;

    for (int s = 0; s < f->n_slots; s++) {
        int x = f->slot[s];
        if (x < 0 || f->count[x] < 2 || *field_has(f, f->device[s], e) >= field_cap(f, f->device[s]))
            continue;
        if (best < 0 || f->load[x] / (f->count[x] - 1) <
                            f->load[f->slot[best]] / (f->count[f->slot[best]] - 1))
            best = s;
    }
    put(f, best, e);
}

/* A copy of e in an empty slot of the coolest device that lacks it; nowhere, if there is none. */
static void lay(field *f, int e)
{
    int best = -1, s;

    for (int d = 0; d < f->n_devices; d++)
        if (f->slot[f->first[d + 1] - 1] < 0 && !*field_has(f, d, e) &&
            (best < 0 || f->time[d] < f->time[best]))
            best = d;
    if (best < 0)
        return;
    s = f->first[best];
    while (f->slot[s] >= 0)
        s++;
    f->slot[s] = e;
    (*field_has(f, best, e))++;
    f->time[best] += f->share[e] / field_speed(f, best);
}

void field_fill(field *f)
{
    for (int s = 0; s < f->n_slots; s++)
        f->slot[s] = -1;
    field_recount(f);
    for (int e = 0; e < f->n_experts; e++)
        f->best_slot[e] = 1;
    for (int spare = f->n_slots - f->n_experts; spare > 0; spare--) {
        int best = -1;
        for (int e = 0; e < f->n_experts; e++) {
            if (f->best_slot[e] < f->n_devices &&
                (best < 0 || f->share[e] > f->share[best] ||
                 (f->share[e] == f->share[best] && f->best_slot[e] < f->best_slot[best])))
                best = e;
        }
        if (best < 0)
            break;
        f->share[best] = f->load[best] / ++f->best_slot[best];
    }
    for (;;) {
        int heaviest = -1;
        for (int e = 0; e < f->n_experts; e++)
            if (f->best_slot[e] > 0 && (heaviest < 0 || f->share[e] > f->share[heaviest]))
                heaviest = e;
        if (heaviest < 0)
            break;
        for (; f->best_slot[heaviest] > 0; f->best_slot[heaviest]--)
            lay(f, heaviest);
    }
    field_repair(f);
}

void field_repair(field *f)
{
    field_recount(f);
    for (int s = 0; s < f->n_slots; s++) {
        int e = f->slot[s], d = f->device[s];
        if (e >= 0 && *field_has(f, d, e) > field_cap(f, d)) {
            (*field_has(f, d, e))--;
            f->slot[s] = -1;
        }
    }
    field_recount(f);
    for (;;) { /* the empty slot on the coolest device */
        int hole = -1;
        for (int s = 0; s < f->n_slots; s++)
            if (f->slot[s] < 0 &&
                (hole < 0 || f->time[f->device[s]] < f->time[f->device[hole]]))
                hole = s;
        if (hole < 0)
            break;
        int e = neediest(f, f->device[hole]);
        put(f, hole, e);
        f->time[f->device[hole]] += f->share[e] / field_speed(f, f->device[hole]);
    }
    for (int e = 0; e < f->n_experts; e++)
        if (f->count[e] == 0)
            make_place(f, e);
    field_recount(f);
}
