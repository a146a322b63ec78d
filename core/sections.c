/* sections.c - the core's option tables: keys, defaults, ranges, and help, in one place. */
#include "core/sections.h"

#include <vishwamai/gemm.h>

#include "core/batches.h"
#include "core/train_rules.h"
#include "core/training.h"

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const kv_dtype_names[] = {"f32", "f16", "bf16", "int8", NULL};
const char *const vw_weight_formats[] = {"stored", "int8", "int8_block32", NULL};

static const char *const expert_ios[] = {"auto", "pread", NULL};

static const char *const schedules[] = {"cosine", "linear", "constant", NULL};
static const char *const fp8_scalings[] = {"current", "delayed", NULL};
static const char *const precisions[] = {"f32", "bf16", "f16", "fp8", NULL};
static const char *const data_formats[] = {"auto", "text", "jsonl", "u16", "u32", NULL};
static const char *const document_ends[] = {"file", "blank_line", NULL};
static const char *const packings[] = {"crossing", "documents", NULL};
static const char *const long_documents[] = {"error", "split", "truncate", NULL};
static const char *const final_formats[] = {"no", "f32", "bf16", "f16", NULL};
static const char *const cache_formats[] = {"f16", "f32", NULL};
static const char *const mappings[] = {"uniform", "last_layers", NULL};
static const char *const splits[] = {"last", "seed", NULL};

const vw_dtype vw_kv_dtypes[] = {VW_F32, VW_F16, VW_BF16, VW_I8};

_Static_assert(VW_LOG_ERROR == 0 && VW_LOG_DEBUG == 3, "log_levels follows vw_log_level");
_Static_assert(VW_GEMM_STORED == 0 && VW_GEMM_INT8 == 1 && VW_GEMM_INT8_BLOCK32 == 2,
               "vw_weight_formats follows vw_gemm_format");

_Static_assert(VW_DECAY_COSINE == 0 && VW_DECAY_CONSTANT == 2, "schedules follows vw_decay");
_Static_assert(VW_PRECISION_F32 == 0 && VW_PRECISION_FP8 == 3, "precisions follows vw_precision");
_Static_assert(VW_DATA_AUTO == 0 && VW_DATA_U32 == 4, "data_formats follows vw_data_format");
_Static_assert(VW_LONG_ERROR == 0 && VW_LONG_TRUNCATE == 2, "long_documents follows its enum");

#define NO_LIMIT 9.3e18
#define INT(config, key, def, min, max, help)                                                    \
    {#key, VW_OPTION_INT, def, min, max, NULL, offsetof(config, key), VW_OPTION_RANGE, help}
#define REAL(config, key, def, min, max, help)                                                   \
    {#key, VW_OPTION_REAL, def, min, max, NULL, offsetof(config, key), VW_OPTION_RANGE, help}
#define BOOL(config, key, def, help)                                                             \
    {#key, VW_OPTION_BOOL, def, 0, 0, NULL, offsetof(config, key), 0, help}
#define CHOICE(config, key, def, choices, help)                                                  \
    {#key, VW_OPTION_ENUM, def, 0, 0, choices, offsetof(config, key), 0, help}
#define OF_KIND(name) ((const char *const[]){name, NULL})
#define LABEL(config, key)                                                                       \
    {#key, VW_OPTION_LABEL, "", 0, 0, OF_KIND(#key), offsetof(config, key), VW_OPTION_ADVANCED,  \
     "label of the [" #key ":label] to use; empty: [" #key "]"}

const vw_option vw_vishwamai_options[] = {
    INT(vw_config_vishwamai, threads, "0", 0, 1024, "threads of the pool; 0: all usable CPUs"),
    VW_OPTION_END,
};

const vw_option vw_log_options[] = {
    CHOICE(vw_config_log, level, "warn", log_levels, "least severity that is told on stderr"),
    VW_OPTION_END,
};

const vw_option vw_engine_options_table[] = {
    INT(vw_config_engine, ctx_size, "0", 0, 1 << 30,
        "tokens a sequence may have; 0: as the model was trained"),
    INT(vw_config_engine, batch_tokens, "512", 1, 1 << 20, "tokens of one forward, at most"),
    INT(vw_config_engine, max_sequences, "16", 1, 1 << 16, "sequences of one forward, at most"),
    BOOL(vw_config_engine, batch_invariant, "no",
         "a sequence's logits have the same bits whatever else is in the batch; slower decoding"),
    INT(vw_config_engine, draft_tokens, "1", 0, 16,
        "tokens that a model with a layer for it drafts at a time; 0: none"),
    VW_OPTION_END,
};

const vw_option vw_kv_options[] = {
    CHOICE(vw_config_kv, dtype, "f32", kv_dtype_names, "how cached keys and values are stored"),
    INT(vw_config_kv, page_tokens, "64", 1, 4096, "tokens of one page of the cache"),
    {"pool_bytes", VW_OPTION_SIZE, "0", 0, 0, NULL, offsetof(vw_config_kv, pool_bytes), 0,
     "memory for the cache; 0: max_sequences of ctx_size, or a quarter of what is free"},
    VW_OPTION_END,
};

const vw_option vw_sampling_options[] = {
    REAL(vw_sampling, temperature, "0.8", 0, 100, "0: always the most likely token"),
    INT(vw_sampling, top_k, "40", 0, 1 << 30, "keep the k most likely tokens; 0: all"),
    REAL(vw_sampling, top_p, "0.95", 0, 1, "keep the fewest tokens of this probability; 1: all"),
    REAL(vw_sampling, min_p, "0.05", 0, 1, "keep tokens of this share of the best one's; 0: all"),
    REAL(vw_sampling, repeat_penalty, "1.0", 0.01, 100,
         "divides logits of repeated tokens; 1: off"),
    REAL(vw_sampling, presence_penalty, "0", -100, 100, "taken off logits of seen tokens; 0: off"),
    REAL(vw_sampling, frequency_penalty, "0", -100, 100, "the same for each time seen; 0: off"),
    INT(vw_sampling, repeat_last_n, "64", -1, 1 << 30,
        "tokens the penalties look back on; 0: off, -1: all"),
    INT(vw_sampling, seed, "-1", -1, NO_LIMIT, "of the draws; -1: another one each time"),
    BOOL(vw_sampling, ignore_eos, "no", "go on after the end of the text"),
    VW_OPTION_END,
};

#define PATHS(config, key, help)                                                                 \
    {#key, VW_OPTION_PATH, "", 0, 0, NULL, offsetof(config, key), 0, help}

const vw_option vw_train_options[] = {
    PATHS(vw_config_train, out, "folder of the run: metrics, checkpoints; made if it is not there"),
    {"resume", VW_OPTION_BOOL, "yes", 0, 0, NULL, offsetof(vw_config_train, resumes), 0,
     "go on from the newest checkpoint in `out`; no: refuse a folder that has any"},
    INT(vw_config_train, max_steps, "500000", 1, NO_LIMIT, "optimizer steps"),
    INT(vw_config_train, batch_size, "8", 1, 1 << 20, "windows of max_length in a micro-batch"),
    INT(vw_config_train, grad_accum_steps, "4", 1, 1 << 20, "micro-batches of a step"),
    REAL(vw_config_train, learning_rate, "1e-4", 0, 1e3, "at its peak"),
    REAL(vw_config_train, min_learning_rate_share, "0.1", 0, 1, "of the peak, where the decay ends"),
    CHOICE(vw_config_train, schedule, "cosine", schedules, "how the rate falls after the warm-up"),
    INT(vw_config_train, warmup_steps, "2000", 0, NO_LIMIT, "steps of linear rise to the peak"),
    INT(vw_config_train, decay_steps, "0", 0, NO_LIMIT, "step where the decay ends; 0: max_steps"),
    REAL(vw_config_train, weight_decay, "0.01", 0, 100, "of matrices; norms and biases have none"),
    REAL(vw_config_train, max_grad_norm, "1.0", 0, 1e30, "longer gradients are clipped; 0: none are"),
    REAL(vw_config_train, label_smoothing, "0", 0, 0.999, "share of the label spread over all tokens"),
    REAL(vw_config_train, dropout, "-1", -1, 0.999, "share of values dropped; -1: as the model says"),
    REAL(vw_config_train, router_bias_rate, "0.001", 0, 1,
         "step of the router biases that even out experts; 0: they stay"),
    INT(vw_config_train, save_every, "10000", 0, NO_LIMIT,
        "steps between checkpoints; 0: only at the end and when stopped"),
    INT(vw_config_train, eval_every, "1000", 0, NO_LIMIT, "steps between validations; 0: at the end"),
    INT(vw_config_train, log_every, "100", 1, NO_LIMIT, "steps between lines of metrics.jsonl"),
    INT(vw_config_train, sample_every, "0", 0, NO_LIMIT, "steps between samples of text; 0: none"),
    {"sample_prompt", VW_OPTION_STRING, "", 0, 0, NULL, offsetof(vw_config_train, sample_prompt), 0,
     "what a sample begins with; [sampling] says how it goes on"},
    INT(vw_config_train, sample_tokens, "64", 1, 1 << 20, "tokens of a sample"),
    INT(vw_config_train, eval_windows, "200", 0, NO_LIMIT,
        "windows of a validation, spread evenly over its data; 0: all"),
    REAL(vw_config_train, ema_decay, "0", 0, 0.999999999,
         "decay of a moving average of the weights, such as 0.999; 0: none is kept"),
    BOOL(vw_config_train, use_ema, "no",
         "validate, sample and write OUT/final with the averaged weights; training goes on with the others"),
    CHOICE(vw_config_train, final, "no", final_formats,
           "write the model to OUT/final at the end, adapters merged, in this format"),
    INT(vw_config_train, keep, "5", 1, 1 << 20, "newest checkpoints that stay; the best stays besides"),
    INT(vw_config_train, patience, "0", 0, NO_LIMIT,
        "validations without a better loss after which training ends; 0: never"),
    CHOICE(vw_config_train, precision, "f32", precisions, "of products; everything else is f32"),
    CHOICE(vw_config_train, fp8_scaling, "current", fp8_scalings,
           "current: of 1 x 128 and 128 x 128, by what is there; delayed: of tensors, by what was"),
    INT(vw_config_train, fp8_amax_history, "16", 1, 1024,
        "updates whose largest magnitude makes the scale, with delayed scaling"),
    REAL(vw_config_train, fp8_margin, "0.01", 0, 1, "share that is added to that magnitude"),
    REAL(vw_config_train, loss_scale, "65536", 1, 16777216,
         "of the first step with f16, of all with fp8"),
    INT(vw_config_train, loss_scale_interval, "2000", 1, NO_LIMIT,
        "finite steps after which it is doubled"),
    INT(vw_config_train, recompute_layers, "0", 0, 1 << 16,
        "keep the input of every n-th layer and run the rest again; 0: keep all"),
    INT(vw_config_train, max_batch_size, "0", 0, 1 << 20,
        "the batch size grows up to this while training is stable; 0: it is fixed"),
    INT(vw_config_train, min_batch_size, "1", 1, 1 << 20, "and shrinks down to this"),
    INT(vw_config_train, stable_steps, "100", 1, NO_LIMIT,
        "finite steps below the clip after which it doubles"),
    {"memory_budget", VW_OPTION_SIZE, "0", 0, 0, NULL, offsetof(vw_config_train, memory_budget), 0,
     "the largest batch size that fits is taken, up to the one that is set; 0: no limit"},
    INT(vw_config_train, seed, "1", 0, NO_LIMIT, "of initial values, order of the data, dropout"),
    VW_OPTION_END,
};

const vw_option vw_data_options[] = {
    PATHS(vw_config_data, train, "text, JSON lines or ids to learn from; a file or a folder of files"),
    PATHS(vw_config_data, validation, "the same to validate with; empty: a share of the training data"),
    CHOICE(vw_config_data, format, "auto", data_formats,
           "auto: by the name (.jsonl, .u16, .u32, .bin), else text"),
    CHOICE(vw_config_data, documents, "file", document_ends, "where a document of plain text ends"),
    CHOICE(vw_config_data, packing, "crossing", packings,
           "crossing: windows over everything; documents: attention begins anew at each"),
    CHOICE(vw_config_data, long_documents, "error", long_documents,
           "with packing = documents: those longer than max_length"),
    REAL(vw_config_data, validation_share, "0.1", 0.000001, 0.9, "share that is kept for validation"),
    CHOICE(vw_config_data, validation_split, "last", splits,
           "last: the end of the data; seed: whole documents by draw"),
    INT(vw_config_data, max_length, "2048", 1, 1 << 24, "tokens of a window, the context"),
    INT(vw_config_data, min_length, "8", 2, 1 << 24,
        "with packing = documents: shorter ones are left out"),
    BOOL(vw_config_data, shuffle, "yes", "another order in each epoch, by the seed"),
    BOOL(vw_config_data, prompt_loss, "no", "JSON lines: learn prompts like answers"),
    PATHS(vw_config_data, tokenizer,
          "folder of the tokenizer; empty: the model's, or one is learnt from the data"),
    INT(vw_config_data, vocab_size, "0", 0, 1 << 24,
        "tokens of a tokenizer that is learnt, or of a model without one; 0: what it gives"),
    VW_OPTION_END,
};

const vw_option vw_lora_options[] = {
    INT(vw_config_lora, rank, "0", 0, 4096, "train adapters of this rank beside a frozen model; 0: all of it"),
    REAL(vw_config_lora, alpha, "16", 0, 1e6, "an adapter's product is multiplied by alpha / rank"),
    REAL(vw_config_lora, dropout, "0", 0, 0.99, "share of an adapter's inputs dropped in training"),
    {"targets", VW_OPTION_LIST, "", 0, 0, NULL, offsetof(vw_config_lora, targets), 0,
     "last words of blocks, such as q_proj, v_proj, embed_tokens, lm_head; empty: all, experts too, but embedding, head and router"},
    VW_OPTION_END,
};

const vw_option vw_distill_options[] = {
    {"teacher", VW_OPTION_LABEL, "", 0, 0, OF_KIND("model"), offsetof(vw_config_distill, teacher), 0,
     "label of the [model:label] to learn from; empty: none"},
    REAL(vw_config_distill, alpha, "0.5", 0, 1, "weight of the teacher's part of the loss"),
    REAL(vw_config_distill, temperature, "2.0", 0.01, 1000, "divides the logits of both there"),
    REAL(vw_config_distill, intermediate_weight, "0", 0, 1e6,
         "weight of what hidden states miss of the teacher's, through learned projections; 0: they are not compared"),
    CHOICE(vw_config_distill, intermediate_layer_mapping, "uniform", mappings,
           "uniform: the teacher's layers evenly spaced; last_layers: its last ones"),
    PATHS(vw_config_distill, teacher_cache,
          "folder of what the teacher said of the training data, learnt from without it; train --cache-teacher writes it"),
    INT(vw_config_distill, cache_top, "64", 1, 1024,
        "of each token as many of the teacher's largest logits are written there; the rest's share is known"),
    CHOICE(vw_config_distill, cache_values, "f16", cache_formats, "and in this format"),
    VW_OPTION_END,
};

#define KIND_OPTIONS(config, base)                                                               \
    {"plugin", VW_OPTION_STRING, "auto", 0, 0, NULL, offsetof(config, base plugin), 0,           \
     "name of the plugin; auto: the highest rank that can be used here"},                        \
    {"threads", VW_OPTION_INT, "0", 0, 1024, NULL, offsetof(config, base threads),               \
     VW_OPTION_RANGE | VW_OPTION_ADVANCED, "threads of the pool that it uses, at most; 0: all"}, \
    {"device", VW_OPTION_LABEL, "", 0, 0, OF_KIND("device"), offsetof(config, base device),      \
     VW_OPTION_ADVANCED, "label of the [device:label] it runs on; empty: [device]"}

const vw_option vw_kind_options[] = {
    KIND_OPTIONS(vw_config_kind, ),
    VW_OPTION_END,
};

const vw_option vw_model_options[] = {
    KIND_OPTIONS(vw_config_model, kind.),
    {"path", VW_OPTION_PATH, "", 0, 0, NULL, offsetof(vw_config_model, path), 0,
     "folder of the model; empty: VW_MODEL of the environment, or the bundled one"},
    CHOICE(vw_config_model, weights, "stored", vw_weight_formats,
           "stored: exactly the file's values; else re-quantised while loading"),
    {"adapter", VW_OPTION_PATH, "", 0, 0, NULL, offsetof(vw_config_model, adapter), 0,
     "folder of a low-rank adapter (PEFT's files) to run the model with; empty: none"},
    {"expert_memory", VW_OPTION_SIZE, "0", 0, 0, NULL, offsetof(vw_config_model, expert_memory), 0,
     "memory for experts, which are then read from the file when they are needed; 0: all are loaded"},
    REAL(vw_config_model, expert_pin, "0.5", 0, 0.9,
         "share of it that keeps the experts that were needed most often, not the latest"),
    BOOL(vw_config_model, expert_direct, "yes",
         "read experts past the page cache, where the file system can"),
    INT(vw_config_model, expert_reads, "8", 1, 256, "reads of experts under way at a time"),
    CHOICE(vw_config_model, expert_io, "auto", expert_ios,
           "auto: io_uring where it was built in and the system has it; pread: threads"),
    LABEL(vw_config_model, gemm),
    LABEL(vw_config_model, attention),
    LABEL(vw_config_model, tokenizer),
    VW_OPTION_END,
};

const vw_option vw_reasoning_options[] = {
    KIND_OPTIONS(vw_config_reasoning, kind.),
    LABEL(vw_config_reasoning, model),
    LABEL(vw_config_reasoning, verifier),
    VW_OPTION_END,
};

const vw_option vw_implicit_options[] = {
    INT(vw_config_implicit, threads, "0", 0, 1024,
        "threads of the pool that it uses, at most; 0: all"),
    VW_OPTION_END,
};

/* ---- which table belongs to which section ---------------------------------------------------- */

static const struct {
    const char *name, *help;
    const vw_option *options;
} sections[] = {
    {"vishwamai", "the process", vw_vishwamai_options},
    {"log", "what is told on stderr", vw_log_options},
    {"engine", "sequences and batches", vw_engine_options_table},
    {"kv", "the cache of keys and values", vw_kv_options},
    {"sampling", "how a token is drawn", vw_sampling_options},
    {"train", "the loop of `vishwamai train`", vw_train_options},
    {"data", "what it learns from", vw_data_options},
    {"lora", "low-rank adapters instead of the whole model", vw_lora_options},
    {"distill", "learning from another model besides", vw_distill_options},
};

enum { N_SECTIONS = sizeof sections / sizeof *sections };

const vw_option *vw_kind_section(vw_kind kind)
{
    if (kind == VW_KIND_MODEL)
        return vw_model_options;
    if (kind == VW_KIND_REASONING)
        return vw_reasoning_options;
    return vw_kind_options;
}

const vw_option *vw_core_section(size_t i, const char **section, const char **help)
{
    vw_kind kind = (vw_kind)(i - N_SECTIONS + 1);

    if (i < N_SECTIONS) {
        *section = sections[i].name;
        *help = sections[i].help;
        return sections[i].options;
    }
    if (i - N_SECTIONS + 1 >= VW_KIND_COUNT)
        return NULL;
    *section = vw_kind_name(kind);
    *help = vw_kind_help(kind);
    return vw_kind_section(kind);
}

/* ---- section names --------------------------------------------------------------------------- */

/* Copy a word of letters, digits, '_' and '-' that ends at `end` or at the end of the text. */
static const char *copy_word(char *to, size_t room, const char *from, char end)
{
    size_t n = strspn(from, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

    if (n == 0 || n >= room || (from[n] && from[n] != end))
        return NULL;
    memcpy(to, from, n);
    to[n] = '\0';
    return from + n;
}

vw_section_name vw_section_parse(const char *section)
{
    vw_section_name name = {NULL, VW_KIND_NONE, "", ""}, none = name;
    char kind[50];
    size_t n = strcspn(section, ":.");
    const char *at = section + n;

    for (size_t i = 0; i < N_SECTIONS; i++)
        if (strcmp(section, sections[i].name) == 0) {
            name.core = sections[i].options;
            return name;
        }
    if (n == 0 || n >= sizeof kind)
        return none;
    memcpy(kind, section, n);
    kind[n] = '\0';
    name.kind = vw_kind_from_name(kind);
    if (*at == ':')
        at = copy_word(name.label, sizeof name.label, at + 1, '.');
    if (at && *at == '.')
        at = copy_word(name.plugin, sizeof name.plugin, at + 1, '\0');
    return at ? name : none;
}

void vw_section_write(char *text, size_t room, vw_kind kind, const char *label, const char *plugin)
{
    int has_label = label && *label, has_plugin = plugin && *plugin;

    snprintf(text, room, "%s%s%s%s%s", vw_kind_name(kind), has_label ? ":" : "",
             has_label ? label : "", has_plugin ? "." : "", has_plugin ? plugin : "");
}
