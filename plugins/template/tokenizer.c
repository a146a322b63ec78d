/* @NAME@.c - tokenizer/@NAME@: text to token ids and back.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in
 * vishwamai/tokenizer.h.  A plugin links nothing of the library: all that it needs comes through
 * the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai tokenize -m FOLDER --set tokenizer.plugin=@NAME@ -p "ROMEO:"
 */
#include <vishwamai/tokenizer.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [tokenizer.@NAME@] ------------------------------------------------------------- */

typedef struct config {
    int64_t example;
} config;

static const vw_option options[] = {
    {"example", VW_OPTION_INT, "3", 0, 10, NULL, offsetof(config, example), VW_OPTION_RANGE,
     "a number that does nothing"},
    VW_OPTION_END,
};

/* ---- an instance ----------------------------------------------------------------------------- */

typedef struct state {
    const vw_host *host;
    const config *config;
} state;

/* Can it be used here?  A score, or 0 with the reason. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "a template");
    return 1;
}

static vw_status open_instance(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    state *s = host->alloc(host->core, sizeof *s);

    if (!s)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    s->host = host;
    s->config = config_;
    *self = s;
    return VW_OK;
}

static void close_instance(void *self)
{
    state *s = self;

    s->host->free(s->host->core, s);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* All required; chat() is not. */
static vw_status load(void *self, const char *folder, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer/@NAME@ does not read a tokenizer yet");
}

static vw_status info(void *self, vw_tokenizer_info *out, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer/@NAME@ does not know its vocabulary yet");
}

static vw_status encode(void *self, const char *text, size_t bytes, int parse_special, int32_t *ids,
                        size_t room, size_t *n, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer/@NAME@ does not encode yet");
}

static vw_status piece(void *self, int32_t id, int is_first, int show_special, char *text,
                       size_t room, size_t *bytes, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "tokenizer/@NAME@ does not decode yet");
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_tokenizer_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = info,
    .encode = encode,
    .piece = piece,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_TOKENIZER,
    .ops_major = VW_TOKENIZER_OPS_MAJOR,
    .ops_minor = VW_TOKENIZER_OPS_MINOR,
    .name = "@NAME@",
    .summary = "one line about @NAME@",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "your name",
    .url = "https://example.org/@NAME@",
    .rank = VW_RANK_NEVER, /* only by name; VW_RANK_NORMAL when `auto` may choose it */
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_instance,
    .close = close_instance,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(tokenizer, @NAME@)
{
    return &description;
}
