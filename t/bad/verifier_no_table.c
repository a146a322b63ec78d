/* verifier_no_table.c - no table of operations. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, no_table)
{
    static vw_plugin p;

    p = good_verifier("no_table");
    p.ops = NULL;
    return &p;
}
