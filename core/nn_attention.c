/* nn_attention.c - attention: over the cache in inference, over the batch's own rows in training.
 */
#include "core/tape.h"

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
    vw_forward_fail(f, VW_E_INVALID,
                    "attention of layer %d: q, k, v have %lld, %lld, %lld values a "
                    "token; its cache is for %d heads of %d and %d",
                    desc->layer, (long long)q->shape[1], (long long)k->shape[1],
                    (long long)v->shape[1], c->k_heads, c->dk, c->dv);
    return false;
}

static void attend_cached(forward *f, const vw_attention_plan *p, int32_t layer_index, vw_tensor q,
                          vw_tensor k, vw_tensor v, vw_tensor out)
{
    vw_engine *e = f->engine;
    const kv_layer *layer = &e->kv_layers[layer_index];
    const batch *b = f->batch;
    vw_attention_batch ab = {
        .n_sequences = b->n_sequences,
        .n_queries = b->n_tokens,
        .query_start = b->query_start,
        .n_keys = b->n_keys,
        .block_table = b->tables[layer->group],
        .table_stride = e->groups[layer->group].table_width,
        .max_keys = b->max_keys,
        .max_queries_one = b->max_queries_one,
    };
    vw_attention_batch added = ab;
    added.n_keys = b->ends;
    void *self = e->attention->self;
    vw_status st = e->att->append(self, p, e->stream, &added, k, v, layer->pages.data,
                                  e->workspace.data, f->err);
    if (!st)
        st = e->att->run(self, p, e->stream, &ab, q, layer->pages.data, out, NULL,
                         e->workspace.data, f->err);
    vw_check(f, st);
}

static vw_attention_batch dense_batch(const batch *b)
{
    return (vw_attention_batch){.n_sequences = b->n_sequences,
                                .n_queries = b->n_tokens,
                                .query_start = b->query_start,
                                .n_keys = b->n_keys,
                                .max_keys = b->max_keys,
                                .max_queries_one = b->max_queries_one};
}

/* The gradient of one of q, k, v: backward only writes, so a second one goes through scratch. */
static vw_tensor written(forward *f, const vw_tensor *x, bool *is_added)
{
    *is_added = false;
    if (!vw_tape_needs(f, x))
        return vw_scratch(f, x->shape[0], x->shape[1]);
    vw_tensor dx = vw_gradient_for(f, x, is_added);
    return *is_added ? vw_scratch(f, x->shape[0], x->shape[1]) : dx;
}

/* x: q; kept: k, v, lse; y[0]: out; desc: vw_nn_attention. */
static void attention_backward(forward *f, const tape_entry *e)
{
    vw_engine *en = f->engine;
    const vw_tensor *in[3] = {&e->x, &e->kept[0], &e->kept[1]};
    vw_tensor dy, d[3];
    bool is_added[3];
    if (!vw_gradient_of(f, &e->y[0], &dy))
        return;
    const vw_attention_plan *p = vw_plan_attention(f, e->desc);
    for (int i = 0; i < 3; i++)
        d[i] = written(f, in[i], &is_added[i]);
    vw_attention_batch ab = dense_batch(f->batch);
    if (p && vw_runs(f))
        vw_check(f, en->att->backward(en->attention->self, p, en->stream, &ab, e->x, e->kept[0],
                                      e->kept[1], e->y[0], e->kept[2].data, dy, d[0], d[1], d[2],
                                      en->workspace.data, f->err));
    for (int i = 0; i < 3; i++)
        if (is_added[i])
            vw_gradient_pass(f, d[i], in[i]);
}

static void attend_dense(forward *f, const vw_nn_attention *desc, const vw_attention_plan *p,
                         vw_tensor q, vw_tensor k, vw_tensor v, vw_tensor out)
{
    vw_engine *e = f->engine;
    bool is_needed = vw_tape_needs(f, &q) || vw_tape_needs(f, &k) || vw_tape_needs(f, &v);
    tape_entry *t = is_needed ? vw_tape_record(f, attention_backward) : NULL;
    vw_tensor lse = t ? vw_tape_keep(f, q.shape[0], desc->q_heads) : vw_nothing;
    vw_attention_batch ab = dense_batch(f->batch);
    if (vw_runs(f))
        vw_check(f, e->att->run_dense(e->attention->self, p, e->stream, &ab, q, k, v, out, lse.data,
                                      e->workspace.data, f->err));
    if (!t)
        return;
    t->x = q;
    t->kept[0] = k;
    t->kept[1] = v;
    t->kept[2] = lse;
    t->y[0] = out;
    t->desc = desc;
    vw_tape_need(f, &out, true);
}

vw_tensor vw_block_attention(vw_cx *cx, const vw_nn_attention *desc, vw_tensor q, vw_tensor k,
                             vw_tensor v)
{
    forward *f = vw_forward_of(cx);
    if (!attention_fits(f, desc, &q, &k, &v))
        return vw_nothing;
    const vw_attention_plan *p = vw_plan_attention(f, desc);
    if (!p)
        return vw_nothing;
    vw_tensor out =
        vw_take(f, q.shape[0], (int64_t)desc->q_heads * f->engine->info->caches[desc->layer].dv);
    if (f->lesson)
        attend_dense(f, desc, p, q, k, v, out);
    else if (vw_runs(f))
        attend_cached(f, p, desc->layer, q, k, v, out);
    return out;
}
