/* bpe.h - one byte-pair tokenizer in use, whatever file it came from.
 *
 *     bpe.c             the plugin: tokenizer.json of a folder;  bpe_table.c what it does for the kind
 *     bpe_read.c        tokenizer.json: vocabulary, merges, added tokens
 *     bpe_read_steps.c  ... its normalizer, pre-tokenizer, decoder and post-processor
 *     bpe_encode.c      text to ids
 *     bpe_decode.c      ids to bytes
 *     bpe_merge.c, bpe_vocabulary.c   the core;  bpe_split.c, bpe_pattern.c, bpe_normal.c, bpe_added.c
 *
 * What encoding and decoding read is bpe_tokenizer below; who fills it (a tokenizer.json, a GGUF
 * vocabulary) is its own affair.
 */
#ifndef VW_TOKENIZER_BPE_H
#define VW_TOKENIZER_BPE_H

#include "plugins/tokenizer/bpe_added.h"
#include "plugins/tokenizer/bpe_merge.h"
#include "plugins/tokenizer/bpe_normal.h"
#include "plugins/tokenizer/bpe_split.h"

#include <vishwamai/json.h>

enum { BPE_MAX_STEPS = 32 };

/* How the texts of a vocabulary become bytes again. */
typedef struct bpe_decoder {
    int is_byte_level;     /* the byte alphabet */
    int has_bytes;         /* <0x41> is a byte */
    int strips_first;      /* a space at the very beginning is not of the text */
    size_t n_replace;
    struct {
        const char *from, *to; /* borrowed */
        size_t n_from, n_to;
    } replace[BPE_MAX_STEPS];
} bpe_decoder;

typedef struct bpe_tokenizer {
    const vw_host *host;
    char *path;                /* of the file, for messages; NULL before load */
    vw_json_doc *doc;          /* what is borrowed lives in it; may be NULL */
    const vw_json *json;
    bpe_model model;
    bpe_rule rules[BPE_MAX_STEPS];
    size_t n_rules;
    bpe_step steps[BPE_MAX_STEPS];
    size_t n_steps;
    bpe_added_set added[2];    /* looked for in the text; and in the normalised text */
    const bpe_added **added_of; /* [n_ids] or NULL */
    bpe_buffer matches;        /* normalised contents */
    bpe_decoder decoder;
    bpe_span *bytes_of;        /* [n_ids] in decoded */
    bpe_buffer decoded;
    int32_t n_ids;             /* pieces and added tokens */
} bpe_tokenizer;

/* Fill from a document, which the tokenizer takes over. */
vw_status bpe_read(bpe_tokenizer *t, const char *path, vw_json_doc *doc, vw_error *err);
vw_status bpe_read_steps(bpe_tokenizer *t, const vw_json_value *root, vw_error *err);
/* What the post-processor puts around a text: ids, or -1.  VW_E_UNSUPPORTED for more than one. */
vw_status bpe_read_ends(const bpe_tokenizer *t, int32_t *before, int32_t *after, vw_error *err);
void bpe_free(bpe_tokenizer *t);

/* Take the added tokens (contents and flags filled, owned by t from now on), sort and index them. */
vw_status bpe_take_added(bpe_tokenizer *t, const bpe_added *tokens, size_t n, vw_error *err);
/* Make the bytes of every id from its text. */
vw_status bpe_decode_all(bpe_tokenizer *t, vw_error *err);

/* The id of a piece or added token with this text, or -1; `t` is a bpe_tokenizer. */
int32_t bpe_find(const void *t, const char *text);

vw_status bpe_encode(const bpe_tokenizer *t, const char *text, size_t bytes, bpe_guard guard,
                     int is_first, bpe_ids *out, vw_error *err);
vw_status bpe_piece(const bpe_tokenizer *t, int32_t id, int is_first, int show_special, char *text,
                    size_t room, size_t *bytes, vw_error *err);

#endif
