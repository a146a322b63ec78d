/* nn_profile.c - the table of building blocks as a profile sees them: a span around each.
 *
 * A block that another block uses is a part of it.  Entries that a block leaves on the tape bear its
 * name, so that backward has spans too.  Bytes are what a block must at least read and write: its
 * parameters, what it is given and what it gives; backward meets each of them and its gradient, and
 * is told twice as many.  On a device that works on by itself a span waits for it, which makes the
 * steps of a trace slower than others.
 */
#include "core/tape.h"

typedef struct block {
    forward *f;
    const char *name;
    size_t span, first_entry;
} block;

static void finish(forward *f)
{
    vw_engine *e = f->engine;
    if (!(e->device_info.flags & VW_DEVICE_HOST_VISIBLE))
        vw_check(f, e->dev->synchronize(e->device->self, e->stream, f->err));
}

static block enter(vw_cx *cx, const char *name)
{
    forward *f = vw_forward_of(cx);
    return (block){f, name, f->mode == CX_RUN ? vw_profile_begin(f->profile, name) : SIZE_MAX,
                   f->tape ? f->tape->n_entries : 0};
}

static void leave(const block *b, const char *backward, uint64_t bytes)
{
    vw_tape *t = b->f->tape;
    for (size_t i = b->first_entry; t && i < t->n_entries; i++) {
        t->entries[i].name = backward;
        t->entries[i].bytes = i == b->first_entry ? 2 * bytes : 0;
    }
    if (b->span == SIZE_MAX)
        return;
    finish(b->f);
    vw_profile_end(b->f->profile, b->span, bytes, 0);
}

void vw_profile_entry(forward *f, const tape_entry *e)
{
    size_t span = e->name && f->mode == CX_RUN ? vw_profile_begin(f->profile, e->name) : SIZE_MAX;
    e->run(f, e);
    if (span == SIZE_MAX)
        return;
    finish(f);
    vw_profile_end(f->profile, span, e->bytes, 0);
}

static uint64_t bytes_of(vw_tensor x)
{
    return x.data ? vw_tensor_bytes(&x) : 0;
}

static uint64_t bytes_in(const vw_param *w)
{
    return w ? w->bytes : 0;
}

/* ---- the blocks ------------------------------------------------------------------------------ */

static vw_tensor embed(vw_cx *cx, vw_param *table, float scale)
{
    block b = enter(cx, "embed");
    vw_tensor y = vw_nn_table.embed(cx, table, scale);
    leave(&b, "embed backward", 2 * bytes_of(y)); /* rows read, rows written */
    return y;
}

static vw_tensor rms_norm(vw_cx *cx, vw_tensor x, vw_param *w, float offset, float eps)
{
    block b = enter(cx, "norm");
    vw_tensor y = vw_block_rms_norm(cx, x, w, offset, eps);
    leave(&b, "norm backward", bytes_of(x) + bytes_in(w) + bytes_of(y));
    return y;
}

static void linear(vw_cx *cx, vw_tensor x, int32_t n, vw_param *const *w, vw_tensor *y)
{
    block b = enter(cx, "linear");
    uint64_t bytes = bytes_of(x);
    vw_block_linear(cx, x, n, w, y);
    for (int32_t i = 0; i < n; i++)
        bytes += bytes_in(w[i]) + bytes_of(y[i]);
    leave(&b, "linear backward", bytes);
}

static void linear_add(vw_cx *cx, vw_tensor x, vw_param *w, vw_tensor y)
{
    block b = enter(cx, "linear");
    vw_block_linear_add(cx, x, w, y);
    leave(&b, "linear backward", bytes_of(x) + bytes_in(w) + 2 * bytes_of(y));
}

static void linear_drop_add(vw_cx *cx, vw_tensor x, vw_param *w, float rate, vw_tensor y)
{
    block b = enter(cx, "linear");
    vw_block_linear_drop_add(cx, x, w, rate, y);
    leave(&b, "linear backward", bytes_of(x) + bytes_in(w) + 2 * bytes_of(y));
}

static vw_tensor gated(vw_cx *cx, vw_tensor x, vw_param *gate, vw_param *up, vw_activation act)
{
    block b = enter(cx, "linear");
    vw_tensor y = vw_block_gated(cx, x, gate, up, act);
    leave(&b, "linear backward", bytes_of(x) + bytes_in(gate) + bytes_in(up) + bytes_of(y));
    return y;
}

static void rope(vw_cx *cx, vw_tensor x, const vw_nn_rope *r)
{
    block b = enter(cx, "rope");
    vw_block_rope(cx, x, r);
    leave(&b, "rope backward", 2 * bytes_of(x));
}

static vw_tensor attention(vw_cx *cx, const vw_nn_attention *desc, vw_tensor q, vw_tensor k,
                           vw_tensor v)
{
    block b = enter(cx, "attention");
    vw_tensor y = vw_block_attention(cx, desc, q, k, v);
    leave(&b, "attention backward", bytes_of(q) + bytes_of(k) + bytes_of(v) + bytes_of(y));
    return y;
}

static void leave_moe(const block *b, const vw_nn_moe *desc, vw_tensor x, const vw_param *router,
                      uint64_t bytes)
{
    const vw_experts *experts = &b->f->engine->experts[desc->experts];
    bytes += bytes_of(x) + bytes_in(router);
    for (int32_t i = 0; i < 3 * experts->n; i++)
        bytes += bytes_in(experts->params[i]);
    leave(b, "moe backward", bytes);
}

static void moe(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router, vw_param *bias,
                vw_tensor y)
{
    block b = enter(cx, "moe");
    vw_block_moe(cx, desc, x, router, bias, y);
    leave_moe(&b, desc, x, router, 2 * bytes_of(y));
}

static vw_tensor mixture(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router,
                         vw_param *bias)
{
    block b = enter(cx, "moe");
    vw_tensor y = vw_block_mixture(cx, desc, x, router, bias);
    leave_moe(&b, desc, x, router, bytes_of(y));
    return y;
}

static vw_tensor join(vw_cx *cx, int32_t heads, int32_t n_parts, const vw_nn_part *parts)
{
    block b = enter(cx, "join");
    vw_tensor y = vw_block_join(cx, heads, n_parts, parts);
    leave(&b, "join backward", 2 * bytes_of(y));
    return y;
}

static vw_tensor per_head(vw_cx *cx, vw_tensor x, vw_param *w, vw_head_side side)
{
    block b = enter(cx, "linear");
    vw_tensor y = vw_block_per_head(cx, x, w, side);
    leave(&b, "linear backward", bytes_of(x) + bytes_in(w) + bytes_of(y));
    return y;
}

static vw_tensor each_head(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w)
{
    block b = enter(cx, "linear");
    vw_tensor y = vw_block_each_head(cx, x, heads, w);
    leave(&b, "linear backward", bytes_of(x) + (uint64_t)heads * bytes_in(w[0]) + bytes_of(y));
    return y;
}

static vw_tensor heads_of(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w,
                          int32_t is_turned)
{
    block b = enter(cx, "linear");
    vw_tensor y = vw_block_heads_of(cx, x, heads, w, is_turned);
    leave(&b, "linear backward", bytes_of(x) + (uint64_t)heads * bytes_in(w[0]) + bytes_of(y));
    return y;
}

/* The loss and both products of its gradient happen here: backward has nothing left to do. */
static void head(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap)
{
    block b = enter(cx, "head");
    vw_block_head(cx, x, table, multiplier, cap);
    leave(&b, "head backward", bytes_of(x) + bytes_in(table));
}

const vw_nn *vw_nn_profiled(vw_nn *table)
{
    *table = vw_nn_table;
    table->embed = embed;
    table->rms_norm = rms_norm;
    table->linear = linear;
    table->linear_add = linear_add;
    table->linear_drop_add = linear_drop_add;
    table->gated = gated;
    table->rope = rope;
    table->attention = attention;
    table->moe = moe;
    table->join = join;
    table->per_head = per_head;
    table->mixture = mixture;
    table->each_head = each_head;
    table->heads_of = heads_of;
    table->head = head;
    return table;
}
