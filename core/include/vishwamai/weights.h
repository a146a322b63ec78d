/* weights.h - the weights kind: reading and writing files of named tensors.
 *
 * A reader maps a checkpoint (one file, or shards with an index) and hands out views of the mapped
 * bytes.  Everything in the files is checked before a view is given.  Thread rule: after open,
 * count, tensor, find, metadata, prefetch, release, config and locate may be called by several
 * threads; a writer is used by one at a time.  What is not said to be newer is since weights 0.1.
 */
#ifndef VISHWAMAI_WEIGHTS_H
#define VISHWAMAI_WEIGHTS_H

#include <vishwamai/host.h>
#include <vishwamai/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_WEIGHTS_OPS_MAJOR 0 /* provisional: vw_weights_tensor has no size to grow by */
#define VW_WEIGHTS_OPS_MINOR 3

typedef struct vw_weights_reader vw_weights_reader;
typedef struct vw_weights_writer vw_weights_writer;

typedef struct vw_weights_tensor {
    const char *name;             /* borrowed from the reader */
    const char *file;             /* path of the file that holds it, for messages */
    vw_dtype dtype;
    const vw_block_format *format;
    int32_t n_dims;
    int64_t shape[8];             /* outermost first */
    const void *data;             /* mapped, read-only, alignment as the file has it */
    size_t bytes;
    /* Of a matrix: VW_IN_OUT when its rows are inputs, and scales that the reader found beside it
     * (mapped too; zeros where there are none, or where they are a tensor of their own). */
    vw_layout layout;
    vw_scales scales;
} vw_weights_tensor;

typedef struct vw_weights_ops {
    size_t size;

    /* Open every file of a checkpoint folder (or one file), check the whole directory of tensors.
     * Errors name file, tensor and what is expected.  Required. */
    vw_status (*open)(void *self, const char *path, vw_weights_reader **reader, vw_error *err);
    /* Unmap and forget: no view, name or text of this reader is valid any more.  After the last
     * call of every other thread.  Optional: nothing to release. */
    void (*close)(void *self, vw_weights_reader *reader);

    /* How many tensors there are, and the one with the number i, ordered by name.  VW_E_INVALID for
     * an i of count or more.  Views live until close.  Required. */
    size_t (*count)(void *self, vw_weights_reader *reader);
    vw_status (*tensor)(void *self, vw_weights_reader *reader, size_t i, vw_weights_tensor *out,
                        vw_error *err);
    /* By name.  VW_E_NOTFOUND names the folder and the nearest name.  Required. */
    vw_status (*find)(void *self, vw_weights_reader *reader, const char *name,
                      vw_weights_tensor *out, vw_error *err);
    /* Key of the metadata, or NULL.  Optional. */
    const char *(*metadata)(void *self, vw_weights_reader *reader, const char *key);

    /* Hints: bytes will be read soon, or are not needed again and may leave memory.  Optional. */
    void (*prefetch)(void *self, vw_weights_reader *reader, const void *data, size_t bytes);
    void (*release)(void *self, vw_weights_reader *reader, const void *data, size_t bytes);

    /* Write one file: declare all tensors (data ignored), then give their bytes in that order,
     * whole or in pieces, then finish.  The file appears under its name, synced, only at finish;
     * abort removes what there was.  Both end the writer, finish also when it fails; after a failed
     * write only abort is left.  metadata_pairs: key, value, key, value ... NULL; may be NULL.
     * Where the format's values have types (GGUF), each is a JSON value that says which.
     * Optional. */
    vw_status (*create)(void *self, const char *path, const vw_weights_tensor *tensors, size_t n,
                        const char *const *metadata_pairs, vw_weights_writer **writer,
                        vw_error *err);
    vw_status (*write)(void *self, vw_weights_writer *writer, const void *data, size_t bytes,
                       vw_error *err);
    vw_status (*finish)(void *self, vw_weights_writer *writer, vw_error *err);
    void (*abort)(void *self, vw_weights_writer *writer);

    /* The model's configuration as a JSON object, where the file carries it itself (GGUF's keys,
     * each under its dotted name); NULL where a config.json lies beside it.  Borrowed from the
     * reader.  Optional.  Since weights 0.2. */
    const char *(*config)(void *self, vw_weights_reader *reader);

    /* Where mapped bytes lie: the path of their file, borrowed from the reader, and their offset in
     * it, for reading them without the map.  VW_E_INVALID for bytes that are not the reader's.
     * Optional: VW_E_UNSUPPORTED.  Since weights 0.3. */
    vw_status (*locate)(void *self, vw_weights_reader *reader, const void *data, size_t bytes,
                        const char **file, uint64_t *offset, vw_error *err);
} vw_weights_ops;

#ifdef __cplusplus
}
#endif
#endif
