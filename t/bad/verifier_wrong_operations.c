/* verifier_wrong_operations.c - built for another version of the kind's table. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, wrong_operations)
{
    static vw_plugin p;

    p = good_verifier("wrong_operations");
    p.ops_minor = VW_VERIFIER_OPS_MINOR + 1;
    return &p;
}
