/* nn.c - the building blocks in which models are written, and the forward that runs them.
 *
 * A block takes its result from the arena, finds its plan, and queues the work.  The same text runs
 * in two modes.  Measuring, with as many tokens as a batch can hold, it launches nothing: it makes
 * the plans, learns the arena's size and checks every shape, so that a wrong model fails while it is
 * loaded.  Running, it finds what was made and allocates nothing.
 */
#include "core/engine.h"

#include <string.h>

enum { ARENA_ALIGNMENT = 256 };

static forward *of(vw_cx *cx) { return (forward *)cx; }

static bool is_running(const forward *f) { return f->mode == CX_RUN; }

static const vw_tensor nothing;

/* ---- scratch -------------------------------------------------------------------------------------- */

static size_t begin(vw_cx *cx) { return of(cx)->arena_used; }

static void end(vw_cx *cx, size_t mark) { of(cx)->arena_used = mark; }

static vw_tensor take(forward *f, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)rows * (size_t)cols * sizeof(float), at = f->arena_used;
    vw_buffer *arena = &f->engine->arena;
    f->arena_used += (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (f->arena_used > f->arena_peak)
        f->arena_peak = f->arena_used;
    if (!is_running(f)) /* an address that nothing reads; not NULL, which means "none" */
        return vw_tensor_2d((char *)ARENA_ALIGNMENT + at, VW_F32, rows, cols);
    if (f->arena_used > arena->bytes) {
        f->status = vw_fail(f->err, VW_E_INVALID, "a forward used more scratch than it did while "
                            "measuring; it must depend on shapes alone");
        return nothing;
    }
    return vw_tensor_2d((char *)arena->data + at, VW_F32, rows, cols);
}

/* ---- errors ---------------------------------------------------------------------------------------- */

static vw_status status(vw_cx *cx) { return of(cx)->status; }

VW_PRINTF(3, 4)
static void fail(vw_cx *cx, vw_status code, const char *format, ...)
{
    forward *f = of(cx);
    char text[512];
    va_list args;
    if (f->status)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    f->status = vw_fail(f->err, code, "%s", text);
}

/* Is x [any, w's columns]? */
static bool fits(forward *f, const vw_tensor *x, const vw_param *w)
{
    if (f->status)
        return false;
    if (!w) {
        fail(&f->cx, VW_E_INVALID, "a block was given a parameter that the checkpoint lacks");
        return false;
    }
    if (x->n_dims == 2 && x->shape[1] == w->spec->cols && w->spec->rows > 0)
        return true;
    fail(&f->cx, VW_E_INVALID, "%s is [%lld, %lld], but it is multiplied with rows of %lld values",
         w->spec->name, (long long)w->spec->rows, (long long)w->spec->cols,
         (long long)x->shape[1]);
    return false;
}

static void check(forward *f, vw_status st)
{
    if (st && !f->status)
        f->status = st;
}

/* ---- products -------------------------------------------------------------------------------------- */

static void multiply(forward *f, const gemm_plan *p, vw_tensor x, vw_param *const *w,
                     const vw_tensor *y)
{
    const vw_gemm_weight *weights[VW_GEMM_MAX_WEIGHTS];
    vw_engine *e = f->engine;
    for (int i = 0; i < p->plan.problem.n_weights; i++)
        weights[i] = &w[i]->weight;
    check(f, e->mm->run(e->gemm->self, &p->plan, e->stream, x, weights, y, e->workspace.data,
                        f->err));
}

static void linear(vw_cx *cx, vw_tensor x, int32_t n, vw_param *const *w, vw_tensor *y)
{
    forward *f = of(cx);
    for (int32_t i = 0; i < n; i++)
        y[i] = nothing;
    if (n < 1 || n > VW_GEMM_MAX_WEIGHTS)
        fail(cx, VW_E_INVALID, "linear takes 1 to %d weights, not %d", VW_GEMM_MAX_WEIGHTS, n);
    for (int32_t i = 0; i < n; i++)
        if (!fits(f, &x, w[i]))
            return;
    const gemm_plan *p = vw_plan_gemm(f, w, n, VW_GEMM_STORE, VW_ACT_NONE, 0);
    for (int32_t i = 0; i < n && p; i++)
        y[i] = take(f, x.shape[0], w[i]->spec->rows);
    if (p && is_running(f) && !f->status)
        multiply(f, p, x, w, y);
}

static void linear_add(vw_cx *cx, vw_tensor x, vw_param *w, vw_tensor y)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (!fits(f, &x, w))
        return;
    const gemm_plan *p = vw_plan_gemm(f, &w, 1, VW_GEMM_ADD, VW_ACT_NONE, 0);
    if (!p)
        return;
    size_t mark = begin(cx);
    vw_tensor sum = p->is_composed ? take(f, x.shape[0], w->spec->rows) : y;
    if (is_running(f) && !f->status) {
        multiply(f, p, x, &w, &sum);
        if (p->is_composed && !f->status)
            check(f, e->dev->axpby(e->device->self, e->stream, 1, sum, 1, y, f->err));
    }
    end(cx, mark);
}

static vw_tensor gated(vw_cx *cx, vw_tensor x, vw_param *gate, vw_param *up, vw_activation act)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    vw_param *w[2] = {gate, up};
    if (!fits(f, &x, gate) || !fits(f, &x, up))
        return nothing;
    const gemm_plan *p = vw_plan_gemm(f, w, 2, VW_GEMM_GATED, act, 0);
    if (!p)
        return nothing;
    vw_tensor y[2] = {take(f, x.shape[0], gate->spec->rows), nothing};
    size_t mark = begin(cx);
    if (p->is_composed)
        y[1] = take(f, x.shape[0], up->spec->rows);
    if (is_running(f) && !f->status) {
        multiply(f, p, x, w, y);
        if (p->is_composed && !f->status)
            check(f, e->dev->gate(e->device->self, e->stream, act, y[0], y[1], y[0], f->err));
    }
    end(cx, mark);
    return f->status ? nothing : y[0];
}

/* ---- pointwise ------------------------------------------------------------------------------------- */

static vw_tensor embed(vw_cx *cx, vw_param *table, float scale)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return nothing;
    vw_tensor x = take(f, f->batch->n_tokens, table->spec->cols);
    if (is_running(f) && !f->status)
        check(f, e->mm->gather(e->gemm->self, e->stream, &table->weight, f->batch->ids, scale, x,
                               f->err));
    return x;
}

/* A norm over parts of a row (each head) sees the row as several. */
static vw_tensor rms_norm(vw_cx *cx, vw_tensor x, vw_param *w, float offset, float eps)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return nothing;
    if (!w || w->spec->rows != 0 || x.shape[1] % w->spec->cols) {
        fail(cx, VW_E_INVALID, "%s cannot norm rows of %lld values", w ? w->spec->name : "a missing "
             "parameter", (long long)x.shape[1]);
        return nothing;
    }
    vw_tensor y = take(f, x.shape[0], x.shape[1]), out = y;
    if (w->spec->cols != x.shape[1]) {
        int64_t parts = x.shape[0] * (x.shape[1] / w->spec->cols);
        x = vw_tensor_2d(x.data, VW_F32, parts, w->spec->cols);
        y = vw_tensor_2d(y.data, VW_F32, parts, w->spec->cols);
    }
    if (is_running(f) && !f->status)
        check(f, e->dev->rms_norm(e->device->self, e->stream, x, nothing,
                                  vw_tensor_1d(w->vector, VW_F32, w->spec->cols), offset, eps, y,
                                  f->err));
    return out;
}

static void add(vw_cx *cx, vw_tensor x, vw_tensor y)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (is_running(f) && !f->status)
        check(f, e->dev->axpby(e->device->self, e->stream, 1, x, 1, y, f->err));
}

static void rope(vw_cx *cx, vw_tensor x, const vw_nn_rope *r)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return;
    if (x.shape[1] % r->head_dim || r->first + r->dims > r->head_dim) {
        fail(cx, VW_E_INVALID, "a rotation of %d of %d values cannot be applied to rows of %lld",
             r->dims, r->head_dim, (long long)x.shape[1]);
        return;
    }
    const float *inv_freq = vw_plan_rope(f, r->inv_freq, r->dims / 2);
    if (!is_running(f) || f->status)
        return;
    vw_rope_desc desc = {r->pairing, (int32_t)(x.shape[1] / r->head_dim), r->head_dim, r->first,
                         r->dims, inv_freq, r->scale};
    check(f, e->dev->rope(e->device->self, e->stream, x, f->batch->positions, &desc, f->err));
}

/* ---- attention ------------------------------------------------------------------------------------- */

static bool attention_fits(forward *f, const vw_nn_attention *desc, const vw_tensor *q,
                           const vw_tensor *k, const vw_tensor *v)
{
    if (f->status)
        return false;
    const vw_cache_spec *c = &f->engine->info->caches[desc->layer];
    int64_t kv_v = c->is_latent ? v->shape[1] : (int64_t)c->k_heads * c->dv;
    if (q->shape[1] == (int64_t)desc->q_heads * c->dk &&
        k->shape[1] == (int64_t)c->k_heads * c->dk && v->shape[1] == kv_v)
        return true;
    fail(&f->cx, VW_E_INVALID, "attention of layer %d: q, k, v have %lld, %lld, %lld values a token; "
         "its cache is for %d heads of %d and %d", desc->layer, (long long)q->shape[1],
         (long long)k->shape[1], (long long)v->shape[1], c->k_heads, c->dk, c->dv);
    return false;
}

static vw_tensor attention(vw_cx *cx, const vw_nn_attention *desc, vw_tensor q, vw_tensor k,
                           vw_tensor v)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (!attention_fits(f, desc, &q, &k, &v))
        return nothing;
    const vw_attention_plan *p = vw_plan_attention(f, desc);
    if (!p)
        return nothing;
    kv_layer *layer = &e->kv_layers[desc->layer];
    vw_tensor out = take(f, q.shape[0], (int64_t)desc->q_heads * e->info->caches[desc->layer].dv);
    if (!is_running(f) || f->status)
        return out;
    const batch *b = f->batch;
    vw_attention_batch ab = {
        .n_sequences = b->n_sequences, .n_queries = b->n_tokens, .query_start = b->query_start,
        .n_keys = b->n_keys, .block_table = b->tables[layer->group],
        .table_stride = e->groups[layer->group].table_width, .max_keys = b->max_keys,
        .max_queries_one = b->max_queries_one,
    };
    void *self = e->attention->self;
    vw_status st = e->att->append(self, p, e->stream, &ab, k, v, layer->pages.data,
                                  e->workspace.data, f->err);
    if (!st)
        st = e->att->run(self, p, e->stream, &ab, q, layer->pages.data, out, NULL,
                         e->workspace.data, f->err);
    check(f, st);
    return out;
}

/* ---- the ends of a forward --------------------------------------------------------------------------- */

/* Ranges that begin or end inside the model pass their hidden state at the arena's start. */
static vw_tensor hidden_in(vw_cx *cx)
{
    forward *f = of(cx);
    return f->status ? nothing : take(f, f->batch->n_tokens, f->engine->info->width);
}

static void hidden_out(vw_cx *cx, vw_tensor x)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    size_t bytes = (size_t)x.shape[0] * (size_t)x.shape[1] * sizeof(float);
    if (is_running(f) && !f->status && x.data != e->arena.data)
        check(f, e->dev->copy(e->device->self, e->stream, e->arena.data, x.data, bytes, f->err));
}

static vw_tensor wanted_rows(vw_cx *cx, vw_tensor x)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (f->status || f->batch->n_wanted == f->batch->n_tokens)
        return x;
    vw_tensor rows = take(f, f->batch->n_wanted, x.shape[1]);
    if (is_running(f) && !f->status && rows.shape[0])
        check(f, e->dev->gather(e->device->self, e->stream, x, f->batch->wanted, rows, f->err));
    return rows;
}

static void head_chunk(forward *f, const gemm_plan *p, vw_tensor x, vw_param *table, float cap,
                       vw_tensor logits, int64_t first)
{
    vw_engine *e = f->engine;
    multiply(f, p, x, &table, &logits);
    if (p->is_composed && !f->status)
        check(f, e->dev->softcap(e->device->self, e->stream, cap, logits, f->err));
    if (!f->status && f->on_logits)
        check(f, f->on_logits(f->arg, first, logits, f->err));
}

/* A vocabulary is wide: rows of logits are made a few at a time, and handed on before the next. */
static void head(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap)
{
    forward *f = of(cx);
    vw_engine *e = f->engine;
    if (!fits(f, &x, table))
        return;
    const gemm_plan *p = vw_plan_gemm(f, &table, 1, cap > 0 ? VW_GEMM_SOFTCAP : VW_GEMM_STORE,
                                      VW_ACT_NONE, cap);
    size_t mark = begin(cx);
    int64_t room = x.shape[0] < e->logit_rows ? x.shape[0] : e->logit_rows;
    vw_tensor logits = take(f, room, table->spec->rows);
    if (is_running(f) && !f->status && multiplier != 1.0f && x.shape[0])
        check(f, e->dev->axpby(e->device->self, e->stream, multiplier, x, 0, x, f->err));
    for (int64_t first = 0; is_running(f) && !f->status && first < x.shape[0]; first += room) {
        int64_t n = x.shape[0] - first < room ? x.shape[0] - first : room;
        head_chunk(f, p, vw_tensor_rows(x, first, n), table, cap, vw_tensor_rows(logits, 0, n),
                   first);
    }
    end(cx, mark);
}

const vw_nn vw_nn_table = {
    .size = sizeof vw_nn_table, .status = status, .fail = fail, .begin = begin, .end = end,
    .hidden_in = hidden_in, .hidden_out = hidden_out, .embed = embed, .rms_norm = rms_norm,
    .linear = linear, .linear_add = linear_add, .add = add, .rope = rope, .attention = attention,
    .gated = gated, .head = head, .wanted_rows = wanted_rows,
};

/* ---- running ----------------------------------------------------------------------------------------- */

/* Makes all plans and allocates arena and workspace. */
vw_status vw_forward_measure(vw_engine *e, vw_error *err)
{
    /* All rows wanted: the most logits; one fewer: wanted_rows takes its copy besides. */
    batch b = {.n_tokens = e->batch_tokens, .n_wanted = e->batch_tokens, .n_sequences = 1};
    forward f = {.cx = {&vw_nn_table}, .engine = e, .mode = CX_MEASURE, .err = err, .batch = &b};
    vw_status st = e->mdl->forward(e->model->self, &f.cx, e->param_list, 0, e->info->n_layers);
    if (!st && !f.status && --b.n_wanted > 0) {
        f.arena_used = 0;
        st = e->mdl->forward(e->model->self, &f.cx, e->param_list, 0, e->info->n_layers);
    }
    if (!st)
        st = f.status;
    if (!st)
        st = e->dev->alloc(e->device->self, f.arena_peak + ARENA_ALIGNMENT, &e->arena, err);
    if (!st)
        st = e->dev->alloc(e->device->self, e->workspace_bytes + ARENA_ALIGNMENT, &e->workspace,
                           err);
    return st;
}

vw_status vw_forward_run(vw_engine *e, const batch *b, logits_fn on_logits, void *arg,
                         vw_error *err)
{
    forward f = {.cx = {&vw_nn_table}, .engine = e, .mode = CX_RUN, .err = err, .batch = b,
                 .on_logits = on_logits, .arg = arg};
    vw_status st = e->mdl->forward(e->model->self, &f.cx, e->param_list, 0, e->info->n_layers);
    return f.status ? f.status : st;
}
