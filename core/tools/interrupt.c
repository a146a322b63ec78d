/* interrupt.c - the only signal handler of the command. */
#include "interrupt.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t is_seen;
static void (*volatile stop_work)(void *arg);
static void *volatile work;
static int watch_flags = (int)SA_RESETHAND; /* no SA_RESTART: a read of the terminal ends too */

static void note(int signal_number)
{
    (void)signal_number;
    is_seen = 1;
    if (stop_work)
        stop_work(work);
}

static void stop_engine(void *engine)
{
    vw_engine_interrupt(engine);
}

static void watch(int signal_number)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = watch_flags;
    sigemptyset(&action.sa_mask);
    sigaction(signal_number, &action, NULL);
}

void interrupt_watch(vw_engine *engine)
{
    is_seen = 0;
    work = engine;
    stop_work = engine ? stop_engine : NULL;
    watch(SIGINT);
}

void interrupt_call(void (*stop)(void *arg), void *arg)
{
    int was_seen = is_seen;
    work = arg;
    stop_work = stop;
    watch(SIGINT);
    watch(SIGTERM);
    if (was_seen)
        stop(arg);
}

void interrupt_outlive(void)
{
    watch_flags = 0;
    watch(SIGINT);
}

void interrupt_unwatch(void)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    stop_work = NULL;
    work = NULL;
}

int interrupt_seen(void)
{
    return is_seen;
}
