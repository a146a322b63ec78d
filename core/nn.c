/* nn.c - the table of building blocks, and those that begin and end a forward.
 *
 * A block takes its result, finds its plan, and queues the work; while recording it also leaves an
 * entry on the tape, whose backward stands beside the block.  Measuring, with as many tokens as a
 * batch can hold, it launches nothing: it makes the plans, learns how much memory is wanted and
 * checks every shape, so that a wrong model fails while it is loaded.  Running, it finds what was
 * made and allocates nothing.
 */
#include <string.h>

#include "core/tape.h"

enum { ARENA_ALIGNMENT = 256 };

/* ---- scratch --------------------------------------------------------------------------------- */

static size_t begin(vw_cx *cx)
{
    return vw_forward_of(cx)->arena_used;
}

static void end(vw_cx *cx, size_t mark)
{
    vw_forward_of(cx)->arena_used = mark;
}

/* The next place in the arena. */
static size_t advance(forward *f, size_t bytes)
{
    size_t at = f->arena_used;
    f->arena_used += (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (f->arena_used > f->arena_peak)
        f->arena_peak = f->arena_used;
    return at;
}

static void *arena_address(forward *f, size_t at)
{
    if (f->mode == CX_MEASURE) /* an address that nothing reads; not NULL, which means "none" */
        return (char *)ARENA_ALIGNMENT + at;
    if (f->arena_used <= f->arena->bytes)
        return (char *)f->arena->data + at;
    vw_forward_fail(f, VW_E_INVALID,
                    "a forward used more scratch than it did while measuring; it "
                    "must depend on shapes alone");
    return NULL;
}

void *vw_scratch_bytes(forward *f, size_t bytes)
{
    return arena_address(f, advance(f, bytes));
}

vw_tensor vw_take(forward *f, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)rows * (size_t)cols * sizeof(float), at = advance(f, bytes);
    void *data = f->tape ? vw_tape_take(f, bytes, at) : arena_address(f, at);
    return data ? vw_tensor_2d(data, VW_F32, rows, cols) : vw_nothing;
}

void vw_want_workspace(forward *f, size_t bytes)
{
    if (bytes > f->engine->workspace_bytes)
        f->engine->workspace_bytes = bytes;
}

/* ---- errors ---------------------------------------------------------------------------------- */

static vw_status status(vw_cx *cx)
{
    return vw_forward_of(cx)->status;
}

VW_PRINTF(3, 0)
static void fail_args(forward *f, vw_status code, const char *format, va_list args)
{
    char text[512];
    if (f->status)
        return;
    vsnprintf(text, sizeof text, format, args);
    f->status = vw_fail(f->err, code, "%s", text);
}

void vw_forward_fail(forward *f, vw_status code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail_args(f, code, format, args);
    va_end(args);
}

VW_PRINTF(3, 4)
static void fail(vw_cx *cx, vw_status code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail_args(vw_forward_of(cx), code, format, args);
    va_end(args);
}

/* Is x [any, w's columns]? */
bool vw_fits(forward *f, const vw_tensor *x, const vw_param *w)
{
    if (f->status)
        return false;
    if (!w) {
        vw_forward_fail(f, VW_E_INVALID, "a block was given a parameter that the checkpoint lacks");
        return false;
    }
    if (x->n_dims == 2 && x->shape[1] == w->spec->cols && w->spec->rows > 0)
        return true;
    vw_forward_fail(f, VW_E_INVALID,
                    "%s is [%lld, %lld], but it is multiplied with rows of %lld "
                    "values",
                    w->spec->name, (long long)w->spec->rows, (long long)w->spec->cols,
                    (long long)x->shape[1]);
    return false;
}

/* ---- the embedding --------------------------------------------------------------------------- */

/* x: nothing; y[0]: the rows; a: scale. */
static void embed_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_param *table = e->w[0];
    vw_tensor dy, dw = vw_tensor_2d(table->gradient, VW_F32, table->spec->rows, table->spec->cols);
    if (!vw_gradient_of(f, &e->y[0], &dy) || !vw_runs(f))
        return;
    if (e->a != 1.0f)
        vw_check(f, en->dev->axpby(en->device->self, en->stream, e->a, dy, 0, dy, f->err));
    if (vw_runs(f))
        vw_check(f, en->dev->scatter_add(en->device->self, en->stream, dy, f->batch->ids, NULL, dw,
                                         f->err));
}

static vw_tensor embed(vw_cx *cx, vw_param *table, float scale)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return vw_nothing;
    vw_tensor x = vw_take(f, f->batch->n_tokens, table->spec->cols);
    if (f->mode == CX_MEASURE)
        table->is_looked_up = true;
    if (vw_runs(f))
        vw_check(f, e->mm->gather(e->gemm->self, e->stream, &table->weight, f->batch->ids, scale, x,
                                  f->err));
    tape_entry *t = vw_is_trained(table) ? vw_tape_record(f, embed_backward) : NULL;
    if (t) {
        t->y[0] = x;
        t->w[0] = table;
        t->a = scale;
        vw_tape_need(f, &x, true);
    }
    if (table->lookup && !f->status)
        vw_block_adapt_rows(f, embed(cx, table->lookup->down, 1), table->lookup, scale, x);
    return x;
}

/* ---- the ends of a range of layers ----------------------------------------------------------- */

static vw_tensor hidden_in(vw_cx *cx)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (f->status)
        return vw_nothing;
    vw_tensor x = vw_take(f, f->batch->n_tokens, e->info->width);
    if (f->tape)
        vw_tape_enter(f, &x);
    if (vw_runs(f) && f->hidden_in != x.data)
        vw_check(f, e->dev->copy(e->device->self, e->stream, x.data, f->hidden_in,
                                 vw_tensor_bytes(&x), f->err));
    if (f->tape && f->lesson->projections)
        vw_block_match(f, x, f->first_layer - 1);
    return x;
}

static void hidden_out(vw_cx *cx, vw_tensor x)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (f->tape)
        vw_tape_leave(f, &x);
    if (vw_runs(f) && f->hidden_out && f->hidden_out != x.data)
        vw_check(f, e->dev->copy(e->device->self, e->stream, f->hidden_out, x.data,
                                 vw_tensor_bytes(&x), f->err));
}

/* x: all rows; y[0]: the wanted ones. */
static void wanted_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    vw_tensor dy;
    if (!vw_gradient_of(f, &e->y[0], &dy))
        return;
    vw_tensor dx = vw_gradient_sum(f, &e->x);
    if (vw_runs(f) && dy.shape[0])
        vw_check(f, en->dev->scatter_add(en->device->self, en->stream, dy, f->batch->wanted, NULL,
                                         dx, f->err));
}

static vw_tensor wanted_rows(vw_cx *cx, vw_tensor x)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    if (f->lesson && !f->tape && f->hidden_out && vw_runs(f)) /* whoever asked for the last layer's */
        vw_check(f, e->dev->copy(e->device->self, e->stream, f->hidden_out, x.data,
                                 vw_tensor_bytes(&x), f->err));
    if (f->tape && f->lesson->projections)
        vw_block_match(f, x, e->info->n_layers - 1);
    if (f->status || f->batch->n_wanted == f->batch->n_tokens)
        return x;
    vw_tensor rows = vw_take(f, f->batch->n_wanted, x.shape[1]);
    if (vw_runs(f) && rows.shape[0])
        vw_check(f, e->dev->gather(e->device->self, e->stream, x, f->batch->wanted, rows, f->err));
    tape_entry *t = vw_tape_needs(f, &x) ? vw_tape_record(f, wanted_backward) : NULL;
    if (t) {
        t->x = x;
        t->y[0] = rows;
        vw_tape_need(f, &rows, true);
    }
    return rows;
}

const vw_nn vw_nn_table = {
    .size = sizeof vw_nn_table,
    .status = status,
    .fail = fail,
    .begin = begin,
    .end = end,
    .hidden_in = hidden_in,
    .hidden_out = hidden_out,
    .embed = embed,
    .rms_norm = vw_block_rms_norm,
    .linear = vw_block_linear,
    .linear_add = vw_block_linear_add,
    .add = vw_block_add,
    .rope = vw_block_rope,
    .attention = vw_block_attention,
    .gated = vw_block_gated,
    .head = vw_block_head,
    .wanted_rows = wanted_rows,
    .dropout = vw_block_dropout,
    .linear_drop_add = vw_block_linear_drop_add,
    .moe = vw_block_moe,
    .join = vw_block_join,
    .per_head = vw_block_per_head,
    .mixture = vw_block_mixture,
    .each_head = vw_block_each_head,
    .heads_of = vw_block_heads_of,
    .prompt = vw_block_prompt,
    .attention_prompt = vw_block_attention_prompt,
};
