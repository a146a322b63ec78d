/* bench_process.c - children, pipes, and what the system says about them. */
#include "bench_process.h"

#include "input.h"
#include "progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static vw_status system_failed(const char *what, vw_error *err)
{
    return vw_fail(err, VW_E_IO, "%s: %s", what, strerror(errno));
}

static int write_all(int fd, const void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n <= 0)
            return 0;
        done += (size_t)n;
    }
    return 1;
}

static int read_exactly(int fd, void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = read(fd, (char *)data + done, bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        done += (size_t)n;
    }
    return 1;
}

vw_status in_child(vw_status (*fn)(void *arg, void *result, vw_error *err), void *arg, void *result,
                   size_t result_bytes, vw_error *err)
{
    int ends[2], how;
    fflush(NULL);
    if (pipe(ends) != 0)
        return system_failed("cannot make a pipe", err);
    pid_t child = fork();
    if (child < 0) {
        close(ends[0]);
        close(ends[1]);
        return system_failed("cannot start a process", err);
    }
    if (child == 0) {
        vw_error failure = {VW_OK, ""};
        close(ends[0]);
        failure.code = fn(arg, result, &failure);
        _exit(!write_all(ends[1], &failure, sizeof failure) ||
              !write_all(ends[1], result, result_bytes));
    }
    vw_error told = {VW_OK, ""};
    close(ends[1]);
    int is_whole = read_exactly(ends[0], &told, sizeof told) &&
                   read_exactly(ends[0], result, result_bytes);
    close(ends[0]);
    while (waitpid(child, &how, 0) < 0 && errno == EINTR)
        continue;
    if (!is_whole)
        return vw_fail(err, VW_E_IO, "the measuring process ended without an answer%s",
                       WIFSIGNALED(how) ? ", by a signal" : "");
    if (told.code != VW_OK && err)
        *err = told;
    return told.code;
}

uint64_t peak_memory(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    unsigned long long kib = 0;
    char line[256];
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return (uint64_t)kib << 10;
}

vw_status run_outside(const char *command, double *seconds, uint64_t *peak_bytes, char **output,
                      vw_error *err)
{
    int ends[2], how;
    size_t bytes;
    struct rusage usage;
    double began = now_seconds();
    fflush(NULL);
    if (pipe(ends) != 0)
        return system_failed("cannot make a pipe", err);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *from = child > 0 ? fdopen(ends[0], "r") : NULL;
    if (!from) {
        close(ends[0]);
        return system_failed("cannot start a process", err);
    }
    vw_status status = input_read_stream_dup(from, command, output, &bytes, err);
    fclose(from);
    while (wait4(child, &how, 0, &usage) < 0 && errno == EINTR)
        continue;
    *seconds = now_seconds() - began;
    *peak_bytes = (uint64_t)usage.ru_maxrss << 10;
    if (status == VW_OK && (!WIFEXITED(how) || WEXITSTATUS(how) != 0)) {
        free(*output);
        *output = NULL;
        return vw_fail(err, VW_E_IO, "'%s' failed with status %d", command,
                       WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how));
    }
    return status;
}
