/* parts.h - the files of a model that was split: NAME-00001-of-00003.gguf and its like.
 *
 * Each part is a GGUF file; the first has the model's keys, every one says split.no, split.count and
 * split.tensors.count.  Given any of them, all are opened, and held against each other: a model of
 * which a part is missing, doubled or another's does not open.
 */
#ifndef VW_GGUF_PARTS_H
#define VW_GGUF_PARTS_H

#include "plugins/gguf/file.h"

typedef struct gguf_parts {
    const vw_host *host;
    gguf_file *files;           /* [n], in their order; one for a model that is not split */
    size_t n;
    vw_weights_tensor *tensors; /* of all of them, ordered by name */
    size_t n_tensors;
} gguf_parts;

/* On failure nothing is left. */
vw_status gguf_parts_open(gguf_parts *p, const vw_host *host, const char *path, vw_error *err);
void gguf_parts_close(gguf_parts *p);

#endif
