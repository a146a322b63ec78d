/* chat.h - a conversation as marks and texts, in the turns of a model's family.
 *
 * A checkpoint's chat template is a program in Jinja, and no kept library renders those in C; so the
 * families whose turns are known are written down here as rules, and a checkpoint's template is read
 * only to see which of them it is.  What no rule fits is refused, not guessed.
 */
#ifndef VW_TOKENIZER_CHAT_H
#define VW_TOKENIZER_CHAT_H

#include "plugins/tokenizer/checkpoint.h"

typedef struct chat_rule chat_rule;

/* The rule of a checkpoint: by its template where it has one, else by the marks that its vocabulary
 * has.  NULL with a reason in `why`: none. */
const chat_rule *chat_rule_of(const checkpoint *c, char *why, size_t why_bytes);

/* Does a conversation of this kind begin with BOS? */
int chat_begins_with_bos(const chat_rule *rule);

/* Is there a form of the answer's beginning that makes the model think first? */
int chat_may_think(const chat_rule *rule);

/* Is this text a mark of turns or media in any published family?  A user's message must not be able
 * to forge one. */
int chat_is_mark(const char *text, size_t bytes);

/* Where the parts go: marks become their ids, texts are encoded without becoming any mark. */
typedef struct chat_sink {
    void *arg;
    vw_status (*mark)(void *arg, const char *mark, vw_error *err);
    vw_status (*text)(void *arg, const char *text, size_t bytes, vw_error *err);
} chat_sink;

/* The conversation, ready for the assistant's answer; without BOS.  `thinks` only where it may.
 * VW_E_INVALID when the roles do not fit: they must alternate, the last is the user's, a system
 * message comes first. */
vw_status chat_write(const vw_host *host, const chat_rule *rule, int thinks,
                     const vw_chat_message *messages, size_t n_messages, const chat_sink *sink,
                     vw_error *err);

#endif
