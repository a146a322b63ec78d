/* plans.c - gemm and attention plans, made once while measuring and found again by shape.
 *
 * Layers of a model repeat, so a handful of plans serves all of them: the key of a gemm plan is the
 * shapes and formats of its weights and its epilogue, that of an attention plan its whole problem.
 * A gemm that lacks an epilogue is used without it, and a pointwise step of the device follows.
 */
#include "core/forward.h"

#include <string.h>

static bool same_weight(const vw_gemm_weight *a, const vw_gemm_weight *b)
{
    const vw_matrix *p = &a->stored, *q = &b->stored;
    return a->format == b->format && a->layout == b->layout && !a->pack == !b->pack &&
           p->dtype == q->dtype && p->layout == q->layout && p->rows == q->rows &&
           p->cols == q->cols && p->row_stride == q->row_stride && p->format == q->format &&
           p->scales.rows == q->scales.rows && p->scales.cols == q->scales.cols &&
           p->scales.dtype == q->scales.dtype;
}

static bool same_problem(const vw_gemm_problem *a, const vw_gemm_problem *b)
{
    if (a->op != b->op || a->max_m != b->max_m || a->rounding != b->rounding ||
        a->n_weights != b->n_weights || a->epilogue != b->epilogue ||
        a->activation != b->activation || memcmp(&a->cap, &b->cap, sizeof a->cap) != 0)
        return false;
    for (int i = 0; i < a->n_weights; i++)
        if (!same_weight(a->weights[i], b->weights[i]))
            return false;
    return true;
}

static gemm_plan *make_gemm(forward *f, vw_gemm_problem *problem)
{
    vw_engine *e = f->engine;
    if (e->n_gemm_plans == MAX_GEMM_PLANS) {
        f->status = vw_fail(f->err, VW_E_UNSUPPORTED, "a model with more than %d different matrix "
                            "shapes", MAX_GEMM_PLANS);
        return NULL;
    }
    gemm_plan *p = &e->gemm_plans[e->n_gemm_plans];
    p->key = *problem;
    p->is_composed = false;
    if (problem->epilogue != VW_GEMM_STORE && e->mm->supports(e->gemm->self, problem, f->err)) {
        problem->epilogue = VW_GEMM_STORE;
        p->is_composed = true;
    }
    f->status = e->mm->plan(e->gemm->self, problem, &p->plan, f->err);
    if (f->status)
        return NULL;
    if (p->plan.workspace_bytes > e->workspace_bytes)
        e->workspace_bytes = p->plan.workspace_bytes;
    e->n_gemm_plans++;
    return p;
}

const gemm_plan *vw_plan_gemm(forward *f, const product *w)
{
    vw_engine *e = f->engine;
    if (f->status)
        return NULL;
    vw_gemm_problem problem = {
        .size = sizeof problem, .op = w->op, .max_m = w->max_m ? w->max_m : f->max_tokens,
        .n_weights = w->n, .x_dtype = VW_F32, .y_dtype = VW_F32, .epilogue = w->epilogue,
        .activation = w->activation, .cap = w->cap, .is_batch_invariant = e->is_batch_invariant,
        .rounding = f->lesson && !w->is_exact ? f->lesson->rounding : VW_GEMM_ROUND_NONE,
    };
    for (int i = 0; i < w->n; i++)
        problem.weights[i] = w->w[i];
    for (int i = 0; i < e->n_gemm_plans; i++)
        if (same_problem(&e->gemm_plans[i].key, &problem))
            return &e->gemm_plans[i];
    if (f->mode == CX_MEASURE)
        return make_gemm(f, &problem);
    f->status = vw_fail(f->err, VW_E_INVALID, "%s: this product was not made while measuring; the "
                        "model's forward must depend on shapes alone", w->name);
    return NULL;
}

/* Problems are compared as bytes. */
static const vw_attention_plan *find_or_make(forward *f, const vw_attention_problem *problem)
{
    vw_engine *e = f->engine;
    for (int i = 0; i < e->n_attention_plans; i++)
        if (memcmp(&e->attention_plans[i].problem, problem, sizeof *problem) == 0)
            return &e->attention_plans[i];
    if (e->n_attention_plans == MAX_ATTENTION_PLANS) {
        f->status = vw_fail(f->err, VW_E_UNSUPPORTED, "a model with more than %d different kinds "
                            "of attention layers", MAX_ATTENTION_PLANS);
        return NULL;
    }
    vw_attention_plan *p = &e->attention_plans[e->n_attention_plans];
    f->status = e->att->plan(e->attention->self, problem, p, f->err);
    if (f->status)
        return NULL;
    memcpy(&p->problem, problem, sizeof *problem);
    if (p->workspace_bytes > e->workspace_bytes)
        e->workspace_bytes = p->workspace_bytes;
    e->n_attention_plans++;
    return p;
}

const vw_attention_plan *vw_plan_attention(forward *f, const vw_nn_attention *desc)
{
    vw_engine *e = f->engine;
    kv_layer *layer = &e->kv_layers[desc->layer];
    const vw_cache_spec *cache = &e->info->caches[desc->layer];
    const vw_attention_plan **place = f->lesson ? &layer->dense : &layer->plan;
    if (f->status || *place)
        return f->status ? NULL : *place;
    vw_attention_problem problem;
    memset(&problem, 0, sizeof problem);
    problem.size = sizeof problem;
    problem.q_heads = desc->q_heads;
    problem.k_heads = cache->k_heads;
    problem.dk = cache->dk;
    problem.dv = cache->dv;
    problem.is_causal = 1;
    problem.window = cache->window;
    problem.scale = desc->scale;
    problem.cap = desc->cap;
    problem.is_latent = cache->is_latent;
    problem.q_dtype = VW_F32;
    problem.kv_dtype = e->kv_dtype;
    problem.page_tokens = e->page_tokens;
    problem.max_queries = f->max_tokens;
    problem.max_sequences = f->max_sequences;
    problem.max_keys = f->lesson ? f->max_tokens : e->context;
    problem.is_dense = f->lesson != NULL;
    return *place = find_or_make(f, &problem);
}

vw_attention_problem vw_prompt_problem(const forward *f, const vw_nn_dense *desc)
{
    vw_attention_problem p;
    memset(&p, 0, sizeof p);
    p.size = sizeof p;
    p.q_heads = desc->att.q_heads;
    p.k_heads = desc->k_heads;
    p.dk = desc->dk;
    p.dv = desc->dv;
    p.is_causal = 1;
    p.scale = desc->att.scale;
    p.cap = desc->att.cap;
    p.q_dtype = p.kv_dtype = VW_F32;
    p.page_tokens = f->engine->page_tokens;
    p.max_queries = p.max_keys = f->max_tokens;
    p.max_sequences = f->max_sequences;
    p.is_dense = 1;
    return p;
}

const vw_attention_plan *vw_plan_prompt(forward *f, const vw_nn_dense *desc)
{
    const vw_attention_problem problem = vw_prompt_problem(f, desc);
    return f->status ? NULL : find_or_make(f, &problem);
}

const float *vw_plan_rope(forward *f, const float *inv_freq, int32_t n)
{
    vw_engine *e = f->engine;
    for (int i = 0; i < e->n_ropes; i++)
        if (e->ropes[i].host == inv_freq)
            return e->ropes[i].buffer.data;
    if (e->n_ropes == MAX_ROPE_TABLES) {
        f->status = vw_fail(f->err, VW_E_UNSUPPORTED, "a model with more than %d rotations",
                            MAX_ROPE_TABLES);
        return NULL;
    }
    rope_table *r = &e->ropes[e->n_ropes];
    size_t bytes = (size_t)n * sizeof *inv_freq;
    void *dev = e->device->self;
    if ((f->status = e->dev->alloc(dev, bytes, &r->buffer, f->err)))
        return NULL;
    r->host = inv_freq;
    e->n_ropes++;
    if ((f->status = e->dev->upload(dev, e->stream, r->buffer.data, inv_freq, bytes, f->err)) ||
        (f->status = e->dev->synchronize(dev, e->stream, f->err)))
        return NULL;
    return r->buffer.data;
}

void vw_plans_free(vw_engine *e)
{
    for (int i = 0; i < e->n_gemm_plans; i++)
        e->mm->plan_free(e->gemm->self, &e->gemm_plans[i].plan);
    for (int i = 0; i < e->n_attention_plans; i++)
        e->att->plan_free(e->attention->self, &e->attention_plans[i]);
    for (int i = 0; i < e->n_ropes; i++)
        e->dev->free(e->device->self, &e->ropes[i].buffer);
    e->n_gemm_plans = e->n_attention_plans = e->n_ropes = 0;
}
