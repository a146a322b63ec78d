/* verifier_short_description.c - a description smaller than the first version had. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, short_description)
{
    static vw_plugin p;

    p = good_verifier("short_description");
    p.size = 40;
    return &p;
}
