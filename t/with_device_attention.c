/* with_device_attention.c - the attention table that goes through a device.
 *
 * A cache is pages in the test's memory: as many of them as the call's table names are lent, and
 * after an append they are the test's again. */
#include "t/with_device.h"

#include <string.h>

static const vw_attention_ops *behind(const with_device *w)
{
    return w->ops;
}

static vw_status supports(void *self, const vw_attention_problem *p, vw_error *err)
{
    with_device *w = self;
    return behind(w)->supports(w->self, p, err);
}

static vw_status make_plan(void *self, const vw_attention_problem *p, vw_attention_plan *out,
                      vw_error *err)
{
    with_device *w = self;
    return behind(w)->plan(w->self, p, out, err);
}

static void plan_free(void *self, vw_attention_plan *p)
{
    with_device *w = self;
    behind(w)->plan_free(w->self, p);
}

static vw_tensor lend_tensor(with_device *w, vw_tensor t, bool is_result)
{
    t.data = lend(w, t.data, vw_tensor_bytes(&t), is_result);
    return t;
}

/* The first page of a sequence that a query can reach: those before may be gone. */
static int64_t first_page(const vw_attention_problem *p, const vw_attention_batch *b, int64_t s)
{
    int64_t first = b->n_keys[s] - (b->query_start[s + 1] - b->query_start[s]) - p->window + 1;
    return p->window > 0 && first > 0 ? first / p->page_tokens : 0;
}

/* The batch on the device; *pages is how many pages its sequences have. */
static vw_attention_batch lend_batch(with_device *w, const vw_attention_plan *p,
                                     const vw_attention_batch *b, size_t *pages)
{
    vw_attention_batch to = *b;
    size_t n = (size_t)b->n_sequences;
    *pages = 0;
    for (int64_t s = 0; s < b->n_sequences; s++)
        for (int64_t i = first_page(&p->problem, b, s); i * p->problem.page_tokens < b->n_keys[s];
             i++) {
            size_t page = (size_t)b->block_table[s * b->table_stride + i];
            *pages = page >= *pages ? page + 1 : *pages;
        }
    to.query_start = lend(w, b->query_start, (n + 1) * sizeof *b->query_start, false);
    to.n_keys = lend(w, b->n_keys, n * sizeof *b->n_keys, false);
    to.block_table = lend(w, b->block_table, n * (size_t)b->table_stride * sizeof *b->block_table,
                          false);
    return to;
}

static vw_status append(void *self, const vw_attention_plan *p, vw_stream *stream,
                        const vw_attention_batch *b, vw_tensor k, vw_tensor v, void *pages,
                        void *workspace, vw_error *err)
{
    with_device *w = self;
    size_t n_pages;
    vw_attention_batch on = lend_batch(w, p, b, &n_pages);
    (void)stream, (void)workspace;
    vw_status s = behind(w)->append(w->self, p, w->stream, &on, lend_tensor(w, k, false),
                                    lend_tensor(w, v, false),
                                    lend(w, pages, n_pages * p->page_bytes, true),
                                    lend_workspace(w, p->workspace_bytes), err);
    return give_back(w, s, err);
}

static vw_status run(void *self, const vw_attention_plan *p, vw_stream *stream,
                     const vw_attention_batch *b, vw_tensor q, const void *pages, vw_tensor out,
                     float *lse, void *workspace, vw_error *err)
{
    with_device *w = self;
    size_t n_pages, lse_bytes = (size_t)b->n_queries * (size_t)p->problem.q_heads * sizeof *lse;
    vw_attention_batch on = lend_batch(w, p, b, &n_pages);
    (void)stream, (void)workspace;
    vw_status s = behind(w)->run(w->self, p, w->stream, &on, lend_tensor(w, q, false),
                                 lend(w, pages, n_pages * p->page_bytes, false),
                                 lend_tensor(w, out, true), lend(w, lse, lse_bytes, true),
                                 lend_workspace(w, p->workspace_bytes), err);
    return give_back(w, s, err);
}

/* Gradients stay untested on a device as long as no plugin has them. */
void with_device_fill_attention(with_device *w)
{
    w->attention = (vw_attention_ops){.size = sizeof w->attention, .supports = supports,
                                      .plan = make_plan, .plan_free = plan_free, .append = append,
                                      .run = run};
}
