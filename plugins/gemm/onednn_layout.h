/* onednn_layout.h - where oneDNN puts element (k, n) of a weight in its own blocked layout.
 *
 * Knowing the formula (Memory Format Propagation in oneDNN's manual), weights are packed a few rows
 * at a time and single rows are read back, which the library's reorder of whole matrices cannot do.
 */
#ifndef PLUGINS_GEMM_ONEDNN_LAYOUT_H
#define PLUGINS_GEMM_ONEDNN_LAYOUT_H

#include <dnnl.h>
#include <stdint.h>

/* Element of a two-dimensional [K, N] weight: outer blocks by their strides, then the inner blocks,
 * the last of which runs fastest. */
static inline int64_t onednn_offset(const dnnl_memory_desc_t *md, int64_t k, int64_t n)
{
    const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
    int64_t at[2] = {k, n}, offset = md->offset0, inner = 1;
    for (int i = b->inner_nblks - 1; i >= 0; i--) {
        int64_t d = b->inner_idxs[i], size = b->inner_blks[i];
        offset += at[d] % size * inner;
        at[d] /= size;
        inner *= size;
    }
    return offset + at[0] * b->strides[0] + at[1] * b->strides[1];
}

/* Is that all there is to know?  The library may add compensations to some layouts. */
static inline int onednn_is_plain_blocked(const dnnl_memory_desc_t *md)
{
    return md->format_kind == dnnl_blocked && md->ndims == 2 &&
           md->extra.flags == (uint64_t)dnnl_memory_extra_flag_none;
}

#endif
