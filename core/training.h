/* training.h - a model that is being trained, as the loop of `vishwamai train` sees it.
 *
 * A trainee is an engine whose parameters are f32 masters with a gradient beside each.  It runs
 * micro-batches forward and backward and adds up gradients; what becomes of them (clipping, the
 * update rule, the schedule, checkpoints of the optimizer) is the loop's business.  Order of a
 * step:
 *
 *     vw_trainee_zero(t)
 *     for each micro-batch:  vw_trainee_learn(t, &micro, &loss)      gradients add up
 *     the loop: norm, clip, optimizer on every vw_trainee_param that is_trained
 *     vw_trainee_updated(t)                                          masters have new values
 *     vw_trainee_balance(t, gamma)                                router biases, if there are any
 *
 * Gradients come out multiplied by micro.loss_scale and divided by micro.divisor, so that with
 * divisor = the scored tokens of all micro-batches of the step the sum over the micro-batches is
 * the gradient of the mean loss of the step, times the scale.
 *
 * Parameters and gradients are device memory, one stretch each (vw_trainee_info.values,
 * .gradients), so that the norm of all gradients, or a copy to a checkpoint, is one operation.  All
 * work is queued on vw_trainee_stream(); learn and evaluate return when it is done, since their
 * losses are read. After the first step a trainee allocates nothing.  One trainee is used by one
 * thread at a time; several may live at once (teacher and student).
 */
#ifndef VW_CORE_TRAINING_H
#define VW_CORE_TRAINING_H

#include <stdbool.h>
#include <vishwamai/device.h>
#include <vishwamai/model.h>

#include "core/core.h"
#include "core/profile.h"

typedef struct vw_trainee vw_trainee;

/* ---- opening --------------------------------------------------------------------------------- */

/* What products are computed in.  Masters, gradients, norms, softmax, router and loss are f32. */
typedef enum vw_precision {
    VW_PRECISION_F32 = 0,
    VW_PRECISION_BF16, /* weights and the inputs of products rounded to bf16; sums in f32 */
    VW_PRECISION_F16,  /* the same with f16; wants a loss scale */
    VW_PRECISION_FP8   /* e4m3: inputs and gradients 1x128, weights 128x128, current scaling; wants
                          a loss scale, as groups below 1e-4 lose digits */
} vw_precision;

/* Low-rank adaptation: y = W x + (alpha / rank) B A dropout(x); W is then frozen. */
typedef struct vw_lora {
    int32_t rank; /* 0: none, every parameter is trained */
    double alpha, dropout;
    const char *const *targets; /* the last word of a block's name ("q_proj", "embed_tokens",
                                 * "lm_head"), NULL-ended; NULL: all matrices, experts' too, but
                                 * embedding, head and router */
    const char *adapter;        /* folder of a saved adapter to go on from; NULL: a new one */
    bool is_merged;             /* it will be: refused beforehand where that is not possible */
} vw_lora;

typedef struct vw_trainee_options {
    const char *label;        /* "[model:label]", or NULL */
    const char *path;         /* checkpoint folder to start from; NULL: a new model, of the family
                               * and sizes that [model] and [model.FAMILY] say */
    const char *tokenizer;    /* of a new model: folder whose tokenizer it will use, which gives
                               * vocab_size and special ids; NULL: [model.FAMILY] vocab_size */
    int32_t vocab_size;       /* of a new model, when the loop knows it; 0: as above */
    int64_t max_positions;    /* of a new model; 0: as the family's options say */
    uint64_t seed;            /* of initial values */
    int64_t max_tokens;       /* of one micro-batch */
    int32_t max_documents;    /* of one micro-batch; 0: max_tokens */
    int64_t logit_rows;       /* rows of logits made at once; 0: those of 64 MiB */
    int32_t recompute_layers; /* 0: keep what backward needs; n: keep the input of every n-th layer
                               * and run the others again.  The same bits either way. */
    double dropout;           /* rate everywhere the family drops; negative: the model's own */
    vw_precision precision;
    int32_t fp8_history; /* fp8: 0, current scaling; n: delayed, one scale a tensor, of the largest
                          * magnitude of the n updates before, times 1 + fp8_margin */
    double fp8_margin;
    vw_lora lora;
    bool has_teacher; /* micro-batches will bring one (vw_distillation) */
    int32_t hidden_width;     /* of a teacher whose hidden states will be brought too; 0: none.
                               * Every layer is then a range of its own for recompute_layers. */
    bool is_frozen;   /* no gradients at all: a teacher */
    vw_progress progress;
    void *progress_arg;
} vw_trainee_options;

/* Open a checkpoint, or make a new model.  Refuses what cannot be trained with the reason. */
vw_status vw_trainee_open(vw_core *core, const vw_trainee_options *options, vw_trainee **trainee,
                          vw_error *err);
void vw_trainee_close(vw_trainee *trainee);

/* Bytes by category; `activations` is what a micro-batch of max_tokens keeps for backward,
 * `scratch` what is alive besides (gradients of activations, one chunk of logits, workspaces). */
typedef struct vw_training_memory {
    uint64_t weights, compute_copies, gradients, activations, scratch, total;
} vw_training_memory;

/* The same before the masters, gradients and activations are allocated: for telling it
 * beforehand, and for choosing a batch size. */
vw_status vw_trainee_estimate(vw_core *core, const vw_trainee_options *options,
                              vw_training_memory *memory, uint64_t *trained_values, vw_error *err);

typedef struct vw_trainee_info {
    const vw_model_info *model;
    const char *path;    /* where it came from; NULL for a new model */
    size_t n_params;     /* vw_trainee_param's i */
    uint64_t parameters; /* of the model, adapter included */
    uint64_t n_values, n_trained;
    float *values, *gradients; /* device [n_values], [n_trained]: trained parameters come first in
                                  * values, in the order of gradients; gaps between are zeros */
    vw_training_memory memory;
    double flops_per_token; /* forward and backward: 6 x the weights that a token passes, head
                                  * included, attention's scores not */
    int32_t n_routers;      /* layers with experts */
    int32_t n_experts;      /* of the widest of them */
} vw_trainee_info;
void vw_trainee_get_info(const vw_trainee *trainee, vw_trainee_info *info);

typedef struct vw_trainee_param {
    const char *name;    /* as in the checkpoint; of an adapter, PEFT's name */
    int64_t rows, cols;  /* a vector has rows 0 */
    int64_t n;           /* values */
    float *values;       /* device: the master; NULL where a frozen matrix stays as it is stored */
    float *gradient;     /* device; NULL when it is not trained */
    int32_t decay_group; /* 0: no weight decay */
    bool is_trained;
} vw_trainee_param;
/* i < info.n_params.  Parameters that the checkpoint lacks (optional ones) are not listed. */
void vw_trainee_get_param(const vw_trainee *trainee, size_t i, vw_trainee_param *param);

/* Spans of every block, forward and backward, go to this profile from now on; NULL: to none. */
void vw_trainee_profile(vw_trainee *trainee, vw_profile *profile);

/* For whoever computes on the parameters: the optimizer, the norm, a checkpoint. */
const vw_component *vw_trainee_device(const vw_trainee *trainee);
vw_stream *vw_trainee_stream(const vw_trainee *trainee);

/* An engine on the same masters, to sample text and score with while training; it sees every
 * update. Made at the first call (its cache is allocated then), closed with the trainee; not to
 * be used while learn or evaluate run. */
vw_status vw_trainee_engine(vw_trainee *trainee, vw_engine **engine, vw_error *err);

/* ---- learning -------------------------------------------------------------------------------- */

/* Teacher logits for rows that are being scored: `logits` is device memory [n, V] to be filled for
 * the scored rows first .. first + n of the micro-batch (row r is the r-th label that is not -1),
 * queued on the trainee's stream or done when it returns. */
typedef vw_status (*vw_teacher_rows)(void *arg, int64_t first, vw_tensor logits, vw_error *err);

/* Hidden states are compared behind every layer, border b being behind layer b.  Each border has a
 * projection W_b [hidden_width, width], a parameter that is trained beside the model's.  Added to L:
 * hidden_weight times the mean, over borders, tokens and values, of (W_b x - hidden[b])^2. */
typedef struct vw_distillation {
    double alpha, temperature; /* L = alpha T^2 KL(teacher || student) + (1 - alpha) CE */
    vw_teacher_rows rows;      /* NULL: none */
    void *arg;
    int32_t k;                 /* instead of rows: the teacher's k largest logits of each scored row */
    const int32_t *ids;        /* device [n_scored, k] */
    const float *logits, *lse; /* device [n_scored, k]; [n_scored], as vw_loss_desc has it.  With
                                * neither rows nor k there is no distillation. */
    double hidden_weight;
    const float *const *hidden; /* [n_layers], each device [n_tokens, hidden_width]; NULL: not
                                 * compared */
} vw_distillation;

typedef struct vw_micro_batch {
    int64_t n_tokens;      /* 1 .. max_tokens */
    const int32_t *ids;    /* host [n_tokens] */
    const int32_t *labels; /* host [n_tokens]: what follows each token; -1 is not scored */
    int32_t n_documents;
    const int32_t *starts;  /* host [n_documents + 1]: attention and positions begin anew at
                                * starts[d]; starts[0] = 0, the last = n_tokens, ascending */
    double divisor;         /* scored tokens of all micro-batches of the step */
    double loss_scale;      /* 1 when there is none */
    double label_smoothing; /* 0: none */
    uint64_t seed;          /* of dropout: the same seed drops the same values, whatever the
                                * thread count or recomputation */
    vw_distillation distil;
} vw_micro_batch;

/* Sums of one micro-batch, natural logarithms, unscaled: divided by n_scored they are means. */
typedef struct vw_losses {
    int64_t n_scored;
    double cross_entropy; /* over the scored tokens; in learn with label smoothing, if any */
    double divergence;    /* KL(teacher || student) at the temperature, without T^2 */
    double balance;       /* auxiliary losses of the routers, weighted, times n_scored */
    double hidden;        /* mean square of what hidden states miss, times n_scored; learn alone */
    bool is_finite;       /* are the four? */
} vw_losses;

void vw_losses_add(vw_losses *sum, const vw_losses *one);

/* Gradients to zero. */
vw_status vw_trainee_zero(vw_trainee *trainee, vw_error *err);

/* Forward and backward; gradients are added. */
vw_status vw_trainee_learn(vw_trainee *trainee, const vw_micro_batch *micro, vw_losses *losses,
                           vw_error *err);

/* Loss without gradients and without dropout; any micro-batch that learn would take. */
vw_status vw_trainee_evaluate(vw_trainee *trainee, const vw_micro_batch *micro, vw_losses *losses,
                              vw_error *err);

/* Forward without dropout, and the rows of logits as they come: for a teacher.  `rows` gets device
 * rows first .. first + n of the scored rows; they are valid during the call. */
typedef vw_status (*vw_trainee_rows)(void *arg, int64_t first, vw_tensor logits, vw_error *err);
vw_status vw_trainee_logits(vw_trainee *trainee, const vw_micro_batch *micro, vw_trainee_rows rows,
                            void *arg, vw_error *err);

/* From now on vw_trainee_logits also writes what leaves layer after[i], of which there are n in
 * ascending order, to to[i], device [n_tokens, width].  Both arrays stay the
 * caller's and alive. */
void vw_trainee_tap(vw_trainee *trainee, int32_t n, const int32_t *after, float *const *to);

/* Masters have changed: refresh the copies that products read. */
vw_status vw_trainee_updated(vw_trainee *trainee, vw_error *err);

/* Delayed scaling: the magnitudes that scales are made of, host memory [n], which a checkpoint
 * keeps; NULL: there are none.  Whoever has written there calls vw_trainee_rescale. */
float *vw_trainee_history(vw_trainee *trainee, int64_t *n);
vw_status vw_trainee_rescale(vw_trainee *trainee, vw_error *err);

/* ---- experts --------------------------------------------------------------------------------- */

/* Tokens that each expert of router r got since the last reset: counts[0 .. n), n written. */
vw_status vw_trainee_loads(vw_trainee *trainee, int32_t router, uint64_t *counts, int32_t room,
                           int32_t *n, vw_error *err);
/* Slots that found their expert full since the last reset (capacity > 0), over all layers. */
uint64_t vw_trainee_dropped(const vw_trainee *trainee);
void vw_trainee_reset_loads(vw_trainee *trainee);

/* b_i += gamma sign(mean load - load_i) by the counts since the last reset, on every router with a
 * bias (DeepSeek-V3 section 2.1.2); then reset. */
vw_status vw_trainee_balance(vw_trainee *trainee, double gamma, vw_error *err);

/* ---- keeping --------------------------------------------------------------------------------- */

/* Write config.json and model.safetensors into `folder`, which exists: what every command can
 * open. `dtype` VW_F32 keeps the masters exactly; VW_BF16 and VW_F16 round.  Each file appears
 * whole or not at all.  With an adapter: the merged model. */
vw_status vw_trainee_save(vw_trainee *trainee, const char *folder, vw_dtype dtype, vw_error *err);

/* The adapter alone, in PEFT's naming: adapter_model.safetensors and adapter_config.json. */
vw_status vw_trainee_save_adapter(vw_trainee *trainee, const char *folder, vw_error *err);

/* The projections of hidden states, in f32: FOLDER/projections.safetensors; and back.  Nothing
 * happens without a hidden_width. */
vw_status vw_trainee_save_projections(vw_trainee *trainee, const char *folder, vw_error *err);
vw_status vw_trainee_load_projections(vw_trainee *trainee, const char *folder, vw_error *err);

/* Put the values of a folder written by vw_trainee_save (f32) back into the masters: a resume, and
 * going back to the best.  Refuses a folder whose configuration differs from the trainee's. */
vw_status vw_trainee_load(vw_trainee *trainee, const char *folder, vw_error *err);

#endif
