/* train_rules.h - what changes from step to step by rule: learning rate, loss scale, batch size.
 *
 * Pure state machines of a few numbers each.  What they hold is part of a checkpoint, so that a
 * resumed run takes the same decisions.
 */
#ifndef VW_CORE_TRAIN_RULES_H
#define VW_CORE_TRAIN_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* ---- learning rate --------------------------------------------------------------------------- */

typedef enum vw_decay { VW_DECAY_COSINE = 0, VW_DECAY_LINEAR, VW_DECAY_CONSTANT } vw_decay;

typedef struct vw_rate_schedule {
    vw_decay decay;
    double peak, least;   /* learning rates */
    double warmup, steps; /* in steps, or both in tokens; the decay ends at `steps` */
} vw_rate_schedule;

/* The learning rate of step s = 0, 1 ...: peak (s + 1) / (w + 1) while s < w; then from peak at s
 * = w down to `least` at s = steps, along half a cosine (Loshchilov and Hutter 2017) or a line;
 * then `least`.  A constant schedule stays at peak. */
double vw_learning_rate(const vw_rate_schedule *schedule, double s);

/* ---- loss scale, for f16 --------------------------------------------------------------------- */

/* Micikevicius et al. 2018: a factor on the loss that keeps small gradients above f16's least
 * number, halved when one overflows and doubled after `interval` steps without. */
typedef struct vw_loss_scale {
    double scale;     /* 65536 at first; 1 and never changed when it is off */
    int64_t good;     /* finite steps since the last change */
    int64_t interval; /* 0: off */
} vw_loss_scale;

/* After a step: true when it is to be taken, false when it is skipped. */
bool vw_loss_scale_update(vw_loss_scale *scale, bool is_finite);

/* ---- batch size ------------------------------------------------------------------------------ */

/* Doubled after `stable` steps that were finite and whose
 * gradient norm stayed below the clip, halved when one was not finite; within [least, most]. */
typedef struct vw_batch_size {
    int64_t size, least, most;
    int64_t stable; /* 0: fixed */
    int64_t good;   /* stable steps since the last change */
} vw_batch_size;

void vw_batch_size_update(vw_batch_size *batch, bool is_finite, bool is_clipped);

/* The teacher's layer that is compared with one of a student's `layers`: evenly spaced, the first and
 * the last included, or of the teacher's last ones.  A student's only layer is its last. */
int32_t vw_teacher_layer(int32_t layer, int32_t layers, int32_t teacher_layers, bool is_last);

#endif
