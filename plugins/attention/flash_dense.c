/* flash_dense.c - attention/flash without a cache, for training: forward and gradients.
 *
 * Forward is attention over pages that live in the workspace for the length of the call: the copy
 * brings keys and values into the order in which the kernels read them, which they would have to do
 * anyway.  Backward takes pieces of work by sequence, key head and chunk of keys from
 * kernels/cpu/attention-dense.h, heaviest first; a sequence of several chunks then has its queries'
 * gradients added up, chunk by chunk.
 */
#include "plugins/attention/flash.h"

#include <stdatomic.h>

enum { PAGE = VW_ATTENTION_TILE };

/* ---- plan ------------------------------------------------------------------------------------ */

vw_attention_problem flash_as_cached(const vw_attention_problem *problem)
{
    vw_attention_problem p = *problem;
    if (p.is_dense) {
        p.kv_dtype = VW_F32;
        p.page_tokens = PAGE;
        p.is_latent = 0;
        p.max_keys = p.max_queries;
    }
    return p;
}

static int64_t pages_of(int64_t n)
{
    return (n + PAGE - 1) / PAGE;
}

static vw_dense dense_of(const vw_attention_problem *p)
{
    return (vw_dense){p->q_heads / p->k_heads, p->dk,    p->dv, p->is_causal,
                      p->window,               p->scale, p->cap};
}

/* Parts of d_q, all query heads: only sequences of several chunks have them. */
static size_t part_bytes(const vw_attention_problem *p, int64_t n)
{
    int64_t chunks = vw_dense_chunks(n);
    return chunks > 1 ? (size_t)(chunks * n * p->q_heads * p->dk) * sizeof(float) : 0;
}

void flash_plan_dense(vw_attention_plan *plan)
{
    const vw_attention_problem *p = &plan->problem;
    flash_state *s = plan->state;
    size_t sequences = (size_t)p->max_sequences;
    size_t pages = (size_t)pages_of(p->max_queries) + sequences;
    vw_dense a = dense_of(p);

    s->keys_at = flash_round_up(plan->workspace_bytes);
    s->table_at = s->keys_at + flash_round_up(sequences * sizeof(int32_t));
    s->pages_at = s->table_at + flash_round_up(sequences * (size_t)pages_of(p->max_queries) *
                                               sizeof(int32_t));
    size_t forward = s->pages_at + pages * plan->page_bytes;

    s->dense_scratch =
        flash_round_up((size_t)vw_dense_scratch(&a, p->max_queries) * sizeof(float));
    size_t scratch_at = flash_round_up((2 * sequences + 1) * sizeof(int64_t));
    s->d_q_at = scratch_at + (size_t)s->n_threads * s->dense_scratch;
    /* Of sequences that together have max_queries, MAX_CHUNKS parts each at most. */
    size_t parts = (size_t)(VW_DENSE_MAX_CHUNKS * p->max_queries * p->q_heads * p->dk);
    size_t backward = s->d_q_at;
    if (vw_dense_chunks(p->max_queries) > 1)
        backward += parts * sizeof(float);
    plan->page_bytes = 0;
    plan->workspace_bytes = forward > backward ? forward : backward;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The batch as one with a cache whose pages are numbered in order. */
static vw_attention_batch paged(const flash_state *s, const vw_attention_batch *b, char *workspace)
{
    vw_attention_batch with = *b;
    int32_t *n_keys = (int32_t *)(void *)(workspace + s->keys_at);
    int32_t *table = (int32_t *)(void *)(workspace + s->table_at), next = 0;
    int64_t most = 0;
    for (int32_t seq = 0; seq < b->n_sequences; seq++) {
        n_keys[seq] = b->query_start[seq + 1] - b->query_start[seq];
        most = n_keys[seq] > most ? n_keys[seq] : most;
    }
    with.table_stride = pages_of(most);
    for (int32_t seq = 0; seq < b->n_sequences; seq++)
        for (int64_t i = 0; i < pages_of(n_keys[seq]); i++)
            table[seq * with.table_stride + i] = next++;
    with.n_keys = n_keys;
    with.block_table = table;
    with.max_keys = most;
    return with;
}

vw_status flash_run_dense(void *self, const vw_attention_plan *plan, vw_stream *stream,
                          const vw_attention_batch *b, vw_tensor q, vw_tensor k, vw_tensor v,
                          vw_tensor out, float *lse, void *workspace, vw_error *err)
{
    const flash_state *s = plan->state;
    const attention_dense all = {.q = q, .k = k, .v = v, .out = out};
    char *pages = (char *)workspace + s->pages_at;
    (void)stream;
    vw_status st = attention_check_dense(&plan->problem, b, &all, 0, err);
    if (st != VW_OK)
        return st;
    vw_attention_batch with = paged(s, b, workspace);
    flash_append_rows(self, s, &with, &k, &v, pages);
    flash_attend(self, plan, &with, &q, pages, &out, lse, workspace);
    return VW_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

typedef struct back_job {
    const flash *it;
    const vw_attention_problem *p;
    const flash_state *s;
    const vw_attention_batch *b;
    const attention_dense *t;
    vw_dense a;
    int64_t *tasks_before; /* [B + 1]: chunks x key heads of the sequences before each */
    int64_t *parts_before; /* [B]: floats of d_q's parts before each */
    char *scratch;
    float *parts;
    atomic_llong next;
} back_job;

static int64_t length(const back_job *job, int32_t seq)
{
    return job->b->query_start[seq + 1] - job->b->query_start[seq];
}

static float *row(const vw_tensor *t, int64_t i)
{
    return (float *)t->data + i * t->stride[0];
}

/* One sequence and key head, whose d_q is part `chunk` or, of a single chunk, the result. */
static vw_dense_head head_at(const back_job *job, int32_t seq, int64_t g, int64_t chunk)
{
    const attention_dense *t = job->t;
    const vw_dense *a = &job->a;
    int64_t first = job->b->query_start[seq], h = g * a->group;
    vw_dense_head head = {
        .n = length(job, seq),
        .q = row(&t->q, first) + h * a->dk,
        .k = row(&t->k, first) + g * a->dk,
        .v = row(&t->v, first) + g * a->dv,
        .out = row(&t->out, first) + h * a->dv,
        .d_out = row(&t->d_out, first) + h * a->dv,
        .q_stride = t->q.stride[0], .k_stride = t->k.stride[0], .v_stride = t->v.stride[0],
        .out_stride = t->out.stride[0], .d_out_stride = t->d_out.stride[0],
        .lse = t->lse + first * job->p->q_heads + h, .lse_stride = job->p->q_heads,
        .d_q = row(&t->d_q, first) + h * a->dk,
        .d_k = row(&t->d_k, first) + g * a->dk,
        .d_v = row(&t->d_v, first) + g * a->dv,
        .d_q_stride = t->d_q.stride[0], .d_k_stride = t->d_k.stride[0],
        .d_v_stride = t->d_v.stride[0],
    };
    if (vw_dense_chunks(head.n) > 1) {
        head.d_q_stride = a->group * a->dk;
        head.d_q = job->parts + job->parts_before[seq] +
                   (g * vw_dense_chunks(head.n) + chunk) * head.n * head.d_q_stride;
    }
    return head;
}

/* The sequence that task `number` is in. */
static int32_t sequence_of(const back_job *job, int64_t number)
{
    int32_t low = 0, high = job->b->n_sequences - 1;
    while (low < high) {
        int32_t middle = (low + high + 1) / 2;
        if (job->tasks_before[middle] <= number)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Within a sequence the first chunks go first: under a causal mask most rows see them. */
static void chunk_part(void *arg, int part, int n_parts)
{
    back_job *job = arg;
    int64_t n_tasks = job->tasks_before[job->b->n_sequences];
    float *scratch = (float *)(void *)(job->scratch + (size_t)part * job->s->dense_scratch);
    (void)n_parts;
    for (int64_t task; (task = atomic_fetch_add(&job->next, 1)) < n_tasks;) {
        int32_t seq = sequence_of(job, task);
        int64_t within = task - job->tasks_before[seq], n = length(job, seq);
        int64_t g = within % job->p->k_heads, chunk = within / job->p->k_heads;
        int64_t from = chunk * vw_dense_chunk(n), to = from + vw_dense_chunk(n);
        vw_dense_head head = head_at(job, seq, g, chunk);
        job->it->dense->backward(&job->a, &head, from, to < n ? to : n, scratch);
    }
}

/* The parts of d_q of one query and key head, in rising order of chunks. */
static void add_parts(const back_job *job, int32_t seq, int64_t g, int64_t i)
{
    const vw_dense *a = &job->a;
    int64_t n = length(job, seq), step = vw_dense_chunk(n), width = a->group * a->dk;
    float *to = row(&job->t->d_q, job->b->query_start[seq] + i) + g * width;
    memset(to, 0, (size_t)width * sizeof *to);
    for (int64_t h = 0; h < a->group; h++) {
        int64_t block = (i * a->group + h) / VW_DENSE_ROWS * VW_DENSE_ROWS;
        for (int64_t chunk = 0; chunk < vw_dense_chunks(n); chunk++) {
            vw_dense_head part = head_at(job, seq, g, chunk);
            int64_t end = (chunk + 1) * step < n ? (chunk + 1) * step : n;
            if (vw_dense_block_sees(a, n, block, chunk * step, end))
                job->it->dense->add(a->dk, part.d_q + i * width + h * a->dk, to + h * a->dk);
        }
    }
}

static void parts_part(void *arg, int part, int n_parts)
{
    const back_job *job = arg;
    for (int32_t seq = 0; seq < job->b->n_sequences; seq++) {
        int64_t n = length(job, seq);
        if (vw_dense_chunks(n) < 2)
            continue;
        for (int64_t i = n * part / n_parts; i < n * (part + 1) / n_parts; i++)
            for (int64_t g = 0; g < job->p->k_heads; g++)
                add_parts(job, seq, g, i);
    }
}

/* Lay out tasks and parts; returns the multiply-adds, about. */
static double count_tasks(back_job *job)
{
    int64_t tasks = 0, parts = 0;
    double work = 0;
    for (int32_t seq = 0; seq < job->b->n_sequences; seq++) {
        int64_t n = length(job, seq);
        job->tasks_before[seq] = tasks;
        job->parts_before[seq] = parts;
        tasks += vw_dense_chunks(n) * job->p->k_heads;
        parts += (int64_t)(part_bytes(job->p, n) / sizeof(float));
        work += (double)n * (double)n * job->p->q_heads * (double)(job->a.dk + job->a.dv) * 2;
    }
    job->tasks_before[job->b->n_sequences] = tasks;
    return work;
}

vw_status flash_backward(void *self, const vw_attention_plan *plan, vw_stream *stream,
                         const vw_attention_batch *b, vw_tensor q, vw_tensor k, vw_tensor v,
                         vw_tensor out, const float *lse, vw_tensor d_out, vw_tensor d_q,
                         vw_tensor d_k, vw_tensor d_v, void *workspace, vw_error *err)
{
    const flash *it = self;
    const flash_state *s = plan->state;
    const attention_dense all = {q, k, v, out, d_out, d_q, d_k, d_v, lse};
    size_t sequences = (size_t)plan->problem.max_sequences;
    (void)stream;
    vw_status st = attention_check_dense(&plan->problem, b, &all, 1, err);
    if (st != VW_OK)
        return st;
    back_job job = {.it = it, .p = &plan->problem, .s = s, .b = b, .t = &all,
                    .a = dense_of(&plan->problem), .tasks_before = workspace,
                    .parts_before = (int64_t *)workspace + sequences + 1,
                    .parts = (float *)(void *)((char *)workspace + s->d_q_at)};
    job.scratch = (char *)workspace + flash_round_up((2 * sequences + 1) * sizeof(int64_t));
    double work = count_tasks(&job);
    int n_parts = work < 2e5 ? 1 : s->n_threads;
    if (n_parts > 1)
        it->host->parallel_for(it->host->core, n_parts, chunk_part, &job);
    else
        chunk_part(&job, 0, 1);
    if (vw_dense_chunks(b->n_queries) < 2)
        return VW_OK;
    if (n_parts > 1)
        it->host->parallel_for(it->host->core, n_parts, parts_part, &job);
    else
        parts_part(&job, 0, 1);
    return VW_OK;
}
