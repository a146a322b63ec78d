/* verifier_crash_in_symbol.c - the function that describes it brings the process down. */
#include "bad.h"

#include <signal.h>

VW_PLUGIN_DEFINE(verifier, crash_in_symbol)
{
    static vw_plugin p;

    p = good_verifier("crash_in_symbol");
    raise(SIGSEGV);
    return &p;
}
