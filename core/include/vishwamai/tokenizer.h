/* tokenizer.h - the tokenizer kind: text to ids and back.
 *
 * One instance serves one tokenizer file.  Text is UTF-8; bytes that are not are encoded as byte
 * pieces where the vocabulary has them.  Thread rule: after load, encode, decode and piece may be
 * called by several threads.
 */
#ifndef VISHWAMAI_TOKENIZER_H
#define VISHWAMAI_TOKENIZER_H

#include <vishwamai/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_TOKENIZER_OPS_MAJOR 1
#define VW_TOKENIZER_OPS_MINOR 1

#define VW_TOKENIZER_MAX_EOS 8

/* -1 where the vocabulary has no such token. */
typedef struct vw_tokenizer_info {
    size_t size;
    int32_t vocab_size;
    int32_t bos, eos, pad, unk;
    int32_t n_stop;                       /* ids that end a generation: eos, <end_of_turn> ... */
    int32_t stop[VW_TOKENIZER_MAX_EOS];
    int32_t adds_bos;                     /* as tokenizer_config.json says, else the family */
    int32_t adds_eos;
} vw_tokenizer_info;

/* One message of a conversation. */
typedef struct vw_chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} vw_chat_message;

/* What a tokenizer is learnt from, and where it goes. */
typedef struct vw_tokenizer_training {
    size_t size;
    const char *const *texts; /* [n_texts] UTF-8 */
    const size_t *bytes;
    size_t n_texts;
    int32_t vocab_size;       /* wanted; 0: what the plugin likes */
    const char *folder;       /* exists; gets the files that load() reads */
} vw_tokenizer_training;

typedef struct vw_tokenizer_ops {
    size_t size;

    /* Read the tokenizer of a model folder.  Once per instance.  Required. */
    vw_status (*load)(void *self, const char *folder, vw_error *err);
    /* Required. */
    vw_status (*info)(void *self, vw_tokenizer_info *info, vw_error *err);

    /* Encode without special tokens; control pieces in the text are plain text unless
     * parse_special.  Pieces that a vocabulary calls user-defined (Gemma's turn marks are) are
     * parsed in either case: a text that must not forge them goes through chat.  Writes up to
     * `room` ids and the full count to *n; call again with more room if *n > room.  Required. */
    vw_status (*encode)(void *self, const char *text, size_t bytes, int parse_special, int32_t *ids,
                        size_t room, size_t *n, vw_error *err);

    /* The exact bytes that one id adds to a text.  is_first: no id but control ids came before, so
     * a dummy prefix is taken off.  Control ids give no bytes unless show_special.  Writes up to
     * `room` bytes, the full count to *bytes.  Bytes need not be whole characters: the core joins
     * them.  An id outside the vocabulary is VW_E_INVALID.  Required. */
    vw_status (*piece)(void *self, int32_t id, int is_first, int show_special, char *text,
                       size_t room, size_t *bytes, vw_error *err);

    /* The conversation as ids, ready for the assistant's answer.  VW_E_UNSUPPORTED when the model
     * has no template; VW_E_INVALID when the roles do not fit it.  Optional. */
    vw_status (*chat)(void *self, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
                      size_t room, size_t *n, vw_error *err);

    /* Learn a vocabulary and write it.  The files appear whole or not at all.  The instance itself
     * stays as it is: load() it, or another, afterwards.  VW_E_CONFIG when the texts do not give
     * vocab_size tokens, with how many they give.  Optional. */
    vw_status (*train)(void *self, const vw_tokenizer_training *training, vw_error *err);

    /* Names of the files that make up a tokenizer of this plugin, NULL-ended, constant: what a model
     * that uses it takes along.  Those that are there are copied.  Optional; NULL: not known. */
    const char *const *(*files)(void *self);

    /* The vocabulary as the keys of a GGUF file ("tokenizer.ggml.tokens" ...): a JSON object, valid
     * until the next call or close.  Optional: VW_E_UNSUPPORTED.  Since tokenizer 1.1. */
    vw_status (*gguf_keys)(void *self, const char **json, vw_error *err);
} vw_tokenizer_ops;

#ifdef __cplusplus
}
#endif
#endif
