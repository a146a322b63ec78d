/* attention.h - the attention kind: scores, softmax and values over a paged cache.
 *
 * Letters: B sequences, Q query tokens in all, Hq query heads, Hk key heads, Dk and Dv head sizes,
 * S keys of one sequence, P pages of the pool, G tokens of a page.
 *
 * For query token i of a sequence with S keys and n queries in this call, p = i + S - n (its
 * position among the keys), query head h uses key head h / (Hq / Hk):
 *
 *     visible(j) = 0 <= j < S  and  (not causal or j <= p)  and  (window = 0 or p - j < window)
 *     z   = scale * q . k_j;   z = cap * tanh(z / cap) when cap > 0, before the mask
 *     out = sum over visible j of softmax(z)_j v_j,   lse = log sum exp z (natural)
 *
 * A row that sees no key: out = 0, lse = +inf.  Keys that are not visible are never used, so rows
 * past the end and unused table entries may hold anything, NaN included.
 *
 * The cache is a pool of pages; a sequence is a row of a block table.  Only this kind knows how a
 * page is laid out inside: the core asks for its bytes and copies whole pages.
 *
 * Thread rule: one `self` may be used by several threads, a plan too, each with its own workspace.
 */
#ifndef VISHWAMAI_ATTENTION_H
#define VISHWAMAI_ATTENTION_H

#include <vishwamai/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_ATTENTION_OPS_MAJOR 1
#define VW_ATTENTION_OPS_MINOR 1

typedef struct vw_attention_problem {
    size_t size;
    int32_t q_heads, k_heads; /* q_heads % k_heads == 0 */
    int32_t dk, dv;
    int32_t is_causal;
    int32_t window;           /* keys a query sees, its own included; 0: all */
    float scale, cap;         /* cap 0: none */
    int32_t is_latent;        /* MLA absorbed: one key head of dk values, v = its first dv */
    vw_dtype q_dtype;         /* of q and out: VW_F32 always */
    vw_dtype kv_dtype;        /* of the cache: f32, f16, bf16, int8 (one scale a token and head) */
    int32_t page_tokens;      /* G, 64 by default; any size >= 1 */
    int64_t max_queries;      /* Q, at most, in one call */
    int32_t max_sequences;    /* B, at most */
    int64_t max_keys;         /* S, at most */
    int32_t is_dense;         /* since 1.1: the plan is for run_dense and backward, without a cache;
                                 kv_dtype and page_tokens are not looked at, nor is is_latent */
} vw_attention_problem;

typedef struct vw_attention_plan {
    vw_attention_problem problem;
    size_t workspace_bytes;   /* device memory, aligned to 256 */
    size_t page_bytes;        /* keys and values of one page of one layer */
    void *state;
} vw_attention_plan;

/* Who attends to what.  All arrays on the device. */
typedef struct vw_attention_batch {
    int32_t n_sequences;
    int64_t n_queries;          /* rows of q in use */
    const int32_t *query_start; /* [B + 1]: rows [start[b], start[b+1]) belong to sequence b */
    const int32_t *n_keys;      /* [B]: S, the keys in the cache, this call's own included */
    const int32_t *block_table; /* [B][table_stride]: page numbers */
    int64_t table_stride;
    int64_t max_keys;           /* a host bound on n_keys, for splitting */
    int64_t max_queries_one;    /* a host bound on the queries of one sequence */
} vw_attention_batch;

typedef struct vw_attention_ops {
    size_t size;

    /* VW_OK, or VW_E_UNSUPPORTED with the reason.  Required. */
    vw_status (*supports)(void *self, const vw_attention_problem *problem, vw_error *err);
    /* Allocation happens here.  Required. */
    vw_status (*plan)(void *self, const vw_attention_problem *problem, vw_attention_plan *plan,
                      vw_error *err);
    void (*plan_free)(void *self, vw_attention_plan *plan);

    /* Write the batch's new keys and values, already rotated, at the end of each sequence: query
     * row i of sequence b goes to position n_keys[b] - (queries of b) + i.  k [Q, Hk * Dk],
     * v [Q, Hk * Dv] f32; `pages` is the pool of one layer, page_bytes each.  Required. */
    vw_status (*append)(void *self, const vw_attention_plan *plan, vw_stream *s,
                        const vw_attention_batch *batch, vw_tensor k, vw_tensor v, void *pages,
                        void *workspace, vw_error *err);

    /* Attend.  q [Q, Hq * Dk], out [Q, Hq * Dv], lse f32 [Q, Hq] or NULL.  Serves prefill, decode
     * and drafts; the split of the keys depends on their number alone, so a sequence's result does
     * not depend on its neighbours or on the thread count.  Required. */
    vw_status (*run)(void *self, const vw_attention_plan *plan, vw_stream *s,
                     const vw_attention_batch *batch, vw_tensor q, const void *pages,
                     vw_tensor out, float *lse, void *workspace, vw_error *err);

    /* Gradients of run_dense, with a plan that is_dense.  q k v out lse as run_dense had and left
     * them, d_out given; d_q d_k d_v are written, rows of no sequence excepted.  Deterministic: the
     * same bits for any number of threads.  attention.md section 3.  Optional. */
    vw_status (*backward)(void *self, const vw_attention_plan *plan, vw_stream *s,
                          const vw_attention_batch *batch, vw_tensor q, vw_tensor k, vw_tensor v,
                          vw_tensor out, const float *lse, vw_tensor d_out, vw_tensor d_q,
                          vw_tensor d_k, vw_tensor d_v, void *workspace, vw_error *err);

    /* The forward without a cache, for training.  k [Q, Hk * Dk] and v [Q, Hk * Dv] beside q: rows
     * [query_start[b], query_start[b + 1]) are sequence b's queries and its keys, and see nothing
     * of the rows beside them, so documents packed end to end are sequences.  Of `batch`
     * n_sequences, n_queries, query_start and max_queries_one are read.  lse may be NULL.  The plan
     * is_dense.  Optional. */
    vw_status (*run_dense)(void *self, const vw_attention_plan *plan, vw_stream *s,
                           const vw_attention_batch *batch, vw_tensor q, vw_tensor k, vw_tensor v,
                           vw_tensor out, float *lse, void *workspace, vw_error *err);
} vw_attention_ops;

#ifdef __cplusplus
}
#endif
#endif
