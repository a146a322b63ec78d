/* verifier_refuses.c - its probe says no and why. */
#include "bad.h"

static int32_t refuse(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "there is no moon tonight");
    return 0;
}

VW_PLUGIN_DEFINE(verifier, refuses)
{
    static vw_plugin p;

    p = good_verifier("refuses");
    p.probe = refuse;
    return &p;
}
