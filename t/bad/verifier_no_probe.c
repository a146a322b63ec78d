/* verifier_no_probe.c - a required function is missing. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, no_probe)
{
    static vw_plugin p;

    p = good_verifier("no_probe");
    p.probe = NULL;
    return &p;
}
