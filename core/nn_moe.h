/* nn_moe.h - a mixture of experts at work, for the files that it is made of.
 *
 *     nn_moe.c        the block: route, line up by expert, multiply, combine; and back
 *     nn_moe_group.c  products of all experts at once
 *     nn_moe_adapt.c  the experts' adapters
 *
 * Letters: T tokens, D their width, E experts, K of them a token, S = T K slots, F width of an
 * expert.
 */
#ifndef VW_CORE_NN_MOE_H
#define VW_CORE_NN_MOE_H

#include "core/tape.h"

typedef struct moe_work {
    const vw_nn_moe *desc;
    const vw_experts *experts;
    int64_t tokens, slots, width, inner; /* T, S, D, F */
    int32_t first, last;                 /* of the experts that are multiplied with */
    vw_route_desc route;
    vw_tensor x, y, logits, ids, weights, gate, up, rows; /* up: training alone */
    int32_t *offsets, *token, *place;
    uint64_t stream; /* of dropouts of adapters' inputs, one a matrix */
} moe_work;

/* The matrices of an expert. */
enum { GATE, UP, DOWN };

/* y[i] = (or +=) the rows of x by each expert's w[i], n of them a product.  `scales`: of what has
 * fp8 inputs. */
void vw_moe_multiply(forward *f, const moe_work *m, const vw_param *scales, vw_gemm_op op, int32_t n,
                     const vw_gemm_weight *const *w, vw_gemm_epilogue epilogue, vw_tensor x,
                     const vw_tensor *y);

/* dw[expert] += dy^T x of its rows; nothing where there is no gradient. */
void vw_moe_learn(forward *f, const moe_work *m, const vw_param *scales,
                  const vw_gemm_weight *const *w, vw_tensor dy, vw_tensor x, const vw_tensor *dw);

bool vw_moe_is_adapted(const moe_work *m, int matrix);
/* y += what the adapters of a matrix make of x; nothing where there are none. */
void vw_moe_adapt(forward *f, const moe_work *m, int matrix, vw_tensor x, vw_tensor y);
/* The gradients of the two, and what x gets by this way, added to dx if it has data. */
void vw_moe_adapt_backward(forward *f, const moe_work *m, int matrix, vw_tensor x, vw_tensor dy,
                           vw_tensor dx);

#endif
