/* bpe_table.h - a byte-pair tokenizer as a plugin: the operations that do not care which file it was
 * read from.  A plugin's instance begins with a bpe_plugin, which its own load() fills.
 */
#ifndef VW_TOKENIZER_BPE_TABLE_H
#define VW_TOKENIZER_BPE_TABLE_H

#include "plugins/tokenizer/bpe.h"
#include "plugins/tokenizer/chat.h"

typedef struct bpe_plugin {
    bpe_tokenizer t;
    vw_tokenizer_info info;
    const chat_rule *chat; /* NULL: none, because */
    char no_chat[200];
    char *gguf; /* the vocabulary as GGUF's keys, once asked for; of the C library's memory */
    int32_t thinking;
} bpe_plugin;

typedef struct bpe_config {
    int32_t thinking;
} bpe_config;
extern const vw_option bpe_table_options[];

/* Choose the form of conversations; VW_E_CONFIG when it has no thinking and that is asked for. */
vw_status bpe_table_set_chat(bpe_plugin *p, const checkpoint *c, vw_error *err);

/* As the kind has them. */
vw_status bpe_table_info(void *self, vw_tokenizer_info *out, vw_error *err);
vw_status bpe_table_encode(void *self, const char *text, size_t bytes, int parse_special,
                           int32_t *ids, size_t room, size_t *n, vw_error *err);
vw_status bpe_table_piece(void *self, int32_t id, int is_first, int show_special, char *text,
                          size_t room, size_t *bytes, vw_error *err);
vw_status bpe_table_chat(void *self, const vw_chat_message *messages, size_t n_messages,
                         int32_t *ids, size_t room, size_t *n, vw_error *err);

/* Of a vocabulary from a tokenizer.json; bpe_gguf.c. */
vw_status bpe_gguf_keys(void *self, const char **json, vw_error *err);

#endif
