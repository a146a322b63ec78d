/* verifier_exit_in_probe.c - its probe ends the process. */
#include "bad.h"

#include <unistd.h>

static int32_t leave(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about, (void)why, (void)why_bytes;
    _exit(0);
}

VW_PLUGIN_DEFINE(verifier, exit_in_probe)
{
    static vw_plugin p;

    p = good_verifier("exit_in_probe");
    p.probe = leave;
    return &p;
}
