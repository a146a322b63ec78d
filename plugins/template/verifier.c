/* @NAME@.c - verifier/@NAME@: judging answers.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/verifier.h.
 * A plugin links nothing of the library: all that it needs comes through the host table.
 *
 * No subcommand asks for a verifier yet; `make check' is where to try it.
 */
#include <vishwamai/verifier.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [verifier.@NAME@] -------------------------------------------------------------- */

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

/* Required. */
static vw_status check(void *self, const char *problem, const char *answer, const char *expected,
                       vw_verdict *verdict, char *reason, size_t reason_bytes, vw_error *err)
{
    *verdict = VW_VERDICT_UNKNOWN;
    snprintf(reason, reason_bytes, "verifier/@NAME@ cannot tell yet");
    return VW_OK;
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_verifier_ops ops = {
    .size = sizeof ops,
    .check = check,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_VERIFIER,
    .ops_major = VW_VERIFIER_OPS_MAJOR,
    .ops_minor = VW_VERIFIER_OPS_MINOR,
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

VW_PLUGIN_DEFINE(verifier, @NAME@)
{
    return &description;
}
