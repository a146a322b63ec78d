/* verifier_wrong_name.c - the file and the description have different names. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, wrong_name)
{
    static vw_plugin p;

    p = good_verifier("wrong_name");
    p.name = "another";
    return &p;
}
