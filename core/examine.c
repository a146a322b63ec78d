/* examine.c - the child and what it leaves behind.
 *
 * Parent and child share a page: the child notes what it is about to do and, at the end, what it
 * found.  A pipe that only the child holds open tells the parent when it has ended, by whatever
 * way.
 */
#include "core/examine.h"
#include "core/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_SECONDS = 5, WAITS_A_SECOND = 10 };

typedef struct shared {
    volatile vw_loader_stage stage;
    volatile int32_t is_done;
    vw_examination found;
} shared;

/* ---- the child ------------------------------------------------------------------------------- */

/* Die quietly and by the plain rules, whatever the program has arranged for itself. */
static void become_quiet(void)
{
    static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGALRM};
    const struct rlimit none = {0, 0};
    int null = open("/dev/null", O_RDWR);
    sigset_t all;

    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], SIG_DFL);
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    setrlimit(RLIMIT_CORE, &none);
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        dup2(null, fd);
}

static void look(vw_kind kind, const char *name, const char *path, const vw_probe *about,
                 shared *s)
{
    vw_examination *found = &s->found;
    vw_module *module;
    vw_error err;

    if (vw_loader_open(kind, name, path, &s->stage, &module, &err) != VW_OK) {
        snprintf(found->problem, sizeof found->problem, "%s", err.text);
        return;
    }
    found->rank = module->plugin->rank;
    found->runs_here = vw_loader_runs_on(module, about ? about->device : NULL);
    s->stage = VW_STAGE_PROBE;
    found->score = vw_loader_probe(module, about, found->why, sizeof found->why);
    found->is_good = 1;
}

/* ---- the parent ------------------------------------------------------------------------------ */

/* Wait for the end of the pipe's other side.  False when the time is up: when so many short waits
 * have passed, since a clock would also count what neither had a processor for. */
static bool wait_for_end(int fd)
{
    for (int i = 0; i < WAITS_A_SECOND * LIMIT_SECONDS; i++) {
        struct pollfd p = {fd, POLLIN, 0};
        int n = poll(&p, 1, 1000 / WAITS_A_SECOND);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
    return false;
}

static void word_end(const char *path, vw_kind kind, const char *name, const shared *s,
                     bool is_late, bool has_state, int state, char *text, size_t room)
{
    char doing[160];

    if (s->stage == VW_STAGE_LOAD)
        snprintf(doing, sizeof doing, "while it was loaded");
    else if (s->stage == VW_STAGE_DESCRIBE)
        snprintf(doing, sizeof doing, "in vw_plugin_%s_%s()", vw_kind_name(kind), name);
    else
        snprintf(doing, sizeof doing, "in its probe");
    if (is_late)
        snprintf(text, room, "%s did not come back within %d seconds %s", path, LIMIT_SECONDS,
                 doing);
    else if (has_state && WIFSIGNALED(state))
        snprintf(text, room, "%s crashed %s (signal %d, %s)", path, doing, WTERMSIG(state),
                 strsignal(WTERMSIG(state)));
    else
        snprintf(text, room, "%s ended the process %s", path, doing);
}

/* Wait for the child, end it if it is late, and read what it left. */
static void judge(pid_t child, int fd, vw_kind kind, const char *name, const char *path, shared *s,
                  vw_examination *out)
{
    bool is_late = !wait_for_end(fd), has_state;
    int state = 0;
    pid_t waited;

    if (is_late)
        kill(child, SIGKILL);
    do
        waited = waitpid(child, &state, 0);
    while (waited < 0 && errno == EINTR);
    has_state = waited == child;
    if (!s->is_done) {
        memset(&s->found, 0, sizeof s->found);
        word_end(path, kind, name, s, is_late, has_state, state, s->found.problem,
                 sizeof s->found.problem);
    }
    *out = s->found;
    out->problem[sizeof out->problem - 1] = '\0';
    out->why[sizeof out->why - 1] = '\0';
}

/* Fork a child that holds the far end of a pipe, and it alone, whatever other threads fork.  Its id, 0
 * in the child, -1 with errno; the parent gets the near end. */
static pid_t fork_child(int *near)
{
    int ends[2], code;
    pid_t child = -1;

    vw_loader_lock();
    if (pipe2(ends, O_CLOEXEC) == 0) {
        child = fork();
        code = errno;
        close(ends[child == 0 ? 0 : 1]);
        if (child < 0)
            close(ends[0]);
        *near = ends[0];
        errno = code;
    }
    vw_loader_unlock();
    return child;
}

static vw_status run_child(vw_kind kind, const char *name, const char *path, const vw_probe *about,
                           shared *s, vw_examination *out, vw_error *err)
{
    int near;
    pid_t child = fork_child(&near);

    if (child < 0)
        return vw_fail(err, VW_E_IO, "cannot examine %s: no child process: %s", path,
                       strerror(errno));
    if (child == 0) {
        become_quiet();
        look(kind, name, path, about, s);
        s->is_done = 1;
        _exit(0);
    }
    judge(child, near, kind, name, path, s, out);
    close(near);
    return VW_OK;
}

vw_status vw_examine(vw_kind kind, const char *name, const char *path, const vw_probe *about,
                     vw_examination *examination, vw_error *err)
{
    shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    vw_status status;

    if (s == MAP_FAILED)
        return vw_fail(err, VW_E_NOMEM, "cannot examine %s: %s", path, strerror(errno));
    status = run_child(kind, name, path, about, s, examination, err);
    munmap(s, sizeof *s);
    return status;
}
