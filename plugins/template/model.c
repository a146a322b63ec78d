/* @NAME@.c - model/@NAME@: a family of language models, written in the nn blocks.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/model.h.  A
 * plugin links nothing of the library: all that it needs comes through the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai run -m FOLDER --set model.plugin=@NAME@ -p "ROMEO:"
 */
#include <vishwamai/model.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [model.@NAME@] ----------------------------------------------------------------- */

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

/* All required.  A real one reads config.json in load(), lists its parameters in info(), and writes
 * its forward with the blocks of vishwamai/nn.h. */
static vw_status load(void *self, const vw_json *json, const vw_json_doc *config, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "model/@NAME@ does not know any configuration yet");
}

static const vw_model_info *info(void *self)
{
    static const vw_model_info nothing = {.size = sizeof nothing, .family = "@NAME@"};

    return &nothing;
}

static vw_status forward(void *self, vw_cx *cx, vw_param *const *params, int32_t first,
                         int32_t last)
{
    return VW_E_UNSUPPORTED;
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_model_ops ops = {
    .size = sizeof ops,
    .load = load,
    .info = info,
    .forward = forward,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_MODEL,
    .ops_major = VW_MODEL_OPS_MAJOR,
    .ops_minor = VW_MODEL_OPS_MINOR,
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

VW_PLUGIN_DEFINE(model, @NAME@)
{
    return &description;
}
