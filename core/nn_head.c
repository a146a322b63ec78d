/* nn_head.c - the end of a forward: rows of logits, or the loss of them.
 *
 * A vocabulary is wide: logits are made a few rows at a time and are gone before the next are made.
 * In training the loss of a chunk, its gradient, and that gradient's products with the table and
 * with the rows follow at once, so that neither logits nor their gradients are ever kept and no
 * product is done twice; a backward of the head has nothing left to do.
 *
 * Letters: R rows that are wanted or scored, V vocabulary.
 */
#include "core/tape.h"

/* x W^T, with gradients where they are wanted. */
typedef struct head_term {
    vw_param *w;
    const gemm_plan *plan, *input, *weight;
    vw_tensor x, dx;
} head_term;

/* Logits are the sum of the terms: the table's, and an adapter's second half. */
typedef struct head_work {
    head_term terms[2];
    int n_terms;
    vw_tensor logits, teacher, part; /* part: where a term cannot be added to what is there */
    float cap;
} head_work;

static void softcap(forward *f, float cap, vw_tensor logits)
{
    vw_engine *e = f->engine;
    if (vw_runs(f))
        vw_check(f, e->dev->softcap(e->device->self, e->stream, cap, logits, f->err));
}

/* ---- inference ------------------------------------------------------------------------------- */

static void show_chunk(forward *f, const head_work *h, vw_tensor logits, int64_t first)
{
    if (h->cap > 0 && (h->n_terms > 1 || h->terms[0].plan->is_composed))
        softcap(f, h->cap, logits);
    if (f->on_logits && vw_runs(f))
        vw_check(f, f->on_logits(f->arg, first, logits, f->err));
}

/* ---- training -------------------------------------------------------------------------------- */

/* The logits as they will be seen by whoever asked for them. */
static void show_rows(forward *f, const head_work *h, vw_tensor logits, int64_t first)
{
    if (h->cap > 0)
        softcap(f, h->cap, logits);
    if (vw_runs(f))
        vw_check(f, f->lesson->on_rows(f->lesson->arg, first, logits, f->err));
}

/* Of what is kept of a teacher, the rows of a chunk. */
static vw_tensor kept_rows(const void *all, vw_dtype dtype, int64_t k, int64_t first, int64_t n)
{
    return vw_tensor_2d((char *)(uintptr_t)all + first * k * 4, dtype, n, k);
}

static void lose_chunk(forward *f, const head_work *h, vw_tensor logits, int64_t first)
{
    vw_engine *e = f->engine;
    lesson *l = f->lesson;
    vw_loss_desc loss = l->loss;
    loss.size = sizeof loss;
    loss.cap = h->cap;
    loss.is_backward = false;
    for (int i = 0; i < h->n_terms; i++)
        loss.is_backward |= h->terms[i].dx.data || vw_is_trained(h->terms[i].w);
    loss.alpha = (float)l->distil.alpha;
    loss.temperature = (float)l->distil.temperature;
    if (l->distil.rows) {
        loss.teacher = vw_tensor_rows(h->teacher, 0, logits.shape[0]);
        vw_check(f, l->distil.rows(l->distil.arg, first, loss.teacher, f->err));
    } else if (l->distil.k) {
        loss.teacher = kept_rows(l->distil.logits, VW_F32, l->distil.k, first, logits.shape[0]);
        loss.teacher_ids = kept_rows(l->distil.ids, VW_I32, l->distil.k, first, logits.shape[0]);
        loss.teacher_lse = l->distil.lse + first;
    }
    if (vw_runs(f))
        vw_check(f, e->dev->cross_entropy(e->device->self, e->stream, &loss, logits,
                                          l->labels + first, l->ce + first, l->kl + first, f->err));
}

static void learn_term(forward *f, const head_term *h, vw_tensor d_logits, int64_t first)
{
    vw_engine *e = f->engine;
    vw_param *w = h->w;
    vw_tensor dw = vw_tensor_2d(w->gradient, VW_F32, w->spec->rows, w->spec->cols);
    vw_tensor x = vw_tensor_rows(h->x, first, d_logits.shape[0]);
    if (h->input && vw_runs(f)) {
        vw_tensor dx = vw_tensor_rows(h->dx, first, d_logits.shape[0]);
        vw_multiply(f, h->input, d_logits, &w, &dx);
    }
    if (h->weight && vw_runs(f))
        vw_check(f, e->mm->run_wgrad(e->gemm->self, &h->weight->plan, e->stream, d_logits, x, dw,
                                     e->workspace.data, f->err));
}

/* ---- both ------------------------------------------------------------------------------------ */

static const gemm_plan *plan_head(forward *f, vw_param *table, vw_gemm_op op,
                                  vw_gemm_epilogue epilogue, float cap)
{
    product p = {.op = op,
                 .n = 1,
                 .w = {&table->weight},
                 .name = table->spec->name,
                 .epilogue = epilogue,
                 .cap = cap,
                 .max_m = f->logit_rows};
    if (f->mode == CX_MEASURE)
        table->is_head = true;
    return vw_plan_gemm(f, &p);
}

/* x as it is now, for whoever wants it after it was multiplied. */
static vw_tensor copy_of(forward *f, vw_tensor x)
{
    vw_engine *e = f->engine;
    vw_tensor y = vw_take(f, x.shape[0], x.shape[1]);
    if (vw_runs(f))
        vw_check(f, e->dev->fill(e->device->self, e->stream, y.data, 0, vw_tensor_bytes(&y), f->err));
    vw_block_add(&f->cx, x, y);
    return y;
}

/* What the first half gives is a tensor like others, whose gradient the tape takes further. */
static void add_adapter(forward *f, head_work *h, vw_tensor x, const vw_adapter *a,
                        float multiplier, int64_t room)
{
    head_term *t = &h->terms[h->n_terms++];
    t->w = a->up;
    if (f->tape && multiplier != 1.0f)
        x = copy_of(f, x);
    t->x = vw_block_adapter_low(f, x, a, multiplier);
    t->plan = plan_head(f, a->up, VW_GEMM_FORWARD, VW_GEMM_ADD, 0);
    if (t->plan && t->plan->is_composed)
        h->part = vw_scratch(f, room, a->up->spec->rows);
}

static void prepare_training(forward *f, head_work *h, int64_t room)
{
    if (f->lesson->distil.rows)
        h->teacher = vw_scratch(f, room, h->terms[0].w->spec->rows);
    for (int i = 0; i < h->n_terms && f->tape; i++) {
        head_term *t = &h->terms[i];
        if (vw_tape_needs(f, &t->x)) {
            t->dx = vw_gradient_now(f, &t->x);
            t->input = plan_head(f, t->w, VW_GEMM_DGRAD, VW_GEMM_STORE, 0);
        }
        if (vw_is_trained(t->w))
            t->weight = plan_head(f, t->w, VW_GEMM_WGRAD, VW_GEMM_ADD, 0);
    }
}

static void scale_rows(forward *f, float a, vw_tensor x)
{
    vw_engine *e = f->engine;
    if (a != 1.0f && x.data && x.shape[0] && vw_runs(f))
        vw_check(f, e->dev->axpby(e->device->self, e->stream, a, x, 0, x, f->err));
}

/* The terms' sum, of rows first .. first + n. */
static vw_tensor make_logits(forward *f, const head_work *h, int64_t first, int64_t n)
{
    vw_engine *e = f->engine;
    vw_tensor logits = vw_tensor_rows(h->logits, 0, n);
    for (int i = 0; i < h->n_terms && vw_runs(f); i++) {
        const head_term *t = &h->terms[i];
        vw_param *w = t->w;
        bool is_apart = i > 0 && t->plan->is_composed;
        vw_tensor to = is_apart ? vw_tensor_rows(h->part, 0, n) : logits;
        vw_multiply(f, t->plan, vw_tensor_rows(t->x, first, n), &w, &to);
        if (is_apart && vw_runs(f))
            vw_check(f, e->dev->axpby(e->device->self, e->stream, 1, to, 1, logits, f->err));
    }
    return logits;
}

static void run_chunks(forward *f, const head_work *h, int64_t room)
{
    int64_t rows = h->terms[0].x.shape[0];
    for (int64_t first = 0; vw_runs(f) && first < rows; first += room) {
        int64_t n = rows - first < room ? rows - first : room;
        vw_tensor logits = make_logits(f, h, first, n);
        if (!f->lesson) {
            show_chunk(f, h, logits, first);
        } else if (f->lesson->on_rows) {
            show_rows(f, h, logits, first);
        } else {
            lose_chunk(f, h, logits, first);
            for (int i = 0; i < h->n_terms && f->tape; i++)
                learn_term(f, &h->terms[i], logits, first);
        }
    }
}

void vw_block_head(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap)
{
    forward *f = vw_forward_of(cx);
    head_work h = {.terms = {{.w = table, .x = x}}, .n_terms = 1, .cap = cap};
    if (!vw_fits(f, &x, table))
        return;
    bool is_capped = cap > 0 && !f->lesson && !table->adapter;
    h.terms[0].plan = plan_head(f, table, VW_GEMM_FORWARD,
                                is_capped ? VW_GEMM_SOFTCAP : VW_GEMM_STORE, is_capped ? cap : 0);
    size_t mark = f->arena_used;
    int64_t room = x.shape[0] < f->logit_rows ? x.shape[0] : f->logit_rows;
    h.logits = vw_scratch(f, room, table->spec->rows);
    if (table->adapter)
        add_adapter(f, &h, x, table->adapter, multiplier, room);
    if (f->lesson)
        prepare_training(f, &h, room);
    scale_rows(f, multiplier, x);
    run_chunks(f, &h, room);
    scale_rows(f, multiplier, h.terms[0].dx);
    f->arena_used = mark;
}
