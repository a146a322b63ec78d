/* vishwamai.h - the application's interface: settings, components, models, sequences, text.
 *
 * What the `vishwamai` command is written with, and all that a program which embeds the library
 * needs.  Order of use:
 *
 *     vw_settings  (files and --set)  ->  vw_core  (threads, plugins)  ->  vw_engine  (a model)
 *     ->  vw_generate(), vw_score(), or sequences and logits by hand
 *
 * Whoever makes a thing frees it, in the reverse order; every free accepts NULL.  Strings that are
 * returned are borrowed unless a comment says otherwise.  Outputs are written only on success.
 * Structs that begin with `size` grow at their end alone: the caller sets it to sizeof before a call,
 * also for one that is filled, and what lies behind it is neither read nor written.
 * Thread rule: one object is used by one thread at a time; different objects by different threads.
 */
#ifndef VISHWAMAI_H
#define VISHWAMAI_H

#include <stdio.h>
#include <vishwamai/host.h>
#include <vishwamai/json.h>
#include <vishwamai/option.h>
#include <vishwamai/plugin.h>
#include <vishwamai/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_VERSION "0.1.0"

/* "0.1.0", and the words for a status: "invalid argument", "not found" ... */
const char *vw_version(void);
const char *vw_status_text(vw_status status);

/* The reader of JSON from outside that plugins get as the service "json".  Any thread. */
const vw_json *vw_json_service(void);

/* The path of a file or folder that is installed with the library: "template", "models/tiny-vishwamai",
 * "presets/x.ini".  Looked for in the folders of VW_DATA_PATH, beside the library, and where
 * configure put it.  VW_E_NOTFOUND says what is missing. */
vw_status vw_data_path(const char *name, char *path, size_t room, vw_error *err);

/* ---- settings: every value with its origin --------------------------------------------------- */

typedef struct vw_settings vw_settings;

vw_status vw_settings_new(vw_settings **settings, vw_error *err);
void vw_settings_free(vw_settings *settings);

/* Read an INI file and what it includes.  `path` may name a preset ("presets/small.ini") relative
 * to the including file or the data folder.  Every line that is wrong is reported, all in one error,
 * a line of text each: "file:line: [section] key = value: what is wrong; what would be right".
 * Values read later win over values read earlier; an earlier origin is kept for printing. */
vw_status vw_settings_read(vw_settings *settings, const char *path, vw_error *err);

/* "section.key=value": split at the first '=', then at the last dot before it. */
vw_status vw_settings_assign(vw_settings *settings, const char *assignment, const char *where,
                             vw_error *err);

/* Give a setting a value, as if it stood in a file.  `where` names the origin for messages
 * ("--set #1", "-t"); all texts are copied. */
vw_status vw_settings_set(vw_settings *settings, const char *section, const char *key,
                          const char *value, const char *where, vw_error *err);

/* The text of a setting, or NULL when nobody set it; and where it was set. */
const char *vw_settings_get(const vw_settings *settings, const char *section, const char *key);
const char *vw_settings_origin(const vw_settings *settings, const char *section, const char *key);

/* The i-th label, in the order of the settings, of those that have a section [kind:label]; NULL after
 * the last: the models of a process by name.  Written to `label`, which is returned. */
const char *vw_settings_label(const vw_settings *settings, vw_kind kind, size_t i, char *label,
                              size_t room);

/* Fill `config` from the table's defaults and the section's settings, checked.  Every wrong value
 * is reported, all in one error.  Strings in `config` are borrowed from `settings`. */
vw_status vw_settings_bind(const vw_settings *settings, const char *section,
                           const vw_option *options, void *config, vw_error *err);

/* Check everything without opening anything: unknown sections and keys ("did you mean"), values
 * against the tables of the core and of the plugins that are installed. */
vw_status vw_settings_check(const vw_settings *settings, vw_error *err);

/* Have each line told by itself, NULL for no more: all that vw_settings_read() and
 * vw_settings_check() find wrong (VW_LOG_ERROR), of which a vw_error holds as many as fit, and what
 * they cannot judge (VW_LOG_WARN), which is also logged. */
void vw_settings_listen(vw_settings *settings,
                        void (*told)(void *arg, vw_log_level level, const char *line), void *arg);

/* A setting that is in effect. */
typedef struct vw_settings_entry {
    const char *section, *key;
    const char *value;       /* paths are absolute; *** for a secret */
    const char *origin;      /* where it was set; NULL: a default */
    const char *overridden;  /* the origins of earlier values, "a.ini:3, b.ini:1"; "": none */
    const vw_option *option; /* NULL: a key of a plugin that is not installed, or common to all */
} vw_settings_entry;

/* Visit what is in effect: the core's sections, and each kind's with its labels, the chosen plugins'
 * sections and those in which something was set.  Entries of one section follow each other. */
void vw_settings_visit(const vw_settings *settings,
                       void (*visit)(void *arg, const vw_settings_entry *entry), void *arg);

/* Print the effective settings as an INI file, each with its origin as a comment. */
vw_status vw_settings_print(const vw_settings *settings, FILE *to, vw_error *err);

/* Print an option table as an INI section with comments. */
void vw_options_print(const char *section, const vw_option *options, FILE *to);

/* A section of the core itself; i from 0, NULL after the last. */
const vw_option *vw_core_section(size_t i, const char **section, const char **help);

/* ---- kinds and plugins ----------------------------------------------------------------------- */

const char *vw_kind_name(vw_kind kind);       /* "gemm"; NULL for no kind */
const char *vw_kind_help(vw_kind kind);       /* one line */
vw_kind vw_kind_from_name(const char *name);  /* VW_KIND_NONE for no kind */

/* An installed plugin file, good or bad. */
typedef struct vw_plugin_entry {
    vw_kind kind;
    const char *name;         /* from the file name */
    const char *path;
    const vw_plugin *plugin;  /* NULL when it cannot be used */
    const char *problem;      /* then the sentence why, else NULL */
    const char *hidden_by;    /* path of the file of the same name that comes first, or NULL */
    int32_t score;            /* of its probe */
    const char *why;          /* what the probe says */
} vw_plugin_entry;

/* Visit every plugin file of a kind (VW_KIND_NONE: all kinds), sorted by kind and name.  Files are
 * first examined in a child process, so one that crashes becomes an entry with a problem.  `about`
 * goes to the probes, NULL for none.  A visitor that returns nonzero ends the visit. */
vw_status vw_plugins_visit(vw_kind kind, const vw_probe *about,
                           int (*visit)(void *arg, const vw_plugin_entry *entry), void *arg,
                           vw_error *err);

/* ---- the core: threads and opened components ------------------------------------------------- */

typedef struct vw_core vw_core;

/* Start the thread pool and the log as the settings say.  Keeps a reference to `settings`, which
 * must live longer and not change. */
vw_status vw_core_new(const vw_settings *settings, vw_core **core, vw_error *err);
void vw_core_free(vw_core *core);

/* The component that the settings wire to a kind; opened at the first call, closed with the core.
 * `label` names a second instance ("[gemm:label]"), NULL the first one.  `about` is for `auto`. */
vw_status vw_core_component(vw_core *core, vw_kind kind, const char *label, const vw_probe *about,
                            const vw_component **component, vw_error *err);

/* A plugin by name, whatever the settings say: for benchmarks and conformance tests.  Its options
 * come from [kind.name] as always.  Closed with the core. */
vw_status vw_core_plugin(vw_core *core, vw_kind kind, const char *name,
                         const vw_component **component, vw_error *err);

/* Threads of the pool, the calling one included; and a loop over it as host->parallel_for. */
int vw_core_threads(const vw_core *core);
void vw_core_parallel_for(vw_core *core, int n_parts, vw_part_fn fn, void *arg);

/* Host allocations since the start: those made through the host tables and the core's own. */
uint64_t vw_core_allocations(const vw_core *core);

/* ---- the engine: a model that is ready to run ------------------------------------------------ */

typedef struct vw_engine vw_engine;
typedef struct vw_sequence vw_sequence;

/* Called while something long goes on; done of total in `unit`s.  Nonzero interrupts it. */
typedef int (*vw_progress)(void *arg, const char *what, uint64_t done, uint64_t total,
                           const char *unit);

typedef struct vw_engine_options {
    size_t size;
    const char *label;     /* "[model:label]", which must be among the settings; NULL: [model] */
    const char *path;      /* model folder; NULL: the settings' [model] path, or the bundled model */
    int32_t no_tokenizer;  /* do not need one */
    vw_progress progress;
    void *progress_arg;
    int32_t only_plan;     /* check everything, load nothing: for vw_engine_get_plan() */
} vw_engine_options;

typedef struct vw_engine_info {
    size_t size;
    const char *path, *family, *description;
    int32_t vocab_size, n_layers, width;
    int64_t context;          /* tokens a sequence may have here */
    int64_t max_positions;    /* trained context */
    int32_t has_tokenizer;
    int32_t bos, eos, adds_bos; /* -1 where there is none */
    int32_t n_stop;
    int32_t stop[16];
    uint64_t parameters;      /* count */
    uint64_t weight_bytes;    /* executed: in place or packed */
    uint64_t token_bytes;     /* of them, read for one decoded token: of experts those it takes */
    uint64_t kv_token_bytes;  /* of one token, all layers */
    uint64_t kv_pool_bytes;
    int64_t kv_pages, kv_pages_free;
    int64_t page_tokens;
    const char *device, *gemm, *attention, *tokenizer, *weights; /* plugins in use */
    int32_t n_expert_layers;  /* layers with experts */
    int32_t n_experts;        /* of the widest of them */
    int64_t batch_tokens;     /* tokens of one forward, at most: a longer feed is cut into such */
} vw_engine_info;

/* Open a model: `options` may be NULL.  Checks names, shapes and vocabulary against the checkpoint;
 * the error names file, tensor and what is expected. */
vw_status vw_engine_open(vw_core *core, const vw_engine_options *options, vw_engine **engine,
                         vw_error *err);
void vw_engine_close(vw_engine *engine);
void vw_engine_get_info(const vw_engine *engine, vw_engine_info *info);

/* What a model takes, in bytes. */
typedef struct vw_memory_plan {
    size_t size;
    uint64_t in_place;     /* weights that run where the file is mapped: the system may drop them */
    uint64_t packed;       /* weights that are copied, in the gemm's own form; and norms */
    uint64_t streamed;     /* experts that stay in the file */
    uint64_t expert_cache; /* memory for those that are in use */
    uint64_t kv_pool;      /* at most; taken as tokens come */
    uint64_t kv_context;   /* of it, a sequence of full length */
    uint64_t scratch;      /* activations and buffers of a batch */
    uint64_t total;        /* all but what is streamed */
} vw_memory_plan;
void vw_engine_get_plan(const vw_engine *engine, vw_memory_plan *plan);

/* Slots (tokens x experts a token) that each expert of the i-th layer with experts took since the
 * engine was opened: *n of them, of which loads[0 .. room) are written. */
vw_status vw_engine_expert_loads(vw_engine *engine, int32_t i, uint64_t *loads, int32_t room,
                                 int32_t *n, vw_error *err);

/* Experts that are read from the file when they are needed ([model] expert_memory). */
typedef struct vw_expert_stats {
    size_t size;
    int32_t n_experts, n_slots; /* of all layers; that fit in memory; 0: nothing is streamed */
    uint64_t slot_bytes;        /* of one in memory */
    uint64_t expert_bytes;      /* of all in the file */
    uint64_t n_ranges;          /* of the file, of all; n_experts where each lies in one piece */
    uint64_t hits, misses;      /* uses of an expert that was in memory, and that was not */
    uint64_t evictions, bytes_read;
    double read_seconds;        /* while the disk had something to do */
    double wait_seconds;        /* while nothing could be computed for want of it */
    const char *method;         /* "io_uring" or "pread" */
    int32_t is_direct;          /* past the page cache */
} vw_expert_stats;
void vw_engine_expert_stats(const vw_engine *engine, vw_expert_stats *stats);

/* Text to ids.  Writes up to `room` ids and the full count to *n.  with_bos: 1 yes, 0 no, -1 as the
 * tokenizer's configuration says.  VW_E_NOTFOUND when the model has no tokenizer. */
vw_status vw_engine_encode(vw_engine *engine, const char *text, size_t bytes, int with_bos,
                           int32_t *ids, size_t room, size_t *n, vw_error *err);
/* A conversation as ids, ready for the answer; roles and texts alternate as the model's template
 * wants.  As encode for room. */
vw_status vw_engine_encode_chat(vw_engine *engine, const char *const *roles,
                                const char *const *texts, size_t n_messages, int32_t *ids,
                                size_t room, size_t *n, vw_error *err);
/* Ids to text, all at once; *text is 0-terminated and freed by the caller with free(). */
vw_status vw_engine_decode_dup(vw_engine *engine, const int32_t *ids, size_t n, char **text,
                               size_t *bytes, vw_error *err);

/* ---- sequences: tokens with their cache ------------------------------------------------------ */

vw_status vw_sequence_new(vw_engine *engine, vw_sequence **sequence, vw_error *err);
/* A branch that shares every page of its trunk until one of them writes. */
vw_status vw_sequence_fork(vw_sequence *sequence, vw_sequence **branch, vw_error *err);
/* Forget all tokens from position n on. */
vw_status vw_sequence_truncate(vw_sequence *sequence, int64_t n, vw_error *err);
int64_t vw_sequence_length(const vw_sequence *sequence);
void vw_sequence_free(vw_sequence *sequence);

typedef enum vw_want { VW_WANT_NOTHING = 0, VW_WANT_LAST, VW_WANT_ALL } vw_want;

/* Tokens to append to a sequence, and which rows of logits are wanted. */
typedef struct vw_feed {
    vw_sequence *sequence;
    const int32_t *tokens;
    int64_t n_tokens;
    vw_want want;
} vw_feed;

/* Append tokens to several sequences in one go (in chunks that the engine chooses), and call back
 * with each wanted row of logits [vocab_size], f32, in order: feed `feed`, position `position`.
 * The row is valid during the call.  on_row may be NULL.  VW_E_FULL, with what is needed and what
 * there is, when a sequence would exceed the context or the pool; nothing is appended then. */
typedef vw_status (*vw_on_row)(void *arg, size_t feed, int64_t position, const float *logits,
                               vw_error *err);
vw_status vw_engine_feed(vw_engine *engine, const vw_feed *feeds, size_t n_feeds, vw_on_row on_row,
                         void *arg, vw_error *err);

/* Make a vw_engine_feed or vw_score in progress, or else the next one, stop between two chunks with
 * VW_E_INTERRUPTED; the sequences keep what they had before the call.  A vw_generate in progress
 * stops so while it reads its prompt; later it ends well, with VW_FINISH_INTERRUPTED and what came.
 * Safe in a signal handler and from any thread. */
void vw_engine_interrupt(vw_engine *engine);

/* ---- sampling -------------------------------------------------------------------------------- */

typedef struct vw_sampling {
    double temperature;       /* 0: greedy */
    int64_t top_k;            /* 0: off */
    double top_p, min_p;      /* 1 and 0: off */
    double repeat_penalty;    /* 1: off; divides positive, multiplies negative logits */
    double presence_penalty, frequency_penalty;
    int64_t repeat_last_n;    /* tokens the penalties look back on; 0: off, -1: all */
    int64_t seed;             /* -1: from the system's randomness */
    int32_t ignore_eos;
} vw_sampling;

/* The settings of [sampling], checked. */
vw_status vw_sampling_from_settings(const vw_settings *settings, vw_sampling *sampling,
                                    vw_error *err);

/* ---- generation ------------------------------------------------------------------------------ */

typedef enum vw_finish {
    VW_FINISH_LENGTH = 0, VW_FINISH_EOS, VW_FINISH_STOP_STRING, VW_FINISH_CONTEXT,
    VW_FINISH_CALLBACK, VW_FINISH_INTERRUPTED
} vw_finish;

/* One step of a generation.  `text` is what may be shown now: whole UTF-8 characters, nothing of a
 * stop string; it may be empty.  Nonzero ends the generation. */
typedef struct vw_piece {
    size_t size;
    int32_t token;        /* -1 in the last call, which flushes text that was held back */
    float logprob;        /* natural, of the unfiltered distribution at temperature 1 */
    const char *text;
    size_t text_bytes;
} vw_piece;
typedef int (*vw_on_piece)(void *arg, const vw_piece *piece);

typedef struct vw_generate_options {
    size_t size;
    const int32_t *prompt;    /* appended to the sequence first; one token at least */
    size_t n_prompt;
    int64_t max_tokens;       /* negative: until something else ends it */
    const vw_sampling *sampling;
    const char *const *stop;  /* stop strings, NULL-terminated; or NULL */
    int32_t uncached;         /* recompute the whole sequence for every token: for proofs */
    vw_on_piece on_piece;     /* or NULL */
    void *arg;
    vw_progress progress;     /* of the prompt, after each batch of it; or NULL.  Nonzero is as
                                 vw_engine_interrupt() */
    void *progress_arg;
} vw_generate_options;

typedef struct vw_generate_stats {
    size_t size;
    vw_finish finish;
    int64_t n_prompt, n_cached, n_tokens; /* n_tokens: new ones, EOS not counted */
    double prompt_seconds, decode_seconds;
    double logprob;           /* sum */
    int64_t n_drafted, n_accepted; /* tokens that the model's drafting layer proposed, and were right */
} vw_generate_stats;

/* Generate after `sequence`, which then holds the prompt and the new tokens, but for the last of
 * them if nothing had to follow it.  The new ids, without EOS, go to tokens[0 .. room) if tokens is
 * not NULL.  An interrupt from before the call has no meaning for it. */
vw_status vw_generate(vw_engine *engine, vw_sequence *sequence, const vw_generate_options *options,
                      int32_t *tokens, size_t room, vw_generate_stats *stats, vw_error *err);

/* Sum of natural log p(tokens[i] | before) for i in [first, n), on a fresh sequence.  n_greedy gets
 * how many of them were the most likely token; both outputs may be NULL. */
vw_status vw_score(vw_engine *engine, const int32_t *tokens, size_t n, size_t first,
                   double *logprob, size_t *n_greedy, vw_error *err);

/* ---- conversion ------------------------------------------------------------------------------ */

typedef enum vw_convert_action {
    VW_CONVERT_COPIED = 0, /* as it was */
    VW_CONVERT_CONVERTED,
    VW_CONVERT_UNMATCHED   /* no part of the model: copied */
} vw_convert_action;

/* What became of one tensor with all that belongs to it (scales). */
typedef struct vw_converted {
    size_t size;
    const char *name;         /* in the source */
    vw_convert_action action;
    const char *from, *to;    /* forms: "bf16", "int8-rows", "q8_0" ... */
    const char *why;          /* it was not converted, though others were; or NULL */
    uint64_t bytes_before, bytes_after;
    double relative_error;    /* root of sum (new - old)^2 / sum old^2 */
} vw_converted;
typedef void (*vw_on_converted)(void *arg, const vw_converted *tensor);

typedef struct vw_convert_options {
    size_t size;
    const char *to;           /* a folder that is not there yet, or is empty; or a file *.gguf */
    /* What matrices become; NULL: what they are.  f32, bf16, f16: every tensor.  int8-rows, int8-blocks,
     * fp8-blocks, int4-groups, of a GGUF file q8_0, q4_0: those that products read; not norms, routers,
     * embeddings. */
    const char *form;
    int64_t group;            /* values of a scale of int4-groups; 0: 32 */
    uint64_t shard_bytes;     /* of a file, at most, where a tensor allows it; 0: one file */
    const char *const *include, *const *exclude; /* patterns of names, NULL-ended: convert these
                                 alone, be they what they may; and none of these */
    vw_on_converted on_tensor; /* or NULL */
    void *arg;
    vw_progress progress;
    void *progress_arg;
} vw_convert_options;

/* Write the model of [model] path again, tensor by tensor, in the order of its parameters: those of an
 * expert lie in one stretch, experts of a layer one after another.  The folder appears under its name
 * when it is whole; what fails or is interrupted leaves nothing. */
vw_status vw_convert(vw_core *core, const vw_convert_options *options, vw_error *err);

/* ---- training -------------------------------------------------------------------------------- */

/* Learn a tokenizer from a file or a folder of files (text or JSON lines; [data] format and
 * documents) with the plugin that [tokenizer] names, and write its files into `folder`, which
 * exists.  vocab_size 0: as the plugin likes.  VW_E_UNSUPPORTED when the plugin does not learn. */
vw_status vw_tokenizer_train(vw_core *core, const char *path, int32_t vocab_size, const char *folder,
                             vw_error *err);

typedef struct vw_trainer vw_trainer;

typedef enum vw_train_event_type {
    VW_TRAIN_STEP = 0, /* a step is done; of skipped ones too */
    VW_TRAIN_LOG,      /* its line stands in metrics.jsonl */
    VW_TRAIN_VALIDATION,
    VW_TRAIN_SAMPLE,   /* `text` */
    VW_TRAIN_SAVED,    /* `text`: the checkpoint's folder */
    VW_TRAIN_NOTE      /* `text`: something worth a line */
} vw_train_event_type;

/* What is true after a step.  Numbers that are not known are NaN. */
typedef struct vw_train_event {
    size_t size;
    vw_train_event_type type;
    int64_t step, max_steps;
    uint64_t tokens;          /* scored so far */
    double epoch;             /* passes over the data */
    double train_loss;        /* mean since the last line */
    double val_loss, best_loss;
    double learning_rate, grad_norm, loss_scale;
    double tokens_per_second, mfu; /* mfu: share of options.peak_flops */
    double seconds;           /* of training so far, resumed runs included */
    int64_t batch_size;
    const char *text;         /* 0-terminated, or NULL */
    double load_imbalance;    /* slots of the fullest expert over the mean, of the worst layer, since
                               * the last line; NaN without experts */
    int64_t idle_experts;     /* that got no token since the last line; -1 without experts */
} vw_train_event;
typedef void (*vw_on_train)(void *arg, const vw_train_event *event);

typedef struct vw_trainer_options {
    size_t size;
    double peak_flops;        /* of this machine, for mfu; 0: not known */
    const char *profile;      /* file for a trace of some steps, or NULL */
    vw_on_train on_event;     /* or NULL */
    void *event_arg;
    vw_progress progress;     /* of reading data and weights */
    void *progress_arg;
} vw_trainer_options;

typedef struct vw_trainer_info {
    size_t size;
    const char *out, *model, *optimizer, *tokenizer, *device;
    const char *resumed_from; /* a checkpoint, or NULL */
    int64_t step, max_steps, batch_size, accumulation, context;
    uint64_t parameters, trained;
    int64_t train_tokens, validation_tokens;
    /* Bytes that training takes. */
    uint64_t weights, compute_copies, gradients, moments, activations, scratch, data, teacher, total;
} vw_trainer_info;

/* Make ready what [train], [data], [optimizer], [model] and their like say: read the data, learn a
 * tokenizer if there is none, open or make the model, and go on from the newest checkpoint in
 * train.out that is whole.  Refuses a checkpoint that belongs to other data, another tokenizer or
 * another model, naming what differs.  The memory is estimated before it is taken. */
vw_status vw_trainer_open(vw_core *core, const vw_trainer_options *options, vw_trainer **trainer,
                          vw_error *err);
void vw_trainer_close(vw_trainer *trainer);
void vw_trainer_get_info(const vw_trainer *trainer, vw_trainer_info *info);

/* Ask [distill] teacher about all training data of such a run, once, and write what it says of each
 * token to [distill] teacher_cache; runs with that setting then learn from it without the teacher.
 * VW_E_INVALID when the folder is there already. */
vw_status vw_trainer_cache_teacher(vw_core *core, const vw_trainer_options *options, vw_error *err);

/* Train until max_steps, or until training no longer helps (train.patience).  What has been learnt
 * is saved before it returns.  VW_E_INTERRUPTED after vw_trainer_interrupt(), saved as well.  A
 * loss or gradient that is not finite ends it, naming step, position in the data and parameter. */
vw_status vw_trainer_run(vw_trainer *trainer, vw_error *err);

/* End vw_trainer_run() soon.  Safe in a signal handler and from any thread. */
void vw_trainer_interrupt(vw_trainer *trainer);

#ifdef __cplusplus
}
#endif
#endif
