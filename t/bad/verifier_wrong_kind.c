/* verifier_wrong_kind.c - the file says verifier, the description says balance. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, wrong_kind)
{
    static vw_plugin p;

    p = good_verifier("wrong_kind");
    p.kind = VW_KIND_BALANCE;
    return &p;
}
