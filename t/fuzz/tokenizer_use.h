/* tokenizer_use.h - what every fuzz target of a tokenizer does with its bytes.
 */
#ifndef VW_T_FUZZ_TOKENIZER_USE_H
#define VW_T_FUZZ_TOKENIZER_USE_H

#include <vishwamai/tokenizer.h>

/* Load the bytes as `file`; use what loads, with the end of the same bytes as text and `user` as what
 * somebody says in a chat.  Aborts where the contract of the kind is broken. */
int fuzz_tokenizer(const vw_plugin *plugin, const char *file, const char *user, const uint8_t *data,
                   size_t size);

#endif
