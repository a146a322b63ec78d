/* trainer.h - the inside of vw_trainer, for the files that it is made of.
 *
 *     trainer.c         opening in order, closing
 *     trainer_run.c     the loop
 *     trainer_data.c    the tokenizer, the data, its two halves
 *     trainer_distil.c  the teacher, if there is one
 *     trainer_cache.c   what it said beforehand, written and learnt from
 *     trainer_loads.c   what each expert got since the last line
 *     trainer_step.c    one optimizer step; validation; a sample of text
 *     trainer_save.c    what a checkpoint holds, written and read
 *     metrics.c         metrics.jsonl
 *     profile.c         a trace of some steps
 *
 * vw_progress_state is all that changes from step to step beside weights and moments: what it holds
 * is what a checkpoint holds, so that a resumed run equals one that was never stopped, bit for bit.
 */
#ifndef VW_CORE_TRAINER_H
#define VW_CORE_TRAINER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <vishwamai/optimizer.h>
#include <vishwamai/weights.h>

#include "core/batches.h"
#include "core/checkpoint.h"
#include "core/metrics.h"
#include "core/profile.h"
#include "core/teacher_store.h"
#include "core/train_rules.h"
#include "core/sections.h"
#include "core/training.h"

typedef struct vw_progress_state {
    int64_t step;    /* steps done, skipped ones included */
    int64_t updates; /* steps that changed the weights: the optimizer's count */
    uint64_t tokens; /* scored */
    vw_position position;
    vw_loss_scale scale;
    vw_batch_size batch;
    double best_loss;        /* NaN before the first validation */
    int64_t best_step;       /* -1: none */
    int64_t bad_validations; /* since the best */
    double loss_sum;         /* since the last line of the log */
    uint64_t loss_tokens;
    double seconds; /* of training */
} vw_progress_state;

/* One of the optimizer's arrays; or the average of a parameter, kept and saved with them. */
typedef struct vw_moment {
    size_t param;
    const char *name;
    int64_t n;
    bool is_average; /* of the parameter, and none of the rule's */
    float *values;   /* device */
} vw_moment;

struct vw_trainer {
    vw_core *core;
    vw_trainer_options options;
    vw_config_train train;
    vw_config_data data;
    vw_config_lora lora;
    vw_config_distill distill;
    const char *model_path; /* [model] path, or NULL for a new model */
    char out[VW_CHECKPOINT_PATH], tokenizer_folder[VW_CHECKPOINT_PATH],
        resumed_from[VW_CHECKPOINT_PATH];
    int lock; /* of the run's folder */
    bool is_asking; /* for a store: nothing is trained */

    const vw_component *tokenizer, *optimizer, *weights;
    vw_encoder encoder;
    uint64_t tokenizer_sum, data_sum;
    vw_dataset everything, train_set, validation_set;
    vw_batches batches, validation;
    vw_batch micro;

    vw_trainee *trainee;
    vw_trainee_options trainee_options;
    vw_trainee_info info;
    vw_trainee *teacher;    /* NULL: none */
    vw_buffer teacher_rows; /* its logits of a micro-batch */
    vw_buffer hidden_states;
    int32_t *tapped;        /* layers of the teacher, */
    float **taps;           /* where what leaves them goes, */
    const float **hidden;   /* and which of it each layer of the student has; NULL: none */
    vw_store *store;        /* instead of a teacher: what it said, or NULL */
    uint64_t store_sum;
    int64_t n_rows, *row_marks; /* rows before every so many positions; NULL: a row a position */
    int32_t cached_k;
    vw_buffer cached;       /* the rows of a micro-batch, */
    int32_t *cached_host;   /* on their way */
    const vw_device_ops *dev;
    void *device;
    vw_device_info device_info;
    const vw_optimizer_ops *opt;
    vw_moment *moments;
    size_t n_moments;
    vw_buffer moments_buffer, norm_space;
    uint64_t *expert_loads; /* [routers][experts] since the last line; NULL: no experts */

    vw_progress_state now;
    vw_rate_schedule schedule;
    vw_metrics metrics;
    vw_profile *profile;    /* NULL: none */
    vw_train_event event;   /* of the last step */
    double began, last_log; /* seconds of the clock; of now.seconds */
    uint64_t last_log_tokens;
    atomic_int is_interrupted;
};

double vw_trainer_clock(void);
void vw_trainer_tell(vw_trainer *t, vw_train_event_type type, const char *text);

/* trainer_data.c */
vw_status vw_trainer_open_tokenizer(vw_trainer *t, vw_error *err);
/* After the model: checks ids against its vocabulary. */
vw_status vw_trainer_open_data(vw_trainer *t, vw_error *err);
void vw_trainer_close_data(vw_trainer *t);
/* Of a data set's ids, so that a changed file is noticed; of a large one a sample. */
uint64_t vw_trainer_sum_data(const vw_dataset *d);

/* trainer_distil.c.  Nothing happens without a teacher. */
vw_status vw_trainer_find_hidden_width(vw_trainer *t, vw_error *err);
vw_status vw_trainer_open_teacher(vw_trainer *t, vw_error *err);
void vw_trainer_close_teacher(vw_trainer *t);
vw_status vw_trainer_ask_teacher(vw_trainer *t, vw_micro_batch *micro, vw_error *err);
/* The teacher alone, in the place of the model that is trained. */
vw_status vw_trainer_open_teacher_alone(vw_trainer *t, vw_error *err);

/* trainer_cache.c.  Open: of the store, if the settings name one.  Write: a new one, with the
 * teacher in the place of the model. */
vw_status vw_trainer_open_cache(vw_trainer *t, vw_error *err);
void vw_trainer_close_cache(vw_trainer *t);
vw_status vw_trainer_ask_cache(vw_trainer *t, vw_micro_batch *micro, vw_error *err);
vw_status vw_trainer_write_cache(vw_trainer *t, vw_error *err);

/* trainer_loads.c.  Nothing happens without experts.  Take: what the last step's tokens chose, whose
 * counts in the trainee begin anew.  Describe: into t->event.  Clear: a line is written. */
vw_status vw_trainer_open_loads(vw_trainer *t, vw_error *err);
vw_status vw_trainer_take_loads(vw_trainer *t, vw_error *err);
void vw_trainer_describe_loads(vw_trainer *t);
void vw_trainer_clear_loads(vw_trainer *t);
size_t vw_trainer_n_loads(const vw_trainer *t);

/* trainer_step.c */
vw_status vw_trainer_open_optimizer(vw_trainer *t, vw_error *err);
void vw_trainer_close_optimizer(vw_trainer *t);
vw_status vw_trainer_step(vw_trainer *t, vw_error *err);
vw_status vw_trainer_validate(vw_trainer *t, double *loss, vw_error *err);
vw_status vw_trainer_sample(vw_trainer *t, vw_error *err);
/* With [train] use_ema: between the two the model has the averages of its parameters. */
vw_status vw_trainer_use_averages(vw_trainer *t, vw_error *err);
vw_status vw_trainer_use_masters(vw_trainer *t, vw_error *err);
/* VW_E_INTERRUPTED if somebody asked. */
vw_status vw_trainer_check(vw_trainer *t, vw_error *err);

/* trainer_save.c */
vw_status vw_trainer_save(vw_trainer *t, vw_error *err);
/* If the settings ask for it: the model alone in OUT/final, an adapter merged into it. */
vw_status vw_trainer_save_final(vw_trainer *t, vw_error *err);
vw_status vw_trainer_resume(vw_trainer *t, const char *folder, vw_error *err);
/* The settings in force as FOLDER/config.ini; the tokenizer's files. */
vw_status vw_trainer_write_settings(const vw_trainer *t, const char *folder, vw_error *err);
vw_status vw_trainer_copy_tokenizer(const vw_trainer *t, const char *folder, vw_error *err);

#endif
