/* optimizer.h - the optimizer kind: the update rule, whole.
 *
 * One call updates one parameter and what the rule remembers of it.  The trainer owns all memory
 * and decides when a step happens, at which rate and by which factor gradients are clipped; the
 * rule decides everything else.  A parameter and its states are what a checkpoint holds, so a rule
 * keeps nothing of a parameter in its instance: after loading them it goes on bit for bit.
 *
 * All arrays are f32 device memory, contiguous, and overlap nowhere.  Thread rule: one instance may
 * be used for different parameters by several threads, each with its own stream.
 */
#ifndef VISHWAMAI_OPTIMIZER_H
#define VISHWAMAI_OPTIMIZER_H

#include <vishwamai/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_OPTIMIZER_OPS_MAJOR 1
#define VW_OPTIMIZER_OPS_MINOR 0

enum { VW_OPTIMIZER_MAX_STATES = 4 };

/* Something that a rule remembers of a parameter, such as a moment. */
typedef struct vw_optimizer_state {
    const char *name; /* in checkpoints: letters, digits, '_'; constant */
    int64_t n;        /* f32 values; zeros before the first step */
} vw_optimizer_state;

/* One parameter at one step. */
typedef struct vw_update {
    size_t size;
    int64_t step;         /* 1 for the first; a skipped step is not counted */
    double learning_rate; /* scheduled, of this step */
    double grad_scale;    /* multiplies the gradient: clipping, averaging, unscaling */
    double weight_decay;  /* of this parameter's decay group */
    int64_t n;
    int64_t rows, cols;   /* the parameter as a matrix, n = rows * cols; rows = 1 for a vector */
    float *parameter;
    const float *gradient;
    float *state[VW_OPTIMIZER_MAX_STATES]; /* as `states` says, in that order */
} vw_update;

typedef struct vw_optimizer_ops {
    size_t size;

    /* What the rule remembers of a parameter of [rows, cols]: fills at most VW_OPTIMIZER_MAX_STATES
     * and returns how many.  The same for equal arguments.  Required.  Since optimizer 1.0. */
    int32_t (*states)(void *self, int64_t rows, int64_t cols, vw_optimizer_state *states);

    /* Do one step.  Only queues work on `stream`.  Allocates nothing.  The result for a value
     * depends on neither threads nor how many values there are besides.  Non-finite gradients go
     * through the formula like others: whoever minds tests the norm before.  VW_E_INVALID when the
     * update contradicts itself; parameter and states are then unchanged.  Required.  Since
     * optimizer 1.0. */
    vw_status (*update)(void *self, vw_stream *stream, const vw_update *update, vw_error *err);
} vw_optimizer_ops;

#ifdef __cplusplus
}
#endif
#endif
