/* verifier_crash_at_load.c - its constructor brings the process down. */
#include "bad.h"

#include <signal.h>

__attribute__((constructor)) static void crash(void)
{
    raise(SIGSEGV);
}

VW_PLUGIN_DEFINE(verifier, crash_at_load)
{
    static vw_plugin p;

    p = good_verifier("crash_at_load");
    return &p;
}
