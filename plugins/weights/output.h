/* output.h - a file that is written under a temporary name beside its own, synced and renamed: a crash
 * leaves a *.tmp file and never half a checkpoint under its name.
 */
#ifndef VW_WEIGHTS_OUTPUT_H
#define VW_WEIGHTS_OUTPUT_H

#include <vishwamai/host.h>

typedef struct output {
    const vw_host *host;
    char *path, *temporary;
    int fd;
} output;

/* On failure nothing is left. */
vw_status output_begin(output *o, const vw_host *host, const char *path, vw_error *err);
vw_status output_write(output *o, const void *data, size_t bytes, vw_error *err);
/* Both end it, finish also when it fails. */
vw_status output_finish(output *o, vw_error *err);
void output_abort(output *o);

#endif
