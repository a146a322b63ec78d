/* tape.c - recording and going back; see tape.h for how gradients find their places.
 */
#include "core/tape.h"

#include <string.h>

enum { ALIGNMENT = 256 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ---- lists that grow while measuring and are long enough ever after -------------------------- */

static bool has_room(forward *f, void **list, size_t n, size_t *room, size_t size)
{
    vw_core *core = f->engine->core;
    if (n < *room)
        return true;
    size_t more = *room ? 2 * *room : 64;
    void *grown = vw_core_alloc(core, more * size);
    if (!grown) {
        vw_forward_fail(f, VW_E_NOMEM, "no memory for a tape of %zu entries", more);
        return false;
    }
    if (n)
        memcpy(grown, *list, n * size);
    vw_core_release(core, *list);
    *list = grown;
    *room = more;
    return true;
}

tape_entry *vw_tape_record(forward *f, tape_backward_fn run)
{
    vw_tape *t = f->tape;
    if (!t || f->status ||
        !has_room(f, (void **)&t->entries, t->n_entries, &t->room_entries, sizeof *t->entries))
        return NULL;
    tape_entry *e = &t->entries[t->n_entries++];
    memset(e, 0, sizeof *e);
    e->run = run;
    e->top = f->arena_used;
    return e;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *vw_tape_keep_bytes(forward *f, size_t bytes)
{
    vw_tape *t = f->tape;
    size_t at = t->used;
    t->used += aligned(bytes);
    if (t->used > t->peak)
        t->peak = t->used;
    if (f->mode == CX_MEASURE)
        return (char *)ALIGNMENT + at;
    if (t->used <= t->saved.bytes)
        return (char *)t->saved.data + at;
    vw_forward_fail(f, VW_E_INVALID,
                    "a forward kept more than it did while measuring; it must "
                    "depend on shapes alone");
    return NULL;
}

vw_tensor vw_tape_keep(forward *f, int64_t rows, int64_t cols)
{
    return vw_tensor_2d(vw_tape_keep_bytes(f, (size_t)rows * (size_t)cols * sizeof(float)), VW_F32,
                        rows, cols);
}

vw_tensor vw_tape_copy(forward *f, vw_tensor x)
{
    vw_engine *e = f->engine;
    vw_tensor copy = vw_tape_keep(f, x.shape[0], x.shape[1]);
    if (vw_runs(f))
        vw_check(f, e->dev->copy(e->device->self, e->stream, copy.data, x.data, vw_tensor_bytes(&x),
                                 f->err));
    return copy;
}

void *vw_tape_take(forward *f, size_t bytes, size_t at)
{
    vw_tape *t = f->tape;
    void *data = vw_tape_keep_bytes(f, bytes ? bytes : 1);
    if (!data ||
        !has_room(f, (void **)&t->tensors, t->n_tensors, &t->room_tensors, sizeof *t->tensors))
        return NULL;
    t->tensors[t->n_tensors++] = (tape_tensor){.data = data, .bytes = bytes, .at = at};
    return data;
}

/* The tensor that x is, or is a part of; addresses rise in the order of taking. */
static tape_tensor *find(const vw_tape *t, const vw_tensor *x)
{
    size_t low = 0, high = t->n_tensors;
    const char *data = x->data;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (t->tensors[middle].data <= data)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    tape_tensor *found = &t->tensors[low - 1];
    return data < found->data + found->bytes || data == found->data ? found : NULL;
}

bool vw_tape_needs(const forward *f, const vw_tensor *x)
{
    const tape_tensor *t = f->tape && x->data ? find(f->tape, x) : NULL;
    return t && t->is_needed;
}

void vw_tape_need(forward *f, const vw_tensor *x, bool is_needed)
{
    tape_tensor *t = f->tape && x->data ? find(f->tape, x) : NULL;
    if (t && is_needed)
        t->is_needed = true;
}

/* ---- gradients ------------------------------------------------------------------------------- */

static vw_tensor gradient_view(forward *f, const tape_tensor *t, const vw_tensor *x)
{
    vw_tensor g = *x;
    char *base = t->own                  ? t->own
                 : f->mode == CX_MEASURE ? (char *)ALIGNMENT + t->at
                                         : (char *)f->arena->data + t->at;
    g.data = base + ((const char *)x->data - t->data);
    return g;
}

bool vw_gradient_of(forward *f, const vw_tensor *y, vw_tensor *dy)
{
    const tape_tensor *t = find(f->tape, y);
    if (f->status || !t || !t->has_gradient)
        return false;
    *dy = gradient_view(f, t, y);
    return true;
}

static void zero(forward *f, const tape_tensor *t)
{
    vw_engine *e = f->engine;
    vw_tensor whole = vw_tensor_2d(t->data, VW_F32, 1, (int64_t)(t->bytes / sizeof(float)));
    vw_tensor g = gradient_view(f, t, &whole);
    if (vw_runs(f))
        vw_check(f, e->dev->fill(e->device->self, e->stream, g.data, 0, t->bytes, f->err));
}

vw_tensor vw_gradient_for(forward *f, const vw_tensor *x, bool *is_added)
{
    tape_tensor *t = find(f->tape, x);
    *is_added = false;
    if (!t) {
        vw_forward_fail(f, VW_E_INVALID, "a block asks for the gradient of what no block made");
        return vw_nothing;
    }
    bool is_whole = x->data == t->data && vw_tensor_bytes(x) == t->bytes;
    if (!t->has_gradient && !is_whole)
        zero(f, t);
    *is_added = t->has_gradient || !is_whole;
    t->has_gradient = true;
    return gradient_view(f, t, x);
}

vw_tensor vw_gradient_sum(forward *f, const vw_tensor *x)
{
    tape_tensor *t = find(f->tape, x);
    bool is_added;
    if (t && !t->has_gradient) {
        zero(f, t);
        t->has_gradient = true;
    }
    return vw_gradient_for(f, x, &is_added);
}

vw_tensor vw_gradient_now(forward *f, const vw_tensor *x)
{
    tape_tensor *t = find(f->tape, x);
    if (!t)
        return vw_nothing;
    t->own = vw_tape_keep_bytes(f, t->bytes ? t->bytes : 1);
    t->has_gradient = true;
    return gradient_view(f, t, x);
}

void vw_gradient_pass(forward *f, vw_tensor dy, const vw_tensor *x)
{
    vw_engine *e = f->engine;
    bool is_added;
    if (!vw_tape_needs(f, x))
        return;
    vw_tensor dx = vw_gradient_for(f, x, &is_added);
    if (vw_runs(f) && is_added)
        vw_check(f, e->dev->axpby(e->device->self, e->stream, 1, dy, 1, dx, f->err));
    else if (vw_runs(f))
        vw_check(f, e->dev->copy(e->device->self, e->stream, dx.data, dy.data, vw_tensor_bytes(&dy),
                                 f->err));
}

/* ---- queued weight gradients ----------------------------------------------------------------- */

static void queue_weight(forward *f, vw_param *w, vw_tensor x, vw_tensor dy)
{
    vw_tape *t = f->tape;
    vw_engine *e = f->engine;
    size_t at = t->queue_used, bytes = vw_tensor_bytes(&dy);
    t->queue_used += aligned(bytes);
    if (t->queue_used > t->queue_peak)
        t->queue_peak = t->queue_used;
    if (f->mode == CX_MEASURE) {
        vw_weight_gradient_now(f, w, x, dy); /* its plan */
        return;
    }
    if (!has_room(f, (void **)&t->queued, t->n_queued, &t->room_queued, sizeof *t->queued))
        return;
    vw_tensor kept = vw_tensor_2d((char *)t->queue.data + at, VW_F32, dy.shape[0], dy.shape[1]);
    if (vw_runs(f))
        vw_check(f, e->dev->copy(e->device->self, e->stream, kept.data, dy.data, bytes, f->err));
    t->queued[t->n_queued++] = (tape_queued){w, x, kept};
}

void vw_weight_gradient(forward *f, vw_param *w, vw_tensor x, vw_tensor dy)
{
    if (!vw_is_trained(w))
        return;
    if (f->tape->what == VW_BACKWARD_INPUT && f->tape->n_parts == 1)
        queue_weight(f, w, x, dy);
    else
        vw_weight_gradient_now(f, w, x, dy);
}

void vw_tape_run_queue(forward *f)
{
    vw_tape *t = f->tape;
    for (size_t i = 0; i < t->n_queued && !f->status; i++)
        vw_weight_gradient_now(f, t->queued[i].w, t->queued[i].x, t->queued[i].dy);
    t->n_queued = t->queue_used = 0;
}

/* ---- the ends of a range --------------------------------------------------------------------- */

static void enter_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_tensor dx;
    if (!f->tape->d_in || !vw_gradient_of(f, &e->x, &dx) || !vw_runs(f))
        return;
    vw_check(f, en->dev->copy(en->device->self, en->stream, f->tape->d_in, dx.data,
                              vw_tensor_bytes(&dx), f->err));
}

void vw_tape_enter(forward *f, const vw_tensor *x)
{
    tape_entry *e = vw_tape_record(f, enter_backward);
    if (e) {
        e->x = *x;
        vw_tape_need(f, x, true);
    }
}

static void leave_backward(forward *f, const tape_entry *e)
{
    vw_tensor dy = e->x;
    dy.data = (void *)(uintptr_t)f->tape->d_out;
    vw_gradient_pass(f, dy, &e->x);
}

void vw_tape_leave(forward *f, const vw_tensor *x)
{
    tape_entry *e = vw_tape_needs(f, x) ? vw_tape_record(f, leave_backward) : NULL;
    if (e)
        e->x = *x;
}
