/* verifier_wrong_abi.c - built for another major version of the interface. */
#include "bad.h"

VW_PLUGIN_DEFINE(verifier, wrong_abi)
{
    static vw_plugin p;

    p = good_verifier("wrong_abi");
    p.abi_major = VW_ABI_MAJOR + 1;
    return &p;
}
