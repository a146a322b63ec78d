/* sections.h - the core's own settings: one table and one struct for each section.
 *
 * A section is read with vw_settings_bind(settings, "kv", vw_kv_options, &config, err).
 */
#ifndef VW_CORE_SECTIONS_H
#define VW_CORE_SECTIONS_H

#include <vishwamai/dtype.h>
#include <vishwamai/vishwamai.h>

typedef struct vw_config_vishwamai {
    int64_t threads; /* 0: all usable CPUs */
} vw_config_vishwamai;

typedef struct vw_config_log {
    int32_t level; /* vw_log_level */
} vw_config_log;

typedef struct vw_config_engine {
    int64_t ctx_size;      /* 0: the model's */
    int64_t batch_tokens;  /* tokens of one forward, at most */
    int64_t max_sequences; /* alive at once */
    int32_t batch_invariant;
    int64_t draft_tokens;  /* proposed at a time by a model that can draft; 0: none */
} vw_config_engine;

typedef struct vw_config_kv {
    int32_t dtype; /* index into vw_kv_dtypes */
    int64_t page_tokens;
    uint64_t pool_bytes; /* 0: enough for one sequence of ctx_size */
} vw_config_kv;

extern const char *const vw_weight_formats[]; /* names, by vw_gemm_format */
extern const vw_dtype vw_kv_dtypes[];

typedef struct vw_config_train {
    const char *out;         /* the run's folder */
    int32_t resumes;
    int64_t max_steps, batch_size, grad_accum_steps;
    double learning_rate, min_learning_rate_share;
    int32_t schedule;        /* vw_decay */
    int64_t warmup_steps, decay_steps; /* decay_steps 0: max_steps */
    double weight_decay, max_grad_norm, label_smoothing, dropout, router_bias_rate;
    int64_t save_every, eval_every, log_every, sample_every, keep, patience;
    int64_t eval_windows, sample_tokens;
    const char *sample_prompt;
    int32_t precision;       /* vw_precision */
    int32_t fp8_scaling;     /* 0: current, 1: delayed */
    int64_t fp8_amax_history;
    double fp8_margin;
    double ema_decay;        /* 0: no averages */
    int32_t use_ema;
    int32_t final;           /* 0: no, 1: f32, 2: bf16, 3: f16 */
    double loss_scale;
    int64_t loss_scale_interval;
    int64_t recompute_layers;
    int64_t max_batch_size, min_batch_size, stable_steps; /* max 0: the batch size is fixed */
    uint64_t memory_budget;
    int64_t seed;
} vw_config_train;

typedef struct vw_config_lora {
    int64_t rank;            /* 0: none */
    double alpha, dropout;
    const char *const *targets;
} vw_config_lora;

typedef struct vw_config_distill {
    const char *teacher;     /* label of a [model:label]; "": none */
    double alpha, temperature, intermediate_weight;
    const char *teacher_cache; /* "": none */
    int64_t cache_top;
    int32_t cache_values;      /* 0: f16, 1: f32 */
    int32_t intermediate_layer_mapping; /* 0: uniform, 1: last_layers */
} vw_config_distill;

typedef struct vw_config_data {
    const char *train, *validation, *tokenizer;
    int32_t format;          /* vw_data_format */
    int32_t documents;       /* 0: a file is one, 1: by blank lines */
    int32_t packing;         /* 0: crossing, 1: documents */
    int32_t long_documents;  /* vw_long_documents */
    int32_t validation_split; /* 0: last, 1: seed */
    double validation_share;
    int64_t max_length, min_length, vocab_size;
    int32_t shuffle, prompt_loss;
} vw_config_data;

/* What every kind's section has: [kind] or [kind:label]. */
typedef struct vw_config_kind {
    const char *plugin; /* a name, or "auto" */
    int64_t threads;    /* of the pool that its component uses, at most; 0: all */
    const char *device; /* label of the device instance; "": the first */
} vw_config_kind;

typedef struct vw_config_model {
    vw_config_kind kind;
    const char *path;  /* "": the bundled model */
    int32_t weights;   /* vw_gemm_format */
    const char *adapter; /* folder of a low-rank adapter; "": none */
    uint64_t expert_memory; /* 0: all experts are loaded */
    double expert_pin;
    int64_t expert_reads;
    int32_t expert_direct, expert_io;
    const char *gemm, *attention, *tokenizer; /* labels of the instances it uses; "": the first */
} vw_config_model;

typedef struct vw_config_reasoning {
    vw_config_kind kind;
    const char *model, *verifier; /* labels */
} vw_config_reasoning;

extern const vw_option vw_vishwamai_options[], vw_log_options[], vw_engine_options_table[],
    vw_kv_options[], vw_sampling_options[], vw_kind_options[], vw_model_options[],
    vw_reasoning_options[], vw_train_options[], vw_data_options[], vw_lora_options[],
    vw_distill_options[];

/* The key that every [kind.plugin] section has beside the plugin's own. */
typedef struct vw_config_implicit {
    int64_t threads;
} vw_config_implicit;
extern const vw_option vw_implicit_options[];

/* The table of [kind], and of [kind:label]. */
const vw_option *vw_kind_section(vw_kind kind);

/* A section name taken apart: "gemm:label.cpu". */
typedef struct vw_section_name {
    const vw_option *core; /* a section of the core itself, else the rest */
    vw_kind kind;          /* VW_KIND_NONE when the name is wrong */
    char label[50];        /* "" for none */
    char plugin[50];       /* "" for [kind] and [kind:label] */
} vw_section_name;

vw_section_name vw_section_parse(const char *section);

/* "gemm", "gemm:label", "gemm.cpu", "gemm:label.cpu".  label and plugin may be NULL. */
void vw_section_write(char *text, size_t room, vw_kind kind, const char *label,
                      const char *plugin);

#endif
