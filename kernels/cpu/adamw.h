/* adamw.h - the arithmetic of AdamW on a stretch of one parameter, for each instruction set. */
#ifndef KERNELS_CPU_ADAMW_H
#define KERNELS_CPU_ADAMW_H

#include "kernels/cpu/cpu.h"

#include <stdint.h>

/* A step's numbers, worked out in double once and rounded once.
 *
 *     g = grad_scale gradient          m = beta1 m + rest1 g        v = beta2 v + rest2 g^2
 *     p = p - shrink p - rate m / (sqrt(v) * root + eps)
 *
 * with rest = 1 - beta, shrink = learning rate * decay, rate = learning rate / (1 - beta1^t) and
 * root = 1 / sqrt(1 - beta2^t). */
typedef struct vw_adamw_step {
    float grad_scale, beta1, rest1, beta2, rest2, root, eps, rate, shrink;
} vw_adamw_step;

/* Arrays of n values that overlap nowhere.  A value's result depends on neither n nor its place. */
typedef void (*vw_adamw_fn)(const vw_adamw_step *step, int64_t n, float *p, const float *gradient,
                            float *m, float *v);

/* Any thread. */
vw_adamw_fn vw_adamw_for(vw_cpu_isa isa);

#endif
