/* verifier_wrong_table.c - a table whose size cannot be. */
#include "bad.h"

static const vw_verifier_ops ops = {3, good_check};

VW_PLUGIN_DEFINE(verifier, wrong_table)
{
    static vw_plugin p;

    p = good_verifier("wrong_table");
    p.ops = &ops;
    return &p;
}
