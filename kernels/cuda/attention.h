/* attention.h - the parameters of the attention kernels, as C and CUDA both read them.
 *
 * Letters as in the attention kind: B sequences, Q query tokens in all, Hq query heads, Hk key
 * heads, Dk and Dv head sizes, S keys of one sequence, G tokens of a page.
 *
 * A page holds, for each key head: with int8 a float scale for each key and then for each value;
 * keys [G][Dk rounded up to 8], the rest zeros; values likewise, unless it is latent.
 *
 * Which kernel serves a sequence, how its keys are split and in what order they are added depends
 * on the sequence's own counts alone, so a result does not depend on its neighbours.
 */
#ifndef KERNELS_CUDA_ATTENTION_H
#define KERNELS_CUDA_ATTENTION_H

#include <stdint.h>

enum {
    VW_ATTENTION_KEYS = 64,      /* keys of a tile, at a multiple of 64 */
    VW_ATTENTION_ROWS = 32,      /* rows of a block of prefill: a query token and head each */
    VW_ATTENTION_HEADS = 8,      /* query heads of a block of decode */
    VW_ATTENTION_FEW = 4,        /* a sequence with at most as many queries is decode's */
    VW_ATTENTION_SPLIT = 512,    /* keys of a part in decode, at least */
    VW_ATTENTION_MAX_SPLITS = 32,
    VW_ATTENTION_MAX_DK = 1024,
    VW_ATTENTION_MAX_DV = 512
};

/* Keys of a part: 512, or as many more as 32 parts need. */
#define VW_ATTENTION_SPLIT_OF(S)                                                                   \
    (((S) - 1) / (VW_ATTENTION_SPLIT * VW_ATTENTION_MAX_SPLITS) * VW_ATTENTION_SPLIT +             \
     VW_ATTENTION_SPLIT)

typedef struct vw_attention_args {
    int32_t q_heads, k_heads, dk, dv;
    int32_t is_causal, window;
    float scale, cap;
    /* the batch */
    int32_t n_sequences;
    const int32_t *query_start, *n_keys, *table;
    int64_t table_stride;
    /* the cache */
    char *pages;
    int64_t page_bytes, head_bytes, keys_at, values_at, value_scales_at;
    int32_t page_tokens, k_pitch, v_pitch, is_latent;
    /* append: new keys and values; run: queries and results */
    const float *q, *k, *v;
    float *out, *lse;
    int64_t q_stride, k_stride, v_stride, out_stride;
    int64_t n_queries;
    int32_t tiles_a_sequence;    /* prefill */
    int32_t n_splits;            /* decode and combine: rows of a query in what follows */
    float *part, *part_norm;     /* [B * FEW][n_splits][Hq][v_pitch], [..][2]: max and sum */
} vw_attention_args;

#endif
