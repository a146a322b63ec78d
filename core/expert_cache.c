/* expert_cache.c - which experts are in memory, and who makes room for whom.
 *
 * Memory is cut into slots of one size, that of the largest expert with its ranges of the file
 * rounded out to the disk's blocks.  The tensors of an expert that a writer put side by side are one
 * range and one read; a file in another order costs more reads, and more bytes where ranges meet
 * inside a block.
 *
 * Who goes: the one that was used longest ago.  That alone would be of no use where one token needs
 * more experts than there are slots, since each would be gone just before its turn comes again; so a
 * share of the slots is pinned to the experts that were asked for most often so far.  An expert that
 * is waited for or multiplied with never goes.
 */
#include "core/expert_cache.h"

#include <string.h>
#include <time.h>

#include "core/disk.h"
#include "core/expert_layout.h"

typedef enum slot_state { SLOT_FREE, SLOT_LOADING, SLOT_READY } slot_state;

typedef struct expert {
    int32_t layer, index;
    vw_param *const *params; /* gate, up, down */
    int32_t slot;            /* -1: not in memory */
    uint64_t uses;
    vw_expert_layout lies;
} expert;

typedef struct slot {
    slot_state state;
    int32_t expert;    /* -1: none */
    int32_t n_reads;   /* that have not come back */
    bool is_in_use, is_pinned, has_failed;
    uint64_t last_used;
    char *memory;
    vw_disk_read reads[VW_EXPERT_TENSORS];
    int problem;       /* index of the read that failed */
} slot;

typedef enum want { NOT_WANTED, WANTED, QUEUED, GIVEN } want;

struct vw_expert_cache {
    vw_engine *engine;
    vw_disk *disk;
    expert *experts;     /* of all layers */
    int32_t n_experts;
    int32_t *first;      /* [layers]: the first of each */
    slot *slots;
    int32_t n_slots, n_pinned, most_pinned;
    size_t slot_bytes;
    vw_buffer memory;    /* of the slots, from `base` on */
    char *base;
    uint64_t clock;

    int32_t layer, n_wanted; /* wanted: not given yet */
    int32_t next_missing;    /* experts before it are queued or need not be */
    want *wants;             /* [widest layer] */
    vw_expert_stats stats;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* Matrices and scales run where they lie: in the slot, or in the map. */
static void point(const expert *x, const char *memory)
{
    for (int i = 0; i < VW_EXPERT_TENSORS; i++) {
        const vw_expert_place *p = &x->lies.places[i];
        vw_matrix *m = &x->params[i % 3]->weight.stored;
        const void *data = memory ? memory + p->slot_at : p->mapped;
        if (i < 3)
            m->data = data;
        else if (p->mapped)
            m->scales.data = data;
    }
}

static void vacate(vw_expert_cache *c, slot *s)
{
    expert *x = &c->experts[s->expert];
    point(x, NULL);
    x->slot = -1;
    c->n_pinned -= s->is_pinned;
    s->is_pinned = false;
    s->expert = -1;
    s->state = SLOT_FREE;
}

/* A free slot, or the one whose expert goes; NULL when all are needed. */
static slot *find_slot(vw_expert_cache *c)
{
    slot *best = NULL;
    for (int32_t i = 0; i < c->n_slots; i++) {
        slot *s = &c->slots[i];
        if (s->state == SLOT_FREE)
            return s;
        if (s->state == SLOT_READY && !s->is_in_use && !s->is_pinned &&
            (!best || s->last_used < best->last_used))
            best = s;
    }
    if (best) {
        vacate(c, best);
        c->stats.evictions++;
    }
    return best;
}

/* One that is used clearly more often than the least of the pinned takes its place. */
static void pin(vw_expert_cache *c, slot *s)
{
    slot *least = NULL;
    if (s->is_pinned || !c->most_pinned)
        return;
    for (int32_t i = 0; i < c->n_slots && c->n_pinned == c->most_pinned; i++) {
        slot *other = &c->slots[i];
        if (other->is_pinned &&
            (!least || c->experts[other->expert].uses < c->experts[least->expert].uses))
            least = other;
    }
    if (least) {
        uint64_t uses = c->experts[least->expert].uses;
        if (c->experts[s->expert].uses <= uses + uses / 4 + 1)
            return;
        least->is_pinned = false;
        c->n_pinned--;
    }
    s->is_pinned = true;
    c->n_pinned++;
}

static void load(vw_expert_cache *c, slot *s, int32_t number)
{
    expert *x = &c->experts[number];
    s->state = SLOT_LOADING;
    s->expert = number;
    s->has_failed = false;
    s->n_reads = x->lies.n_ranges;
    x->slot = (int32_t)(s - c->slots);
    for (int32_t i = 0; i < x->lies.n_ranges; i++) {
        const vw_expert_range *r = &x->lies.ranges[i];
        s->reads[i] = (vw_disk_read){.file = r->file, .offset = r->offset, .bytes = r->bytes,
                                     .needed = r->needed, .to = s->memory + r->slot_at};
        vw_disk_begin(c->disk, &s->reads[i]);
    }
}

/* Queue what is missing, as far as there is room. */
static void queue_missing(vw_expert_cache *c)
{
    int32_t n = c->engine->experts[c->layer].n;
    for (; c->next_missing < n; c->next_missing++) {
        int32_t i = c->next_missing;
        slot *s;
        if (c->wants[i] != WANTED)
            continue;
        if (!(s = find_slot(c)))
            return;
        load(c, s, c->first[c->layer] + i);
        s->is_in_use = true;
        c->wants[i] = QUEUED;
    }
}

/* A read is back; the slot of an expert that failed is free again once nothing writes to it. */
static void take_read(vw_expert_cache *c, const vw_disk_read *r)
{
    int32_t number = (int32_t)(((const char *)r->to - c->base) /
                               (ptrdiff_t)c->slot_bytes);
    slot *s = &c->slots[number];
    if (r->problem && !s->has_failed) {
        s->has_failed = true;
        s->problem = (int)(r - s->reads);
    }
    if (--s->n_reads)
        return;
    s->state = SLOT_READY;
    s->last_used = c->clock;
    if (!s->has_failed)
        point(&c->experts[s->expert], s->memory);
}

/* ---- what the block asks --------------------------------------------------------------------- */

void vw_expert_cache_want(vw_expert_cache *c, int32_t layer, const int32_t *offsets)
{
    int32_t n = c->engine->experts[layer].n;
    vw_disk_read *r;
    vw_expert_cache_abandon(c);
    while ((r = vw_disk_next(c->disk, false))) /* left over from a step that failed */
        take_read(c, r);
    c->layer = layer;
    c->next_missing = 0;
    c->clock++;
    for (int32_t i = 0; i < n; i++) {
        expert *x = &c->experts[c->first[layer] + i];
        c->wants[i] = offsets[i + 1] > offsets[i] ? WANTED : NOT_WANTED;
        if (!c->wants[i])
            continue;
        c->n_wanted++;
        x->uses++;
        slot *s = x->slot >= 0 ? &c->slots[x->slot] : NULL;
        if (s && s->state == SLOT_READY && s->has_failed)
            vacate(c, s), s = NULL;
        c->stats.hits += s != NULL;
        c->stats.misses += s == NULL;
        if (s) {
            s->is_in_use = true;
            s->last_used = c->clock;
            c->wants[i] = QUEUED;
            pin(c, s);
        }
    }
    queue_missing(c);
}

static bool is_ready(const vw_expert_cache *c, int32_t i)
{
    const expert *x = &c->experts[c->first[c->layer] + i];
    return c->wants[i] == QUEUED && c->slots[x->slot].state == SLOT_READY;
}

static vw_status explain(const vw_expert_cache *c, const slot *s, vw_error *err)
{
    const expert *x = &c->experts[s->expert];
    vw_status st = vw_disk_explain(c->disk, &s->reads[s->problem], err);
    return vw_fail_in(err, st, "expert %d of layer %d with experts (\"%s\" and its neighbours)",
                      x->index, x->layer, x->params[0]->spec->name);
}

/* The first run of experts that are there; those without rows do not interrupt it. */
static bool find_run(vw_expert_cache *c, int32_t *first, int32_t *last)
{
    int32_t n = c->engine->experts[c->layer].n, i = 0;
    while (i < n && !is_ready(c, i))
        i++;
    *first = *last = i;
    for (; i < n && (!c->wants[i] || is_ready(c, i)); i++)
        if (c->wants[i])
            *last = i + 1;
    return *first < *last;
}

vw_status vw_expert_cache_next(vw_expert_cache *c, int32_t *first, int32_t *last, vw_error *err)
{
    vw_disk_read *r;
    *first = *last = 0;
    if (!c->n_wanted)
        return VW_OK;
    while ((r = vw_disk_next(c->disk, false)))
        take_read(c, r);
    while (!find_run(c, first, last)) {
        double began = now();
        r = vw_disk_next(c->disk, true);
        c->stats.wait_seconds += now() - began;
        if (!r)
            return vw_fail(err, VW_E_INVALID, "the cache of experts waits for nothing");
        take_read(c, r);
        queue_missing(c); /* it may have been one of a step that failed */
    }
    for (int32_t i = *first; i < *last; i++) {
        slot *s = c->wants[i] ? &c->slots[c->experts[c->first[c->layer] + i].slot] : NULL;
        if (s && s->has_failed)
            return explain(c, s, err);
        if (s) {
            c->wants[i] = GIVEN;
            c->n_wanted--;
        }
    }
    return VW_OK;
}

void vw_expert_cache_release(vw_expert_cache *c, int32_t first, int32_t last)
{
    for (int32_t i = first; i < last; i++) {
        if (c->wants[i] != GIVEN)
            continue;
        slot *s = &c->slots[c->experts[c->first[c->layer] + i].slot];
        s->is_in_use = false;
        s->last_used = c->clock;
        pin(c, s);
    }
    queue_missing(c);
}

void vw_expert_cache_abandon(vw_expert_cache *c)
{
    for (int32_t i = 0; i < c->n_slots; i++)
        c->slots[i].is_in_use = false;
    c->n_wanted = 0;
}

void vw_expert_cache_get_stats(const vw_expert_cache *c, vw_expert_stats *stats)
{
    vw_disk_stats disk;
    vw_disk_get_stats(c->disk, &disk);
    *stats = c->stats;
    stats->bytes_read = disk.bytes;
    stats->read_seconds = disk.seconds;
    stats->method = disk.method;
    stats->is_direct = disk.is_direct;
}

/* ---- opening --------------------------------------------------------------------------------- */

static vw_status check(const vw_engine *e, vw_error *err)
{
    if (!e->info->n_experts)
        return vw_fail(err, VW_E_CONFIG, "[model] expert_memory: this model has no experts; leave it "
                       "out");
    if (!(e->device_info.flags & VW_DEVICE_HOST_VISIBLE))
        return vw_fail(err, VW_E_UNSUPPORTED, "[model] expert_memory: experts are read into memory "
                       "that device/%s cannot be given; leave it out, or use device/cpu",
                       e->device->plugin->name);
    for (int32_t l = 0; l < e->info->n_experts; l++)
        for (int i = 0; i < 3; i++)
            if (e->experts[l].adapters[i].first)
                return vw_fail(err, VW_E_UNSUPPORTED, "%s adapts experts, and experts that are read "
                               "from the file run as they lie there; merge the adapter first, or leave "
                               "out [model] expert_memory", e->adapter);
    return VW_OK;
}

static vw_status lay_out(vw_expert_cache *c, vw_error *err)
{
    vw_engine *e = c->engine;
    int32_t n = 0;
    for (int32_t l = 0; l < e->info->n_experts; l++) {
        c->first[l] = n;
        for (int32_t i = 0; i < e->experts[l].n; i++, n++) {
            expert *x = &c->experts[n];
            *x = (expert){.layer = l, .index = i, .slot = -1,
                          .params = e->experts[l].params + 3 * (ptrdiff_t)i};
            vw_status st = vw_expert_lay_out(e, c->disk, x->params, &x->lies, err);
            if (st)
                return st;
            c->stats.expert_bytes += x->lies.bytes;
            c->stats.n_ranges += (uint64_t)x->lies.n_ranges;
            if (x->lies.slot_bytes > c->slot_bytes)
                c->slot_bytes = x->lies.slot_bytes;
        }
    }
    return VW_OK;
}

static vw_status open_slots(vw_expert_cache *c, vw_error *err)
{
    vw_engine *e = c->engine;
    uint64_t n = e->expert_memory / c->slot_bytes;
    if (!n)
        return vw_fail(err, VW_E_CONFIG, "[model] expert_memory = %llu: one expert takes %zu bytes; "
                       "give it at least that",
                       (unsigned long long)e->expert_memory, c->slot_bytes);
    c->n_slots = n < (uint64_t)c->n_experts ? (int32_t)n : c->n_experts;
    c->most_pinned = (int32_t)(e->expert_pin * c->n_slots);
    c->stats.n_experts = c->n_experts;
    c->stats.n_slots = c->n_slots;
    c->stats.slot_bytes = c->slot_bytes;
    e->memory.expert_cache = (uint64_t)c->n_slots * c->slot_bytes;
    if (e->is_plan)
        return VW_OK;
    size_t slots = (size_t)c->n_slots;
    c->slots = vw_core_alloc(e->core, slots * sizeof *c->slots);
    if (!c->slots)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu experts", slots);
    memset(c->slots, 0, slots * sizeof *c->slots);
    vw_status st = e->dev->alloc(e->device->self, slots * c->slot_bytes + VW_DISK_ALIGNMENT,
                                 &c->memory, err);
    if (st)
        return vw_fail_in(err, st, "the cache of experts ([model] expert_memory makes it smaller)");
    c->base = (char *)c->memory.data;
    c->base += (VW_DISK_ALIGNMENT - (uintptr_t)c->base % VW_DISK_ALIGNMENT) % VW_DISK_ALIGNMENT;
    for (size_t i = 0; i < slots; i++) {
        c->slots[i].expert = -1;
        c->slots[i].memory = c->base + i * c->slot_bytes;
    }
    return VW_OK;
}

vw_status vw_expert_cache_open(vw_engine *e, vw_error *err)
{
    vw_disk_options options = {.depth = e->expert_reads, .is_direct = e->expert_direct,
                               .no_uring = e->expert_pread};
    vw_status st = check(e, err);
    vw_expert_cache *c = st ? NULL : vw_core_alloc(e->core, sizeof *c);
    if (!c)
        return st ? st : vw_fail(err, VW_E_NOMEM, "no memory for a cache of experts");
    memset(c, 0, sizeof *c);
    c->engine = e;
    e->cache = c;
    for (int32_t l = 0; l < e->info->n_experts; l++)
        c->n_experts += e->experts[l].n;
    size_t n = (size_t)c->n_experts;
    c->experts = vw_core_alloc(e->core, n * sizeof *c->experts);
    c->first = vw_core_alloc(e->core, (size_t)e->info->n_experts * sizeof *c->first);
    c->wants = vw_core_alloc(e->core, (size_t)e->widest_experts * sizeof *c->wants);
    if (!c->experts || !c->first || !c->wants)
        return vw_fail(err, VW_E_NOMEM, "no memory for a cache of %zu experts", n);
    c->stats.size = sizeof c->stats;
    if ((st = vw_disk_open(e->core, &options, &c->disk, err)) || (st = lay_out(c, err)))
        return st;
    return open_slots(c, err);
}

void vw_expert_cache_close(vw_engine *e)
{
    vw_expert_cache *c = e->cache;
    if (!c)
        return;
    vw_disk_close(c->disk);
    e->dev->free(e->device->self, &c->memory);
    vw_core_release(e->core, c->slots);
    vw_core_release(e->core, c->experts);
    vw_core_release(e->core, c->first);
    vw_core_release(e->core, c->wants);
    vw_core_release(e->core, c);
    e->cache = NULL;
}
