/* checkpoint.c - writing, checking, finding and removing folders of a run. */
#include "core/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/dataset.h"

static const char sums_name[] = "checksums";

static vw_status join(char path[VW_CHECKPOINT_PATH], const char *folder, const char *name,
                      vw_error *err)
{
    if ((size_t)snprintf(path, VW_CHECKPOINT_PATH, "%s/%s", folder, name) < VW_CHECKPOINT_PATH)
        return VW_OK;
    return vw_fail(err, VW_E_INVALID, "the path %s/%s is too long", folder, name);
}

static vw_status path_of(const char *out, int64_t step, char path[VW_CHECKPOINT_PATH],
                         vw_error *err)
{
    char name[40];
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    return join(path, out, name, err);
}

/* ---- files and folders ----------------------------------------------------------------------- */

static vw_status sync_path(const char *path, vw_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int reason = errno;
        if (fd >= 0)
            close(fd);
        return vw_fail(err, VW_E_IO, "cannot sync %s: %s", path, strerror(reason));
    }
    close(fd);
    return VW_OK;
}

static vw_status write_all(int fd, const char *at, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return VW_E_IO;
        at += n;
        bytes -= (size_t)n;
    }
    return VW_OK;
}

vw_status vw_file_write(const char *path, const void *data, size_t bytes, vw_error *err)
{
    char temporary[VW_CHECKPOINT_PATH];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid()) >=
        sizeof temporary)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return vw_fail(err, VW_E_IO, "cannot write %s: %s", temporary, strerror(errno));
    bool failed = write_all(fd, data, bytes) != VW_OK || fsync(fd) != 0;
    int reason = errno;
    failed = close(fd) != 0 || failed;
    if (!failed && rename(temporary, path) == 0)
        return VW_OK;
    reason = failed ? reason : errno;
    unlink(temporary);
    return vw_fail(err, VW_E_IO, "cannot write %s: %s", path, strerror(reason));
}

/* Checkpoints hold files alone; one that somebody put a folder into stays. */
static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(path);
}

vw_status vw_folder_begin(const char *path, vw_error *err)
{
    remove_folder(path);
    return mkdir(path, 0777) == 0
               ? VW_OK
               : vw_fail(err, VW_E_IO, "cannot make the folder %s: %s", path, strerror(errno));
}

/* ---- writing --------------------------------------------------------------------------------- */

static int is_leftover(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return strncmp(entry->d_name, ".step-", 6) == 0 && n > 4 &&
           !strcmp(entry->d_name + n - 4, ".tmp");
}

static void remove_leftovers(const char *out)
{
    struct dirent **names;
    char path[VW_CHECKPOINT_PATH];
    int n = scandir(out, &names, is_leftover, NULL);
    for (int i = 0; i < n; i++) {
        if (join(path, out, names[i]->d_name, NULL) == VW_OK)
            remove_folder(path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

vw_status vw_checkpoint_begin(const char *out, int64_t step, char path[VW_CHECKPOINT_PATH],
                              vw_error *err)
{
    char name[48];
    snprintf(name, sizeof name, ".step-%08lld.tmp", (long long)step);
    vw_status st = join(path, out, name, err);
    if (st)
        return st;
    remove_leftovers(out);
    return vw_folder_begin(path, err);
}

void vw_checkpoint_abort(const char *path)
{
    remove_folder(path);
}

static int is_summed(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, sums_name) != 0;
}

/* A line for each file, and one for the lines. */
static vw_status write_sums(const char *folder, vw_error *err)
{
    struct dirent **names;
    char path[VW_CHECKPOINT_PATH], *text = NULL;
    size_t room = 0;
    vw_checksum all;
    vw_status st = VW_OK;
    int n = scandir(folder, &names, is_summed, alphasort);
    if (n < 0)
        return vw_fail(err, VW_E_IO, "%s: cannot be read: %s", folder, strerror(errno));
    FILE *to = open_memstream(&text, &room);
    if (!to)
        st = vw_fail(err, VW_E_NOMEM, "no memory for the checksums of %d files", n);
    for (int i = 0; i < n; i++) {
        uint64_t sum, bytes;
        if (!st && !(st = join(path, folder, names[i]->d_name, err)) &&
            !(st = vw_checksum_file(path, &sum, &bytes, err)) && !(st = sync_path(path, err)))
            fprintf(to, "%016llx %llu %s\n", (unsigned long long)sum, (unsigned long long)bytes,
                    names[i]->d_name);
        free(names[i]);
    }
    free(names);
    if (to && fflush(to) == 0) {
        vw_checksum_begin(&all);
        vw_checksum_add(&all, text, room);
        fprintf(to, "%016llx 0 %s\n", (unsigned long long)vw_checksum_end(&all), sums_name);
    }
    if (to && fclose(to) != 0 && !st)
        st = vw_fail(err, VW_E_NOMEM, "no memory for the checksums of %d files", n);
    if (!st && !(st = join(path, folder, sums_name, err)))
        st = vw_file_write(path, text, room, err);
    free(text);
    return st;
}

vw_status vw_folder_seal(const char *path, vw_error *err)
{
    vw_status st = write_sums(path, err);
    return st ? st : sync_path(path, err);
}

vw_status vw_checkpoint_finish(const char *out, int64_t step, const char *path, vw_error *err)
{
    char name[VW_CHECKPOINT_PATH];
    vw_status st = path_of(out, step, name, err);
    if (!st)
        st = vw_folder_seal(path, err);
    if (st)
        return st;
    if (vw_checkpoint_check(name, NULL) == VW_OK) { /* the same step of the same run */
        remove_folder(path);
        return VW_OK;
    }
    remove_folder(name);
    if (rename(path, name) != 0)
        return vw_fail(err, VW_E_IO, "cannot rename %s to %s: %s", path, name, strerror(errno));
    return sync_path(out, err);
}

/* ---- checking -------------------------------------------------------------------------------- */

static vw_status check_line(const char *folder, const char *line, vw_error *err)
{
    unsigned long long want, want_bytes;
    char name[256], path[VW_CHECKPOINT_PATH];
    uint64_t sum, bytes;
    if (sscanf(line, "%16llx %llu %255s", &want, &want_bytes, name) != 3 || strchr(name, '/'))
        return vw_fail(err, VW_E_FORMAT, "%s/%s: not what was written", folder, sums_name);
    vw_status st = join(path, folder, name, err);
    if (!st)
        st = vw_checksum_file(path, &sum, &bytes, err);
    if (st)
        return st;
    if (bytes != want_bytes)
        return vw_fail(err, VW_E_FORMAT, "%s: %llu bytes, it was written with %llu", path,
                       (unsigned long long)bytes, want_bytes);
    if (sum != want)
        return vw_fail(err, VW_E_FORMAT, "%s: its checksum is not that of what was written", path);
    return VW_OK;
}

/* The last line of the list says what its lines before are; it is cut off. */
static vw_status check_list(const char *path, char *text, size_t n, vw_error *err)
{
    unsigned long long want;
    vw_checksum sum;
    char *last = n > 1 && text[n - 1] == '\n' ? text + n - 1 : text;
    while (last > text && last[-1] != '\n')
        last--;
    vw_checksum_begin(&sum);
    vw_checksum_add(&sum, text, (size_t)(last - text));
    if (last == text || sscanf(last, "%16llx 0 checksums", &want) != 1 ||
        vw_checksum_end(&sum) != want)
        return vw_fail(err, VW_E_FORMAT, "%s: not what was written", path);
    *last = '\0';
    return VW_OK;
}

vw_status vw_checkpoint_check(const char *folder, vw_error *err)
{
    char path[VW_CHECKPOINT_PATH], *text;
    size_t n;
    vw_status st = join(path, folder, sums_name, err);
    if (st)
        return st;
    if ((st = vw_file_read_dup(path, &text, &n, err)))
        return st == VW_E_NOTFOUND ? VW_E_FORMAT : st;
    st = check_list(path, text, n, err);
    for (char *line = text, *end; *line && !st; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            break;
        *end = '\0';
        st = check_line(folder, line, err);
    }
    free(text);
    return st;
}

/* ---- finding --------------------------------------------------------------------------------- */

static int is_checkpoint(const struct dirent *entry)
{
    const char *digits = entry->d_name + 5;
    return strncmp(entry->d_name, "step-", 5) == 0 && *digits &&
           strspn(digits, "0123456789") == strlen(digits) && strlen(digits) < 18;
}

static int newest_first(const struct dirent **a, const struct dirent **b)
{
    long long x = atoll((*a)->d_name + 5), y = atoll((*b)->d_name + 5);
    return x < y ? 1 : x > y ? -1 : 0;
}

vw_status vw_checkpoint_newest(const char *out, char path[VW_CHECKPOINT_PATH], int64_t *step,
                               vw_on_bad_checkpoint on_bad, void *arg, vw_error *err)
{
    struct dirent **names;
    vw_error newest = {VW_OK, ""}, one;
    vw_status st = VW_E_NOTFOUND;
    int n = scandir(out, &names, is_checkpoint, newest_first);
    for (int i = 0; i < n; i++) {
        if (st && join(path, out, names[i]->d_name, NULL) == VW_OK) {
            st = vw_checkpoint_check(path, &one);
            *step = atoll(names[i]->d_name + 5);
            if (st && !newest.text[0])
                newest = one;
            if (st && on_bad)
                on_bad(arg, one.text);
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    if (!st)
        return VW_OK;
    if (n <= 0)
        return vw_fail(err, VW_E_NOTFOUND, "%s holds no checkpoint", out);
    return vw_fail(err, VW_E_FORMAT, "%s holds no checkpoint that is whole; the newest: %s", out,
                   newest.text);
}

void vw_checkpoint_prune(const char *out, int64_t keep, int64_t best)
{
    struct dirent **names;
    char path[VW_CHECKPOINT_PATH];
    int n = scandir(out, &names, is_checkpoint, newest_first);
    for (int i = 0; i < n; i++) {
        if (i >= keep && atoll(names[i]->d_name + 5) != best &&
            join(path, out, names[i]->d_name, NULL) == VW_OK)
            remove_folder(path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

vw_status vw_checkpoint_link(const char *out, const char *name, int64_t step, vw_error *err)
{
    char to[40], path[VW_CHECKPOINT_PATH], temporary[VW_CHECKPOINT_PATH];
    snprintf(to, sizeof to, "step-%08lld", (long long)step);
    vw_status st = join(path, out, name, err);
    if (st)
        return st;
    snprintf(temporary, sizeof temporary, "%.4000s/.%s.tmp", out, name);
    unlink(temporary);
    if (symlink(to, temporary) == 0 && rename(temporary, path) == 0)
        return VW_OK;
    int reason = errno;
    unlink(temporary);
    return vw_fail(err, VW_E_IO, "cannot make the link %s: %s", path, strerror(reason));
}
