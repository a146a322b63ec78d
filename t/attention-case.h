/* attention-case.h - what the conformance tests of attention share: a batch with its cache, and the
 * measure of its results.
 *
 * A fixture holds a batch: for each sequence its keys and values, of which the last n are this
 * call's.  The cache is filled through append alone, into pages in shuffled order whose pool was full
 * of NaN, with table entries past the end that point nowhere.
 */
#ifndef T_ATTENTION_CASE_H
#define T_ATTENTION_CASE_H

#include "t/mock_host.h"

#include <vishwamai/attention.h>

enum { MAX_SEQUENCES = 8 };

/* The plugin under test. */
typedef struct bench {
    const char *name;
    const vw_attention_ops *ops;
    void *self;
    mock_host *mock;
} bench;

typedef struct shape {
    int q_heads, k_heads, dk, dv;
    int is_causal, window;
    float cap;
    vw_dtype dtype;
    int page;
    int is_latent;
} shape;

typedef struct fixture {
    shape s;
    float scale;
    int n_sequences;
    int n[MAX_SEQUENCES], S[MAX_SEQUENCES]; /* queries and keys of each */
    float *q[MAX_SEQUENCES], *k[MAX_SEQUENCES], *v[MAX_SEQUENCES];
    int64_t n_queries, max_keys;
    float *out, *lse; /* of the last run, rows of the batch end to end */
} fixture;

/* The pool, and everything that says which pages belong to whom. */
typedef struct cache {
    vw_attention_plan plan;
    char *pages, *pages_base, *workspace, *workspace_base;
    int32_t *table, start[MAX_SEQUENCES + 1], n_keys[MAX_SEQUENCES];
    int64_t stride;
    vw_attention_batch batch;
} cache;

extern const int zeros[MAX_SEQUENCES];

float uniform(float low, float high);
float *random_rows(int64_t rows, int64_t width);
fixture make_fixture(shape s, int n_sequences, const int *n, const int *S);
void free_fixture(fixture *f);
vw_attention_problem problem_of(const fixture *f);
cache make_cache(const bench *b, const fixture *f);
void free_cache(const bench *b, cache *c);

/* The batch in which each sequence has the queries [from[b], to[b]) of its keys. */
void set_batch(const fixture *f, cache *c, const int *from, const int *to);

/* Append keys [from[b], to[b]) of every sequence.  This and the next two fail the test and return
 * false when the plugin refuses, allocates while it runs, or writes outside of its rows. */
bool append(const bench *b, const fixture *f, cache *c, const int *from, const int *to);

/* Attend with rows [from[b], from[b] + n) of q, which stand at the end of to[b] keys; the
 * results go to the same rows of out and lse. */
bool attend(const bench *b, const fixture *f, cache *c, const int *first, const int *from,
            const int *to, float *out, float *lse);

/* Fill the cache in one call and attend with all queries in one. */
bool attend_once(const bench *b, fixture *f);

/* Forward and gradients of a fixture whose sequences have as many keys as queries, rows end to end, as
 * one dense batch; out and lse are the fixture's.  Freed by free_grads(). */
typedef struct grads {
    float *dq, *dk, *dv;
} grads;

void run_backward(const bench *b, fixture *f, const float *d_out, grads *g);
void free_grads(grads *g);

/* Expected out and lse of the whole fixture. */
void formula(const fixture *f, float *out, float *lse);

/* The worst of the three measures, each as a share of its bound: above 1 is a failure. */
double distance(const float *got, const float *want, int64_t n, const float *lse,
                const float *want_lse, int64_t n_lse);

/* The same for a fixture's results against its own formula. */
double distance_of(const fixture *f, const float *out, const float *lse);

#endif
