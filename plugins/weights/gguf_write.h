/* gguf_write.h - the writer of weights/gguf: the operations of the kind, with what they need of the
 * plugin.  One file, version 3, alignment 32. */
#ifndef VW_WEIGHTS_GGUF_WRITE_H
#define VW_WEIGHTS_GGUF_WRITE_H

#include "plugins/weights/output.h"

#include <vishwamai/json.h>
#include <vishwamai/weights.h>

typedef struct gguf_writing {
    const vw_host *host;
    const vw_json *json;
} gguf_writing;

vw_status gguf_write_create(const gguf_writing *by, const char *path,
                            const vw_weights_tensor *tensors, size_t n,
                            const char *const *metadata_pairs, vw_weights_writer **writer,
                            vw_error *err);
vw_status gguf_write_bytes(vw_weights_writer *w, const void *data, size_t bytes, vw_error *err);
vw_status gguf_write_finish(const gguf_writing *by, vw_weights_writer *w, vw_error *err);
void gguf_write_abort(const gguf_writing *by, vw_weights_writer *w);

#endif
