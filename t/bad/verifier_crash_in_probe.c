/* verifier_crash_in_probe.c - its probe brings the process down. */
#include "bad.h"

#include <signal.h>

static int32_t crash(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about, (void)why, (void)why_bytes;
    raise(SIGSEGV);
    return 1;
}

VW_PLUGIN_DEFINE(verifier, crash_in_probe)
{
    static vw_plugin p;

    p = good_verifier("crash_in_probe");
    p.probe = crash;
    return &p;
}
