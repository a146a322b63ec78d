/* sections.c - the core's option tables: keys, defaults, ranges, and help, in one place. */
#include "core/sections.h"

#include <vishwamai/gemm.h>

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const kv_dtype_names[] = {"f32", "f16", "bf16", "int8", NULL};
static const char *const weight_formats[] = {"stored", "int8", "int8_block32", NULL};

const vw_dtype vw_kv_dtypes[] = {VW_F32, VW_F16, VW_BF16, VW_I8};

_Static_assert(VW_LOG_ERROR == 0 && VW_LOG_DEBUG == 3, "log_levels follows vw_log_level");
_Static_assert(VW_GEMM_STORED == 0 && VW_GEMM_INT8 == 1 && VW_GEMM_INT8_BLOCK32 == 2,
               "weight_formats follows vw_gemm_format");

#define NO_LIMIT 9.3e18
#define INT(config, key, def, min, max, help)                                                    \
    {#key, VW_OPTION_INT, def, min, max, NULL, offsetof(config, key), VW_OPTION_RANGE, help}
#define REAL(config, key, def, min, max, help)                                                   \
    {#key, VW_OPTION_REAL, def, min, max, NULL, offsetof(config, key), VW_OPTION_RANGE, help}
#define BOOL(config, key, def, help)                                                             \
    {#key, VW_OPTION_BOOL, def, 0, 0, NULL, offsetof(config, key), 0, help}
#define CHOICE(config, key, def, choices, help)                                                  \
    {#key, VW_OPTION_ENUM, def, 0, 0, choices, offsetof(config, key), 0, help}
#define LABEL(config, key)                                                                       \
    {#key, VW_OPTION_STRING, "", 0, 0, NULL, offsetof(config, key), VW_OPTION_ADVANCED,          \
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

#define KIND_OPTIONS(config, base)                                                               \
    {"plugin", VW_OPTION_STRING, "auto", 0, 0, NULL, offsetof(config, base plugin), 0,           \
     "name of the plugin; auto: the highest rank that can be used here"},                        \
    {"threads", VW_OPTION_INT, "0", 0, 1024, NULL, offsetof(config, base threads),               \
     VW_OPTION_RANGE | VW_OPTION_ADVANCED, "threads of the pool that it uses, at most; 0: all"}, \
    {"device", VW_OPTION_STRING, "", 0, 0, NULL, offsetof(config, base device),                  \
     VW_OPTION_ADVANCED, "label of the [device:label] it runs on; empty: [device]"}

const vw_option vw_kind_options[] = {
    KIND_OPTIONS(vw_config_kind, ),
    VW_OPTION_END,
};

const vw_option vw_model_options[] = {
    KIND_OPTIONS(vw_config_model, kind.),
    {"path", VW_OPTION_PATH, "", 0, 0, NULL, offsetof(vw_config_model, path), 0,
     "folder of the model; empty: the bundled one"},
    CHOICE(vw_config_model, weights, "stored", weight_formats,
           "stored: exactly the file's values; else re-quantised while loading"),
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
