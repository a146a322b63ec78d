/* gemm-blocks.h - weights in GGUF's blocks of 32 that are multiplied as they are, with quantised
 * activations: how both sides lie in memory.
 *
 * A pack holds the file's bytes and no others, the blocks of 16 outputs interleaved word by word, so
 * that a vector holds the same four values of neighbouring outputs:
 *
 *     [panel][K / 32] { f16 scales [16]; words [words][16] }
 *
 * Activations have a scale for each 32 values of a row too.  The rows of a tile, block by block:
 *
 *     { sums [rows]; f32 scales [rows]; codes [8][rows][4] }
 *
 * Weights are multiplied as unsigned codes, from which half their range, 8 or 128, is still to be
 * taken off.  That is what the sums are for: -8 times those of the codes, as two s16, of values 0, 1
 * and of values 2, 3 of every four.
 */
#ifndef KERNELS_CPU_GEMM_BLOCKS_H
#define KERNELS_CPU_GEMM_BLOCKS_H

#include "kernels/cpu/gemm.h"
#include "kernels/ref/blocks.h"

enum {
    VW_GEMM_BLOCK = 32,          /* values of a block */
    VW_GEMM_MAX_BLOCK_BYTES = 34,
    VW_GEMM_X_BLOCK_BYTES = 40,  /* of one block of one row of activations */
    VW_GEMM_OPEN_BLOCK_BYTES = 576, /* of one block of 16 outputs, opened for tiles */
    VW_GEMM_BLOCKS_K = 1024,     /* values along K, over the panels of a tile, of which opened blocks
                                    fit the L1 cache */
    VW_GEMM_OPEN_PANEL_BYTES = VW_GEMM_BLOCKS_K / VW_GEMM_BLOCK * VW_GEMM_OPEN_BLOCK_BYTES
};

/* Which of vw_gemm_blocks.tile: VW_BLOCK_Q8_0 or VW_BLOCK_Q4_0. */
static inline int vw_gemm_is_q4(const vw_gemm_operand *w)
{
    return w->source.block_kind == VW_BLOCK_Q4_0;
}

/* One panel's blocks along K. */
static inline const char *vw_gemm_blocks_panel(const vw_gemm_operand *w, int64_t panel)
{
    return (const char *)w->pack +
           panel * (w->source.k / VW_GEMM_BLOCK) * w->source.block_bytes * VW_GEMM_PANEL;
}

/* Can a stored matrix be packed so? */
int vw_gemm_is_blocks(const vw_gemm_source *w);

size_t vw_gemm_blocks_bytes(const vw_gemm_source *w);

/* Outputs [n, n + 16) into their place in `pack`; those past the last get zeros. */
void vw_gemm_pack_blocks(const vw_gemm_source *w, int64_t n, void *pack);

/* Blocks [first, first + n_blocks) of output n, as they were stored. */
void vw_gemm_blocks_row(const vw_gemm_operand *w, int64_t n, int64_t first, int64_t n_blocks,
                        void *out);

/* One row of activations, prepared, against n_panels panels: c[16 * p + j]. */
void vw_gemm_blocks_one(const vw_gemm_job *job, const vw_gemm_operand *w, int64_t panel,
                        int64_t n_panels, float *c);

#endif
