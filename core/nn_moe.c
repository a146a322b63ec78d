/* nn_moe.c - the mixture of experts: route, line up by expert, multiply, combine; and back.
 *
 * Backward makes anew what is cheap to make, the gathered rows and the activated middle, and keeps
 * the two halves of the middle and what the experts gave.
 */
#include "core/nn_moe.h"

#include "core/expert_cache.h"

#include <math.h>

/* ---- forward --------------------------------------------------------------------------------- */

/* Experts of one layer share the scales of the first: their inputs are rows of one tensor. */
static const vw_param *scales_of(const moe_work *m, int matrix)
{
    return m->experts->params[matrix];
}

static void *keep_bytes(forward *f, size_t bytes)
{
    return f->tape ? vw_tape_keep_bytes(f, bytes) : vw_scratch_bytes(f, bytes);
}

static vw_tensor keep(forward *f, int64_t rows, int64_t cols, vw_dtype dtype)
{
    return vw_tensor_2d(keep_bytes(f, (size_t)rows * (size_t)cols * 4), dtype, rows, cols);
}

static int32_t *keep_ints(forward *f, int64_t n)
{
    return keep_bytes(f, (size_t)n * sizeof(int32_t));
}

static void set_up(forward *f, moe_work *m, const vw_param *bias)
{
    const vw_nn_moe *d = m->desc;
    int32_t k = d->top_k;
    m->tokens = m->x.shape[0];
    m->slots = m->tokens * k;
    m->width = m->x.shape[1];
    m->inner = m->experts->params[0]->spec->rows;
    m->last = m->experts->n;
    m->route = (vw_route_desc){.size = sizeof m->route,
                               .top_k = k,
                               .is_sigmoid = d->is_sigmoid,
                               .is_normalised = d->is_normalised,
                               .n_groups = d->n_groups,
                               .top_groups = d->top_groups,
                               .group_best = d->group_best,
                               .scale = d->scale,
                               .bias = bias ? bias->vector : NULL};
    m->ids = keep(f, m->tokens, k, VW_I32);
    m->weights = keep(f, m->tokens, k, VW_F32);
    m->offsets = keep_ints(f, m->experts->n + 1);
    m->token = keep_ints(f, m->slots);
    m->place = keep_ints(f, m->slots);
}

static int32_t capacity_of(const forward *f, const moe_work *m)
{
    if (!f->lesson || m->desc->capacity <= 0)
        return 0;
    return (int32_t)ceil((double)m->desc->capacity * (double)m->slots / m->experts->n);
}

/* Where slots are counted: in training with the micro-batch, unless this is a replay; in inference
 * for as long as the engine lives. */
static int64_t *counts_of(const forward *f, const moe_work *m)
{
    const lesson *l = f->lesson;
    int64_t *all = l ? l->loads : f->engine->expert_loads.data;
    int32_t stride = l ? l->n_experts : f->engine->widest_experts;
    return l && l->is_replay ? NULL : all + (ptrdiff_t)m->desc->experts * stride;
}

static void route(forward *f, const moe_work *m)
{
    vw_engine *e = f->engine;
    void *dev = e->device->self;
    const lesson *l = f->lesson;
    int32_t n = m->experts->n;
    size_t row = l ? (size_t)m->desc->experts * (size_t)l->n_experts : 0;
    bool is_shared = l && !l->is_replay && m->desc->balance > 0;
    size_t mark = f->arena_used;
    vw_tensor shares = is_shared ? vw_scratch(f, m->tokens, n) : vw_nothing;
    if (f->mode == CX_MEASURE) {
        vw_want_workspace(f, e->dev->reduce_bytes(dev, m->slots, 1));
        vw_want_workspace(f, e->dev->reduce_bytes(dev, m->tokens, n));
    }
    if (vw_runs(f))
        vw_check(f, e->dev->moe_route(dev, e->stream, &m->route, m->logits, m->ids, m->weights,
                                      shares, NULL, f->err));
    if (vw_runs(f))
        vw_check(f,
                 e->dev->moe_sort(dev, e->stream, m->ids, n, capacity_of(f, m), m->offsets,
                                  m->token, m->place, counts_of(f, m), e->workspace.data, f->err));
    if (is_shared && vw_runs(f))
        vw_check(f,
                 e->dev->sum_rows(dev, e->stream, shares, vw_tensor_1d(l->shares + row, VW_F32, n),
                                  e->workspace.data, f->err));
    f->arena_used = mark;
}

static void gather(forward *f, const moe_work *m, vw_tensor to)
{
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->gather(e->device->self, e->stream, m->x, m->token, to, f->err));
}

static void activate(forward *f, const moe_work *m, vw_tensor to)
{
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->gate(e->device->self, e->stream, m->desc->activation, m->gate, m->up,
                                 to, f->err));
}

/* Streamed experts, as they come: all that are missing are on their way while the first are
 * multiplied with. */
static void run_streamed(forward *f, moe_work *m, vw_tensor in)
{
    vw_engine *e = f->engine;
    const vw_experts *x = m->experts;
    vw_tensor half[2] = {m->gate, m->up};
    int32_t n = m->last;
    vw_check(f, e->dev->synchronize(e->device->self, e->stream, f->err));
    if (f->status)
        return;
    vw_expert_cache_want(e->cache, m->desc->experts, m->offsets);
    gather(f, m, in);
    while (vw_runs(f)) {
        vw_check(f, vw_expert_cache_next(e->cache, &m->first, &m->last, f->err));
        if (f->status || m->first == m->last)
            break;
        int64_t row = m->offsets[m->first], rows = m->offsets[m->last] - row;
        vw_tensor gate = vw_tensor_rows(m->gate, row, rows);
        vw_moe_multiply(f, m, scales_of(m, GATE), VW_GEMM_FORWARD, 2, x->gate_up, VW_GEMM_STORE, in,
                        half);
        if (vw_runs(f))
            vw_check(f, e->dev->gate(e->device->self, e->stream, m->desc->activation, gate,
                                     vw_tensor_rows(m->up, row, rows), gate, f->err));
        vw_moe_multiply(f, m, scales_of(m, DOWN), VW_GEMM_FORWARD, 1, x->down, VW_GEMM_STORE, m->gate,
                        &m->rows);
        if (vw_runs(f)) /* their memory may be read into now */
            vw_check(f, e->dev->synchronize(e->device->self, e->stream, f->err));
        vw_expert_cache_release(e->cache, m->first, m->last);
    }
    if (f->status)
        vw_expert_cache_abandon(e->cache);
    m->first = 0;
    m->last = n;
}

/* In training the two halves are kept apart, whether recorded or not: the bits are then the
 * same. */
static void run_experts(forward *f, moe_work *m)
{
    const vw_experts *x = m->experts;
    m->gate = keep(f, m->slots, m->inner, VW_F32);
    m->up = keep(f, m->slots, m->inner, VW_F32);
    m->rows = keep(f, m->slots, m->width, VW_F32);
    size_t mark = f->arena_used;
    vw_tensor in = vw_scratch(f, m->slots, m->width), middle = m->gate;
    vw_tensor half[2] = {m->gate, m->up};
    if (f->engine->cache && vw_runs(f)) {
        run_streamed(f, m, in);
        f->arena_used = mark;
        return;
    }
    gather(f, m, in);
    vw_moe_multiply(f, m, scales_of(m, GATE), VW_GEMM_FORWARD, 2, x->gate_up, VW_GEMM_STORE, in, half);
    vw_moe_adapt(f, m, GATE, in, m->gate);
    vw_moe_adapt(f, m, UP, in, m->up);
    if (f->tape)
        middle = vw_scratch(f, m->slots, m->inner);
    activate(f, m, middle);
    vw_moe_multiply(f, m, scales_of(m, DOWN), VW_GEMM_FORWARD, 1, x->down, VW_GEMM_STORE, middle, &m->rows);
    vw_moe_adapt(f, m, DOWN, middle, m->rows);
    f->arena_used = mark;
}

/* ---- backward -------------------------------------------------------------------------------- */

static moe_work recall(forward *f, const tape_entry *t)
{
    const vw_nn_moe *desc = t->desc;
    const vw_param *bias = t->w[1];
    moe_work m = {.desc = desc,
                  .experts = &f->engine->experts[desc->experts],
                  .last = f->engine->experts[desc->experts].n,
                  .x = t->x,
                  .y = t->y[0],
                  .rows = t->y[1],
                  .logits = t->kept[0],
                  .weights = t->kept[1],
                  .gate = t->kept[2],
                  .up = t->kept[3],
                  .offsets = t->rows[1],
                  .token = t->rows[2],
                  .place = t->rows[3],
                  .stream = t->stream};
    m.tokens = m.x.shape[0];
    m.slots = m.tokens * desc->top_k;
    m.width = m.x.shape[1];
    m.inner = m.gate.shape[1];
    m.ids = vw_tensor_2d(t->rows[0], VW_I32, m.tokens, desc->top_k);
    m.route = (vw_route_desc){.size = sizeof m.route,
                              .top_k = desc->top_k,
                              .is_sigmoid = desc->is_sigmoid,
                              .is_normalised = desc->is_normalised,
                              .n_groups = desc->n_groups,
                              .top_groups = desc->top_groups,
                              .group_best = desc->group_best,
                              .scale = desc->scale,
                              .bias = bias ? bias->vector : NULL};
    return m;
}

static void route_backward(forward *f, const moe_work *m, vw_tensor d_weights)
{
    vw_engine *e = f->engine;
    const lesson *l = f->lesson;
    bool is_added;
    vw_route_losses losses = {.balance = l->router_scale * m->desc->balance * (float)m->experts->n /
                                         (float)m->tokens,
                              .z = l->router_scale * m->desc->z_loss / (float)m->tokens,
                              .load = l->loads + (size_t)m->desc->experts * (size_t)l->n_experts};
    if (!vw_tape_needs(f, &m->logits))
        return;
    vw_tensor d_logits = vw_gradient_for(f, &m->logits, &is_added);
    if (vw_runs(f))
        vw_check(f, e->dev->moe_route_backward(e->device->self, e->stream, &m->route,
                                               losses.balance > 0 || losses.z > 0 ? &losses : NULL, m->logits,
                                               m->ids, d_weights, d_logits, is_added, f->err));
}

/* Gradients by the experts' weights and, if wanted, by what they were given: `slot` [S, D] holds
 * the gradients of what they gave and is then used for that. */
static void experts_backward(forward *f, const moe_work *m, vw_tensor slot)
{
    vw_engine *e = f->engine;
    const vw_experts *x = m->experts;
    vw_tensor middle = vw_scratch(f, m->slots, m->inner),
              d_middle = vw_scratch(f, m->slots, m->inner);
    activate(f, m, middle);
    vw_moe_learn(f, m, scales_of(m, DOWN), x->down, slot, middle, x->d_down);
    vw_moe_multiply(f, m, scales_of(m, DOWN), VW_GEMM_DGRAD, 1, x->down, VW_GEMM_STORE, slot, &d_middle);
    vw_moe_adapt_backward(f, m, DOWN, middle, slot, d_middle);
    if (vw_runs(f))
        vw_check(f, e->dev->gate_backward(e->device->self, e->stream, m->desc->activation, m->gate,
                                          m->up, d_middle, d_middle, middle, f->err));
    bool is_wanted = vw_tape_needs(f, &m->x), adapts = vw_moe_is_adapted(m, GATE) || vw_moe_is_adapted(m, UP);
    vw_tensor in = adapts && is_wanted ? vw_scratch(f, m->slots, m->width) : slot;
    if (x->d_gate[0].data || adapts)
        gather(f, m, in);
    if (x->d_gate[0].data) {
        vw_moe_learn(f, m, scales_of(m, GATE), x->gate, d_middle, in, x->d_gate);
        vw_moe_learn(f, m, scales_of(m, UP), x->up, middle, in, x->d_up);
    }
    if (!is_wanted) {
        vw_moe_adapt_backward(f, m, GATE, in, d_middle, vw_nothing);
        vw_moe_adapt_backward(f, m, UP, in, middle, vw_nothing);
        return;
    }
    vw_moe_multiply(f, m, scales_of(m, GATE), VW_GEMM_DGRAD, 1, x->gate, VW_GEMM_STORE, d_middle, &slot);
    vw_moe_multiply(f, m, scales_of(m, UP), VW_GEMM_DGRAD, 1, x->up, VW_GEMM_ADD, middle, &slot);
    vw_moe_adapt_backward(f, m, GATE, in, d_middle, slot);
    vw_moe_adapt_backward(f, m, UP, in, middle, slot);
}

/* x; kept: logits, weights, gate, up; y: what was added to, the experts' rows; rows: ids, offsets,
 * token, place; w: router, bias; desc: vw_nn_moe. */
static void moe_backward(forward *f, const tape_entry *t)
{
    vw_engine *e = f->engine;
    void *dev = e->device->self;
    moe_work m = recall(f, t);
    vw_tensor dy;
    bool is_added;
    if (!vw_gradient_of(f, &m.y, &dy))
        return;
    vw_tensor slot = vw_scratch(f, m.slots, m.width);
    vw_tensor d_weights = vw_scratch(f, m.tokens, m.desc->top_k);
    if (vw_runs(f))
        vw_check(f, e->dev->moe_combine_backward(dev, e->stream, m.rows, m.place, m.weights, dy,
                                                 slot, d_weights, f->err));
    route_backward(f, &m, d_weights);
    experts_backward(f, &m, slot);
    if (!vw_tape_needs(f, &m.x))
        return;
    vw_tensor dx = vw_gradient_for(f, &m.x, &is_added);
    if (vw_runs(f))
        vw_check(f, e->dev->moe_combine(dev, e->stream, slot, m.place, m.desc->top_k, vw_nothing,
                                        dx, is_added, f->err));
}

static void record(forward *f, const moe_work *m, vw_param *router, vw_param *bias)
{
    bool is_needed = vw_tape_needs(f, &m->x) || vw_is_trained(router) ||
                     m->experts->d_gate[0].data || vw_moe_is_adapted(m, GATE) || vw_moe_is_adapted(m, UP) ||
                     vw_moe_is_adapted(m, DOWN);
    tape_entry *t = is_needed ? vw_tape_record(f, moe_backward) : NULL;
    if (!t)
        return;
    *t = (tape_entry){.run = t->run,
                      .top = t->top,
                      .desc = m->desc,
                      .x = m->x,
                      .y = {m->y, m->rows},
                      .kept = {m->logits, m->weights, m->gate, m->up},
                      .w = {router, bias},
                      .stream = m->stream,
                      .rows = {m->ids.data, m->offsets, m->token, m->place}};
    vw_tape_need(f, &m->y, true);
}

/* ---- the block ------------------------------------------------------------------------------- */

static bool moe_fits(forward *f, const moe_work *m, const vw_param *router, const vw_param *bias)
{
    if (!vw_fits(f, &m->x, router))
        return false;
    if (router->spec->rows == m->experts->n && (!bias || bias->spec->cols == m->experts->n) &&
        m->experts->params[0]->spec->cols == m->x.shape[1])
        return true;
    vw_forward_fail(f, VW_E_INVALID,
                    "%s is [%lld, %lld]; there are %d experts for rows of %lld values",
                    router->spec->name, (long long)router->spec->rows,
                    (long long)router->spec->cols, m->experts->n, (long long)m->x.shape[1]);
    return false;
}

/* m->y = (or +=) the mixture. */
static void mix(vw_cx *cx, moe_work *m, vw_param *router, vw_param *bias, bool is_added)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    vw_block_linear(cx, m->x, 1, &router, &m->logits);
    set_up(f, m, bias);
    if (f->lesson) {
        m->stream = f->lesson->n_dropouts;
        f->lesson->n_dropouts += vw_moe_is_adapted(m, GATE) || vw_moe_is_adapted(m, UP) || vw_moe_is_adapted(m, DOWN) ? 3 : 0;
    }
    route(f, m);
    run_experts(f, m);
    if (vw_runs(f))
        vw_check(f, e->dev->moe_combine(e->device->self, e->stream, m->rows, m->place,
                                        m->desc->top_k, m->weights, m->y, is_added, f->err));
    record(f, m, router, bias);
}

static moe_work work_of(const forward *f, const vw_nn_moe *desc, vw_tensor x)
{
    return (moe_work){.desc = desc, .experts = &f->engine->experts[desc->experts], .x = x};
}

void vw_block_moe(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router, vw_param *bias,
                  vw_tensor y)
{
    forward *f = vw_forward_of(cx);
    if (f->status)
        return;
    moe_work m = work_of(f, desc, x);
    if (!moe_fits(f, &m, router, bias))
        return;
    size_t mark = f->arena_used;
    bool is_dropped = vw_dropout_rate(f, desc->dropout) > 0;
    m.y = is_dropped ? vw_take(f, x.shape[0], x.shape[1]) : y;
    mix(cx, &m, router, bias, !is_dropped);
    if (is_dropped) {
        vw_block_dropout(cx, m.y, desc->dropout);
        vw_block_add(cx, m.y, y);
    }
    f->arena_used = mark;
}

vw_tensor vw_block_mixture(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router,
                           vw_param *bias)
{
    forward *f = vw_forward_of(cx);
    if (f->status)
        return vw_nothing;
    moe_work m = work_of(f, desc, x);
    if (!moe_fits(f, &m, router, bias))
        return vw_nothing;
    m.y = vw_take(f, x.shape[0], x.shape[1]);
    size_t mark = f->arena_used;
    mix(cx, &m, router, bias, false);
    f->arena_used = mark;
    vw_block_dropout(cx, m.y, desc->dropout);
    return f->status ? vw_nothing : m.y;
}
