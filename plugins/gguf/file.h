/* file.h - one GGUF file, mapped and checked: its keys, and where its tensors lie.
 *
 * Shared by weights/gguf and by the tokenizer that reads a GGUF vocabulary.  The container is
 * formats.md section 3.1.  After gguf_open() nothing in the file needs checking again: every length
 * was held against the file.
 */
#ifndef VW_GGUF_FILE_H
#define VW_GGUF_FILE_H

#include <vishwamai/weights.h>

typedef enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPES
} gguf_type;

/* Bytes of the file. */
typedef struct gguf_text {
    const char *at;
    uint64_t bytes;
} gguf_text;

typedef struct gguf_key {
    gguf_text name;
    gguf_type type;
    gguf_type element;          /* of an ARRAY, which is not of arrays */
    uint64_t count;             /* of an ARRAY; else 1 */
    const unsigned char *value; /* the first element, unaligned */
} gguf_key;

typedef struct gguf_file {
    const vw_host *host;
    char *path;
    const unsigned char *map;
    size_t bytes;
    gguf_key *keys;
    size_t n_keys;
    vw_weights_tensor *tensors; /* ordered by name */
    size_t n_tensors;
    char *names;                /* owns the tensors' */
} gguf_file;

/* On failure nothing is left. */
vw_status gguf_open(gguf_file *f, const vw_host *host, const char *path, vw_error *err);
void gguf_close(gguf_file *f);

/* ggml's number of a type; 0 when it has none. */
int gguf_type_id(vw_dtype dtype, const vw_block_format *format, uint32_t *id);

const gguf_key *gguf_find(const gguf_file *f, const char *name);

/* Element i of a key as a number: 0 for what is none. */
int64_t gguf_int(const gguf_key *k, uint64_t i);
double gguf_real(const gguf_key *k, uint64_t i);

/* Walk an array of strings: *at is NULL before the first.  0 behind the last. */
int gguf_next_string(const gguf_key *k, const unsigned char **at, uint64_t *i, gguf_text *out);
/* A key that is one string, or an empty text. */
gguf_text gguf_string(const gguf_key *k);

#endif
