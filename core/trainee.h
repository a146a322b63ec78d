/* trainee.h - the inside of a model that is being trained; training.h is what the loop sees.
 *
 *     trainee.c           open, measure, close
 *     trainee_params.c    masters, gradients, first values
 *     trainee_run.c       learn, evaluate
 *     trainee_experts.c   loads and their balance
 *     trainee_scaling.c   fp8 with delayed scaling
 *     trainee_save.c      files
 *     lora.c              adapters
 *     trainee_match.c     projections of hidden states, and where a teacher's are taken
 */
#ifndef VW_CORE_TRAINEE_H
#define VW_CORE_TRAINEE_H

#include "core/tape.h"

/* A micro-batch on the device: parts of one buffer, filled on the host and copied in one go. */
typedef struct trainee_staging {
    vw_buffer device;
    int32_t *host;
    size_t words;
    int32_t *ids, *positions, *wanted, *labels, *starts, *n_keys; /* on the host */
} trainee_staging;

struct vw_trainee {
    vw_core *core;
    vw_engine *engine;
    vw_trainee_options options;
    bool is_fresh, is_estimate, is_serving;
    char *config_text; /* config.json, whole */

    vw_param **params; /* [n_params]: the model's that there are, then adapters' */
    size_t n_params;
    char (*names)[512]; /* in files, of the model's */
    vw_buffer values, gradients;
    uint64_t parameters, n_values, n_trained;

    vw_tape *tape;
    vw_buffer arena;
    size_t arena_bytes;
    int64_t logit_rows;

    trainee_staging staging;
    vw_buffer losses; /* device: ce, kl [max_tokens] */
    float *losses_host;
    vw_buffer counts; /* device: loads i64, shares f32, [routers][experts] each */
    int64_t *counts_host;
    int32_t n_routers, n_experts; /* experts of the widest */
    uint64_t *loads;              /* [routers][experts], since the last reset */
    uint64_t n_dropped;

    vw_param *projections; /* [n_projections], then in the list; their specs and names */
    vw_param **projection_list;
    vw_param_spec *projection_specs;
    char (*projection_names)[48];
    size_t n_projections;
    vw_buffer misses; /* device f64 [n_projections] */
    int32_t n_taps;
    const int32_t *tapped;
    float *const *taps;
    vw_profile *profile;
    vw_nn profiled; /* its table of blocks */
    vw_training_memory memory;

    size_t n_scaled;   /* parameters with delayed scaling */
    uint64_t n_copied; /* their values */
    vw_buffer records; /* device: [n_scaled][VW_OPERANDS][2], what round_e4m3 takes */
    vw_buffer copies;  /* device: weights as products read them */
    float *records_host;
    float *history; /* [n_scaled][VW_OPERANDS][fp8_history], the newest first; 0: none */
};

/* trainee_params.c.  Lay out: which parameters are trained and where each lies; addresses are
 * invented for an estimate.  Fill: first values, or those of the checkpoint. */
vw_status vw_trainee_list_params(vw_trainee *t, vw_error *err);
vw_status vw_trainee_lay_out(vw_trainee *t, vw_error *err);
vw_status vw_trainee_fill(vw_trainee *t, vw_error *err);
void vw_trainee_free_params(vw_trainee *t);
/* The name of params[i] in files. */
const char *vw_trainee_name(const vw_trainee *t, size_t i);
/* n normal values of deviation `std`, a function of seed, stream and place alone. */
void vw_normal_values(uint64_t seed, uint64_t stream, double std, float *to, size_t n);

/* lora.c */
vw_status vw_lora_attach(vw_trainee *t, vw_error *err);
bool vw_lora_is_on(const vw_trainee *t);
/* Can what is adapted be merged? */
vw_status vw_lora_check_merge(const vw_trainee *t, vw_error *err);
/* W + scale B A of a matrix that has an adapter, added to its f32 rows [first, first + n). */
vw_status vw_lora_merge_rows(vw_trainee *t, const vw_param *w, int64_t first, int64_t n,
                             float *rows, vw_error *err);

/* trainee_match.c */
vw_status vw_trainee_add_projections(vw_trainee *t, vw_error *err);
void vw_trainee_free_projections(vw_trainee *t);
/* The mean square that hidden states miss, times n_scored. */
vw_status vw_trainee_collect_misses(vw_trainee *t, int64_t n_tokens, vw_losses *losses,
                                    vw_error *err);

/* trainee_run.c: buffers of a micro-batch, and a forward for measuring. */
vw_status vw_trainee_open_run(vw_trainee *t, vw_error *err);
void vw_trainee_close_run(vw_trainee *t);
uint64_t vw_trainee_run_bytes(const vw_trainee *t);
vw_status vw_trainee_measure(vw_trainee *t, vw_error *err);
/* vw_trainee_learn, whose weight gradients may wait: INPUT, then WEIGHT (whose micro may be
 * NULL). */
vw_status vw_trainee_learn_as(vw_trainee *t, const vw_micro_batch *m, vw_backward what,
                              vw_losses *losses, vw_error *err);

/* trainee_scaling.c */
vw_status vw_scaling_open(vw_trainee *t, vw_error *err);
void vw_scaling_close(vw_trainee *t);

/* trainee_experts.c: take the counts of a micro-batch in. */
vw_status vw_trainee_open_loads(vw_trainee *t, vw_error *err);
void vw_trainee_close_loads(vw_trainee *t);
vw_status vw_trainee_count(vw_trainee *t, int64_t n_tokens, int64_t n_scored, vw_losses *losses,
                           vw_error *err);

#endif
