/* nn_heads.c - blocks that see a row as heads: parts put side by side, and products a head at a time.
 *
 * Latent attention is made of these.  Both take views with rows apart, so that nothing is copied but
 * what has to lie side by side; both are for inference alone.
 *
 * Letters: T tokens, H heads.
 */
#include "core/tape.h"

enum { MAX_HEADS = 4096 };

static bool is_inference(forward *f, const char *what)
{
    if (f->status)
        return false;
    if (!f->lesson)
        return true;
    vw_forward_fail(f, VW_E_UNSUPPORTED,
                    "%s has no gradient: a model with latent attention can be run, not trained",
                    what);
    return false;
}

/* ---- join ------------------------------------------------------------------------------------ */

static bool part_fits(forward *f, const vw_nn_part *p, int32_t heads, int64_t tokens)
{
    int64_t cols = p->x.n_dims == 2 ? p->x.shape[1] : 0;
    bool is_shared = p->heads == 1;
    if (cols > 0 && p->x.shape[0] == tokens && (is_shared || p->heads == heads) &&
        cols % p->heads == 0 && p->first >= 0 && p->n > 0 && p->first + p->n <= cols / p->heads &&
        (is_shared || p->x.stride[0] == cols))
        return true;
    vw_forward_fail(f, VW_E_INVALID,
                    "columns %d to %d of each of %d heads cannot be taken from rows of %lld values",
                    p->first, p->first + p->n, p->heads, (long long)cols);
    return false;
}

/* Rows of one head after the other: [T, H w] seen as [T H, w]. */
static vw_tensor head_rows(vw_tensor x, int32_t heads)
{
    return vw_tensor_2d(x.data, VW_F32, x.shape[0] * heads, x.shape[1] / heads);
}

static void copy_part(forward *f, const vw_nn_part *p, int32_t heads, vw_tensor y, int32_t at)
{
    vw_engine *e = f->engine;
    int64_t width = y.shape[1] / heads;
    if (p->heads == heads) {
        vw_tensor from = p->heads == 1 ? p->x : head_rows(p->x, heads);
        vw_check(f, e->dev->axpby(e->device->self, e->stream, 1,
                                  vw_tensor_cols(from, p->first, p->n), 0,
                                  vw_tensor_cols(head_rows(y, heads), at, p->n), f->err));
        return;
    }
    for (int32_t h = 0; h < heads && vw_runs(f); h++)
        vw_check(f, e->dev->axpby(e->device->self, e->stream, 1,
                                  vw_tensor_cols(p->x, p->first, p->n), 0,
                                  vw_tensor_cols(y, h * width + at, p->n), f->err));
}

vw_tensor vw_block_join(vw_cx *cx, int32_t heads, int32_t n_parts, const vw_nn_part *parts)
{
    forward *f = vw_forward_of(cx);
    int32_t width = 0, at = 0;
    if (!is_inference(f, "join"))
        return vw_nothing;
    for (int32_t i = 0; i < n_parts; i++) {
        if (!part_fits(f, &parts[i], heads, parts[0].x.shape[0]))
            return vw_nothing;
        width += parts[i].n;
    }
    vw_tensor y = vw_take(f, parts[0].x.shape[0], (int64_t)heads * width);
    for (int32_t i = 0; i < n_parts && vw_runs(f); i++) {
        copy_part(f, &parts[i], heads, y, at);
        at += parts[i].n;
    }
    return y;
}

/* ---- a product a head ------------------------------------------------------------------------ */

/* Head h of x [T, heads * step], its first `in` values, times w[h]: one token's heads are the rows of
 * a grouped product, more tokens a product a head. */
static void multiply_heads(forward *f, const gemm_plan *plan, vw_tensor x, int32_t heads,
                           const vw_gemm_weight *const *w, vw_tensor y)
{
    vw_engine *e = f->engine;
    int64_t in = w[0]->stored.cols, out = w[0]->stored.rows, step = x.shape[1] / heads;
    if (x.shape[0] == 1) {
        vw_groups one_each = {VW_GROUP_OFFSETS, heads, e->counting.data};
        vw_tensor to = head_rows(y, heads);
        vw_status st = e->mm->run_grouped(e->gemm->self, &plan->plan, e->stream,
                                          vw_tensor_cols(head_rows(x, heads), 0, in), w, &one_each,
                                          &to, e->workspace.data, f->err);
        if (st != VW_E_UNSUPPORTED) {
            vw_check(f, st);
            return;
        }
    }
    for (int64_t h = 0; h < heads && vw_runs(f); h++) {
        vw_tensor to = vw_tensor_cols(y, h * out, out);
        vw_check(f, e->mm->run(e->gemm->self, &plan->plan, e->stream,
                               vw_tensor_cols(x, h * step, in), w + h, &to, e->workspace.data,
                               f->err));
    }
}

vw_tensor vw_block_each_head(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w)
{
    forward *f = vw_forward_of(cx);
    const vw_gemm_weight *weights[MAX_HEADS];
    if (!is_inference(f, "a product a head"))
        return vw_nothing;
    const vw_param_spec *s = w[0]->spec;
    if (heads > MAX_HEADS || x.shape[1] % heads || x.shape[1] / heads < s->cols) {
        vw_forward_fail(f, VW_E_INVALID, "%s takes %lld values of each of %d heads; rows have %lld",
                        s->name, (long long)s->cols, heads, (long long)x.shape[1]);
        return vw_nothing;
    }
    for (int32_t h = 0; h < heads; h++)
        weights[h] = &w[h]->weight;
    product p = {.op = VW_GEMM_FORWARD, .n = 1, .w = {weights[0]}, .name = s->name,
                 .max_m = f->max_tokens > heads ? f->max_tokens : heads};
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    vw_tensor y = plan ? vw_take(f, x.shape[0], heads * s->rows) : vw_nothing;
    if (plan && vw_runs(f))
        multiply_heads(f, plan, x, heads, weights, y);
    return y;
}

/* The values of a head's matrix as f32, run in place with its rows as inputs. */
static vw_gemm_weight turned(const vw_engine *e, const vw_param_spec *s, size_t *pack_bytes)
{
    vw_gemm_weight w = {.stored = {.dtype = VW_F32, .layout = VW_IN_OUT, .rows = s ? s->rows : 64,
                                   .cols = s ? s->cols : 64, .row_stride = s ? s->cols : 64}};
    if (e->mm->pack_size(e->gemm->self, &w.stored, w.format, pack_bytes, &w.layout, NULL))
        *pack_bytes = 1;
    return w;
}

bool vw_heads_turn(const vw_engine *e)
{
    size_t pack_bytes = 0;
    turned(e, NULL, &pack_bytes);
    return pack_bytes == 0;
}

/* Plans point at their weights, so the one that these are for outlives the forward. */
static const vw_gemm_weight *turned_shape(forward *f, const vw_param_spec *s)
{
    vw_gemm_weight *w = &f->engine->turned;
    size_t pack_bytes;
    if (!w->stored.rows)
        *w = turned(f->engine, s, &pack_bytes);
    if (w->stored.rows != s->rows || w->stored.cols != s->cols)
        vw_forward_fail(f, VW_E_UNSUPPORTED, "%s is [%lld, %lld], heads of another layer [%lld, %lld]",
                        s->name, (long long)s->rows, (long long)s->cols, (long long)w->stored.rows,
                        (long long)w->stored.cols);
    return w;
}

static void run_turned(forward *f, const gemm_plan *plan, float *values, const vw_param *from,
                       vw_tensor x, vw_tensor to)
{
    vw_engine *e = f->engine;
    vw_gemm_weight exact = e->turned;
    const vw_gemm_weight *weight = &exact;
    const vw_param_spec *s = from->spec;
    exact.stored.data = values;
    vw_check(f, e->mm->gather(e->gemm->self, e->stream, &from->weight, e->counting.data, 1,
                              vw_tensor_2d(values, VW_F32, s->rows, s->cols), f->err));
    if (vw_runs(f))
        vw_check(f, e->mm->run(e->gemm->self, &plan->plan, e->stream, x, &weight, &to,
                               e->workspace.data, f->err));
}

vw_tensor vw_block_heads_of(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w,
                            int32_t is_turned)
{
    forward *f = vw_forward_of(cx);
    const vw_param_spec *s = w[0]->spec;
    if (!is_inference(f, "a product a head"))
        return vw_nothing;
    if (x.shape[1] != (is_turned ? s->rows : s->cols)) {
        vw_forward_fail(f, VW_E_INVALID, "%s is [%lld, %lld] for rows of %lld values", s->name,
                        (long long)s->rows, (long long)s->cols, (long long)x.shape[1]);
        return vw_nothing;
    }
    int64_t out = is_turned ? s->cols : s->rows;
    product p = {.op = VW_GEMM_FORWARD, .n = 1, .w = {is_turned ? turned_shape(f, s) : &w[0]->weight},
                 .name = s->name};
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    vw_tensor y = plan ? vw_take(f, x.shape[0], heads * out) : vw_nothing;
    size_t mark = f->arena_used;
    float *values = is_turned && plan ? vw_scratch(f, s->rows, s->cols).data : NULL;
    for (int64_t h = 0; plan && h < heads && vw_runs(f); h++) {
        vw_tensor to = vw_tensor_cols(y, h * out, out);
        if (is_turned)
            run_turned(f, plan, values, w[h], x, to);
        else
            vw_multiply(f, plan, x, &w[h], &to);
    }
    f->arena_used = mark;
    return y;
}

vw_tensor vw_block_per_head(vw_cx *cx, vw_tensor x, vw_param *w, vw_head_side side)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (!is_inference(f, "a product a head"))
        return vw_nothing;
    if (!w || !w->sides || x.shape[1] % w->spec->n_heads) {
        vw_forward_fail(f, VW_E_INVALID, "%s is no parameter of heads for rows of %lld values",
                        w ? w->spec->name : "a missing parameter", (long long)x.shape[1]);
        return vw_nothing;
    }
    const vw_gemm_weight *first = &w->sides[side];
    const vw_matrix *m = &first->stored;
    bool is_before = side == VW_HEAD_BEFORE; /* A is read the other way round */
    int64_t heads = w->spec->n_heads, step = x.shape[1] / heads;
    int64_t in = is_before ? m->rows : m->cols, out = is_before ? m->cols : m->rows;
    if (step < in) {
        vw_forward_fail(f, VW_E_INVALID, "%s takes %lld values a head, not %lld", w->spec->name,
                        (long long)in, (long long)step);
        return vw_nothing;
    }
    product p = {.op = VW_GEMM_FORWARD, .n = 1, .w = {first}, .name = w->spec->name};
    const gemm_plan *plan = vw_plan_gemm(f, &p);
    vw_tensor y = plan ? vw_take(f, x.shape[0], heads * out) : vw_nothing;
    vw_gemm_weight part = *first;
    const vw_gemm_weight *weight = &part;
    for (int64_t h = 0; plan && h < heads && vw_runs(f); h++) {
        vw_tensor to = vw_tensor_cols(y, h * out, out);
        part.stored.data = (const float *)m->data + h * (w->spec->rows / heads) * m->row_stride;
        vw_check(f, e->mm->run(e->gemm->self, &plan->plan, e->stream,
                               vw_tensor_cols(x, h * step, in), &weight, &to, e->workspace.data,
                               f->err));
    }
    return y;
}
