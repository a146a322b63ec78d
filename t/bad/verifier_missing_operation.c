/* verifier_missing_operation.c - a required operation is missing. */
#include "bad.h"

static const vw_verifier_ops ops = {sizeof ops, NULL};

VW_PLUGIN_DEFINE(verifier, missing_operation)
{
    static vw_plugin p;

    p = good_verifier("missing_operation");
    p.ops = &ops;
    return &p;
}
