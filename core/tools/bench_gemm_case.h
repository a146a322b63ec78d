/* bench_gemm_case.h - one product to race with: weights, activations, and the right answer.
 *
 * The weights exist in several copies of at least 256 MiB together, used in turn, so that they come
 * from memory as in a model and no cache flatters anyone.
 */
#ifndef VW_TOOLS_BENCH_GEMM_CASE_H
#define VW_TOOLS_BENCH_GEMM_CASE_H

#include "bench.h"

#include <vishwamai/gemm.h>

enum { BENCH_MAX_EXPERTS = 64 };

typedef struct gemm_shape {
    int64_t m, n, k;
} gemm_shape;

/* What the values of a weight are stored as. */
typedef struct gemm_storage {
    const char *name;
    vw_dtype dtype;
    const vw_block_format *blocks; /* with VW_BLOCK */
} gemm_storage;

/* Stored weights of one N, K and storage, shared by all contestants and all M. */
typedef struct gemm_weights {
    int64_t n, k;
    gemm_storage storage;
    vw_gemm_format format;
    int n_copies;
    size_t copy_bytes;     /* of one copy's codes */
    double stored_bytes;   /* codes and scales as they are executed */
    char *codes;
    float *scales;         /* of every copy the same; NULL without */
    vw_matrix *stored;     /* [n_copies] */
} gemm_weights;

/* What one contestant makes of them. */
typedef struct gemm_entry {
    const bench_device *device;
    const vw_gemm_ops *ops;
    void *self;
    vw_gemm_weight *weights; /* [n_copies] */
    int n_copies;
    vw_buffer packs;
    double pack_seconds;     /* of one copy; 0: runs in place */
    vw_gemm_plan plan;
    int has_plan;
    vw_buffer x, y, workspace, offsets;
    int64_t m, n, k;         /* m: rows of all experts */
    int32_t n_experts;       /* weights of one call, a grouped product; 1: a plain one */
} gemm_entry;

/* 0: there is no such name. */
int gemm_storage_named(const char *name, gemm_storage *out);

/* Random blocks, with scales of such a size that values are about 1; int4: under scales beside. */
const vw_block_format *gemm_block_format(const char *name);
void gemm_fill_blocks(const vw_block_format *format, size_t n_blocks, void *blocks);

vw_status gemm_weights_make(gemm_weights *w, const gemm_shape *shape, const gemm_storage *storage,
                            vw_gemm_format format, vw_error *err);
void gemm_weights_free(gemm_weights *w);

/* VW_E_UNSUPPORTED says why a gemm cannot run it. */
vw_status gemm_entry_bind(gemm_entry *e, vw_core *core, const gemm_weights *w, vw_error *err);
vw_status gemm_entry_plan(gemm_entry *e, int64_t m, const float *x, vw_error *err);
vw_status gemm_entry_run(void *entry, int64_t i, vw_error *err);
vw_status gemm_entry_wait(void *entry, vw_error *err); /* a contestant's run */
void gemm_entry_unplan(gemm_entry *e);
void gemm_entry_free(gemm_entry *e);

/* Largest error of some outputs against double arithmetic on the stored values, relative to the
 * root mean square of the outputs. */
vw_status gemm_entry_error(gemm_entry *e, const gemm_weights *w, const float *x, double *error,
                           vw_error *err);

#endif
