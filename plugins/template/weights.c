/* @NAME@.c - weights/@NAME@: reading and writing files of named tensors.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/weights.h.
 * A plugin links nothing of the library: all that it needs comes through the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai run -m FOLDER --set weights.plugin=@NAME@ -p "ROMEO:"
 */
#include <vishwamai/weights.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [weights.@NAME@] --------------------------------------------------------------- */

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

/* Required: open, count, tensor and find.  A file from outside is hostile: check every size. */
static vw_status open_reader(void *self, const char *path, vw_weights_reader **reader,
                             vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "weights/@NAME@ does not read files yet");
}

static void close_reader(void *self, vw_weights_reader *reader)
{
}

static size_t count(void *self, vw_weights_reader *reader)
{
    return 0;
}

static vw_status tensor(void *self, vw_weights_reader *reader, size_t i, vw_weights_tensor *out,
                        vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "weights/@NAME@ does not have tensors yet");
}

static vw_status find(void *self, vw_weights_reader *reader, const char *name,
                      vw_weights_tensor *out, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "weights/@NAME@ does not find tensors yet");
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_weights_ops ops = {
    .size = sizeof ops,
    .open = open_reader,
    .close = close_reader,
    .count = count,
    .tensor = tensor,
    .find = find,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_WEIGHTS,
    .ops_major = VW_WEIGHTS_OPS_MAJOR,
    .ops_minor = VW_WEIGHTS_OPS_MINOR,
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

VW_PLUGIN_DEFINE(weights, @NAME@)
{
    return &description;
}
