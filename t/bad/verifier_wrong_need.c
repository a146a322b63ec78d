/* verifier_wrong_need.c - it needs a kind that does not exist. */
#include "bad.h"

static const char *const needs[] = {"gem", NULL};

VW_PLUGIN_DEFINE(verifier, wrong_need)
{
    static vw_plugin p;

    p = good_verifier("wrong_need");
    p.needs = needs;
    return &p;
}
