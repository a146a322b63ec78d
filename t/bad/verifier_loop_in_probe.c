/* verifier_loop_in_probe.c - its probe never comes back. */
#include "bad.h"

#include <unistd.h>

static int32_t loop(const vw_probe *about, char *why, size_t why_bytes)
{
    volatile int for_ever = 1;

    (void)about, (void)why, (void)why_bytes;
    while (for_ever)
        pause();
    return 1;
}

VW_PLUGIN_DEFINE(verifier, loop_in_probe)
{
    static vw_plugin p;

    p = good_verifier("loop_in_probe");
    p.probe = loop;
    return &p;
}
