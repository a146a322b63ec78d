/* checkpoint.h - what the files beside a tokenizer say about it: ids, BOS and EOS, chat template.
 */
#ifndef VW_TOKENIZER_CHECKPOINT_H
#define VW_TOKENIZER_CHECKPOINT_H

#include <vishwamai/json.h>
#include <vishwamai/tokenizer.h>

/* The id of a text that stands for more than itself, or -1. */
typedef int32_t (*tokenizer_find)(const void *tokenizer, const char *text);

typedef struct checkpoint {
    const vw_host *host;
    const vw_json *json;
    const char *folder;
    tokenizer_find find;
    const void *tokenizer;
    char family[32];   /* "model_type" of config.json, or "" */
    char *chat_template; /* its text, owned, or NULL */
    int adds_bos, adds_eos; /* -1: the files do not say */
} checkpoint;

/* Path of a file in the folder, on the host's memory; NULL when there is none. */
char *checkpoint_path(const checkpoint *c, const char *name);

void checkpoint_add_stop(vw_tokenizer_info *info, int32_t id);

/* The well-known ends of a turn, as far as the vocabulary has them, and info->eos. */
void checkpoint_add_ends(const checkpoint *c, vw_tokenizer_info *info);

/* Read generation_config.json, config.json, tokenizer_config.json and chat_template.jinja, as far as
 * they are there.  `info` comes with what the vocabulary itself knows (-1: nothing), and is
 * completed: ids by number where configs give them, by text where tokenizer_config.json does, and
 * the well-known ends of a turn become stops.  Errors name the file. */
vw_status checkpoint_read(checkpoint *c, vw_tokenizer_info *info, vw_error *err);
void checkpoint_free(checkpoint *c);

#endif
