/* sentencepiece.h - the instance that the files of this plugin share.
 *
 *     sentencepiece.c          the description, loading, pieces back to text
 *     sentencepiece_encode.c   text to ids, special pieces, broken bytes
 *     sentencepiece_chat.c     a conversation to ids
 *     sentencepiece_model.c    what the file says, checked
 *     sentencepiece_train.c    a vocabulary learnt from texts
 *     sentencepiece_shim.cc    the library
 */
#ifndef VW_TOKENIZER_SENTENCEPIECE_H
#define VW_TOKENIZER_SENTENCEPIECE_H

#include <vishwamai/json.h>
#include <vishwamai/tokenizer.h>

#include "plugins/tokenizer/chat.h"
#include "plugins/tokenizer/sentencepiece_model.h"
#include "plugins/tokenizer/sentencepiece_shim.h"

/* Pieces that stand for more than their text, by first byte and then the longest first. */
typedef struct sp_specials {
    int32_t *ids;
    int32_t n;
    int32_t first[257]; /* those that begin with byte b: first[b] .. first[b + 1] - 1 */
} sp_specials;

typedef struct sp_config {
    int32_t algorithm; /* 0: bpe, 1: unigram */
} sp_config;

typedef struct sp_plugin {
    const vw_host *host;
    const vw_json *json;
    const sp_config *config;
    char *path;         /* of tokenizer.model; NULL before load */
    sp_model model;
    sp_shim *shim;      /* encodes the beginning of a text */
    sp_shim *rest;      /* encodes what follows a special piece: adds no space; may be `shim` */
    sp_specials control; /* what parse_special looks for */
    sp_specials turns;  /* user-defined pieces that no user's message may contain */
    vw_tokenizer_info info;
    const chat_rule *chat; /* NULL: none, because */
    char no_chat[200];
    char *gguf;         /* its keys in a GGUF file, once somebody asked; of the C library's memory */
} sp_plugin;

/* Ids on their way to the caller: counted all, kept as far as there is room. */
typedef struct sp_ids {
    int32_t *ids;
    size_t room, n;
} sp_ids;

typedef enum sp_mode {
    SP_EXACT,   /* as the library does */
    SP_SPECIAL, /* the texts of control pieces become their ids */
    SP_GUARDED  /* the texts of turn pieces do not become their ids */
} sp_mode;

void sp_push(sp_ids *out, int32_t id);

/* Collect the pieces that `wanted` names from the model. */
vw_status sp_specials_make(const sp_plugin *sp, int (*wanted)(const sp_piece *), sp_specials *out,
                           vw_error *err);
int sp_is_control(const sp_piece *piece);
int sp_is_turn(const sp_piece *piece);

/* A control or user-defined piece with this text, or -1. */
int32_t sp_find_special(const void *sp, const char *text);

/* Append the ids of a text.  `is_first`: nothing stands before it. */
vw_status sp_encode(const sp_plugin *sp, const char *text, size_t bytes, sp_mode mode, int is_first,
                    sp_ids *out, vw_error *err);

/* As the kind has it; sentencepiece_gguf.c. */
vw_status sp_gguf_keys(void *self, const char **json, vw_error *err);

vw_status sp_train(void *self, const vw_tokenizer_training *training, vw_error *err);

vw_status sp_chat_ids(void *self, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
                      size_t room, size_t *n, vw_error *err);

#endif
