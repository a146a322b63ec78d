/* output.c - writing under a temporary name. */
#include "plugins/weights/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void output_abort(output *o)
{
    if (o->fd >= 0)
        close(o->fd);
    if (o->temporary)
        unlink(o->temporary);
    o->host->free(o->host->core, o->temporary);
    o->host->free(o->host->core, o->path);
    *o = (output){.host = o->host, .fd = -1};
}

/* Under a name that nobody else has: another process may write the same path. */
vw_status output_begin(output *o, const vw_host *host, const char *path, vw_error *err)
{
    size_t room = strlen(path) + 48;
    *o = (output){.host = host, .fd = -1};
    o->path = host->alloc(host->core, room);
    char *temporary = host->alloc(host->core, room);
    if (!o->path || !temporary) {
        host->free(host->core, temporary);
        output_abort(o);
        return vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    }
    strcpy(o->path, path);
    for (int i = 0; i < 100 && o->fd < 0; i++) {
        snprintf(temporary, room, "%s.%ld.%d.tmp", path, (long)getpid(), i);
        o->fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd < 0 && errno != EEXIST)
            break;
    }
    if (o->fd >= 0) {
        o->temporary = temporary;
        return VW_OK;
    }
    vw_fail(err, VW_E_IO, "cannot write %s: %s", temporary, strerror(errno));
    host->free(host->core, temporary);
    output_abort(o);
    return VW_E_IO;
}

vw_status output_write(output *o, const void *data, size_t bytes, vw_error *err)
{
    for (const char *at = data; bytes;) {
        ssize_t n = write(o->fd, at, bytes < (1u << 30) ? bytes : 1u << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vw_fail(err, VW_E_IO, "cannot write %s: %s", o->temporary, strerror(errno));
        at += n;
        bytes -= (size_t)n;
    }
    return VW_OK;
}

/* So that the new name itself survives a power failure. */
static void sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + (slash == path) : 1;
    if (n >= sizeof folder)
        return;
    memcpy(folder, slash ? path : ".", n);
    folder[n] = '\0';
    int fd = open(folder, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

vw_status output_finish(output *o, vw_error *err)
{
    vw_status status = VW_OK;
    if (fsync(o->fd))
        status = vw_fail(err, VW_E_IO, "cannot write %s: %s", o->temporary, strerror(errno));
    else if (rename(o->temporary, o->path))
        status = vw_fail(err, VW_E_IO, "cannot rename %s to %s: %s", o->temporary, o->path,
                         strerror(errno));
    if (!status) {
        sync_folder(o->path);
        o->host->free(o->host->core, o->temporary);
        o->temporary = NULL;
    }
    output_abort(o);
    return status;
}
