/* flash.h - what the parts of attention/flash share: the instance, what a plan keeps, and the ways
 * from dense batches (flash_dense.c) to attention over pages (flash.c).
 */
#ifndef PLUGINS_ATTENTION_FLASH_H
#define PLUGINS_ATTENTION_FLASH_H

#include "kernels/cpu/attention-dense.h"
#include "kernels/cpu/attention.h"
#include "plugins/attention/checks.h"

typedef struct flash {
    const vw_host *host;
    const vw_attention_kernels *kernels;
    const vw_dense_kernels *dense;
} flash;

typedef struct flash_state {
    vw_attention_flash f;
    int n_threads;
    size_t scratch_bytes, state_bytes; /* of one thread; the state has ROWS rows */
    size_t threads_at, parts_at;       /* in the workspace, behind the items' counts */
    size_t parts_bytes;
    /* dense: in the workspace */
    size_t keys_at, table_at, pages_at; /* forward */
    size_t dense_scratch, d_q_at;       /* backward: scratch of a thread; parts of d_q */
} flash_state;

static inline size_t flash_round_up(size_t n)
{
    return (n + 255) / 256 * 256;
}

/* flash.c */
void flash_append_rows(const flash *it, const flash_state *s, const vw_attention_batch *b,
                       const vw_tensor *k, const vw_tensor *v, void *pages);
void flash_attend(const flash *it, const vw_attention_plan *plan, const vw_attention_batch *b,
                  const vw_tensor *q, const void *pages, const vw_tensor *out, float *lse,
                  void *workspace);

/* flash_dense.c: the problem of a dense plan with the cache that its forward uses, others as they
 * are; and the rest of the plan. */
vw_attention_problem flash_as_cached(const vw_attention_problem *p);
void flash_plan_dense(vw_attention_plan *plan);
vw_status flash_run_dense(void *self, const vw_attention_plan *plan, vw_stream *stream,
                          const vw_attention_batch *b, vw_tensor q, vw_tensor k, vw_tensor v,
                          vw_tensor out, float *lse, void *workspace, vw_error *err);
vw_status flash_backward(void *self, const vw_attention_plan *plan, vw_stream *stream,
                         const vw_attention_batch *b, vw_tensor q, vw_tensor k, vw_tensor v,
                         vw_tensor out, const float *lse, vw_tensor d_out, vw_tensor d_q,
                         vw_tensor d_k, vw_tensor d_v, void *workspace, vw_error *err);

#endif
