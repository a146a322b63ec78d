/* cuda_ref.c - attention/cuda_ref: the whole kind's forward on an NVIDIA device, plainly.
 *
 * Prefill and decode are two kernels; which of them serves a sequence is the sequence's own matter
 * (its number of queries), so both are launched where a batch may hold both, and each leaves the
 * other's alone.  The arrays of a batch stay on the device: their counts are not looked at here,
 * and rows that a query_start does not cover are left as they are.
 */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/type.h"
#include "plugins/attention/checks.h"
#include "plugins/cuda/driver.h"

extern const unsigned long long vw_fatbin_attention_append[], vw_fatbin_attention_decode[],
    vw_fatbin_attention_prefill[];

enum { N_TYPES = 4 }; /* f32, bf16, f16, int8: the first of type.h */

/* Each file of kernels is a module; the narrow kernels take head sizes to 256, the wide to 512. */
typedef struct cuda_attention {
    const vw_host *host;
    vw_cuda cuda;
    CUmodule append_module, decode_module, prefill_module;
    CUfunction append[N_TYPES], prefill[2 * N_TYPES], decode[2 * N_TYPES + 1];
} cuda_attention;

#define EACH_TYPE(kernel) kernel "_f32", kernel "_bf16", kernel "_f16", kernel "_i8"
static const char *const append_names[] = {EACH_TYPE("vw_attention_append")};
static const char *const prefill_names[] = {EACH_TYPE("vw_attention_prefill_256"),
                                            EACH_TYPE("vw_attention_prefill_512")};
static const char *const decode_names[] = {EACH_TYPE("vw_attention_decode_256"),
                                           EACH_TYPE("vw_attention_decode_512"),
                                           "vw_attention_combine"};
enum { COMBINE = 2 * N_TYPES };

/* What of the parameters a plan fixes. */
typedef struct plan_state {
    vw_attention_args args;
    int type, is_wide;
} plan_state;

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static int type_of(vw_dtype t)
{
    return t == VW_BF16 ? VW_TYPE_BF16 : t == VW_F16 ? VW_TYPE_F16
           : t == VW_I8 ? VW_TYPE_I8 : VW_TYPE_F32;
}

/* ---- plans ----------------------------------------------------------------------------------- */

static vw_status supports(void *self, const vw_attention_problem *p, vw_error *err)
{
    (void)self;
    vw_status st = attention_check_problem(p, err);
    if (st != VW_OK)
        return st;
    if (p->dk > VW_ATTENTION_MAX_DK || p->dv > VW_ATTENTION_MAX_DV)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "head sizes %d and %d: this attention goes to %d and %d, by the shared "
                       "memory and registers of a block", p->dk, p->dv, VW_ATTENTION_MAX_DK,
                       VW_ATTENTION_MAX_DV);
    if ((int64_t)p->max_sequences * VW_ATTENTION_FEW * p->q_heads > INT32_MAX ||
        p->max_queries * p->q_heads > INT32_MAX)
        return vw_fail(err, VW_E_UNSUPPORTED, "%d sequences, %lld queries and %d heads are more "
                       "than one launch can have", p->max_sequences, (long long)p->max_queries,
                       p->q_heads);
    return VW_OK;
}

/* How a page lies: attention.h of the kernels. */
static void lay_out_page(const vw_attention_problem *p, vw_attention_args *a)
{
    int64_t bytes = vw_dtype_bits(p->kv_dtype) / 8, scales = 0;
    if (p->kv_dtype == VW_I8)
        scales = (int64_t)p->page_tokens * 4;
    a->page_tokens = p->page_tokens;
    a->is_latent = p->is_latent;
    a->k_pitch = (int32_t)round_up(p->dk, 8);
    a->v_pitch = (int32_t)round_up(p->dv, 8);
    a->value_scales_at = scales;
    a->keys_at = round_up(p->is_latent ? scales : 2 * scales, 16);
    a->values_at = round_up(a->keys_at + (int64_t)p->page_tokens * a->k_pitch * bytes, 16);
    a->head_bytes = a->values_at;
    if (!p->is_latent)
        a->head_bytes += (int64_t)p->page_tokens * a->v_pitch * bytes;
    a->head_bytes = round_up(a->head_bytes, 64);
    a->page_bytes = a->head_bytes * p->k_heads;
}

static int32_t splits_of(int64_t max_keys)
{
    int64_t n = (max_keys + VW_ATTENTION_SPLIT - 1) / VW_ATTENTION_SPLIT;
    return n < 1 ? 1 : n > VW_ATTENTION_MAX_SPLITS ? VW_ATTENTION_MAX_SPLITS : (int32_t)n;
}

static size_t part_rows(const vw_attention_problem *p)
{
    return (size_t)p->max_sequences * VW_ATTENTION_FEW * (size_t)splits_of(p->max_keys) *
           (size_t)p->q_heads;
}

static vw_status plan(void *self, const vw_attention_problem *p, vw_attention_plan *out,
                      vw_error *err)
{
    const cuda_attention *c = self;
    vw_status st = supports(self, p, err);
    if (st != VW_OK)
        return st;
    plan_state *state = c->host->alloc(c->host->core, sizeof *state);
    if (!state)
        return vw_fail(err, VW_E_NOMEM, "no memory for an attention plan");
    memset(state, 0, sizeof *state);
    state->type = type_of(p->kv_dtype);
    state->is_wide = p->dv > 256;
    state->args = (vw_attention_args){.q_heads = p->q_heads, .k_heads = p->k_heads, .dk = p->dk,
                                      .dv = p->dv, .is_causal = p->is_causal, .window = p->window,
                                      .scale = p->scale, .cap = p->cap};
    lay_out_page(p, &state->args);
    *out = (vw_attention_plan){
        .problem = *p,
        .workspace_bytes = part_rows(p) * ((size_t)state->args.v_pitch + 2) * sizeof(float),
        .page_bytes = (size_t)state->args.page_bytes,
        .state = state,
    };
    return VW_OK;
}

static void plan_free(void *self, vw_attention_plan *p)
{
    const cuda_attention *c = self;
    c->host->free(c->host->core, p->state);
    p->state = NULL;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static vw_status check_counts(const vw_attention_problem *p, const vw_attention_batch *b,
                              vw_error *err)
{
    if (b->n_sequences < 0 || b->n_sequences > p->max_sequences || b->n_queries < 0 ||
        b->n_queries > p->max_queries || b->max_keys > p->max_keys)
        return vw_fail(err, VW_E_INVALID,
                       "%d sequences, %lld queries, %lld keys; the plan allows %d, %lld and %lld",
                       b->n_sequences, (long long)b->n_queries, (long long)b->max_keys,
                       p->max_sequences, (long long)p->max_queries, (long long)p->max_keys);
    return VW_OK;
}

static vw_attention_args args_of(const vw_attention_plan *p, const vw_attention_batch *b,
                                 const void *pages)
{
    vw_attention_args a = ((const plan_state *)p->state)->args;
    a.n_sequences = b->n_sequences;
    a.query_start = b->query_start;
    a.n_keys = b->n_keys;
    a.table = b->block_table;
    a.table_stride = b->table_stride;
    a.n_queries = b->n_queries;
    a.pages = (char *)(uintptr_t)pages;
    return a;
}

static vw_status launch(const cuda_attention *c, vw_stream *s, CUfunction function,
                        vw_cuda_shape shape, const vw_attention_args *a, vw_error *err)
{
    return vw_cuda_launch(&c->cuda, s, function, &shape, a, sizeof *a, "attention/cuda_ref", err);
}

static vw_status append(void *self, const vw_attention_plan *p, vw_stream *s,
                        const vw_attention_batch *b, vw_tensor k, vw_tensor v, void *pages,
                        void *workspace, vw_error *err)
{
    const cuda_attention *c = self;
    const vw_attention_problem *q = &p->problem;
    const plan_state *state = p->state;
    (void)workspace;
    vw_status st = check_counts(q, b, err);
    if (st == VW_OK)
        st = attention_check_tensor("k", &k, b->n_queries, (int64_t)q->k_heads * q->dk, err);
    if (st == VW_OK && !q->is_latent)
        st = attention_check_tensor("v", &v, b->n_queries, (int64_t)q->k_heads * q->dv, err);
    if (st != VW_OK || b->n_sequences == 0)
        return st;
    vw_attention_args a = args_of(p, b, pages);
    a.k = k.data, a.k_stride = k.stride[0];
    a.v = v.data, a.v_stride = v.stride[0];
    return launch(c, s, c->append[state->type],
                  (vw_cuda_shape){.grid_x = round_up(b->n_queries * q->k_heads, 4) / 4,
                                  .block_x = 128}, &a, err);
}

/* Sequences of few queries: parts, then the parts together. */
static vw_status decode(const cuda_attention *c, const plan_state *state, vw_stream *s,
                        const vw_attention_args *a, vw_error *err)
{
    int64_t slots = (int64_t)a->n_sequences * VW_ATTENTION_FEW, group = a->q_heads / a->k_heads;
    int64_t blocks = round_up(group, VW_ATTENTION_HEADS) / VW_ATTENTION_HEADS;
    int32_t pitch = a->k_pitch > a->v_pitch ? a->k_pitch : a->v_pitch;
    vw_cuda_shape parts = {.grid_x = slots * a->k_heads * blocks, .grid_y = a->n_splits,
                           .block_x = 128,
                           .shared_bytes = (size_t)pitch * VW_ATTENTION_HEADS * sizeof(float)};
    vw_cuda_shape rows = {.grid_x = slots * a->q_heads, .block_x = 128};
    vw_status st = launch(c, s, c->decode[state->is_wide * N_TYPES + state->type], parts, a, err);
    return st != VW_OK ? st : launch(c, s, c->decode[COMBINE], rows, a, err);
}

static vw_status prefill(const cuda_attention *c, const plan_state *state, vw_stream *s,
                         const vw_attention_args *a, int64_t max_queries_one, vw_error *err)
{
    vw_attention_args with_tiles = *a;
    int64_t rows = max_queries_one * (a->q_heads / a->k_heads);
    with_tiles.tiles_a_sequence = (int32_t)(round_up(rows, VW_ATTENTION_ROWS) / VW_ATTENTION_ROWS);
    return launch(c, s, c->prefill[state->is_wide * N_TYPES + state->type],
                  (vw_cuda_shape){.grid_x = (int64_t)a->n_sequences * with_tiles.tiles_a_sequence,
                                  .grid_y = a->k_heads, .block_x = 256}, &with_tiles, err);
}

static vw_status run(void *self, const vw_attention_plan *p, vw_stream *s,
                     const vw_attention_batch *b, vw_tensor q, const void *pages, vw_tensor out,
                     float *lse, void *workspace, vw_error *err)
{
    const vw_attention_problem *problem = &p->problem;
    const plan_state *state = p->state;
    vw_status st = check_counts(problem, b, err);
    if (st == VW_OK)
        st = attention_check_tensor("q", &q, b->n_queries, (int64_t)problem->q_heads * problem->dk,
                                    err);
    if (st == VW_OK)
        st = attention_check_tensor("out", &out, b->n_queries,
                                    (int64_t)problem->q_heads * problem->dv, err);
    if (st != VW_OK || b->n_queries == 0 || b->n_sequences == 0)
        return st;
    vw_attention_args a = args_of(p, b, pages);
    a.q = q.data, a.q_stride = q.stride[0];
    a.out = out.data, a.out_stride = out.stride[0];
    a.lse = lse;
    a.n_splits = splits_of(b->max_keys);
    a.part = workspace;
    a.part_norm = a.part + part_rows(problem) * (size_t)a.v_pitch;
    st = decode(self, state, s, &a, err);
    if (st == VW_OK && b->max_queries_one > VW_ATTENTION_FEW)
        st = prefill(self, state, s, &a, b->max_queries_one, err);
    return st;
}

/* ---- the plugin ------------------------------------------------------------------------------ */

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    return vw_cuda_probe(why, why_bytes) > 0;
}

static void close_attention(void *self)
{
    cuda_attention *c = self;
    const vw_host *host = c->host;
    vw_cuda_unload(&c->cuda, c->append_module);
    vw_cuda_unload(&c->cuda, c->decode_module);
    vw_cuda_unload(&c->cuda, c->prefill_module);
    vw_cuda_close(&c->cuda);
    host->free(host->core, c);
}

static vw_status open_attention(const vw_host *host, const void *config, void **self,
                                vw_error *err)
{
    (void)config;
    cuda_attention *c = host->alloc(host->core, sizeof *c);
    if (!c)
        return vw_fail(err, VW_E_NOMEM, "no memory for attention/cuda_ref");
    memset(c, 0, sizeof *c);
    c->host = host;
    vw_status st = vw_cuda_open_beside(&c->cuda, host, NULL, err);
    if (st == VW_OK)
        st = vw_cuda_load(&c->cuda, vw_fatbin_attention_append, append_names, N_TYPES,
                          &c->append_module, c->append, err);
    if (st == VW_OK)
        st = vw_cuda_load(&c->cuda, vw_fatbin_attention_decode, decode_names, COMBINE + 1,
                          &c->decode_module, c->decode, err);
    if (st == VW_OK)
        st = vw_cuda_load(&c->cuda, vw_fatbin_attention_prefill, prefill_names, 2 * N_TYPES,
                          &c->prefill_module, c->prefill, err);
    if (st != VW_OK) {
        close_attention(c);
        return st;
    }
    *self = c;
    return VW_OK;
}

static const vw_attention_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .plan = plan,
    .plan_free = plan_free,
    .append = append,
    .run = run,
};

static const char *const needs[] = {"device", NULL};
static const char *const devices[] = {"cuda", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_ATTENTION,
    .ops_major = VW_ATTENTION_OPS_MAJOR,
    .ops_minor = VW_ATTENTION_OPS_MINOR,
    .name = "cuda_ref",
    .summary = "attention on NVIDIA devices: paged cache, online softmax, split decode",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .needs = needs,
    .devices = devices,
    .probe = probe,
    .open = open_attention,
    .close = close_attention,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(attention, cuda_ref)
{
    return &description;
}
