/* interrupt.c - the only signal handler of the command. */
#include "interrupt.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t is_seen;
static vw_engine *volatile working;

static void note(int signal_number)
{
    (void)signal_number;
    is_seen = 1;
    if (working)
        vw_engine_interrupt(working);
}

void interrupt_watch(vw_engine *engine)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = (int)SA_RESETHAND; /* no SA_RESTART: a read of the terminal ends too */
    sigemptyset(&action.sa_mask);
    is_seen = 0;
    working = engine;
    sigaction(SIGINT, &action, NULL);
}

void interrupt_unwatch(void)
{
    signal(SIGINT, SIG_DFL);
    working = NULL;
}

int interrupt_seen(void)
{
    return is_seen;
}
