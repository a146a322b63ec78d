/* verifier_wrong_default.c - an option whose default is out of its range. */
#include "bad.h"

typedef struct config {
    int64_t depth;
} config;

static const vw_option options[] = {
    {"depth", VW_OPTION_INT, "ten", 1, 9, NULL, offsetof(config, depth), VW_OPTION_RANGE,
     "how deep"},
    VW_OPTION_END,
};

VW_PLUGIN_DEFINE(verifier, wrong_default)
{
    static vw_plugin p;

    p = good_verifier("wrong_default");
    p.options = options;
    p.config_size = sizeof(config);
    return &p;
}
