/* elsewhere.c - the library that defines the symbol of verifier_in_dependency.c. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, in_dependency)
{
    static vw_plugin p;

    p = good_verifier("in_dependency");
    return &p;
}
