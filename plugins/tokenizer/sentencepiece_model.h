/* sentencepiece_model.h - what a tokenizer.model says, read by us before the library sees it.
 *
 * The library trusts its file: an unknown model type is a null pointer in it, and the table of a
 * normaliser is walked without a bound.  So the protobuf is walked here first, every length held
 * against the file and every table against its own size.  What the plugin needs to know (the
 * pieces, their types, the spaces) falls out of that walk, so that the library is asked for one
 * thing only: to encode.
 */
#ifndef VW_TOKENIZER_SENTENCEPIECE_MODEL_H
#define VW_TOKENIZER_SENTENCEPIECE_MODEL_H

#include <vishwamai/dtype.h>
#include <vishwamai/host.h>

#include <stdint.h>

typedef enum sp_type {
    SP_NORMAL = 1, SP_UNKNOWN, SP_CONTROL, SP_USER_DEFINED, SP_UNUSED, SP_BYTE
} sp_type;

/* Bytes of the file. */
typedef struct sp_text {
    const char *at;
    uint32_t bytes;
} sp_text;

typedef struct sp_piece {
    sp_text text;
    float score;
    uint8_t type; /* sp_type */
    uint8_t byte; /* of an SP_BYTE */
} sp_piece;

typedef struct sp_model {
    char *file;       /* the whole file, owned */
    size_t bytes;
    sp_piece *pieces; /* owned */
    int32_t n_pieces;
    int32_t unk;
    int32_t byte_id[256]; /* ids of the byte pieces, or -1 */
    int has_bytes;
    int adds_prefix;      /* a space in front of every text */
    int trims;            /* runs of spaces are one, and none at the ends */
    int space_is_suffix;  /* ... behind every text */
    sp_text bos, eos, pad, unk_surface;
} sp_model;

/* Read and check a file; on failure nothing is left.  Memory is the host's. */
vw_status sp_model_read(const vw_host *host, const char *path, sp_model *model, vw_error *err);

/* The same for bytes in memory of the host, which the model takes over; `path` names them. */
vw_status sp_model_parse(const vw_host *host, const char *path, char *file, size_t bytes,
                         sp_model *model, vw_error *err);
void sp_model_free(const vw_host *host, sp_model *model);

/* The id of a piece with this very text and one of the types in the mask (1 << type), or -1. */
int32_t sp_model_find(const sp_model *model, sp_text text, unsigned type_mask);

sp_text sp_text_of(const char *text);

#endif
