/* nn_attention.c - attention: over the cache in inference, over the batch's own rows in training.
 */
#include "core/stubs.h"
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

static vw_attention_batch cached_batch(const forward *f, const kv_layer *layer)
{
    const vw_engine *e = f->engine;
    const batch *b = f->batch;
    return (vw_attention_batch){
        .n_sequences = b->n_sequences,
        .n_queries = b->n_tokens,
        .query_start = b->query_start,
        .n_keys = b->n_keys,
        .block_table = b->tables[layer->group],
        .table_stride = e->groups[layer->group].table_width,
        .max_keys = b->max_keys,
        .max_queries_one = b->max_queries_one,
    };
}

static void append(forward *f, const vw_attention_plan *p, const kv_layer *layer, vw_tensor k,
                   vw_tensor v)
{
    vw_engine *e = f->engine;
    vw_attention_batch added = cached_batch(f, layer);
    added.n_keys = f->batch->ends;
    vw_check(f, e->att->append(e->attention->self, p, e->stream, &added, k, v, layer->pages.data,
                               e->workspace.data, f->err));
}

static void attend_cached(forward *f, const vw_attention_plan *p, int32_t layer_index, vw_tensor q,
                          vw_tensor k, vw_tensor v, vw_tensor out)
{
    vw_engine *e = f->engine;
    const kv_layer *layer = &e->kv_layers[layer_index];
    vw_attention_batch ab = cached_batch(f, layer);
    append(f, p, layer, k, v);
    if (vw_runs(f))
        vw_check(f, e->att->run(e->attention->self, p, e->stream, &ab, q, layer->pages.data, out,
                                NULL, e->workspace.data, f->err));
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

/* ---- prompts of latent attention ------------------------------------------------------------- */

enum { PROMPT_TOKENS = 16 }; /* of a sequence, on average, for which keys and values of heads are made */

vw_prompt vw_block_prompt(vw_cx *cx, const vw_nn_dense *desc)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    const batch *b = f->batch;
    if (f->status || f->lesson || e->is_batch_invariant || !vw_heads_turn(e) ||
        e->att->run_dense == vw_attention_stubs.run_dense)
        return VW_PROMPT_NO;
    const vw_attention_problem problem = vw_prompt_problem(f, desc);
    if (e->att->supports(e->attention->self, &problem, NULL))
        return VW_PROMPT_NO;
    if (f->mode == CX_MEASURE)
        return VW_PROMPT_EITHER;
    return b->is_prompt && b->n_tokens >= (int64_t)PROMPT_TOKENS * b->n_sequences ? VW_PROMPT_YES
                                                                                   : VW_PROMPT_NO;
}

vw_tensor vw_block_attention_prompt(vw_cx *cx, const vw_nn_dense *desc, vw_tensor q, vw_tensor k,
                                    vw_tensor v, vw_tensor cached_k, vw_tensor cached_v)
{
    forward *f = vw_forward_of(cx);
    vw_engine *e = f->engine;
    const vw_attention_plan *cache = vw_plan_attention(f, &desc->att);
    const vw_attention_plan *p = vw_plan_prompt(f, desc);
    if (!cache || !p)
        return vw_nothing;
    vw_tensor out = vw_take(f, q.shape[0], (int64_t)desc->att.q_heads * desc->dv);
    vw_attention_batch ab = dense_batch(f->batch);
    if (!vw_runs(f))
        return out;
    append(f, cache, &e->kv_layers[desc->att.layer], cached_k, cached_v);
    if (vw_runs(f))
        vw_check(f, e->att->run_dense(e->attention->self, p, e->stream, &ab, q, k, v, out, NULL,
                                      e->workspace.data, f->err));
    return out;
}
