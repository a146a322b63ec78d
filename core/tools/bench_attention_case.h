/* bench_attention_case.h - one attention problem to race with: a filled cache, queries, the answer.
 *
 * As the weights of a gemm, the cache exists in several copies (a model's layers) of at least
 * 256 MiB together, used in turn.
 */
#ifndef VW_TOOLS_BENCH_ATTENTION_CASE_H
#define VW_TOOLS_BENCH_ATTENTION_CASE_H

#include "bench.h"

#include <vishwamai/attention.h>

/* Q queries at the end of S keys of one sequence; Hq and Hk heads of D values, v as wide as k. */
typedef struct attention_case {
    int64_t n_queries, n_keys;
    int32_t q_heads, k_heads, dim;
    vw_dtype kv_dtype;
    float *q, *k, *v;   /* host: [Q, Hq D], [S, Hk D], [S, Hk D] */
} attention_case;

typedef struct attention_entry {
    const bench_device *device;
    const vw_attention_ops *ops;
    void *self;
    const attention_case *work;
    vw_attention_plan plan;
    int has_plan;
    int n_copies, n_pages;
    vw_attention_batch batch;
    vw_buffer pages, q, kv, out, workspace, arrays;
} attention_entry;

vw_status attention_case_fill(attention_case *w, vw_error *err);
void attention_case_free(attention_case *w);

/* Bytes of keys and values that one run reads; multiply-adds, counted two, that it needs. */
double attention_case_bytes(const attention_case *w);
double attention_case_ops(const attention_case *w);

/* VW_E_UNSUPPORTED says why it cannot.  Free it whatever comes. */
vw_status attention_entry_make(attention_entry *e, const attention_case *w, vw_error *err);
vw_status attention_entry_run(void *entry, int64_t i, vw_error *err); /* a contestant's run */
vw_status attention_entry_wait(void *entry, vw_error *err);           /* and its wait */
void attention_entry_free(attention_entry *e);

/* Largest error of some outputs against double arithmetic, relative to the largest output. */
vw_status attention_entry_error(attention_entry *e, double *error, vw_error *err);

#endif
