/* verifier_empty_license.c - a mandatory text is empty. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, empty_license)
{
    static vw_plugin p;

    p = good_verifier("empty_license");
    p.license = "";
    return &p;
}
