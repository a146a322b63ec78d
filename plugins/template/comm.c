/* @NAME@.c - comm/@NAME@: moving data between ranks.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/comm.h.  A
 * plugin links nothing of the library: all that it needs comes through the host table.
 *
 * No subcommand asks for a comm yet; `make check' is where to try it.
 */
#include <vishwamai/comm.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [comm.@NAME@] ------------------------------------------------------------------ */

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

/* Required: all ranks that the launcher started.  The collectives may come one by one. */
static vw_status world(void *self, double deadline_seconds, vw_comm **comm, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "comm/@NAME@ does not reach other ranks yet");
}

static int32_t rank(void *self, const vw_comm *comm)
{
    return 0;
}

static int32_t n_ranks(void *self, const vw_comm *comm)
{
    return 1;
}

/* ---- the description ------------------------------------------------------------------------- */

static const vw_comm_ops ops = {
    .size = sizeof ops,
    .world = world,
    .rank = rank,
    .n_ranks = n_ranks,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_COMM,
    .ops_major = VW_COMM_OPS_MAJOR,
    .ops_minor = VW_COMM_OPS_MINOR,
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

VW_PLUGIN_DEFINE(comm, @NAME@)
{
    return &description;
}
