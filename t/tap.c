/* tap.c - the TAP producer judged by a child's output, since it cannot be its own judge. */
#include "t/tap/tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void scene_passes(void)
{
    ok(1, "a # hash");
    is_int(-3, -3, "integers");
    is_str("x", "x", "strings");
    is_str(NULL, NULL, "no strings");
    near(1.0, 1.01, 0.02, "near");
    near(INFINITY, INFINITY, 0, "infinities");
    skip(2, "no %s", "device");
}

static void scene_fails(void)
{
    float a[3] = {0, 1, NAN}, b[3] = {0, 1, 2};

    is_int(1, 2, "integers");
    is_str("a\nb", NULL, "strings");
    near(NAN, NAN, 1, "nan is near nothing");
    near_array(a, b, 3, 1e-3, "an array");
    is_mem("ab", "ac", 2, "bytes");
    like("apple", "pear", "a part");
}

static void scene_short_plan(void)
{
    plan(2);
    ok(1, "one of two");
}

static void scene_nothing(void)
{
}

static void scene_skip_all(void)
{
    skip_all("not here");
}

static void scene_bail(void)
{
    bail_out("broken");
}

static void scene_required(void)
{
    setenv("VW_REQUIRE", "blas,cuda", 1);
    skip_unless_required("cuda", 1, "no cuda");
    skip_unless_required("cud", 1, "no cud");
}

static const struct {
    const char *name;
    void (*play)(void);
} scenes[] = {
    {"passes", scene_passes},         {"fails", scene_fails},       {"short plan", scene_short_plan},
    {"nothing", scene_nothing},       {"skip_all", scene_skip_all}, {"bail", scene_bail},
    {"required", scene_required},
};

/* Play the scene of that name in a new process, since the counters of this one are in use; collect
 * its standard output and return its exit status. */
static int play(const char *name, char *output, size_t size)
{
    int fd[2], status;
    char self[4096] = "";
    size_t used = 0;
    ssize_t n;
    pid_t child;

    /* The link is read, not executed: under valgrind it leads to valgrind. */
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        bail_out("cannot find this program");
    fflush(stdout);
    if (pipe(fd) != 0 || (child = fork()) < 0)
        bail_out("cannot start a child");
    if (child == 0) {
        dup2(fd[1], 1);
        close(fd[0]);
        close(fd[1]);
        execl(self, self, name, (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    while (used + 1 < size && (n = read(fd[0], output + used, size - 1 - used)) > 0)
        used += (size_t)n;
    output[used] = 0;
    close(fd[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
    static char out[8192];

    for (size_t i = 0; argc > 1 && i < sizeof scenes / sizeof *scenes; i++)
        if (strcmp(argv[1], scenes[i].name) == 0) {
            scenes[i].play();
            return done_testing();
        }

    is_int(play("passes", out, sizeof out), 0, "all passed: status 0");
    like(out, "ok 1 - a \\# hash\n", "a hash sign is escaped");
    like(out, "ok 7 # SKIP no device\nok 8 # SKIP no device\n1..8\n", "skips are counted");
    ok(!strstr(out, "not ok"), "nothing failed");

    is_int(play("fails", out, sizeof out), 1, "a failure: status 1");
    like(out, "not ok 1 - integers\n#   at ", "where it failed");
    like(out, "#   got:  1\n#   want: 2\n", "what it was");
    like(out, "#   got:  \"a\\nb\"\n#   want: NULL\n", "strings are quoted");
    like(out, "not ok 3 - nan is near nothing\n", "NaN is near nothing");
    like(out, "#   1 of 3 off; worst at 2: got nan, want 2 within 0.001\n", "the worst element");
    like(out, "#   byte 1 of 2: got 0x62, want 0x63\n", "the first other byte");
    like(out, "1..6\n# 6 of 6 tests failed\n", "plan and summary");

    is_int(play("short plan", out, sizeof out), 1, "a broken plan: status 1");
    like(out, "1..2\nok 1 - one of two\n# planned 2 tests but ran 1\n", "a broken plan is told");
    is_int(play("nothing", out, sizeof out), 1, "no assertion is a failure");
    is_int(play("skip_all", out, sizeof out), 0, "skip_all: status 0");
    is_str(out, "1..0 # SKIP not here\n", "skip_all's plan");
    is_int(play("bail", out, sizeof out), 255, "bail_out: status 255");
    is_str(out, "Bail out! broken\n", "bail_out's line");
    is_int(play("required", out, sizeof out), 1, "a required skip fails");
    like(out, "not ok 1 - no cuda\n", "the required one");
    like(out, "ok 2 # SKIP no cud\n", "and only that one");
    return done_testing();
}
