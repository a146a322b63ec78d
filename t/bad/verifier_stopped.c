/* verifier_stopped.c - a good one, whose probe takes long while its parent is stopped: as on a machine
 * that has no time for either.  Only where VW_T_STOPPED is the parent's number. */
#include "bad.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int32_t take_long(const vw_probe *about, char *why, size_t why_bytes)
{
    const char *parent = getenv("VW_T_STOPPED");
    (void)about;
    if (parent && atol(parent) == (long)getppid()) {
        kill(getppid(), SIGSTOP);
        sleep(6);
        kill(getppid(), SIGCONT);
        usleep(300000);
    }
    snprintf(why, why_bytes, "always");
    return 1;
}

VW_PLUGIN_DEFINE(verifier, stopped)
{
    static vw_plugin p;

    p = good_verifier("stopped");
    p.probe = take_long;
    return &p;
}
