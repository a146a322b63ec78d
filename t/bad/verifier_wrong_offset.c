/* verifier_wrong_offset.c - an option outside of its struct. */
#include "bad.h"

typedef struct config {
    int64_t depth;
} config;

static const vw_option options[] = {
    {"depth", VW_OPTION_INT, "3", 1, 9, NULL, sizeof(config), VW_OPTION_RANGE, "how deep"},
    VW_OPTION_END,
};

VW_PLUGIN_DEFINE(verifier, wrong_offset)
{
    static vw_plugin p;

    p = good_verifier("wrong_offset");
    p.options = options;
    p.config_size = sizeof(config);
    return &p;
}
