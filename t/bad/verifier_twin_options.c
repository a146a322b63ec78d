/* verifier_twin_options.c - an option that stands twice in its table. */
#include "bad.h"

typedef struct config {
    int64_t depth;
} config;

static const vw_option options[] = {
    {"depth", VW_OPTION_INT, "3", 1, 9, NULL, offsetof(config, depth), VW_OPTION_RANGE, "how deep"},
    {"depth", VW_OPTION_INT, "3", 0, 0, NULL, offsetof(config, depth), 0, "how deep"},
    VW_OPTION_END,
};

VW_PLUGIN_DEFINE(verifier, twin_options)
{
    static vw_plugin p;

    p = good_verifier("twin_options");
    p.options = options;
    p.config_size = sizeof(config);
    return &p;
}
