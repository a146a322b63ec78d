/* gemm-blocks.h - weights in blocks of few bits that are multiplied as they are, with quantised
 * activations: how both sides lie in memory.
 *
 * A pack holds the file's bits and no others, 16 outputs interleaved word by word, so that a vector
 * holds the same four values of neighbouring outputs.  A panel is a run of units:
 *
 *     Q8_0, Q4_0  32 values   { f16 scales [16]; words [8 or 4][16] }
 *     Q4_K        256         { f16 d [16]; f16 dmin [16]; scales [3][16]; nibbles [32][16] }
 *     Q6_K        256         { f16 d [16]; scales [16][16]; for each 16 values sixes [3][16] }
 *     int4        its group   { scales [16], as stored; for each 32 values nibbles [4][16] }
 *
 * The three words of Q6_K hold values 0 to 11 in the lower 6 bits of their bytes.  The upper two bits
 * of the first are the upper bits of values 12 to 15, those of the last the lower ones.
 *
 * The words of int4 hold nibbles in the order of Q4_0's: byte j of word s has value 4 s + j low and
 * value 16 + 4 s + j high.
 *
 * Activations have a scale for each 32 values of a row.  The rows of a tile, block by block:
 *
 *     { sums [rows]; f32 scales [rows]; codes [8][rows][4]; half sums [rows]; f32 scale * sum [rows] }
 *
 * Weights are multiplied as unsigned codes, from which half their range, 8, 32 or 128, is still to be
 * taken off.  That is what the sums are for: -8 times those of the codes, as two s16, of values 0, 1
 * and of values 2, 3 of every four; and -32 times those of the first 16 codes.  The minima of Q4_K
 * take the last.
 *
 * One row reads a pack as it is, since it meets each value once.  Tiles read opened panels
 * (gemm-open.c), for 32 values:
 *
 *     { f32 or s16 pairs [3][16]; codes [8][16][4] }
 *
 * Q4_K: scale, minus the minimum; Q6_K: d, then the scale of either half as two s16; the others: scale.
 */
#ifndef KERNELS_CPU_GEMM_BLOCKS_H
#define KERNELS_CPU_GEMM_BLOCKS_H

#include "kernels/cpu/gemm.h"
#include "kernels/ref/blocks.h"

enum {
    VW_GEMM_BLOCK = 32,             /* values of a block of activations */
    VW_GEMM_MAX_BLOCK_BYTES = 210,  /* of a stored block of weights */
    VW_GEMM_X_BLOCK_BYTES = 48,     /* of one block of one row of activations */
    VW_GEMM_OPEN_CODES = 192,       /* of an opened block, where its codes begin */
    VW_GEMM_OPEN_BYTES = 704,       /* and its end */
    VW_GEMM_BLOCKS_K = 1024         /* values along K, over the panels of a tile, of which opened
                                       blocks fit the L1 cache; a multiple of 256 for each panel */
};

/* The kernels of a packed weight. */
static inline const vw_gemm_block_format *vw_gemm_format_of(const vw_gemm_blocks *blocks,
                                                            const vw_gemm_source *w)
{
    switch (w->block_kind) {
    case VW_BLOCK_Q8_0: return &blocks->formats[0];
    case VW_BLOCK_Q4_K: return &blocks->formats[2];
    case VW_BLOCK_Q6_K: return &blocks->formats[3];
    default: return &blocks->formats[1]; /* Q4_0; int4 differs from it in its scales alone */
    }
}

/* Values of a scale, of those that lie in the pack, and their dtype. */
static inline int64_t vw_gemm_group(const vw_gemm_source *w)
{
    if (w->block_kind != VW_BLOCK_INT4)
        return w->block_elements;
    return w->scale_cols < w->k ? w->scale_cols : w->k;
}

static inline vw_dtype vw_gemm_scale_dtype(const vw_gemm_source *w)
{
    return w->block_kind == VW_BLOCK_INT4 ? w->scale_dtype : VW_F16;
}

static inline int vw_gemm_scale_bytes(const vw_gemm_source *w)
{
    return vw_gemm_scale_dtype(w) == VW_F32 ? 4 : 2;
}

/* One panel along K, and where its block of 32 values begins (a K format's: the 256 it is in; int4's
 * first of a group: its scales). */
static inline int64_t vw_gemm_blocks_at(const vw_gemm_source *w, int64_t block)
{
    int64_t values = block * VW_GEMM_BLOCK, group = vw_gemm_group(w);
    if (w->block_kind != VW_BLOCK_INT4)
        return values / w->block_elements * w->block_bytes * VW_GEMM_PANEL;
    return values / 2 * VW_GEMM_PANEL +
           (values + group - 1) / group * vw_gemm_scale_bytes(w) * VW_GEMM_PANEL;
}

static inline const char *vw_gemm_blocks_panel(const vw_gemm_operand *w, int64_t panel)
{
    return (const char *)w->pack +
           panel * vw_gemm_blocks_at(&w->source, w->source.k / VW_GEMM_BLOCK);
}

/* Can a stored matrix be packed so? */
int vw_gemm_is_blocks(const vw_gemm_source *w);

size_t vw_gemm_blocks_bytes(const vw_gemm_source *w);

/* Outputs [n, n + 16) into their place in `pack`; those past the last get zeros. */
void vw_gemm_pack_blocks(const vw_gemm_source *w, int64_t n, void *pack);

/* Stored blocks [first, first + n_blocks) of output n, as they were. */
void vw_gemm_blocks_row(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t n_blocks,
                        void *out);

/* The scale beside value k of output n; 1 where a block has its own. */
float vw_gemm_blocks_scale(const vw_gemm_operand *w, int64_t n, int64_t k);

/* One row of activations, prepared, against n_panels panels: c[16 * p + j]. */
void vw_gemm_blocks_one(const vw_gemm_job *job, const vw_gemm_operand *w, int64_t panel,
                        int64_t n_panels, float *c);

#endif
