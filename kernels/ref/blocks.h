/* blocks.h - the block formats of GGUF files: how many values lie in how many bytes, and which; and
 * int4, whose scales lie beside.
 *
 * The definition is formats.md section 3.2; the order of the roundings is that of ggml's own
 * dequantisers, so that values are equal to the bit.  A gemm that has something faster for a format
 * knows it by its name.
 */
#ifndef KERNELS_REF_BLOCKS_H
#define KERNELS_REF_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

typedef enum vw_block_kind {
    VW_BLOCK_OTHER = 0, VW_BLOCK_Q4_0, VW_BLOCK_Q4_1, VW_BLOCK_Q5_0, VW_BLOCK_Q5_1, VW_BLOCK_Q8_0,
    VW_BLOCK_Q4_K, VW_BLOCK_Q5_K, VW_BLOCK_Q6_K, VW_BLOCK_INT4, VW_BLOCK_KINDS
} vw_block_kind;

/* n_blocks blocks into f32: 32 values each, 256 for the K formats. */
void vw_ref_q4_0(const void *blocks, int64_t n_blocks, float *out); /* 18 bytes */
void vw_ref_q4_1(const void *blocks, int64_t n_blocks, float *out); /* 20 */
void vw_ref_q5_0(const void *blocks, int64_t n_blocks, float *out); /* 22 */
void vw_ref_q5_1(const void *blocks, int64_t n_blocks, float *out); /* 24 */
void vw_ref_q8_0(const void *blocks, int64_t n_blocks, float *out); /* 34 */
void vw_ref_q4_k(const void *blocks, int64_t n_blocks, float *out); /* 144 */
void vw_ref_q5_k(const void *blocks, int64_t n_blocks, float *out); /* 176 */
void vw_ref_q6_k(const void *blocks, int64_t n_blocks, float *out); /* 210 */

/* OTHER for a name that is not known here, or NULL. */
vw_block_kind vw_block_kind_of(const char *name);

#endif
