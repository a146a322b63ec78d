/* sampling.h - from a row of logits to a token.
 */
#ifndef VW_CORE_SAMPLING_H
#define VW_CORE_SAMPLING_H

#include "core/engine.h"

typedef struct sampler {
    vw_engine *engine;
    vw_sampling with;
    uint64_t seed;
    int32_t *counts; /* [vocab_size], zeros between draws; NULL without penalties */
    float *plain;    /* [vocab_size], the row before penalties; NULL without */
} sampler;

vw_status vw_sampler_open(sampler *s, vw_engine *e, const vw_sampling *with, vw_error *err);
void vw_sampler_close(sampler *s);

/* Draw the token after the first `length` of `sequence` from its device row of logits, which may be
 * changed.  *logprob is of the row as it came.  The draw depends on the seed and the position alone,
 * so neither neighbours nor threads nor drafts change a text. */
vw_status vw_sampler_draw(sampler *s, const vw_sequence *sequence, int64_t length, vw_tensor row,
                          int32_t *token, float *logprob, vw_error *err);

#endif
