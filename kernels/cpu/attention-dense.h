/* attention-dense.h - gradients of attention over one dense sequence, for training on the CPU.
 *
 * Rows are the queries of a sequence times the query heads of one key head, as in attention.h.  The
 * keys are cut into at most 8 chunks.  One piece of work is all rows against one chunk: it has the
 * gradients of its keys and values to itself, and adds to those of the queries in keys' order, in
 * memory of its own when there are several chunks; these parts are added up afterwards, chunk by
 * chunk.  Five products a tile, no probability is kept, and since the cut depends on the sequence's
 * length alone and all sums have a fixed order, so do the bits.
 */
#ifndef KERNELS_CPU_ATTENTION_DENSE_H
#define KERNELS_CPU_ATTENTION_DENSE_H

#include "kernels/cpu/cpu.h"

#include <vishwamai/dtype.h>

enum {
    VW_DENSE_ROWS = 64,      /* rows of a block */
    VW_DENSE_TILE = 64,      /* keys of a tile */
    VW_DENSE_MIN_CHUNK = 256, /* keys; a multiple of the tile */
    VW_DENSE_MAX_CHUNKS = 8,
    VW_DENSE_PAD = 32        /* columns are filled up to a multiple of this */
};

/* What a plan fixes. */
typedef struct vw_dense {
    int64_t group, dk, dv; /* query heads of a key head; head sizes */
    int is_causal;
    int64_t window;
    float scale, cap;
} vw_dense;

/* One sequence of n queries and n keys, one key head: where its values begin, and how far apart the
 * tokens are.  Query heads of the group are dk (dv) apart. */
typedef struct vw_dense_head {
    int64_t n;
    const float *q, *k, *v, *out, *d_out;
    int64_t q_stride, k_stride, v_stride, out_stride, d_out_stride;
    const float *lse; /* first query, first head of the group */
    int64_t lse_stride;
    float *d_q, *d_k, *d_v; /* d_q: of the tensor, or a part */
    int64_t d_q_stride, d_k_stride, d_v_stride;
} vw_dense_head;

static inline int64_t vw_dense_padded(int64_t n)
{
    return (n + VW_DENSE_PAD - 1) / VW_DENSE_PAD * VW_DENSE_PAD;
}

/* Keys of a chunk of a sequence of n, and chunks. */
static inline int64_t vw_dense_chunk(int64_t n)
{
    int64_t eighth = (n + VW_DENSE_MAX_CHUNKS - 1) / VW_DENSE_MAX_CHUNKS;
    int64_t chunk = (eighth + VW_DENSE_TILE - 1) / VW_DENSE_TILE * VW_DENSE_TILE;
    return chunk > VW_DENSE_MIN_CHUNK ? chunk : VW_DENSE_MIN_CHUNK;
}

static inline int64_t vw_dense_chunks(int64_t n)
{
    return (n + vw_dense_chunk(n) - 1) / vw_dense_chunk(n);
}

/* The keys [*lo, *hi) that query i of n sees; both rise with i. */
static inline void vw_dense_reach(const vw_dense *a, int64_t n, int64_t i, int64_t *lo, int64_t *hi)
{
    *lo = a->window > 0 && i >= a->window ? i - a->window + 1 : 0;
    *hi = a->is_causal ? i + 1 : n;
}

/* Does any row of the block that begins at row `first` see keys [from, to)?  `backward` writes d_q
 * for these blocks alone. */
static inline int vw_dense_block_sees(const vw_dense *a, int64_t n, int64_t first, int64_t from,
                                      int64_t to)
{
    int64_t last = first + VW_DENSE_ROWS < n * a->group ? first + VW_DENSE_ROWS : n * a->group;
    int64_t lo, hi, unused;
    vw_dense_reach(a, n, first / a->group, &lo, &unused);
    vw_dense_reach(a, n, (last - 1) / a->group, &unused, &hi);
    return lo < to && hi > from;
}

/* Floats of scratch for sequences of up to n. */
static inline int64_t vw_dense_scratch(const vw_dense *a, int64_t n)
{
    int64_t dk = vw_dense_padded(a->dk), dv = vw_dense_padded(a->dv), chunk = vw_dense_chunk(n);
    return VW_DENSE_ROWS * (2 * dk + dv + 2 * (VW_DENSE_TILE + 16) + 2) +
           chunk * (3 * dk + 2 * dv) + 1024;
}

typedef struct vw_dense_kernels {
    /* Keys [from, to) of one chunk: d_k and d_v of these keys, d_q of the blocks that see them. */
    void (*backward)(const vw_dense *a, const vw_dense_head *head, int64_t from, int64_t to,
                     float *scratch);
    /* to += part, n values. */
    void (*add)(int64_t n, const float *part, float *to);
} vw_dense_kernels;

const vw_dense_kernels *vw_dense_for(vw_cpu_isa isa);

extern const vw_dense_kernels vw_dense_base, vw_dense_avx2, vw_dense_avx512;

#endif
