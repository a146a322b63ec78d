/* with_trainee.h - a test opens a model to train, and closes it again; micro-batches from goldens.
 */
#ifndef VW_T_WITH_TRAINEE_H
#define VW_T_WITH_TRAINEE_H

#include "core/training.h"

typedef struct with_trainee {
    vw_settings *settings;
    vw_core *core;
    vw_trainee *trainee;
    vw_trainee_info info;
    vw_error err; /* why, when opening failed */
} with_trainee;

/* `assignments` as for engine_open(). */
bool trainee_open(with_trainee *w, const vw_trainee_options *options, const char *assignments);
void trainee_close(with_trainee *w);

/* The parameter of that name; bails out if there is none. */
vw_trainee_param trainee_param(const with_trainee *w, const char *name);

/* All gradients one after another, [info.n_trained], freed by the caller. */
float *trainee_gradients(const with_trainee *w);

/* Zero the gradients and learn from one micro-batch; bails out on an error. */
vw_losses trainee_learn(with_trainee *w, const vw_micro_batch *micro);

/* A tensor of a golden, as f32; and its ids, labels, starts.  Freed by the caller. */
typedef struct golden_batch {
    int64_t n_tokens, n_documents, n_scored;
    int32_t *ids, *labels, *starts;
} golden_batch;
golden_batch golden_batch_read(vw_core *core, const char *folder);
void golden_batch_free(golden_batch *g);
float *golden_tensor(vw_core *core, const char *folder, const char *name, size_t *n);
/* A number of golden.json. */
double golden_number(const char *folder, const char *key);

/* The golden's tokens as one micro-batch, divided by its own scored tokens. */
vw_micro_batch golden_micro(const golden_batch *g);

/* The folder of a golden; and a trainee on it with these changes, or else the test bails out. */
const char *trainee_model(const char *name);
void trainee_open_or_die(with_trainee *w, const char *model, const vw_trainee_options *changes,
                         const char *settings);

/* Gradients of a golden's batch with these options and settings, freed by the caller; how many
 * there are; and the largest difference of two such lists over the second one's root mean
 * square. */
float *trainee_learn_once(const char *model, const vw_trainee_options *o, const char *settings,
                          vw_losses *losses);
size_t trainee_trained(const char *model);
double gradient_difference(const float *a, const float *b, size_t n);

/* Random ids, and as labels the ids that follow. */
void trainee_fill(int32_t *ids, int32_t *labels, size_t n, int32_t vocab);
/* Plain descent on what learn left. */
void trainee_descend(with_trainee *w, float rate);
/* Learning from this is refused, and the sentence says why. */
void trainee_refuses(with_trainee *w, const vw_micro_batch *micro, const char *why);

#endif
