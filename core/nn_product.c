/* nn_product.c - the blocks that multiply with weights, and the gradients of products.
 *
 * A parameter may carry an adapter (lora.c): what it adds is made of the same blocks, so that it is
 * recorded, differentiated and run in inference without a line of its own.
 *
 * Letters: T tokens, N outputs, K inputs, F width of an MLP.
 */
#include "core/tape.h"

static product product_of(vw_gemm_op op, vw_param *const *w, int32_t n, vw_gemm_epilogue epilogue)
{
    product p = {.op = op,
                 .n = n,
                 .name = w[0]->spec->name,
                 .epilogue = epilogue,
                 .is_exact = w[0]->spec->is_exact};
    for (int32_t i = 0; i < n; i++)
        p.w[i] = &w[i]->weight;
    return p;
}

void vw_multiply(forward *f, const gemm_plan *p, vw_tensor x, vw_param *const *w,
                 const vw_tensor *y)
{
    const vw_gemm_weight *weights[VW_GEMM_MAX_WEIGHTS];
    vw_engine *e = f->engine;
    for (int i = 0; i < p->plan.problem.n_weights; i++)
        weights[i] = &w[i]->weight;
    vw_check(f, e->mm->run(e->gemm->self, &p->plan, e->stream, x, weights, y, e->workspace.data,
                           f->err));
}

vw_tensor vw_scaled(forward *f, const vw_param *w, vw_operand which, vw_tensor x)
{
    vw_engine *e = f->engine;
    if (!f->lesson || !w->scaling || f->status)
        return x;
    vw_tensor y = vw_scratch(f, x.shape[0], x.shape[1]);
    if (vw_runs(f))
        vw_check(f, e->dev->round_e4m3(e->device->self, e->stream, x, w->scaling + 2 * which,
                                       f->lesson->is_recorded, y, f->err));
    return y;
}

/* ---- gradients of a product ------------------------------------------------------------------ */

void vw_input_gradient(forward *f, vw_param *w, vw_tensor dy, const vw_tensor *x)
{
    bool is_added;
    if (!vw_tape_needs(f, x))
        return;
    vw_tensor dx = vw_gradient_for(f, x, &is_added);
    product p = product_of(VW_GEMM_DGRAD, &w, 1, is_added ? VW_GEMM_ADD : VW_GEMM_STORE);
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    size_t mark = f->arena_used;
    dy = vw_scaled(f, w, VW_OPERAND_GRADIENT, dy);
    if (plan && vw_runs(f))
        vw_multiply(f, plan, dy, &w, &dx);
    f->arena_used = mark;
}

void vw_weight_gradient_now(forward *f, vw_param *w, vw_tensor x, vw_tensor dy)
{
    vw_engine *e = f->engine;
    vw_tensor dw = vw_tensor_2d(w->gradient, VW_F32, w->spec->rows, w->spec->cols);
    product p = product_of(VW_GEMM_WGRAD, &w, 1, VW_GEMM_ADD);
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    size_t mark = f->arena_used;
    x = vw_scaled(f, w, VW_OPERAND_INPUT, x);
    dy = vw_scaled(f, w, VW_OPERAND_GRADIENT, dy);
    if (plan && vw_runs(f))
        vw_check(f, e->mm->run_wgrad(e->gemm->self, &plan->plan, e->stream, dy, x, dw,
                                     e->workspace.data, f->err));
    f->arena_used = mark;
}

/* ---- y = x W^T, several W -------------------------------------------------------------------- */

static void product_backward(forward *f, const tape_entry *e)
{
    for (int32_t i = 0; i < e->n; i++) {
        vw_tensor dy;
        if (!vw_gradient_of(f, &e->y[i], &dy))
            continue;
        vw_weight_gradient(f, e->w[i], e->x, dy);
        vw_input_gradient(f, e->w[i], dy, &e->x);
    }
}

static bool any_trained(vw_param *const *w, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (vw_is_trained(w[i]))
            return true;
    return false;
}

static void record_product(forward *f, vw_tensor x, int32_t n, vw_param *const *w,
                           const vw_tensor *y)
{
    if (!any_trained(w, n) && !vw_tape_needs(f, &x))
        return;
    tape_entry *t = vw_tape_record(f, product_backward);
    if (!t)
        return;
    t->x = x;
    t->n = n;
    for (int32_t i = 0; i < n; i++) {
        t->w[i] = w[i];
        t->y[i] = y[i];
        vw_tape_need(f, &y[i], vw_is_trained(w[i]) || vw_tape_needs(f, &x));
    }
}

/* ---- adapters -------------------------------------------------------------------------------- */

/* y[0] was multiplied by a. */
static void scale_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_tensor dy;
    if (vw_gradient_of(f, &e->y[0], &dy) && vw_runs(f))
        vw_check(f, en->dev->axpby(en->device->self, en->stream, e->a, dy, 0, dy, f->err));
}

static void scale(forward *f, vw_tensor x, float a)
{
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->axpby(e->device->self, e->stream, a, x, 0, x, f->err));
    tape_entry *t = vw_tape_needs(f, &x) ? vw_tape_record(f, scale_backward) : NULL;
    if (t) {
        t->y[0] = x;
        t->a = a;
    }
}

void vw_block_adapt_rows(forward *f, vw_tensor low, const vw_adapter *a, float factor, vw_tensor y)
{
    scale(f, low, factor * a->scale);
    vw_block_linear_add(&f->cx, low, a->up, y);
}

vw_tensor vw_block_adapter_low(forward *f, vw_tensor x, const vw_adapter *a, float factor)
{
    vw_tensor low = vw_nothing;
    if (f->lesson && f->lesson->drops && a->dropout > 0)
        x = vw_block_dropped(f, x, a->dropout);
    vw_block_linear(&f->cx, x, 1, &a->down, &low);
    if (!f->status)
        scale(f, low, factor * a->scale);
    return low;
}

/* y += scale B A dropout(x). */
static void adapt(forward *f, vw_tensor x, const vw_param *w, vw_tensor y)
{
    const vw_adapter *a = w ? w->adapter : NULL;
    if (!a || f->status)
        return;
    vw_tensor low = vw_block_adapter_low(f, x, a, 1);
    vw_block_linear_add(&f->cx, low, a->up, y);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

void vw_block_linear(vw_cx *cx, vw_tensor x, int32_t n, vw_param *const *w, vw_tensor *y)
{
    forward *f = vw_forward_of(cx);
    for (int32_t i = 0; i < n; i++)
        y[i] = vw_nothing;
    if (n < 1 || n > VW_GEMM_MAX_WEIGHTS)
        vw_forward_fail(f, VW_E_INVALID, "linear takes 1 to %d weights, not %d",
                        VW_GEMM_MAX_WEIGHTS, n);
    for (int32_t i = 0; i < n; i++)
        if (!vw_fits(f, &x, w[i]))
            return;
    product p = product_of(VW_GEMM_FORWARD, w, n, VW_GEMM_STORE);
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    for (int32_t i = 0; i < n && plan; i++)
        y[i] = vw_take(f, x.shape[0], w[i]->spec->rows);
    size_t mark = f->arena_used;
    vw_tensor in = vw_scaled(f, w[0], VW_OPERAND_INPUT, x);
    if (plan && vw_runs(f))
        vw_multiply(f, plan, in, w, y);
    f->arena_used = mark;
    record_product(f, x, n, w, y);
    for (int32_t i = 0; i < n; i++)
        adapt(f, x, w[i], y[i]);
}

void vw_block_linear_add(vw_cx *cx, vw_tensor x, vw_param *w, vw_tensor y)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (!vw_fits(f, &x, w))
        return;
    product p = product_of(VW_GEMM_FORWARD, &w, 1, VW_GEMM_ADD);
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    if (!plan)
        return;
    size_t mark = f->arena_used;
    vw_tensor sum = plan->is_composed ? vw_scratch(f, x.shape[0], w->spec->rows) : y;
    vw_tensor in = vw_scaled(f, w, VW_OPERAND_INPUT, x);
    if (vw_runs(f))
        vw_multiply(f, plan, in, &w, &sum);
    if (plan->is_composed && vw_runs(f))
        vw_check(f, e->dev->axpby(e->device->self, e->stream, 1, sum, 1, y, f->err));
    f->arena_used = mark;
    record_product(f, x, 1, &w, &y);
    adapt(f, x, w, y);
}

void vw_block_linear_drop_add(vw_cx *cx, vw_tensor x, vw_param *w, float rate, vw_tensor y)
{
    forward *f = vw_forward_of(cx);
    vw_tensor out;
    if (vw_dropout_rate(f, rate) <= 0) {
        vw_block_linear_add(cx, x, w, y);
        return;
    }
    vw_block_linear(cx, x, 1, &w, &out);
    vw_block_dropout(cx, out, rate);
    vw_block_add(cx, out, y);
}

/* ---- the gated MLP's first half -------------------------------------------------------------- */

/* x: act's side; kept[0]: the other; y[0]: the product. */
static void gate_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_tensor dy;
    bool is_added; /* nothing else reads the two */
    if (!vw_gradient_of(f, &e->y[0], &dy))
        return;
    vw_tensor d_gate = vw_gradient_for(f, &e->x, &is_added);
    vw_tensor d_up = vw_gradient_for(f, &e->kept[0], &is_added);
    if (vw_runs(f))
        vw_check(f, en->dev->gate_backward(en->device->self, en->stream, (vw_activation)e->n, e->x,
                                           e->kept[0], dy, d_gate, d_up, f->err));
}

/* Both halves are kept, for backward; what is computed does not depend on whether it is
 * recorded. */
static vw_tensor gated_in_steps(forward *f, vw_tensor x, vw_param *const *w, vw_activation act)
{
    vw_engine *e = f->engine;
    vw_tensor half[2];
    vw_tensor y = vw_take(f, x.shape[0], w[0]->spec->rows);
    vw_block_linear(&f->cx, x, 2, w, half);
    if (vw_runs(f))
        vw_check(f, e->dev->gate(e->device->self, e->stream, act, half[0], half[1], y, f->err));
    bool is_needed = vw_tape_needs(f, &half[0]) || vw_tape_needs(f, &half[1]);
    tape_entry *t = is_needed ? vw_tape_record(f, gate_backward) : NULL;
    if (t) {
        t->x = half[0];
        t->kept[0] = half[1];
        t->y[0] = y;
        t->n = (int32_t)act;
        vw_tape_need(f, &y, true);
        vw_tape_need(f, &half[0], true);
        vw_tape_need(f, &half[1], true);
    }
    return f->status ? vw_nothing : y;
}

vw_tensor vw_block_gated(vw_cx *cx, vw_tensor x, vw_param *gate, vw_param *up, vw_activation act)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    vw_param *w[2] = {gate, up};
    if (!vw_fits(f, &x, gate) || !vw_fits(f, &x, up))
        return vw_nothing;
    if (f->lesson || gate->adapter || up->adapter)
        return gated_in_steps(f, x, w, act);
    product p = product_of(VW_GEMM_FORWARD, w, 2, VW_GEMM_GATED);
    p.activation = act;
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    if (!plan)
        return vw_nothing;
    vw_tensor y[2] = {vw_take(f, x.shape[0], gate->spec->rows), vw_nothing};
    size_t mark = f->arena_used;
    if (plan->is_composed)
        y[1] = vw_scratch(f, x.shape[0], up->spec->rows);
    if (vw_runs(f))
        vw_multiply(f, plan, x, w, y);
    if (plan->is_composed && vw_runs(f))
        vw_check(f, e->dev->gate(e->device->self, e->stream, act, y[0], y[1], y[0], f->err));
    f->arena_used = mark;
    return f->status ? vw_nothing : y[0];
}
