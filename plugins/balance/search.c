/* search.c - steps of the local search.
 *
 * Each step makes the hottest device cooler and lets no other become as hot as it was, so the times
 * in falling order fall lexicographically and a descent ends.  Three kinds of step:
 *
 *     swap     a copy on the hottest device for a lighter one on another device
 *     add      a slot elsewhere, of an expert with several copies, becomes one more copy of an
 *              expert on the hottest device, whose copies all get lighter
 *     drop     a copy on the hottest device, of an expert with several, becomes a copy of another
 *              expert; the other copies of the first get heavier, those of the second lighter
 *
 * Where placements from before count, the step with the most gain for each copy that has to be
 * moved wins; gain below the target counts for nothing.
 */
#include "plugins/balance/search.h"

#include <math.h>
#include <string.h>

/* Times that differ by less are equal: sums of doubles in another order. */
static const double CLOSE = 1e-11;

/* ---- one step -------------------------------------------------------------------------------- */

/* The best step so far: slot s gets expert y; and with a swap, slot t gets what s had. */
typedef struct step {
    int s, t, y;
    double time;  /* the largest time of the devices that get hotter, or of the hottest */
    double score;
    double limit; /* steps that come to this time or above are of no use */
} step;

/* Gain counts down to the target; moves divide it. */
static void offer(const field *f, step *best, double target, double time, int moved, int s, int t,
                  int y)
{
    double score = 0;

    if (f->moves + moved > f->max_moves)
        return;
    if (!f->had) {
        best->limit = time;
    } else {
        score = (best->limit - fmax(time, target)) / (moved < 1 ? 0.3 : moved);
        if (score < best->score || (score == best->score && time >= best->time))
            return;
    }
    *best = (step){s, t, y, time, score, best->limit};
}

static void offer_swap(const field *f, int h, int d, int s, int t, double target, double time,
                       step *best)
{
    int a = f->slot[s], b = f->slot[t], moved = 0;

    if (*field_has(f, d, a) >= field_cap(f, d) || *field_has(f, h, b) >= field_cap(f, h))
        return;
    if (f->had)
        moved = field_foreign(f, h, b) + field_foreign(f, d, a) - field_foreign(f, h, a) -
                field_foreign(f, d, b);
    offer(f, best, target, time, moved, s, t, b);
}

/* With the devices that are cooler than `below`. */
static void offer_swaps(field *f, int h, double target, double below, step *best)
{
    double hot = f->time[h], v = 1 / field_speed(f, h);

    for (int d = 0; d < f->n_devices; d++) {
        double time = f->time[d], u = 1 / field_speed(f, d);
        if (d == h || time >= below || time >= best->limit)
            continue;
        for (int t = f->first[d]; t < f->first[d + 1]; t++) {
            double b = f->share[f->slot[t]];
            for (int s = f->first[h]; s < f->first[h + 1]; s++) {
                double less = f->share[f->slot[s]] - b;
                double x = hot - less * v, y = time + less * u;
                x = x > y ? x : y;
                if (x < best->limit)
                    offer_swap(f, h, d, s, t, target, x, best);
            }
        }
        f->budget -= (f->first[d + 1] - f->first[d]) * (f->first[h + 1] - f->first[h]);
    }
}

/* The largest time that the holders of x but for devices d and h reach when it loses a copy. */
static double others_without(const field *f, int x, int d, int h)
{
    const uint8_t *has_x = field_has(f, 0, x);
    double most = 0;

    for (int k = 0; k < f->n_devices; k++) {
        double time;
        if (!has_x[k] || k == d || k == h)
            continue;
        time = f->time[k] + has_x[k] * f->more[x] / field_speed(f, k);
        most = time > most ? time : most;
    }
    return most;
}

/* Slot s, of an expert with several copies, becomes one of y: is that a step?  *others is what
 * others_without() says, negative as long as it was not asked; that some of them hold y too, and
 * get cooler, is left out of the account. */
static void offer_recast(field *f, int h, double target, int s, int y, double *others, step *best)
{
    int x = f->slot[s], d = f->device[s];
    double time = f->time[d] + (f->next[y] - f->share[x]) / field_speed(f, d), y_less, heat;

    if (time >= best->limit || x == y || *field_has(f, d, y) >= field_cap(f, d))
        return;
    y_less = f->share[y] - f->next[y];
    time += ((*field_has(f, d, x) - 1) * f->more[x] - *field_has(f, d, y) * y_less) /
            field_speed(f, d);
    if (d != h) {
        heat = f->time[h] + (*field_has(f, h, x) * f->more[x] - *field_has(f, h, y) * y_less) /
                                field_speed(f, h);
        time = time > heat ? time : heat;
    }
    if (time >= best->limit)
        return;
    if (*others < 0) {
        *others = others_without(f, x, d, h);
        f->budget -= f->n_devices / 4;
    }
    time = time > *others ? time : *others;
    if (time < best->limit)
        offer(f, best, target, time,
              f->had ? field_foreign(f, d, y) - field_foreign(f, d, x) : 0, s, -1, y);
}

/* One more copy of what is on h, in place of one of an expert with several, on a device cooler than
 * `below`. */
static void offer_adds(field *f, int h, double target, double below, step *best)
{
    for (int d = 0; d < f->n_devices; d++) {
        if (d == h || f->time[d] >= below)
            continue;
        for (int t = f->first[d]; t < f->first[d + 1]; t++) {
            double others = -1;
            if (f->count[f->slot[t]] < 2)
                continue;
            for (int s = f->first[h]; s < f->first[h + 1] && others < best->limit; s++)
                offer_recast(f, h, target, t, f->slot[s], &others, best);
        }
        f->budget -= 2 * (f->first[d + 1] - f->first[d]);
    }
}

/* Something else on h in place of a copy of an expert with several. */
static void offer_drops(field *f, int h, double target, step *best)
{
    for (int s = f->first[h]; s < f->first[h + 1]; s++) {
        double others = -1;
        if (f->count[f->slot[s]] < 2)
            continue;
        for (int y = 0; y < f->n_experts && others < best->limit; y++)
            offer_recast(f, h, target, s, y, &others, best);
        f->budget -= f->n_experts / 2;
    }
}

/* The best step that cools device h.  Cool devices are asked first: when that is enough, the others
 * are not. */
static step find_step(field *f, int h, double target)
{
    step best = {-1, -1, -1, INFINITY, 0, f->time[h] * (1 - CLOSE)};
    double cool = f->time[h], hot = f->time[h], below, enough;

    for (int d = 0; d < f->n_devices; d++)
        cool = f->time[d] < cool ? f->time[d] : cool;
    below = cool + 0.3 * (hot - cool);
    enough = f->had ? target : fmax(target, 0.5 * (hot + cool) + 0.1 * (hot - cool));
    if (f->had)
        offer_adds(f, h, target, below, &best);
    if (best.s < 0 || best.time > enough) /* an add is one move, a swap mostly two */
        offer_swaps(f, h, target, below, &best);
    if (best.s >= 0 && best.time <= enough)
        return best;
    offer_swaps(f, h, target, INFINITY, &best);
    if (best.s < 0 || f->had) {
        offer_adds(f, h, target, INFINITY, &best);
        offer_drops(f, h, target, &best);
    }
    f->budget -= f->n_slots;
    return best;
}

static void take(field *f, const step *best)
{
    if (best->t >= 0)
        field_swap(f, best->s, best->t);
    else
        field_recast(f, best->s, best->y);
}

double field_descend(field *f, double target)
{
    for (;;) {
        int h = field_hottest(f);
        step best;
        if (f->time[h] <= target || f->budget <= 0)
            return f->time[h];
        best = find_step(f, h, target);
        if (best.s < 0)
            return f->time[h];
        take(f, &best);
    }
}

/* A walk from dead end to dead end goes on from one that is this much worse than the best. */
static const double WALK = 1.01;

/* ---- out of a dead end ----------------------------------------------------------------------- */

static int draw(field *f, int n)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (int)((f->random >> 11) % (uint64_t)n);
}

static int slot_on(field *f, int d)
{
    return f->first[d] + draw(f, f->first[d + 1] - f->first[d]);
}

/* One random change that keeps the rule: a swap, or a copy of another expert. */
static void kick(field *f)
{
    int s = draw(f, 3) ? slot_on(f, draw(f, f->n_devices)) : slot_on(f, field_hottest(f));
    int d = f->device[s], a = f->slot[s];

    if (draw(f, 2)) {
        int t = draw(f, f->n_slots), k = f->device[t], b = f->slot[t];
        if (k != d && a != b && *field_has(f, k, a) < field_cap(f, k) &&
            *field_has(f, d, b) < field_cap(f, d))
            field_swap(f, s, t);
    } else if (f->count[a] > 1) {
        int y = draw(f, 2) ? f->slot[slot_on(f, field_hottest(f))] : draw(f, f->n_experts);
        if (y != a && *field_has(f, d, y) < field_cap(f, d))
            field_recast(f, s, y);
    }
}

static void keep(const field *f, int32_t *slot)
{
    memcpy(slot, f->slot, (size_t)f->n_slots * sizeof *slot);
}

static void restore(field *f, const int32_t *slot)
{
    memcpy(f->slot, slot, (size_t)f->n_slots * sizeof *slot);
    field_recount(f);
}

double field_search(field *f, double target, int patience)
{
    double best = field_descend(f, target);

    keep(f, f->best_slot);
    for (int failures = 0; best > target && failures < patience && f->budget > 0;) {
        for (int n = 2 + draw(f, 4); n > 0; n--)
            kick(f);
        f->budget -= f->n_slots;
        double now = f->moves <= f->max_moves ? field_descend(f, target) : INFINITY;
        if (now <= best * (1 + CLOSE)) {
            failures = now < best * (1 - 1e-6) ? 0 : failures + 1;
            best = fmin(now, best);
            keep(f, f->best_slot);
        } else if (++failures % 8 == 0 || now > best * WALK) {
            restore(f, f->best_slot);
        }
    }
    restore(f, f->best_slot);
    return field_max_time(f);
}

/* ---- settling -------------------------------------------------------------------------------- */

/* Slot s back to an expert that its device had, by whichever way keeps the target. */
static int take_back(field *f, int s, double target)
{
    int d = f->device[s], a = f->slot[s];
    int64_t moves = f->moves;

    for (int b = 0; b < f->n_experts; b++) {
        if (!field_had(f, d, b) || *field_has(f, d, b) >= field_cap(f, d))
            continue;
        if (f->count[a] > 1 && others_without(f, a, d, d) <= target) {
            field_recast(f, s, b);
            if (f->moves < moves && field_max_time(f) <= target)
                return 1;
            field_recast(f, s, a);
        }
        for (int t = 0; t < f->n_slots; t++) {
            int k = f->device[t];
            if (f->slot[t] != b || k == d || *field_has(f, k, a) >= field_cap(f, k))
                continue;
            field_swap(f, s, t);
            if (f->moves < moves && f->time[d] <= target && f->time[k] <= target)
                return 1;
            field_swap(f, s, t);
        }
    }
    return 0;
}

void field_settle(field *f, double target)
{
    int is_better = f->had != NULL;

    while (is_better) {
        is_better = 0;
        for (int s = 0; s < f->n_slots; s++)
            if (field_foreign(f, f->device[s], f->slot[s]))
                is_better |= take_back(f, s, target);
    }
}
