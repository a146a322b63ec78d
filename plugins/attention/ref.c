/* ref.c - attention/ref: the specification as a plugin.
 *
 * Every row of every head is one call of kernels/ref/attention.h, in double precision.  It is slow,
 * and what every other attention is compared with.
 */
#include "kernels/ref/attention.h"
#include "plugins/attention/checks.h"

typedef struct ref_state {
    vw_ref_attention a;
    vw_ref_page_layout layout;
    int n_parts; /* as many as threads; each has its own space in the workspace */
    size_t part_bytes;
} ref_state;

static vw_ref_attention formula(const vw_attention_problem *p)
{
    vw_ref_attention a = {p->dk, p->dv, p->is_causal, p->window, (double)p->scale, (double)p->cap};
    return a;
}

static size_t delta_bytes(const vw_attention_problem *p)
{
    return (size_t)p->max_queries * (size_t)p->q_heads * sizeof(double);
}

static vw_status ref_supports(void *self, const vw_attention_problem *problem, vw_error *err)
{
    (void)self;
    return attention_check_problem(problem, err);
}

static vw_status ref_plan(void *self, const vw_attention_problem *p, vw_attention_plan *plan,
                          vw_error *err)
{
    const vw_host *host = self;
    vw_status st = attention_check_problem(p, err);
    if (st != VW_OK)
        return st;
    ref_state *state = host->alloc(host->core, sizeof *state);
    if (!state)
        return vw_fail(err, VW_E_NOMEM, "no memory for an attention plan");
    *state = (ref_state){.a = formula(p), .n_parts = host->n_threads(host->core)};
    if (p->is_dense)
        state->layout = (vw_ref_page_layout){.dtype = VW_F32, .tokens = 1, .heads = 1};
    else
        state->layout = (vw_ref_page_layout){p->kv_dtype, p->page_tokens, p->k_heads, p->dk,
                                         p->dv,       p->is_latent,   0,          0};
    vw_ref_page_plan(&state->layout);
    size_t forward = vw_ref_attend_space(&state->a, p->is_dense ? p->max_queries : p->max_keys);
    size_t backward = (size_t)(p->dk + p->dv) * sizeof(double);
    state->part_bytes = ((forward > backward ? forward : backward) + 63) / 64 * 64;
    *plan = (vw_attention_plan){
        .problem = *p,
        .workspace_bytes = delta_bytes(p) + (size_t)state->n_parts * state->part_bytes,
        .page_bytes = state->layout.page_bytes,
        .state = state,
    };
    return VW_OK;
}

static void ref_plan_free(void *self, vw_attention_plan *plan)
{
    const vw_host *host = self;
    host->free(host->core, plan->state);
    plan->state = NULL;
}

static vw_status ref_append(void *self, const vw_attention_plan *plan, vw_stream *s,
                            const vw_attention_batch *b, vw_tensor k, vw_tensor v, void *pages,
                            void *workspace, vw_error *err)
{
    const ref_state *state = plan->state;
    const vw_ref_page_layout *l = &state->layout;
    (void)self, (void)s, (void)workspace;
    vw_status st = attention_check_append(&plan->problem, b, &k, &v, err);
    if (st != VW_OK)
        return st;
    for (int32_t seq = 0; seq < b->n_sequences; seq++)
        for (int64_t i = b->query_start[seq]; i < b->query_start[seq + 1]; i++) {
            int64_t place = b->n_keys[seq] - b->query_start[seq + 1] + i;
            int32_t page = b->block_table[seq * b->table_stride + place / l->tokens];
            char *to = (char *)pages + (size_t)page * l->page_bytes;
            const float *new_k = (const float *)k.data + i * k.stride[0];
            const float *new_v = (const float *)v.data + i * v.stride[0];
            for (int64_t h = 0; h < l->heads; h++)
                vw_ref_page_put(l, to, place % l->tokens, h, new_k + h * l->dk,
                                l->is_latent ? NULL : new_v + h * l->dv);
        }
    return VW_OK;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Keys or values of a dense sequence. */
typedef struct dense {
    const float *k, *v;
    int64_t k_stride, v_stride;
} dense;

static const float *dense_key(const void *from, int64_t j, float *space)
{
    const dense *d = from;
    (void)space;
    return d->k + j * d->k_stride;
}

static const float *dense_value(const void *from, int64_t j, float *space)
{
    const dense *d = from;
    (void)space;
    return d->v + j * d->v_stride;
}

typedef struct ref_job {
    const vw_attention_problem *p;
    const ref_state *state;
    const vw_attention_batch *b;
    vw_tensor q, k, v, out; /* k.data NULL: the keys are in pages */
    const void *pages;
    float *lse;
    char *space;
} ref_job;

static double attend_head(const ref_job *job, int32_t seq, int64_t i, int64_t h, void *space)
{
    const vw_attention_problem *p = job->p;
    const vw_attention_batch *b = job->b;
    int64_t g = h / (p->q_heads / p->k_heads), first = b->query_start[seq];
    int64_t S = p->is_dense ? b->query_start[seq + 1] - first : b->n_keys[seq];
    int64_t place = i - b->query_start[seq + 1] + S;
    const float *q = (const float *)job->q.data + i * job->q.stride[0] + h * p->dk;
    float *out = (float *)job->out.data + i * job->out.stride[0] + h * p->dv;
    if (job->k.data) {
        dense from = {(const float *)job->k.data + first * job->k.stride[0] + g * p->dk,
                      (const float *)job->v.data + first * job->v.stride[0] + g * p->dv,
                      job->k.stride[0], job->v.stride[0]};
        vw_ref_kv kv = {dense_key, dense_value, &from};
        return vw_ref_attend(&job->state->a, q, place, S, &kv, out, space);
    }
    vw_ref_pages from = {&job->state->layout, job->pages, b->block_table + seq * b->table_stride,
                         g};
    vw_ref_kv kv = {vw_ref_page_key, vw_ref_page_value, &from};
    return vw_ref_attend(&job->state->a, q, place, S, &kv, out, space);
}

/* Every n-th row of the batch, all heads. */
static void run_part(void *arg, int part, int n_parts)
{
    const ref_job *job = arg;
    const vw_attention_batch *b = job->b;
    for (int32_t seq = 0; seq < b->n_sequences; seq++)
        for (int64_t i = b->query_start[seq]; i < b->query_start[seq + 1]; i++) {
            if (i % n_parts != part)
                continue;
            for (int64_t h = 0; h < job->p->q_heads; h++) {
                double lse =
                    attend_head(job, seq, i, h, job->space + (size_t)part * job->state->part_bytes);
                if (job->lse)
                    job->lse[i * job->p->q_heads + h] = (float)lse;
            }
        }
}

static void run_parts(const vw_host *host, const ref_state *state, vw_part_fn fn, void *job)
{
    host->parallel_for(host->core, state->n_parts, fn, job);
}

static vw_status ref_run(void *self, const vw_attention_plan *plan, vw_stream *s,
                         const vw_attention_batch *b, vw_tensor q, const void *pages, vw_tensor out,
                         float *lse, void *workspace, vw_error *err)
{
    vw_tensor none = {0};
    (void)s;
    vw_status st = attention_check_run(&plan->problem, b, &q, &out, err);
    if (st != VW_OK)
        return st;
    ref_job job = {
        &plan->problem, plan->state, b,     q,   none,
        none,           out,         pages, lse, (char *)workspace + delta_bytes(&plan->problem)};
    run_parts(self, plan->state, run_part, &job);
    return VW_OK;
}

static vw_status ref_run_dense(void *self, const vw_attention_plan *plan, vw_stream *s,
                               const vw_attention_batch *b, vw_tensor q, vw_tensor k, vw_tensor v,
                               vw_tensor out, float *lse, void *workspace, vw_error *err)
{
    const attention_dense all = {.q = q, .k = k, .v = v, .out = out};
    (void)s;
    vw_status st = attention_check_dense(&plan->problem, b, &all, 0, err);
    if (st != VW_OK)
        return st;
    ref_job job = {&plan->problem,
                   plan->state,
                   b,
                   q,
                   k,
                   v,
                   out,
                   NULL,
                   lse,
                   (char *)workspace + delta_bytes(&plan->problem)};
    run_parts(self, plan->state, run_part, &job);
    return VW_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

typedef struct grad_job {
    const vw_attention_problem *p;
    const ref_state *state;
    const vw_attention_batch *b;
    vw_tensor q, k, v, out, d_out, d_q, d_k, d_v;
    const float *lse;
    double *delta; /* [Q][Hq] */
    char *space;
} grad_job;

static vw_ref_rows rows_from(const vw_tensor *t, int64_t first)
{
    vw_ref_rows rows = {(float *)t->data + first * t->stride[0], t->stride[0]};
    return rows;
}

static vw_ref_attention_pass sequence_pass(const grad_job *job, int32_t seq)
{
    int64_t first = job->b->query_start[seq];
    vw_ref_attention_pass pass = {
        .a = job->state->a,
        .n = job->b->query_start[seq + 1] - first,
        .q_heads = job->p->q_heads,
        .k_heads = job->p->k_heads,
        .q = rows_from(&job->q, first),
        .k = rows_from(&job->k, first),
        .v = rows_from(&job->v, first),
        .out = rows_from(&job->out, first),
        .d_out = rows_from(&job->d_out, first),
        .lse = job->lse + first * job->p->q_heads,
    };
    return pass;
}

/* First pass: delta and dQ, row by row. */
static void query_part(void *arg, int part, int n_parts)
{
    const grad_job *job = arg;
    double *space = (double *)(void *)(job->space + (size_t)part * job->state->part_bytes);
    for (int32_t seq = 0; seq < job->b->n_sequences; seq++) {
        vw_ref_attention_pass pass = sequence_pass(job, seq);
        vw_ref_rows d_q = rows_from(&job->d_q, job->b->query_start[seq]);
        double *delta = job->delta + job->b->query_start[seq] * pass.q_heads;
        for (int64_t i = part; i < pass.n; i += n_parts)
            for (int64_t h = 0; h < pass.q_heads; h++) {
                double *d = &delta[i * pass.q_heads + h];
                *d = vw_ref_attend_delta(&pass, i, h);
                vw_ref_attend_dq(&pass, *d, i, h, d_q.data + i * d_q.stride + h * pass.a.dk, space);
            }
    }
}

/* Second pass: dK and dV, key by key. */
static void key_part(void *arg, int part, int n_parts)
{
    const grad_job *job = arg;
    double *space = (double *)(void *)(job->space + (size_t)part * job->state->part_bytes);
    for (int32_t seq = 0; seq < job->b->n_sequences; seq++) {
        int64_t first = job->b->query_start[seq];
        vw_ref_attention_pass pass = sequence_pass(job, seq);
        vw_ref_rows d_k = rows_from(&job->d_k, first), d_v = rows_from(&job->d_v, first);
        for (int64_t j = part; j < pass.n; j += n_parts)
            for (int64_t g = 0; g < pass.k_heads; g++)
                vw_ref_attend_dkv(&pass, job->delta + first * pass.q_heads, j, g,
                                  d_k.data + j * d_k.stride + g * pass.a.dk,
                                  d_v.data + j * d_v.stride + g * pass.a.dv, space);
    }
}

static vw_status ref_backward(void *self, const vw_attention_plan *plan, vw_stream *s,
                              const vw_attention_batch *b, vw_tensor q, vw_tensor k, vw_tensor v,
                              vw_tensor out, const float *lse, vw_tensor d_out, vw_tensor d_q,
                              vw_tensor d_k, vw_tensor d_v, void *workspace, vw_error *err)
{
    const attention_dense all = {q, k, v, out, d_out, d_q, d_k, d_v, lse};
    grad_job job = {&plan->problem, plan->state, b,   q,   k,   v,         out,
                    d_out,          d_q,         d_k, d_v, lse, workspace, NULL};
    (void)s;
    job.space = (char *)workspace + delta_bytes(&plan->problem);
    vw_status st = attention_check_dense(&plan->problem, b, &all, 1, err);
    if (st != VW_OK)
        return st;
    run_parts(self, plan->state, query_part, &job);
    run_parts(self, plan->state, key_part, &job);
    return VW_OK;
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static int32_t ref_probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "plain C");
    return 1;
}

/* The instance is the host itself. */
static vw_status ref_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config, (void)err;
    *self = (void *)(uintptr_t)host;
    return VW_OK;
}

static void ref_close(void *self)
{
    (void)self;
}

static const vw_attention_ops ops = {
    .size = sizeof ops,
    .supports = ref_supports,
    .plan = ref_plan,
    .plan_free = ref_plan_free,
    .append = ref_append,
    .run = ref_run,
    .backward = ref_backward,
    .run_dense = ref_run_dense,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_ATTENTION,
    .ops_major = VW_ATTENTION_OPS_MAJOR,
    .ops_minor = VW_ATTENTION_OPS_MINOR,
    .name = "ref",
    .summary = "attention as its formula, in double precision: the specification",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE | VW_CAP_PROVISIONAL,
    .devices = devices,
    .probe = ref_probe,
    .open = ref_open,
    .close = ref_close,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(attention, ref)
{
    return &description;
}
