/* verifier_good.c - nothing is wrong with this one. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, good)
{
    static vw_plugin p;

    p = good_verifier("good");
    return &p;
}
