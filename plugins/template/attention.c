/* @NAME@.c - attention/@NAME@: attention over a paged cache.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in
 * vishwamai/attention.h.  A plugin links nothing of the library: all that it needs comes through
 * the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai run --set attention.plugin=@NAME@ -p "ROMEO:"
 *     VW_PLUGIN_PATH=. vishwamai bench attention/@NAME@
 */
#include <vishwamai/attention.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [attention.@NAME@] ------------------------------------------------------------- */

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

/* Everything below is required; backward() and run_dense() are not. */
static vw_status supports(void *self, const vw_attention_problem *problem, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "attention/@NAME@ does not support anything yet");
}

static vw_status plan(void *self, const vw_attention_problem *problem, vw_attention_plan *out,
                      vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "attention/@NAME@ does not plan yet");
}

static vw_status append(void *self, const vw_attention_plan *p, vw_stream *s,
                        const vw_attention_batch *batch, vw_tensor k, vw_tensor v, void *pages,
                        void *workspace, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "attention/@NAME@ does not append yet");
}

static vw_status run(void *self, const vw_attention_plan *p, vw_stream *s,
                     const vw_attention_batch *batch, vw_tensor q, const void *pages, vw_tensor out,
                     float *lse, void *workspace, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "attention/@NAME@ does not attend yet");
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_attention_ops ops = {
    .size = sizeof ops,
    .supports = supports,
    .plan = plan,
    .append = append,
    .run = run,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_ATTENTION,
    .ops_major = VW_ATTENTION_OPS_MAJOR,
    .ops_minor = VW_ATTENTION_OPS_MINOR,
    .name = "@NAME@",
    .summary = "one line about @NAME@",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "your name",
    .url = "https://example.org/@NAME@",
    .rank = VW_RANK_NEVER, /* only by name; VW_RANK_NORMAL when `auto` may choose it */
    .devices = devices,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_instance,
    .close = close_instance,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(attention, @NAME@)
{
    return &description;
}
