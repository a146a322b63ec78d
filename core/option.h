/* option.h - one option: its text to its value, its errors, its words.
 *
 * Everything that knows the option types is here: parsing, what the error says, what help says, and
 * whether a table that came with a plugin can be trusted.
 */
#ifndef VW_CORE_OPTION_H
#define VW_CORE_OPTION_H

#include "core/texts.h"
#include <vishwamai/option.h>
#include <vishwamai/status.h>

/* Bytes of the field that an option fills; 0 for no type. */
size_t vw_option_bytes(vw_option_type type);

/* Parse `text` into the field at `field`.  A relative path is taken from `folder` (NULL: as it is);
 * strings are kept in `texts`.  VW_E_CONFIG says "what is wrong; what would be right" without
 * naming the option, for the caller knows where the text stands.  `field` may be NULL: only
 * check. */
vw_status vw_option_parse(const vw_option *option, const char *text, const char *folder,
                          vw_texts *texts, void *field, vw_error *err);

/* "an integer from 1 to 1024", "yes or no", "f32, f16 or bf16" ... */
void vw_option_expects(const vw_option *option, char *text, size_t room);

/* The entry for a key, or NULL; a NULL table has none. */
const vw_option *vw_option_find(const vw_option *options, const char *key);

/* Is this a table we can fill?  Keys, types, offsets inside config_size, defaults that parse.
 * VW_E_ABI with a sentence that names the option. */
vw_status vw_options_validate(const vw_option *options, size_t config_size, vw_error *err);

#endif
