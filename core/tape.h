/* tape.h - what a forward leaves for its backward.
 *
 * A tape belongs to one range of layers and one micro-batch; many are alive at once.  It owns the
 * results that blocks took while it recorded and a list of entries, one for each thing a block did;
 * backward runs the entries from the last to the first.
 *
 * Gradients lie in the scratch arena of whoever runs the backward, each where its tensor would have
 * lain in a forward that does not record; so a layer's gradients take the place of the next
 * layer's. A tensor is known by its address.  What changes in place in a forward (a residual
 * stream, a rotation) changes its gradient in place on the way back, with no bookkeeping: an entry
 * finds the gradient of what its block left, and leaves the gradient of what it found.
 *
 * Weight gradients are added to the parameter's at once, or, with VW_BACKWARD_INPUT, queued: the
 * queue keeps a copy of the output's gradient (the place it lay in will be used again) until
 * VW_BACKWARD_WEIGHT.  Gradients of vectors and of the head are never queued: they are made along
 * with the input's.
 *
 * Recomputation is a mark on a range of layers: the tape keeps what enters it, and records it again
 * when backward gets there.  Kernels and random numbers are the same, so gradients are the same
 * bits.
 */
#ifndef VW_CORE_TAPE_H
#define VW_CORE_TAPE_H

#include "core/forward.h"

typedef enum vw_backward {
    VW_BACKWARD_INPUT = 1,
    VW_BACKWARD_WEIGHT = 2,
    VW_BACKWARD_BOTH = 3
} vw_backward;

typedef struct tape_tensor {
    char *data;
    size_t bytes, at;  /* where its gradient lies in the arena */
    void *own;         /* or here */
    bool is_needed;    /* does anything trained depend on its gradient? */
    bool has_gradient; /* written in this backward */
} tape_tensor;

typedef struct tape_entry tape_entry;
typedef void (*tape_backward_fn)(forward *f, const tape_entry *e);

/* One thing that a block did; each block uses the fields as its own comment says. */
struct tape_entry {
    tape_backward_fn run;
    size_t top; /* scratch beyond this is free in its backward */
    int32_t n;
    vw_tensor x, y[VW_GEMM_MAX_WEIGHTS], kept[4];
    vw_param *w[VW_GEMM_MAX_WEIGHTS];
    const void *desc;
    float a, b;
    uint64_t stream;
    int32_t *rows[4];
    const char *name; /* of its span in a profile, and its bytes; NULL: none */
    uint64_t bytes;
};

/* A range of layers that is recorded as one. */
typedef struct tape_part {
    int32_t first, last;
    void *entered;       /* device [T, d]: what came in, for the replay; NULL at layer 0 */
    uint64_t n_dropouts; /* before it, so that the replay drops the same */
} tape_part;

typedef struct tape_queued {
    vw_param *w;
    vw_tensor x, dy;
} tape_queued;

struct vw_tape {
    vw_engine *engine;
    tape_part *parts;
    int32_t n_parts;
    int64_t max_tokens, n_tokens;
    vw_buffer entered;  /* of all parts but the first */
    vw_buffer boundary; /* gradient between parts */

    vw_buffer saved; /* of the part that is recorded */
    size_t used, peak;
    tape_tensor *tensors;
    size_t n_tensors, room_tensors;
    tape_entry *entries;
    size_t n_entries, room_entries;

    vw_backward what;  /* of the backward in progress, */
    const void *d_out; /* what enters it and what it leaves, of the part in progress */
    void *d_in;
    vw_buffer queue;
    size_t queue_used, queue_peak;
    tape_queued *queued;
    size_t n_queued, room_queued;
};

/* ---- for the blocks; `f` records ------------------------------------------------------------- */

/* A new entry, zeroed; NULL when memory is out (f->status says so). */
tape_entry *vw_tape_record(forward *f, tape_backward_fn run);

/* Memory that lives as long as the recording; no gradient belongs to it. */
void *vw_tape_keep_bytes(forward *f, size_t bytes);
vw_tensor vw_tape_keep(forward *f, int64_t rows, int64_t cols);
/* A copy of x as it is now. */
vw_tensor vw_tape_copy(forward *f, vw_tensor x);

/* A tensor of vw_take(); called by it. */
void *vw_tape_take(forward *f, size_t bytes, size_t at);

/* The ends of a range of layers: x came in, x goes out. */
void vw_tape_enter(forward *f, const vw_tensor *x);
void vw_tape_leave(forward *f, const vw_tensor *x);

/* Does something trained depend on x's gradient?  And: it does, if `is_needed`. */
bool vw_tape_needs(const forward *f, const vw_tensor *x);
void vw_tape_need(forward *f, const vw_tensor *x, bool is_needed);
static inline bool vw_is_trained(const vw_param *w)
{
    return w && w->gradient;
}

/* ---- for the backward of a block ------------------------------------------------------------- */

/* The gradient of y, if anything has left one; false: there is nothing to do. */
bool vw_gradient_of(forward *f, const vw_tensor *y, vw_tensor *dy);

/* Where to put the gradient of x: add to it if *is_added, else write all of it. */
vw_tensor vw_gradient_for(forward *f, const vw_tensor *x, bool *is_added);
/* The same where only adding is possible: zeroed first if need be. */
vw_tensor vw_gradient_sum(forward *f, const vw_tensor *x);

/* x's gradient gets dy, a whole gradient of x's shape that lies elsewhere. */
void vw_gradient_pass(forward *f, vw_tensor dy, const vw_tensor *x);

/* While recording: x's gradient is made at once, in memory of its own. */
vw_tensor vw_gradient_now(forward *f, const vw_tensor *x);

/* dW += dy^T x, now or queued; and at once. */
void vw_weight_gradient(forward *f, vw_param *w, vw_tensor x, vw_tensor dy);
void vw_weight_gradient_now(forward *f, vw_param *w, vw_tensor x, vw_tensor dy);
/* All that is queued. */
void vw_tape_run_queue(forward *f);
/* dx (+)= dy W, if anything needs it. */
void vw_input_gradient(forward *f, vw_param *w, vw_tensor dy, const vw_tensor *x);

/* nn_profile.c: run an entry within its span. */
void vw_profile_entry(forward *f, const tape_entry *e);

/* ---- for whoever trains ---------------------------------------------------------------------- */

/* A tape for layers [first, last) in parts of `part_layers` (0: one part).  Measures with `f`,
 * whose batch, lesson and max_tokens say what it is for: plans are made, f->arena_peak is raised
 * to what forward and backward want.  Parts before the last are replayed in backward; with more
 * than one part nothing is queued. */
vw_status vw_tape_new(forward *f, int32_t first, int32_t last, int32_t part_layers, vw_tape **tape);
/* Get the memory that measuring found to be needed. */
vw_status vw_tape_allocate(vw_tape *tape, vw_error *err);
void vw_tape_free(vw_tape *tape);
/* Device bytes for saved activations, as measured. */
uint64_t vw_tape_bytes(const vw_tape *tape);

/* Forward over the tape's layers, recorded.  `in`: device [T, d] that enters, NULL at layer 0;
 * `out`: gets what leaves, NULL after the head. */
vw_status vw_tape_forward(vw_tape *tape, forward *f, void *in, void *out);
/* Backward.  d_out: gradient of what left, NULL after the head; d_in: gets that of what entered,
 * NULL at layer 0. */
vw_status vw_tape_backward(vw_tape *tape, forward *f, vw_backward what, const void *d_out,
                           void *d_in);

#endif
