/* nn_pointwise.c - norm, rotation, sum and dropout, with their backward.
 */
#include "core/tape.h"

/* ---- norm ------------------------------------------------------------------------------------ */

/* A norm over parts of a row (each head) sees the row as several. */
static vw_tensor as_parts(vw_tensor x, int64_t cols)
{
    if (x.shape[1] == cols)
        return x;
    return vw_tensor_2d(x.data, VW_F32, x.shape[0] * (x.shape[1] / cols), cols);
}

/* x: the input; kept[0]: its values then; y[0], w[0]; a: offset, b: eps. */
static void norm_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_param *w = e->w[0];
    int64_t cols = w->spec->cols;
    vw_tensor dy, dx = vw_nothing, dw = vw_tensor_1d(w->gradient, VW_F32, cols);
    bool is_added = false;
    if (!vw_gradient_of(f, &e->y[0], &dy))
        return;
    bool has_input = vw_tape_needs(f, &e->x);
    if (has_input)
        dx = vw_gradient_for(f, &e->x, &is_added);
    else /* only the weight's is wanted; the other goes where dy was */
        dx = dy;
    vw_tensor x = as_parts(e->kept[0], cols);
    if (f->mode == CX_MEASURE)
        vw_want_workspace(f, en->dev->reduce_bytes(en->device->self, x.shape[0], cols));
    if (vw_runs(f))
        vw_check(f, en->dev->rms_norm_backward(en->device->self, en->stream, x,
                                               vw_tensor_1d(w->vector, VW_F32, cols), e->a, e->b,
                                               as_parts(dy, cols), as_parts(dx, cols), is_added, dw,
                                               en->workspace.data, f->err));
}

vw_tensor vw_block_rms_norm(vw_cx *cx, vw_tensor x, vw_param *w, float offset, float eps)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return vw_nothing;
    if (!w || w->spec->rows != 0 || x.shape[1] % w->spec->cols) {
        vw_forward_fail(f, VW_E_INVALID, "%s cannot norm rows of %lld values",
                        w ? w->spec->name : "a missing parameter", (long long)x.shape[1]);
        return vw_nothing;
    }
    int64_t cols = w->spec->cols;
    vw_tensor y = vw_take(f, x.shape[0], x.shape[1]);
    if (vw_runs(f))
        vw_check(f, e->dev->rms_norm(e->device->self, e->stream, as_parts(x, cols), vw_nothing,
                                     vw_tensor_1d(w->vector, VW_F32, cols), offset, eps,
                                     as_parts(y, cols), f->err));
    bool is_needed = vw_is_trained(w) || vw_tape_needs(f, &x);
    tape_entry *t = is_needed ? vw_tape_record(f, norm_backward) : NULL;
    if (t) {
        t->x = x;
        t->kept[0] = vw_tape_copy(f, x); /* a residual stream goes on changing */
        t->y[0] = y;
        t->w[0] = w;
        t->a = offset;
        t->b = eps;
        vw_tape_need(f, &y, true);
    }
    return y;
}

/* ---- y += x ---------------------------------------------------------------------------------- */

static void add_backward(forward *f, const tape_entry *e)
{
    vw_tensor dy;
    if (vw_gradient_of(f, &e->y[0], &dy))
        vw_gradient_pass(f, dy, &e->x);
}

void vw_block_add(vw_cx *cx, vw_tensor x, vw_tensor y)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->axpby(e->device->self, e->stream, 1, x, 1, y, f->err));
    tape_entry *t = vw_tape_needs(f, &x) ? vw_tape_record(f, add_backward) : NULL;
    if (t) {
        t->x = x;
        t->y[0] = y;
        vw_tape_need(f, &y, true);
    }
}

/* ---- rotation -------------------------------------------------------------------------------- */

static vw_rope_desc rope_desc(const vw_tensor *x, const vw_nn_rope *r, const float *inv_freq)
{
    return (vw_rope_desc){
        r->pairing, (int32_t)(x->shape[1] / r->head_dim), r->head_dim, r->first, r->dims, inv_freq,
        r->scale};
}

/* y[0]: the rotated tensor; desc: vw_nn_rope. */
static void rope_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    const vw_nn_rope *r = e->desc;
    vw_tensor dy;
    if (!vw_gradient_of(f, &e->y[0], &dy))
        return;
    const float *inv_freq = vw_plan_rope(f, r->inv_freq, r->dims / 2);
    vw_rope_desc desc = rope_desc(&dy, r, inv_freq);
    if (vw_runs(f))
        vw_check(f, en->dev->rope_backward(en->device->self, en->stream, dy, f->batch->positions,
                                           &desc, f->err));
}

void vw_block_rope(vw_cx *cx, vw_tensor x, const vw_nn_rope *r)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return;
    if (x.shape[1] % r->head_dim || r->first + r->dims > r->head_dim) {
        vw_forward_fail(f, VW_E_INVALID,
                        "a rotation of %d of %d values cannot be applied to rows "
                        "of %lld",
                        r->dims, r->head_dim, (long long)x.shape[1]);
        return;
    }
    const float *inv_freq = vw_plan_rope(f, r->inv_freq, r->dims / 2);
    vw_rope_desc desc = rope_desc(&x, r, inv_freq);
    if (vw_runs(f))
        vw_check(f,
                 e->dev->rope(e->device->self, e->stream, x, f->batch->positions, &desc, f->err));
    tape_entry *t = vw_tape_needs(f, &x) ? vw_tape_record(f, rope_backward) : NULL;
    if (t) {
        t->y[0] = x;
        t->desc = r;
    }
}

/* ---- dropout --------------------------------------------------------------------------------- */

float vw_dropout_rate(const forward *f, float rate)
{
    if (!f->lesson || !f->lesson->drops)
        return 0;
    return f->lesson->dropout >= 0 ? f->lesson->dropout : rate;
}

/* x: the input, or none where it was changed in place; y[0]: the output; a: rate; stream. */
static void dropout_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_tensor dy;
    if (!vw_gradient_of(f, &e->y[0], &dy))
        return;
    if (vw_runs(f))
        vw_check(f, en->dev->dropout(en->device->self, en->stream, e->a, f->lesson->seed, e->stream,
                                     dy, dy, f->err));
    if (e->x.data)
        vw_gradient_pass(f, dy, &e->x);
}

static void drop(forward *f, vw_tensor x, float rate, vw_tensor y)
{
    vw_engine *e = f->engine;
    uint64_t stream = f->lesson->n_dropouts++;
    if (vw_runs(f))
        vw_check(f, e->dev->dropout(e->device->self, e->stream, rate, f->lesson->seed, stream, x, y,
                                    f->err));
    tape_entry *t = vw_tape_needs(f, &x) ? vw_tape_record(f, dropout_backward) : NULL;
    if (t) {
        t->x = x.data == y.data ? vw_nothing : x;
        t->y[0] = y;
        t->a = rate;
        t->stream = stream;
        vw_tape_need(f, &y, true);
    }
}

void vw_block_dropout(vw_cx *cx, vw_tensor x, float rate)
{
    forward *f = vw_forward_of(cx);
    rate = vw_dropout_rate(f, rate);
    if (!f->status && rate > 0)
        drop(f, x, rate, x);
}

vw_tensor vw_block_dropped(forward *f, vw_tensor x, float rate)
{
    if (f->status)
        return vw_nothing;
    vw_tensor y = vw_take(f, x.shape[0], x.shape[1]);
    drop(f, x, rate, y);
    return y;
}
