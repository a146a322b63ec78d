/* pointwise.h - the arithmetic of the cpu device's pointwise set, one table per instruction set.
 *
 * Everything here works on one row, or on n values in a row, and on one thread: who calls decides
 * what is worth splitting.  A value's result does not depend on where it lies in the row, nor on
 * the rows beside it.  Letters as in device.h.
 */
#ifndef KERNELS_CPU_POINTWISE_H
#define KERNELS_CPU_POINTWISE_H

#include "kernels/cpu/cpu.h"

#include <vishwamai/dtype.h>

/* The numbers of vw_activation, which kernels cannot see. */
typedef enum vw_pointwise_act {
    VW_POINTWISE_NONE,
    VW_POINTWISE_GELU_TANH,
    VW_POINTWISE_GELU_ERF,
    VW_POINTWISE_SILU,
    VW_POINTWISE_RELU
} vw_pointwise_act;

/* The rotation of one token's heads. */
typedef struct vw_pointwise_rope {
    int is_pairs; /* (2i, 2i+1), else (i, i + dims/2) */
    int64_t heads, head_dim, first, dims;
    const float *inv_freq; /* [dims / 2] */
    float scale;
} vw_pointwise_rope;

typedef struct vw_pointwise {
    /* x += residual (unless NULL); y = x / rms(x) * (w_offset + w), w NULL: ones.  y may be x. */
    void (*rms_norm)(int64_t n, float *x, const float *residual, const float *w, float w_offset,
                     float eps, float *y);
    void (*rope)(const vw_pointwise_rope *rope, int32_t position, float *x);
    /* y = act(x) * up, up NULL: ones.  y may be x or up. */
    void (*gate)(vw_pointwise_act act, int64_t n, const float *x, const float *up, float *y);
    void (*axpby)(int64_t n, float a, const float *x, float b, float *y);
    void (*softcap)(int64_t n, float cap, float *x);
    void (*softmax)(int64_t n, float *x);

    /* The largest value; -inf for none, a NaN is passed over. */
    float (*max)(int64_t n, const float *x);
    /* y = exp((x - max) * factor) (y NULL: not kept), and the sum of it. */
    double (*exp_sum)(int64_t n, const float *x, float max, float factor, float *y);

    void (*from_bf16)(int64_t n, const uint16_t *x, float *y);
    void (*from_f16)(int64_t n, const uint16_t *x, float *y);
    /* y = code * scale. */
    void (*from_i8)(int64_t n, const int8_t *x, float scale, float *y);
    void (*to_bf16)(int64_t n, const float *x, uint16_t *y);
    void (*to_f16)(int64_t n, const float *x, uint16_t *y);
} vw_pointwise;

/* The table to run on an instruction set that vw_cpu_choose() gave. */
const vw_pointwise *vw_pointwise_for(vw_cpu_isa isa);

extern const vw_pointwise vw_pointwise_base, vw_pointwise_avx2, vw_pointwise_avx512;

/* The k largest of a row: indices by falling value, ties to the lower index, NaN last.
 * O(n log k), no memory but the result. */
void vw_pointwise_top_k(int64_t n, const float *x, int32_t k, int32_t *indices);

/* How a row of logits becomes a token: vw_sample_desc of device.h. */
typedef struct vw_pointwise_sampling {
    float temperature, top_p, min_p;
    int32_t top_k;
    double uniform;
} vw_pointwise_sampling;

/* Draw one token; logprob may be NULL.  scratch: vw_pointwise_sample_scratch(n) bytes.
 *
 * The survivors of the filters are lined up by rising id; the token is the first at which the
 * running sum of probabilities exceeds uniform * their sum. */
int32_t vw_pointwise_sample(const vw_pointwise *pw, int64_t n, const float *logits,
                            const vw_pointwise_sampling *how, float *logprob, void *scratch);
size_t vw_pointwise_sample_scratch(int64_t n);

#endif
