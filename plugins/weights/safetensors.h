/* safetensors.h - what the files of this plugin share: the instance, one mapped file, a reader.
 *
 *     safetensors.c          the description, lookups, hints
 *     safetensors_open.c     from a path to mapped files: one file, or an index and its shards
 *     safetensors_header.c   the directory of one file: every claim in it checked
 *     safetensors_write.c    one file, written
 */
#ifndef VW_WEIGHTS_SAFETENSORS_H
#define VW_WEIGHTS_SAFETENSORS_H

#include <vishwamai/json.h>
#include <vishwamai/weights.h>

#define ST_MAX_HEADER ((size_t)100000000) /* the format's own limit */
#define ST_MAX_DIMS 8

#define ST_SINGLE "model.safetensors"
#define ST_INDEX "model.safetensors.index.json"

typedef struct st_plugin {
    const vw_host *host;
    const vw_json *json;
} st_plugin;

/* One file, mapped as a whole.  A file that is cut while it is mapped kills its reader (SIGBUS), as
 * it does with any mapped file: whoever replaces a checkpoint writes a new file and renames it. */
typedef struct st_file {
    char *path;
    const unsigned char *map;
    size_t bytes, data_at;      /* of the file; where its data begins */
    vw_weights_tensor *tensors; /* ordered by name */
    size_t n_tensors;
    char **metadata;            /* key, value, key, value ... */
    size_t n_metadata;
    char *strings;              /* owns names and metadata */
} st_file;

struct vw_weights_reader {
    char *path;                 /* as it was given to open */
    st_file *files;
    size_t n_files;
    vw_weights_tensor *tensors; /* of all files, ordered by name */
    size_t n_tensors;
};

/* A name from outside, fit for a message: quoted, printable, cut. */
typedef struct st_quoted {
    char text[200];
} st_quoted;
st_quoted st_quote(const char *name);

/* The format's name of a dtype and back: NULL, VW_DTYPE_NONE where it has none. */
const char *st_dtype_name(vw_dtype dtype);
vw_dtype st_dtype(const char *name);

/* Bytes of a tensor.  False when a product does not fit 64 bits or half a byte is left over. */
int st_tensor_bytes(vw_dtype dtype, const int64_t *shape, int32_t n_dims, uint64_t *bytes);

/* Fill tensors, metadata and strings of a mapped file.  On failure the caller unmaps and frees. */
vw_status st_read_header(const st_plugin *st, st_file *file, vw_error *err);

vw_status st_open(void *self, const char *path, vw_weights_reader **reader, vw_error *err);
void st_close(void *self, vw_weights_reader *reader);

vw_status st_create(void *self, const char *path, const vw_weights_tensor *tensors, size_t n,
                    const char *const *metadata_pairs, vw_weights_writer **writer, vw_error *err);
vw_status st_write(void *self, vw_weights_writer *writer, const void *data, size_t bytes,
                   vw_error *err);
vw_status st_finish(void *self, vw_weights_writer *writer, vw_error *err);
void st_abort(void *self, vw_weights_writer *writer);

/* Order by name, for qsort and bsearch. */
int st_by_name(const void *a, const void *b);

/* Zeroed memory of the host, and a copy of a text in it; NULL when there is none. */
void *st_alloc(const st_plugin *st, size_t bytes);
char *st_copy(const st_plugin *st, const char *text);
void st_free(const st_plugin *st, void *memory);

#endif
