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

typedef struct head_work {
    vw_param *table;
    const gemm_plan *plan, *input, *weight; /* the last two only where gradients are wanted */
    vw_tensor x, dx, logits, teacher;
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
    if (h->plan->is_composed)
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
    loss.is_backward = h->dx.data || vw_is_trained(h->table);
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

static void learn_chunk(forward *f, const head_work *h, vw_tensor d_logits, int64_t first)
{
    vw_engine *e = f->engine;
    vw_param *w = h->table;
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
    return vw_plan_gemm(f, &p);
}

static void prepare_training(forward *f, head_work *h, int64_t room)
{
    if (f->lesson->distil.rows)
        h->teacher = vw_scratch(f, room, h->table->spec->rows);
    if (!f->tape)
        return;
    if (vw_tape_needs(f, &h->x)) {
        h->dx = vw_gradient_now(f, &h->x);
        h->input = plan_head(f, h->table, VW_GEMM_DGRAD, VW_GEMM_STORE, 0);
    }
    if (vw_is_trained(h->table))
        h->weight = plan_head(f, h->table, VW_GEMM_WGRAD, VW_GEMM_ADD, 0);
}

static void scale_rows(forward *f, float a, vw_tensor x)
{
    vw_engine *e = f->engine;
    if (a != 1.0f && x.data && x.shape[0] && vw_runs(f))
        vw_check(f, e->dev->axpby(e->device->self, e->stream, a, x, 0, x, f->err));
}

static void run_chunks(forward *f, const head_work *h, int64_t room)
{
    int64_t rows = h->x.shape[0];
    for (int64_t first = 0; vw_runs(f) && first < rows; first += room) {
        int64_t n = rows - first < room ? rows - first : room;
        vw_tensor logits = vw_tensor_rows(h->logits, 0, n);
        vw_param *table = h->table;
        vw_multiply(f, h->plan, vw_tensor_rows(h->x, first, n), &table, &logits);
        if (!f->lesson) {
            show_chunk(f, h, logits, first);
        } else if (f->lesson->on_rows) {
            show_rows(f, h, logits, first);
        } else {
            lose_chunk(f, h, logits, first);
            if (f->tape)
                learn_chunk(f, h, logits, first);
        }
    }
}

void vw_block_head(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap)
{
    forward *f = vw_forward_of(cx);
    head_work h = {.table = table, .x = x, .cap = cap};
    if (!vw_fits(f, &x, table))
        return;
    vw_gemm_epilogue epilogue = cap > 0 && !f->lesson ? VW_GEMM_SOFTCAP : VW_GEMM_STORE;
    h.plan = plan_head(f, table, VW_GEMM_FORWARD, epilogue, f->lesson ? 0 : cap);
    size_t mark = f->arena_used;
    int64_t room = x.shape[0] < f->logit_rows ? x.shape[0] : f->logit_rows;
    h.logits = vw_scratch(f, room, table->spec->rows);
    if (f->lesson)
        prepare_training(f, &h, room);
    scale_rows(f, multiplier, x);
    run_chunks(f, &h, room);
    scale_rows(f, multiplier, h.dx);
    f->arena_used = mark;
}
