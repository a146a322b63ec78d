/* bpe_merge.h - the core of byte-pair encoding: a vocabulary, its merges, and one word to ids.
 *
 * It knows no file: tokenizer.json and a GGUF vocabulary fill the same table.  Texts of the
 * vocabulary are UTF-8; a byte-level vocabulary is one whose texts are written in the alphabet that
 * bpe_bytes maps bytes to, and the words given to it are too.
 *
 * Merges come in one of two ways: ranked pairs of ids (tokenizer.json), or a score for every piece,
 * where any two neighbours may merge whose texts together are a piece (SentencePiece).
 */
#ifndef VW_TOKENIZER_BPE_MERGE_H
#define VW_TOKENIZER_BPE_MERGE_H

#include "plugins/tokenizer/bpe_buffer.h"

#include <stdint.h>

enum { BPE_MAX_IDS = 1 << 24 };

typedef struct bpe_span { /* in bpe_model.texts */
    uint32_t at, bytes;
} bpe_span;

typedef struct bpe_pair {
    int32_t left, right; /* left < 0: an empty slot */
    int32_t rank, id;
} bpe_pair;

typedef struct bpe_model {
    const vw_host *host;
    bpe_buffer texts;
    bpe_span *spans;   /* [n_ids]; bytes 0 where an id has no text */
    int32_t n_ids;     /* the largest id and one */
    uint32_t *slots;   /* hash of texts: id + 1, or 0 */
    size_t n_slots;    /* a power of two, or 0 */
    bpe_pair *pairs;
    size_t n_pairs_room; /* a power of two, or 0 */
    int32_t *rank_of;  /* [n_ids] by score; NULL: merges are pairs */
    int32_t byte_id[256]; /* ids of <0x00> ... where bytes fall back, or -1 */
    int32_t unk;       /* for what is no piece, or -1: it is left out */
    int has_bytes;     /* what is no piece becomes its bytes */
    int fuses_unk;     /* neighbours that are no pieces become one unk */
    int whole_first;   /* a word that is a piece is that piece, merges or not */
    const char *prefix, *suffix; /* of every character but the first; of the last; "" */
} bpe_model;

/* Ids on their way to the caller: counted all, kept as far as there is room. */
typedef struct bpe_ids {
    int32_t *ids;
    size_t room, n;
} bpe_ids;

static inline void bpe_push(bpe_ids *out, int32_t id)
{
    if (out->n < out->room)
        out->ids[out->n] = id;
    out->n++;
}

/* An empty vocabulary with room for n_ids ids and n_merges merges. */
vw_status bpe_model_make(bpe_model *m, const vw_host *host, int32_t n_ids, size_t n_merges,
                         vw_error *err);
void bpe_model_free(bpe_model *m);

/* VW_E_FORMAT when the id or the text is there already, or the text is empty or too long. */
vw_status bpe_model_add(bpe_model *m, int32_t id, const char *text, size_t bytes, vw_error *err);

/* The id of this very text, or -1. */
int32_t bpe_model_find(const bpe_model *m, const char *text, size_t bytes);

/* The text of an id; no bytes where it has none. */
const char *bpe_model_text(const bpe_model *m, int32_t id, size_t *bytes);

/* A later merge of the same pair wins, as in the reference library. */
vw_status bpe_model_merge(bpe_model *m, int32_t left, int32_t right, int32_t rank, int32_t id,
                          vw_error *err);

/* What becomes of two neighbours, or NULL. */
const bpe_pair *bpe_model_pair(const bpe_model *m, int32_t left, int32_t right);

/* Give every id a score instead: of all possible merges the highest comes first. */
vw_status bpe_model_score(bpe_model *m, const float *scores, vw_error *err);

/* Find the byte pieces <0x00> to <0xFF>, and let what is no piece become them. */
void bpe_model_find_bytes(bpe_model *m);

/* Memory that an encoding needs, kept from word to word. */
typedef struct bpe_work {
    bpe_buffer symbols, heap, text;
} bpe_work;

void bpe_work_init(bpe_work *w, const vw_host *host);
void bpe_work_free(bpe_work *w);

/* Append the ids of one word of whole UTF-8 characters.  O(n log n).  Any thread, with its own
 * work. */
vw_status bpe_encode_word(const bpe_model *m, bpe_work *work, const char *word, size_t bytes,
                          bpe_ids *out, vw_error *err);

#endif
