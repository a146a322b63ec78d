/* save.c - writing beside the file, and taking its place. */
#include "save.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

vw_status save_file(const char *path, const void *data, size_t bytes, vw_error *err)
{
    struct stat about;
    int is_renamed = stat(path, &about) != 0 || S_ISREG(about.st_mode);
    size_t room = strlen(path) + 32;
    char *name = malloc(room);
    if (!name)
        return vw_fail(err, VW_E_NOMEM, "no memory to write %s", path);
    snprintf(name, room, is_renamed ? "%s.%ld.tmp" : "%s", path, (long)getpid());
    FILE *file = fopen(name, "wb");
    int is_good = file && fwrite(data, 1, bytes, file) == bytes && fflush(file) == 0 &&
                  (!is_renamed || fsync(fileno(file)) == 0);
    int reason = errno;
    if (file && fclose(file) != 0 && is_good) {
        is_good = 0;
        reason = errno;
    }
    if (is_good && is_renamed && rename(name, path) != 0) {
        is_good = 0;
        reason = errno;
    }
    if (!is_good && file && is_renamed)
        remove(name);
    free(name);
    return is_good ? VW_OK : vw_fail(err, VW_E_IO, "%s: cannot be written: %s", path,
                                     strerror(reason));
}
