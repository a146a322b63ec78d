/* text.h - ids become text as they come, so that what is shown is always whole.
 *
 * A piece may end inside a character or inside what may become a stop string: that much is held
 * back until the next piece decides.  Bytes that can never be UTF-8 are shown as U+FFFD.
 */
#ifndef VW_CORE_TEXT_H
#define VW_CORE_TEXT_H

#include "core/engine.h"

typedef struct text_stream {
    vw_engine *engine;
    const char *const *stop; /* NULL-terminated, or NULL */
    bool has_begun;          /* a token that is text has come */
    bool is_stopped;         /* a stop string has come; nothing more is given */
    char *held;              /* bytes that are not given yet */
    size_t n_held, room;
    char *out;               /* what the last call gave */
    size_t n_out, out_room;
} text_stream;

/* `continues`: the text goes on after earlier tokens, so that no dummy prefix is taken off. */
vw_status vw_text_open(text_stream *t, vw_engine *e, const char *const *stop, bool continues,
                       vw_error *err);
/* One more token.  Afterwards out[0 .. n_out) is what may be shown now. */
vw_status vw_text_push(text_stream *t, int32_t id, vw_error *err);
/* No more tokens: give what was held back. */
vw_status vw_text_flush(text_stream *t, vw_error *err);
void vw_text_close(text_stream *t);

#endif
