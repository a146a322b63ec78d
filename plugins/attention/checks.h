/* checks.h - what every attention plugin checks the same way.
 *
 * A problem is looked at once, in plan(); the calls compare what they are given with it, before
 * anything is written.  All inline, because a plugin is one shared object of its own.
 */
#ifndef PLUGINS_ATTENTION_CHECKS_H
#define PLUGINS_ATTENTION_CHECKS_H

#include <vishwamai/attention.h>

static inline int attention_knows_kv(vw_dtype t)
{
    return t == VW_F32 || t == VW_BF16 || t == VW_F16 || t == VW_I8;
}

/* Sizes that no sane model exceeds, so that their products stay far from overflow. */
enum { ATTENTION_MAX_HEADS = 1 << 16, ATTENTION_MAX_WIDTH = 1 << 16 };

static inline vw_status attention_check_shape(const vw_attention_problem *p, vw_error *err)
{
    if (p->k_heads < 1 || p->q_heads < 1 || p->q_heads > ATTENTION_MAX_HEADS ||
        p->q_heads % p->k_heads != 0)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "%d query heads cannot share %d key heads: a multiple would be right",
                       p->q_heads, p->k_heads);
    if (p->dk < 1 || p->dv < 1 || p->dk > ATTENTION_MAX_WIDTH || p->dv > ATTENTION_MAX_WIDTH)
        return vw_fail(err, VW_E_UNSUPPORTED, "head sizes %d and %d: 1 to %d would be right", p->dk,
                       p->dv, ATTENTION_MAX_WIDTH);
    if (!p->is_dense && p->is_latent && (p->k_heads != 1 || p->dv > p->dk))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "a latent cache has one key head, and values within it; not %d heads of %d "
                       "with values of %d",
                       p->k_heads, p->dk, p->dv);
    return VW_OK;
}

static inline vw_status attention_check_problem(const vw_attention_problem *p, vw_error *err)
{
    if (p->size < sizeof *p)
        return vw_fail(err, VW_E_INVALID, "an attention problem of %zu bytes is too short",
                       p->size);
    vw_status st = attention_check_shape(p, err);
    if (st != VW_OK)
        return st;
    if (p->q_dtype != VW_F32 || (!p->is_dense && !attention_knows_kv(p->kv_dtype)))
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "queries of %s on a cache of %s: f32 on f32, bf16, f16 or int8 is possible",
                       vw_dtype_name(p->q_dtype), vw_dtype_name(p->kv_dtype));
    if (!p->is_dense && (p->page_tokens < 1 || p->page_tokens > 1 << 20))
        return vw_fail(err, VW_E_UNSUPPORTED, "pages of %d tokens: 1 to %d would be right",
                       p->page_tokens, 1 << 20);
    if (p->window < 0 || !(p->cap >= 0) || !isfinite(p->scale))
        return vw_fail(err, VW_E_INVALID, "window %d, cap %g, scale %g: not below 0, and finite",
                       p->window, (double)p->cap, (double)p->scale);
    if (p->max_queries < 0 || p->max_sequences < 0 || p->max_keys < 0 ||
        p->max_queries > INT32_MAX || p->max_keys > INT32_MAX)
        return vw_fail(err, VW_E_INVALID, "the largest counts of a problem are out of range");
    return VW_OK;
}

/* t must be f32 with at least `rows` rows of `cols` values side by side. */
static inline vw_status attention_check_tensor(const char *name, const vw_tensor *t, int64_t rows,
                                               int64_t cols, vw_error *err)
{
    if (t->dtype != VW_F32 || t->n_dims != 2 || t->shape[0] < rows || t->shape[1] != cols ||
        (cols > 1 && t->stride[1] != 1) || (rows > 1 && t->stride[0] < cols))
        return vw_fail(err, VW_E_INVALID,
                       "%s is %s [%lld, %lld]; f32 [%lld, %lld] with rows side by side would be "
                       "right",
                       name, vw_dtype_name(t->dtype), (long long)t->shape[0],
                       (long long)t->shape[1], (long long)rows, (long long)cols);
    return VW_OK;
}

/* A plan serves a cache or dense batches, not both. */
static inline vw_status attention_check_use(const vw_attention_problem *p, int is_dense,
                                            vw_error *err)
{
    if (!p->is_dense == !is_dense)
        return VW_OK;
    return vw_fail(err, VW_E_INVALID, "%s with a plan that is %sdense",
                   is_dense ? "a dense batch" : "a cache", p->is_dense ? "" : "not ");
}

/* The counts of a batch, which these plugins can read because their device is the CPU. */
static inline vw_status attention_check_counts(const vw_attention_problem *p,
                                               const vw_attention_batch *b, vw_error *err)
{
    if (b->n_sequences < 0 || b->n_sequences > p->max_sequences || b->n_queries < 0 ||
        b->n_queries > p->max_queries)
        return vw_fail(
            err, VW_E_INVALID, "%d sequences with %lld queries; the plan allows %d with %lld",
            b->n_sequences, (long long)b->n_queries, p->max_sequences, (long long)p->max_queries);
    for (int32_t s = 0; s < b->n_sequences; s++)
        if (b->query_start[s] < 0 || b->query_start[s + 1] < b->query_start[s] ||
            b->query_start[s + 1] > b->n_queries)
            return vw_fail(err, VW_E_INVALID, "sequence %d: queries %d to %d of %lld", s,
                           b->query_start[s], b->query_start[s + 1], (long long)b->n_queries);
    return VW_OK;
}

static inline vw_status attention_check_batch(const vw_attention_problem *p,
                                              const vw_attention_batch *b, vw_error *err)
{
    vw_status st = attention_check_use(p, 0, err);
    if (st == VW_OK)
        st = attention_check_counts(p, b, err);
    for (int32_t s = 0; st == VW_OK && s < b->n_sequences; s++)
        if (b->n_keys[s] < 0 || b->n_keys[s] > p->max_keys)
            return vw_fail(err, VW_E_INVALID, "sequence %d: %d keys of at most %lld", s,
                           b->n_keys[s], (long long)p->max_keys);
    return st;
}

/* An append needs room for the new keys within the sequence. */
static inline vw_status attention_check_append(const vw_attention_problem *p,
                                               const vw_attention_batch *b, const vw_tensor *k,
                                               const vw_tensor *v, vw_error *err)
{
    vw_status st = attention_check_batch(p, b, err);
    if (st == VW_OK)
        st = attention_check_tensor("k", k, b->n_queries, (int64_t)p->k_heads * p->dk, err);
    if (st == VW_OK && !p->is_latent)
        st = attention_check_tensor("v", v, b->n_queries, (int64_t)p->k_heads * p->dv, err);
    for (int32_t s = 0; st == VW_OK && s < b->n_sequences; s++)
        if (b->n_keys[s] < b->query_start[s + 1] - b->query_start[s])
            return vw_fail(err, VW_E_INVALID, "sequence %d: %d new keys do not fit into %d", s,
                           b->query_start[s + 1] - b->query_start[s], b->n_keys[s]);
    return st;
}

static inline vw_status attention_check_run(const vw_attention_problem *p,
                                            const vw_attention_batch *b, const vw_tensor *q,
                                            const vw_tensor *out, vw_error *err)
{
    vw_status st = attention_check_batch(p, b, err);
    if (st == VW_OK)
        st = attention_check_tensor("q", q, b->n_queries, (int64_t)p->q_heads * p->dk, err);
    if (st == VW_OK)
        st = attention_check_tensor("out", out, b->n_queries, (int64_t)p->q_heads * p->dv, err);
    return st;
}

/* The tensors of a dense batch: what is given, and in backward the gradients too. */
typedef struct attention_dense {
    vw_tensor q, k, v, out, d_out, d_q, d_k, d_v;
    const float *lse;
} attention_dense;

static inline vw_status attention_check_dense(const vw_attention_problem *p,
                                              const vw_attention_batch *b,
                                              const attention_dense *t, int is_backward,
                                              vw_error *err)
{
    int64_t q = (int64_t)p->q_heads * p->dk, out = (int64_t)p->q_heads * p->dv;
    int64_t k = (int64_t)p->k_heads * p->dk, v = (int64_t)p->k_heads * p->dv;
    const struct {
        const char *name;
        const vw_tensor *t;
        int64_t cols;
    } all[] = {{"q", &t->q, q},         {"k", &t->k, k},     {"v", &t->v, v},
               {"out", &t->out, out},   {"d_out", &t->d_out, out}, {"d_q", &t->d_q, q},
               {"d_k", &t->d_k, k},     {"d_v", &t->d_v, v}};
    vw_status st = attention_check_use(p, 1, err);
    if (st == VW_OK)
        st = attention_check_counts(p, b, err);
    for (int i = 0; st == VW_OK && i < (is_backward ? 8 : 4); i++)
        st = attention_check_tensor(all[i].name, all[i].t, b->n_queries, all[i].cols, err);
    return st;
}

#endif
