/* nn_match.c - hidden states that should be like a teacher's, seen through a projection.
 *
 * Behind a layer the student's x [T, d] is projected to y = x W^T [T, D], and the mean square of
 * y - h, h being what left the teacher's layer, is part of the loss (FitNets, Romero et al. 2015,
 * equation 3, with a linear regressor).  It happens where a range of layers begins while it is
 * recorded, so that the gradient joins the residual stream's on its way back.
 */
#include "core/tape.h"

/* x, of which kept[0] is a copy from before layers changed it; y[0]: y - h; a: 2 / values, scaled. */
static void match_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    void *dev = en->device->self;
    vw_tensor dy = vw_scratch(f, e->y[0].shape[0], e->y[0].shape[1]);
    if (vw_runs(f))
        vw_check(f, en->dev->copy(dev, en->stream, dy.data, e->y[0].data, vw_tensor_bytes(&dy),
                                  f->err));
    if (vw_runs(f))
        vw_check(f, en->dev->axpby(dev, en->stream, e->a, dy, 0, dy, f->err));
    vw_weight_gradient(f, e->w[0], e->kept[0], dy);
    vw_input_gradient(f, e->w[0], dy, &e->x);
}

/* y - h in the place of y, and its square. */
static void compare(forward *f, vw_tensor y, int32_t border)
{
    vw_engine *e = f->engine;
    void *dev = e->device->self;
    const lesson *l = f->lesson;
    vw_tensor h = y;
    h.data = (void *)(uintptr_t)(l->distil.hidden ? l->distil.hidden[border] : NULL);
    vw_check(f, e->dev->axpby(dev, e->stream, -1, h, 1, y, f->err));
    if (vw_runs(f))
        vw_check(f, e->dev->sum_squares(dev, e->stream, y, l->misses + border, e->workspace.data,
                                        f->err));
}

void vw_block_match(forward *f, vw_tensor x, int32_t border)
{
    vw_engine *e = f->engine;
    vw_param *w = f->lesson->projections[border];
    if (!vw_fits(f, &x, w))
        return;
    product p = {.op = VW_GEMM_FORWARD, .n = 1, .w = {&w->weight}, .name = w->spec->name,
                 .epilogue = VW_GEMM_STORE};
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    tape_entry *t = plan ? vw_tape_record(f, match_backward) : NULL;
    if (!t)
        return;
    vw_tensor y = vw_tape_keep(f, x.shape[0], w->spec->rows);
    t->x = x;
    t->kept[0] = vw_tape_copy(f, x); /* a residual stream goes on changing */
    t->y[0] = y;
    t->w[0] = w;
    t->a = 2 * f->lesson->hidden_scale / ((float)y.shape[0] * (float)y.shape[1]);
    if (f->mode == CX_MEASURE)
        vw_want_workspace(f, e->dev->reduce_bytes(e->device->self, y.shape[0], y.shape[1]));
    if (vw_runs(f))
        vw_multiply(f, plan, x, &w, &y);
    if (vw_runs(f))
        compare(f, y, border);
}
