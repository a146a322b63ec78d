/* tape_run.c - a tape's forward and backward, part by part, and how a tape is made.
 */
#include "core/tape.h"

#include <string.h>

enum { ALIGNMENT = 256 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Forget what was recorded. */
static void rewind_tape(vw_tape *t)
{
    t->used = 0;
    t->n_tensors = t->n_entries = 0;
}

static vw_status run_part(vw_tape *t, forward *f, tape_part *part, bool is_recorded, void *in,
                          void *out)
{
    vw_engine *e = t->engine;
    if (f->lesson->is_replay)
        f->lesson->n_dropouts = part->n_dropouts;
    part->n_dropouts = f->lesson->n_dropouts;
    rewind_tape(t);
    f->tape = is_recorded ? t : NULL;
    f->arena_used = 0;
    f->first_layer = part->first;
    f->hidden_in = in;
    f->hidden_out = out;
    vw_status st = e->mdl->forward(e->model->self, &f->cx, e->param_list, part->first, part->last);
    return f->status ? f->status : st;
}

vw_status vw_tape_forward(vw_tape *t, forward *f, void *in, void *out)
{
    vw_engine *e = t->engine;
    vw_status st = VW_OK;
    if (t->n_queued)
        return vw_fail(f->err, VW_E_INVALID,
                       "a tape is recorded anew while weight gradients of its "
                       "last backward are still queued");
    t->n_tokens = f->batch->n_tokens;
    if (t->n_parts > 1 && t->parts[0].entered && vw_runs(f)) {
        st = e->dev->copy(e->device->self, e->stream, t->parts[0].entered, in,
                          (size_t)t->n_tokens * (size_t)e->info->width * sizeof(float), f->err);
        in = t->parts[0].entered;
    }
    f->lesson->is_replay = false;
    f->lesson->n_dropouts = (uint64_t)t->parts[0].first << 32;
    for (int32_t i = 0; i < t->n_parts && !st; i++) {
        bool is_last = i == t->n_parts - 1;
        void *to = is_last ? out : t->parts[i + 1].entered;
        st = run_part(t, f, &t->parts[i], is_last, in, to);
        in = to;
    }
    return st;
}

/* ---- backward -------------------------------------------------------------------------------- */

static vw_status run_entries(vw_tape *t, forward *f)
{
    for (size_t i = t->n_entries; i-- > 0 && !f->status;) {
        const tape_entry *e = &t->entries[i];
        f->arena_used = e->top;
        if (f->profile)
            vw_profile_entry(f, e);
        else
            e->run(f, e);
    }
    return f->status;
}

vw_status vw_tape_backward(vw_tape *t, forward *f, vw_backward what, const void *d_out, void *d_in)
{
    vw_status st = VW_OK;
    f->tape = t;
    t->what = what;
    if (what == VW_BACKWARD_INPUT && t->n_parts == 1 && t->queue.bytes < t->queue_peak &&
        f->mode == CX_RUN) {
        vw_engine *e = t->engine;
        e->dev->free(e->device->self, &t->queue);
        st = e->dev->alloc(e->device->self, t->queue_peak, &t->queue, f->err);
    }
    for (int32_t i = t->n_parts; i-- > 0 && what != VW_BACKWARD_WEIGHT && !st;) {
        tape_part *part = &t->parts[i];
        f->lesson->is_replay = true;
        if (i < t->n_parts - 1)
            st = run_part(t, f, part, true, part->entered, NULL);
        t->d_out = i < t->n_parts - 1 ? t->boundary.data : d_out;
        t->d_in = i > 0 ? t->boundary.data : d_in;
        if (!st)
            st = run_entries(t, f);
    }
    if (!st && what == VW_BACKWARD_WEIGHT)
        vw_tape_run_queue(f);
    if (f->mode == CX_MEASURE)
        t->n_queued = t->queue_used = 0;
    f->tape = NULL;
    return f->status ? f->status : st;
}

/* ---- making one ------------------------------------------------------------------------------ */

static vw_status divide(vw_tape *t, int32_t first, int32_t last, int32_t part_layers, vw_error *err)
{
    int32_t step = part_layers > 0 ? part_layers : last - first;
    t->n_parts = (last - first + step - 1) / step;
    t->parts = vw_core_alloc(t->engine->core, (size_t)t->n_parts * sizeof *t->parts);
    if (!t->parts)
        return vw_fail(err, VW_E_NOMEM, "no memory for a tape of %d parts", t->n_parts);
    for (int32_t i = 0; i < t->n_parts; i++) {
        int32_t from = first + i * step;
        t->parts[i] = (tape_part){.first = from, .last = from + step < last ? from + step : last};
    }
    return VW_OK;
}

/* What enters each part, as addresses while there is no memory yet. */
static size_t place_entered(vw_tape *t, char *base)
{
    size_t one = aligned((size_t)t->max_tokens * (size_t)t->engine->info->width * sizeof(float));
    size_t at = 0;
    for (int32_t i = 0; i < t->n_parts && t->n_parts > 1; i++)
        if (t->parts[i].first > 0) {
            t->parts[i].entered = base + at;
            at += one;
        }
    return at;
}

static vw_status measure(vw_tape *t, forward *f, const batch *b)
{
    void *some = (char *)ALIGNMENT;
    bool has_in = t->parts[0].first > 0;
    bool has_out = t->parts[t->n_parts - 1].last < t->engine->info->n_layers;
    f->mode = CX_MEASURE;
    f->batch = b;
    vw_status st = vw_tape_forward(t, f, has_in ? some : NULL, has_out ? some : NULL);
    if (!st)
        st = vw_tape_backward(t, f, VW_BACKWARD_INPUT, has_out ? some : NULL, has_in ? some : NULL);
    return st;
}

vw_status vw_tape_new(forward *f, int32_t first, int32_t last, int32_t part_layers, vw_tape **tape)
{
    vw_engine *e = f->engine;
    batch b = *f->batch;
    vw_tape *t = vw_core_alloc(e->core, sizeof *t);
    if (!t)
        return vw_fail(f->err, VW_E_NOMEM, "no memory for a tape");
    memset(t, 0, sizeof *t);
    t->engine = e;
    t->max_tokens = f->max_tokens;
    vw_status st = divide(t, first, last, part_layers, f->err);
    if (!st) {
        place_entered(t, (char *)ALIGNMENT);
        b.n_tokens = b.n_wanted = t->max_tokens;
        st = measure(t, f, &b);
    }
    if (!st && --b.n_wanted > 0) /* wanted_rows takes its copy besides */
        st = measure(t, f, &b);
    if (st) {
        vw_tape_free(t);
        return st;
    }
    *tape = t;
    return VW_OK;
}

uint64_t vw_tape_bytes(const vw_tape *t)
{
    size_t one = aligned((size_t)t->max_tokens * (size_t)t->engine->info->width * sizeof(float));
    size_t n =
        t->n_parts > 1 ? (size_t)t->n_parts + (t->parts[0].first > 0) : 0; /* + the boundary */
    return t->peak + one * n;
}

vw_status vw_tape_allocate(vw_tape *t, vw_error *err)
{
    vw_engine *e = t->engine;
    void *dev = e->device->self;
    size_t entered = place_entered(t, NULL);
    vw_status st = e->dev->alloc(dev, t->peak + ALIGNMENT, &t->saved, err);
    if (!st && t->n_parts > 1)
        st = e->dev->alloc(dev, entered + ALIGNMENT, &t->entered, err);
    if (!st && t->n_parts > 1)
        st = e->dev->alloc(dev, (size_t)t->max_tokens * (size_t)e->info->width * sizeof(float),
                           &t->boundary, err);
    if (!st)
        place_entered(t, t->entered.data);
    return st;
}

void vw_tape_free(vw_tape *t)
{
    if (!t)
        return;
    vw_engine *e = t->engine;
    vw_core *core = e->core;
    void *dev = e->device->self;
    e->dev->free(dev, &t->saved);
    e->dev->free(dev, &t->entered);
    e->dev->free(dev, &t->boundary);
    e->dev->free(dev, &t->queue);
    vw_core_release(core, t->queued);
    vw_core_release(core, t->entries);
    vw_core_release(core, t->tensors);
    vw_core_release(core, t->parts);
    vw_core_release(core, t);
}
