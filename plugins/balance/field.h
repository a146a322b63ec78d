/* field.h - balance/vishwamai: the devices that one search works on, and what lies on them.
 *
 * A field is all devices of a layer, or those of a node that keeps its groups, with the experts
 * that live there.  Its rule: a device never holds two copies of an expert, unless it has more
 * slots than there are experts.
 *
 * Letters: E experts, P devices, R slots of the field.
 */
#ifndef VW_BALANCE_FIELD_H
#define VW_BALANCE_FIELD_H

#include <stddef.h>
#include <stdint.h>

typedef struct field {
    int n_experts, n_devices, n_slots;
    const double *load;   /* [E] */
    const double *speed;  /* [P]; NULL: all 1 */
    const int32_t *first; /* [P + 1] first slot of each device; first[P] = R */
    const uint8_t *had;   /* [E][P] does the device hold the expert already?  NULL: nothing is */

    int32_t *slot;        /* [R] the expert in each slot, -1: none yet */
    int32_t *count;       /* [E] copies */
    int32_t *device;      /* [R] of each slot */
    uint8_t *has;         /* [E][P] copies of the expert on the device */
    double *share;        /* [E] load / count */
    double *next;         /* [E] load / (count + 1) */
    double *more;         /* [E] by how much the share grows with one copy less; INFINITY for one */
    double *time;         /* [P] */
    int32_t *best_slot;   /* [R] scratch of a search: the best placement so far */

    int64_t budget;       /* looks at a possible step that are left */
    int64_t moves;        /* copies that a device holds and did not have */
    int64_t max_moves;    /* no step makes more than these */
    uint64_t random;      /* state of the kicks */
} field;

/* Bytes of a field's arrays, and pointing them into memory of that size. */
size_t field_bytes(int n_experts, int n_devices, int n_slots);
void field_lay_out(field *f, int n_experts, int n_devices, int n_slots, void *memory);

/* Count copies, shares, times and moves anew from slot[]. */
void field_recount(field *f);

/* Fill all slots from nothing: copies to the largest share, then the heaviest expert first, its
 * copies on the coolest devices with room. */
void field_fill(field *f);

/* Make any slot[] keep the rule: doubles go, every expert gets a slot, slots without an expert get
 * the one with the largest share.  Empty slots are -1. */
void field_repair(field *f);

/* Slot s gets expert y; slots s and t change experts.  Counts, shares, times and moves follow. */
void field_recast(field *f, int s, int y);
void field_swap(field *f, int s, int t);

double field_max_time(const field *f);
int field_hottest(const field *f);

/* Copies of expert e on device d, now; and whether there was one before. */
static inline uint8_t *field_has(const field *f, int d, int e)
{
    return &f->has[(size_t)e * (size_t)f->n_devices + (size_t)d];
}

static inline int field_had(const field *f, int d, int e)
{
    return f->had && f->had[(size_t)e * (size_t)f->n_devices + (size_t)d];
}

/* Would a copy on device d have to be moved there? */
static inline int field_foreign(const field *f, int d, int e)
{
    return !field_had(f, d, e);
}

static inline double field_speed(const field *f, int d)
{
    return f->speed ? f->speed[d] : 1;
}

/* How many copies of one expert a device may hold: one, or what many slots force on it. */
static inline int field_cap(const field *f, int d)
{
    int n = f->first[d + 1] - f->first[d];

    return n <= f->n_experts ? 1 : (n + f->n_experts - 1) / f->n_experts;
}

#endif
