/* balance_needy.c - it needs a verifier, asks for a gemm too, and leaves memory behind. */
#include "bad.h"

typedef struct config {
    int32_t asks_for_gemm, leaks;
} config;

static const vw_option options[] = {
    {"asks_for_gemm", VW_OPTION_BOOL, "no", 0, 0, NULL, offsetof(config, asks_for_gemm), 0,
     "ask for what it does not need"},
    {"leaks", VW_OPTION_BOOL, "no", 0, 0, NULL, offsetof(config, leaks), 0, "free nothing"},
    VW_OPTION_END,
};

static const char *const needs[] = {"verifier", NULL};

static vw_status ask(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    const config *c = config_;
    const vw_component *verifier = host->component(host->core, VW_KIND_VERIFIER, err);

    if (!verifier || (c->asks_for_gemm && !host->component(host->core, VW_KIND_GEMM, err)))
        return VW_E_CONFIG;
    *self = (void *)verifier;
    if (c->leaks && !host->alloc(host->core, 100))
        return VW_E_NOMEM;
    host->log(host->core, VW_LOG_INFO, "has %s", verifier->plugin->name);
    host->count(host->core, "opened", 2);
    return VW_OK;
}

VW_PLUGIN_DEFINE(balance, needy)
{
    static vw_plugin p;

    p = good_balance("needy");
    p.open = ask;
    p.needs = needs;
    p.options = options;
    p.config_size = sizeof(config);
    p.rank = VW_RANK_NEVER;
    return &p;
}
