/* flash.c - attention/flash: blocked attention with an online softmax, over pages that stream.
 *
 * The work is cut into items: one sequence, one key head, up to 48 rows (queries times the query
 * heads of that key head).  With many items, as in a prefill or a large batch, threads take items. 
 * With few and long ones, as in a lone decode, threads take chunks of 512 keys and the parts are
 * folded afterwards.  kernels/cpu/attention.h says why both give the same bits, so the choice may
 * look at the number of threads.
 */
#include "plugins/attention/flash.h"

#include <stdatomic.h>

enum { ROWS = VW_ATTENTION_ROWS, CHUNK = VW_ATTENTION_CHUNK };

static const double worth_splitting =
    2e5; /* multiply-adds; below, a barrier costs more than it gives */
static const size_t max_parts_bytes = (size_t)16 << 20;

/* ---- plan ------------------------------------------------------------------------------------ */

static vw_attention_flash fixed_part(const vw_attention_problem *p)
{
    const double log2e = 1.44269504088896340736;
    vw_attention_flash f = {
        .page = {.dtype = p->kv_dtype,
                 .tokens = p->page_tokens,
                 .heads = p->k_heads,
                 .dk = p->dk,
                 .dv = p->dv,
                 .is_latent = p->is_latent},
        .group = p->q_heads / p->k_heads,
        .is_causal = p->is_causal,
        .window = p->window,
        .q_scale = (float)((double)p->scale * log2e),
    };
    if (p->cap > 0) {
        f.q_scale = p->scale / p->cap;
        f.cap = (float)((double)p->cap * log2e);
    }
    vw_attention_page_plan(&f.page);
    return f;
}

/* Room for one part per chunk of every item, as far as the bound allows: a batch that needs more
 * has items enough for all threads. */
static size_t parts_for(const flash_state *s, const vw_attention_problem *p)
{
    double items =
        (double)p->max_sequences * p->k_heads + (double)p->max_queries * p->q_heads / ROWS;
    double chunks = (double)((p->max_keys + CHUNK - 1) / CHUNK);
    double most = items < 2 * s->n_threads ? items : 2 * s->n_threads;
    double bytes = most * chunks * (double)s->state_bytes;
    return s->n_threads < 2 || chunks < 2    ? 0
           : bytes < (double)max_parts_bytes ? (size_t)bytes
                                             : max_parts_bytes;
}

static vw_status flash_supports(void *self, const vw_attention_problem *problem, vw_error *err)
{
    (void)self;
    return attention_check_problem(problem, err);
}

static vw_status flash_plan(void *self, const vw_attention_problem *problem,
                            vw_attention_plan *plan, vw_error *err)
{
    const flash *it = self;
    const vw_attention_problem cached = flash_as_cached(problem), *p = &cached;
    vw_status st = attention_check_problem(problem, err);
    if (st != VW_OK)
        return st;
    flash_state *s = it->host->alloc(it->host->core, sizeof *s);
    if (!s)
        return vw_fail(err, VW_E_NOMEM, "no memory for an attention plan");
    *s = (flash_state){.f = fixed_part(p), .n_threads = it->host->n_threads(it->host->core)};
    s->scratch_bytes = flash_round_up(vw_attention_scratch_bytes(&s->f));
    s->state_bytes = flash_round_up(vw_attention_state_bytes(&s->f, ROWS));
    s->threads_at = flash_round_up(((size_t)p->max_sequences + 1) * sizeof(int64_t));
    s->parts_at = s->threads_at + (size_t)s->n_threads * (s->scratch_bytes + s->state_bytes);
    s->parts_bytes = parts_for(s, p);
    *plan = (vw_attention_plan){
        .problem = *problem,
        .workspace_bytes = s->parts_at + s->parts_bytes,
        .page_bytes = s->f.page.page_bytes,
        .state = s,
    };
    if (p->is_dense)
        flash_plan_dense(plan);
    return VW_OK;
}

static void flash_plan_free(void *self, vw_attention_plan *plan)
{
    const flash *it = self;
    it->host->free(it->host->core, plan->state);
    plan->state = NULL;
}

/* ---- append ---------------------------------------------------------------------------------- */

typedef struct append_job {
    const vw_attention_page *page;
    const vw_attention_batch *b;
    vw_tensor k, v;
    char *pages;
} append_job;

static void append_row(const append_job *job, int32_t seq, int64_t i)
{
    const vw_attention_page *p = job->page;
    const vw_attention_batch *b = job->b;
    int64_t place = b->n_keys[seq] - b->query_start[seq + 1] + i;
    int32_t number = b->block_table[seq * b->table_stride + place / p->tokens];
    char *page = job->pages + (size_t)number * p->page_bytes;
    const float *k = (const float *)job->k.data + i * job->k.stride[0];
    const float *v = p->is_latent ? NULL : (const float *)job->v.data + i * job->v.stride[0];
    for (int64_t h = 0; h < p->heads; h++)
        vw_attention_page_put(p, page, place % p->tokens, h, k + h * p->dk,
                              v ? v + h * p->dv : NULL);
}

/* Rows side by side go to one thread, since neighbours share cache lines of a page. */
static void append_part(void *arg, int part, int n_parts)
{
    const append_job *job = arg;
    const vw_attention_batch *b = job->b;
    int64_t from = b->n_queries * part / n_parts, to = b->n_queries * (part + 1) / n_parts;
    for (int32_t seq = 0; seq < b->n_sequences; seq++) {
        int64_t first = b->query_start[seq], last = b->query_start[seq + 1];
        first = first > from ? first : from;
        last = last < to ? last : to;
        for (int64_t i = first; i < last; i++)
            append_row(job, seq, i);
    }
}

void flash_append_rows(const flash *it, const flash_state *s, const vw_attention_batch *b,
                       const vw_tensor *k, const vw_tensor *v, void *pages)
{
    append_job job = {&s->f.page, b, *k, *v, pages};
    if (s->n_threads > 1 && b->n_queries * k->shape[1] > 16384)
        it->host->parallel_for(it->host->core, s->n_threads, append_part, &job);
    else
        append_part(&job, 0, 1);
}

static vw_status flash_append(void *self, const vw_attention_plan *plan, vw_stream *stream,
                              const vw_attention_batch *b, vw_tensor k, vw_tensor v, void *pages,
                              void *workspace, vw_error *err)
{
    const flash *it = self;
    const flash_state *s = plan->state;
    (void)stream, (void)workspace;
    vw_status st = attention_check_append(&plan->problem, b, &k, &v, err);
    if (st != VW_OK)
        return st;
    flash_append_rows(it, s, b, &k, &v, pages);
    return VW_OK;
}

/* ---- run ------------------------------------------------------------------------------------- */

typedef struct run_job {
    const vw_attention_problem *p;
    const flash_state *s;
    const vw_attention_kernels *kernels;
    const vw_attention_batch *b;
    vw_tensor q, out;
    const char *pages;
    float *lse;
    char *workspace;
    int64_t *items_before; /* [B + 1]: items of the sequences before each */
    int64_t rows;          /* of an item */
    int64_t n_items, chunks;
    int64_t n_tasks;   /* items, or items x chunks */
    atomic_llong next; /* task */
} run_job;

typedef struct item {
    int32_t seq;
    int64_t g, first, n; /* key head, rows */
    int64_t from, to;    /* chunks */
    vw_attention_head head;
} item;

static int64_t rows_of(const run_job *job, int32_t seq)
{
    return (job->b->query_start[seq + 1] - job->b->query_start[seq]) * job->s->f.group;
}

static void count_items(run_job *job, int64_t rows)
{
    int64_t n = 0, most = 0;
    job->rows = rows;
    for (int32_t seq = 0; seq < job->b->n_sequences; seq++) {
        job->items_before[seq] = n;
        n += (rows_of(job, seq) + rows - 1) / rows * job->p->k_heads;
        most = job->b->n_keys[seq] > most ? job->b->n_keys[seq] : most;
    }
    job->items_before[job->b->n_sequences] = n;
    job->n_items = n;
    job->chunks = (most + CHUNK - 1) / CHUNK;
}

static item item_at(const run_job *job, int64_t number)
{
    const vw_attention_batch *b = job->b;
    const vw_attention_problem *p = job->p;
    int32_t low = 0, high = b->n_sequences - 1;
    while (low < high) { /* the last sequence with no more items before it than `number` */
        int32_t middle = (low + high + 1) / 2;
        if (job->items_before[middle] <= number)
            low = middle;
        else
            high = middle - 1;
    }
    item it = {.seq = low};
    int64_t rows = rows_of(job, low), within = number - job->items_before[low], lo, hi;
    it.g = within % p->k_heads;
    it.first = within / p->k_heads * job->rows;
    it.n = rows - it.first < job->rows ? rows - it.first : job->rows;
    it.head = (vw_attention_head){
        .q = (const float *)job->q.data + b->query_start[low] * job->q.stride[0] +
             it.g * job->s->f.group * p->dk,
        .q_stride = job->q.stride[0],
        .place = (int64_t)b->n_keys[low] - (b->query_start[low + 1] - b->query_start[low]),
        .n_keys = b->n_keys[low],
        .pages = job->pages,
        .table = b->block_table + low * b->table_stride,
        .head = it.g,
    };
    vw_attention_reach(&job->s->f, &it.head, it.first, it.n, &lo, &hi);
    it.from = lo / CHUNK;
    it.to = hi > lo ? (hi + CHUNK - 1) / CHUNK : it.from;
    return it;
}

static void finish_item(const run_job *job, const item *it, const vw_attention_state *state)
{
    const vw_attention_flash *f = &job->s->f;
    int64_t start = job->b->query_start[it->seq];
    for (int64_t r = 0; r < it->n; r++) {
        int64_t i = start + (it->first + r) / f->group;
        int64_t h = it->g * f->group + (it->first + r) % f->group;
        float *out = (float *)job->out.data + i * job->out.stride[0] + h * f->page.dv;
        float lse = vw_attention_finish(f, state, r, out);
        if (job->lse)
            job->lse[i * job->p->q_heads + h] = lse;
    }
}

static char *thread_memory(const run_job *job, int part)
{
    const flash_state *s = job->s;
    return job->workspace + s->threads_at + (size_t)part * (s->scratch_bytes + s->state_bytes);
}

static vw_attention_state part_state(const run_job *job, int64_t item_number, int64_t chunk)
{
    const flash_state *s = job->s;
    size_t slot = (size_t)(item_number * job->chunks + chunk);
    return vw_attention_state_at(&s->f, ROWS, job->workspace + s->parts_at + slot * s->state_bytes);
}

/* Threads take items.  The last ones are the longest under a causal mask: they go first. */
static void whole_items(void *arg, int part, int n_parts)
{
    run_job *job = arg;
    char *memory = thread_memory(job, part);
    vw_attention_state state =
        vw_attention_state_at(&job->s->f, ROWS, memory + job->s->scratch_bytes);
    (void)n_parts;
    for (int64_t task; (task = atomic_fetch_add(&job->next, 1)) < job->n_items;) {
        item it = item_at(job, job->n_items - 1 - task);
        job->kernels->attend(&job->s->f, &it.head, it.first, it.n, it.from, it.to, &state, memory);
        finish_item(job, &it, &state);
    }
}

/* Threads take chunks of items, each into a state of its own. */
static void single_chunks(void *arg, int part, int n_parts)
{
    run_job *job = arg;
    (void)n_parts;
    for (int64_t task; (task = atomic_fetch_add(&job->next, 1)) < job->n_items * job->chunks;) {
        int64_t number = task / job->chunks, chunk = task % job->chunks;
        item it = item_at(job, number);
        vw_attention_state state = part_state(job, number, chunk);
        if (chunk >= it.from && chunk < it.to)
            job->kernels->attend(&job->s->f, &it.head, it.first, it.n, chunk, chunk + 1, &state,
                                 thread_memory(job, part));
    }
}

/* The parts of each item, in rising order, into the first. */
static void fold_items(run_job *job)
{
    for (int64_t number = 0; number < job->n_items; number++) {
        item it = item_at(job, number);
        vw_attention_state total = part_state(job, number, it.from);
        if (it.from == it.to)
            job->kernels->attend(&job->s->f, &it.head, it.first, it.n, it.from, it.to, &total,
                                 thread_memory(job, 0));
        for (int64_t chunk = it.from + 1; chunk < it.to; chunk++) {
            vw_attention_state part = part_state(job, number, chunk);
            job->kernels->fold(&job->s->f, it.n, &total, &part);
        }
        finish_item(job, &it, &total);
    }
}

static int wants_chunks(const run_job *job)
{
    size_t parts = (size_t)job->n_items * (size_t)job->chunks;
    return job->n_items < 2 * job->s->n_threads && job->chunks > 1 &&
           parts <= job->s->parts_bytes / job->s->state_bytes;
}

/* Few tokens whose heads share a key: fewer rows an item, so that more threads have one.  Each reads the
 * keys, which is little beside what four rows and more do with them. */
static void spread_rows(run_job *job)
{
    int64_t n = job->s->n_threads, rows = (job->s->f.group + n - 1) / n;
    if (job->n_items < n && job->chunks < 2)
        count_items(job, rows < 4 ? 4 : rows < ROWS ? rows : ROWS);
}

static void run_items(const vw_host *host, run_job *job)
{
    int64_t chunks = job->chunks > 0 ? job->chunks : 1;
    double work =
        (double)job->n_items * ROWS * (double)chunks * CHUNK * (double)(job->p->dk + job->p->dv);
    if (job->chunks < 2) {
        /* Short sequences: what the batch says is closer than whole chunks are. */
        work = (double)job->b->n_queries * job->p->q_heads * (double)job->b->max_keys *
               (double)(job->p->dk + job->p->dv);
    }
    if (job->s->n_threads < 2 || work < worth_splitting) {
        whole_items(job, 0, 1);
    } else if (wants_chunks(job)) {
        host->parallel_for(host->core, job->s->n_threads, single_chunks, job);
        fold_items(job);
    } else if (job->n_items > 1) {
        host->parallel_for(host->core, job->s->n_threads, whole_items, job);
    } else {
        whole_items(job, 0, 1);
    }
}

void flash_attend(const flash *it, const vw_attention_plan *plan, const vw_attention_batch *b,
                  const vw_tensor *q, const void *pages, const vw_tensor *out, float *lse,
                  void *workspace)
{
    run_job job = {.p = &plan->problem,
                   .s = plan->state,
                   .kernels = it->kernels,
                   .b = b,
                   .q = *q,
                   .out = *out,
                   .pages = pages,
                   .lse = lse,
                   .workspace = workspace,
                   .items_before = workspace};
    count_items(&job, ROWS);
    spread_rows(&job);
    if (job.n_items > 0)
        run_items(it->host, &job);
}

static vw_status flash_run(void *self, const vw_attention_plan *plan, vw_stream *stream,
                           const vw_attention_batch *b, vw_tensor q, const void *pages,
                           vw_tensor out, float *lse, void *workspace, vw_error *err)
{
    (void)stream;
    vw_status st = attention_check_run(&plan->problem, b, &q, &out, err);
    if (st == VW_OK)
        flash_attend(self, plan, b, &q, pages, &out, lse, workspace);
    return st;
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static int32_t flash_probe(const vw_probe *about, char *why, size_t why_bytes)
{
    vw_cpu_isa isa;
    (void)about;
    if (!vw_cpu_choose(&isa, why, why_bytes))
        return 0;
    snprintf(why, why_bytes, "%s", vw_cpu_isa_name(isa));
    return 100;
}

static vw_status flash_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    vw_cpu_isa isa;
    char why[160];
    (void)config;
    if (!vw_cpu_choose(&isa, why, sizeof why))
        return vw_fail(err, VW_E_UNSUPPORTED, "%s", why);
    flash *it = host->alloc(host->core, sizeof *it);
    if (!it)
        return vw_fail(err, VW_E_NOMEM, "no memory for attention/flash");
    *it = (flash){host, vw_attention_for(isa), vw_dense_for(isa)};
    *self = it;
    return VW_OK;
}

static void flash_close(void *self)
{
    const flash *it = self;
    it->host->free(it->host->core, self);
}

static const vw_attention_ops ops = {
    .size = sizeof ops,
    .supports = flash_supports,
    .plan = flash_plan,
    .plan_free = flash_plan_free,
    .append = flash_append,
    .run = flash_run,
    .backward = flash_backward,
    .run_dense = flash_run_dense,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_ATTENTION,
    .ops_major = VW_ATTENTION_OPS_MAJOR,
    .ops_minor = VW_ATTENTION_OPS_MINOR,
    .name = "flash",
    .summary = "blocked attention with an online softmax, for baseline, AVX2 and AVX-512",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_PREFERRED,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .probe = flash_probe,
    .open = flash_open,
    .close = flash_close,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(attention, flash)
{
    return &description;
}
