/* optimizer.h - the optimizer kind: the update rule, whole.
 *
 * Provisional until training comes.  One call updates one parameter; all arrays are f32 device
 * memory of n elements.  Thread rule: one instance may be used for different parameters by several
 * threads.
 */
#ifndef VISHWAMAI_OPTIMIZER_H
#define VISHWAMAI_OPTIMIZER_H

#include <vishwamai/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_OPTIMIZER_OPS_MAJOR 0
#define VW_OPTIMIZER_OPS_MINOR 1

typedef struct vw_update {
    size_t size;
    int64_t step;         /* 1 for the first */
    double learning_rate; /* scheduled, of this step */
    double grad_scale;    /* multiplies the gradient: clipping and averaging */
    double weight_decay;  /* of this parameter's decay group */
    int64_t n;
    int64_t rows, cols;   /* the parameter as a matrix; rows = 1 for a vector */
    float *parameter;
    const float *gradient;
    float *state;         /* state_floats(n) of them, zeros before the first step */
} vw_update;

typedef struct vw_optimizer_ops {
    size_t size;
    /* f32 values of state for a parameter of [rows, cols].  Required. */
    int64_t (*state_floats)(void *self, int64_t rows, int64_t cols);
    /* Required. */
    vw_status (*update)(void *self, vw_stream *stream, const vw_update *update, vw_error *err);
} vw_optimizer_ops;

#ifdef __cplusplus
}
#endif
#endif
