/* text.c - the stream of text.h, and text to and from ids for applications.
 *
 * Stop strings are looked for in the bytes, before anything is replaced or given out; of a stop
 * string nothing is ever shown, and all that stands before it is.
 */
#include "core/text.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 256, REPLACEMENT_BYTES = 3 };

vw_status vw_text_open(text_stream *t, vw_engine *e, const char *const *stop, bool continues,
                       vw_error *err)
{
    size_t longest = 0;
    memset(t, 0, sizeof *t);
    t->engine = e;
    t->stop = stop;
    t->has_begun = continues;
    for (size_t i = 0; stop && stop[i]; i++)
        if (strlen(stop[i]) > longest)
            longest = strlen(stop[i]);
    t->room = FIRST_ROOM + longest;
    t->out_room = t->room * REPLACEMENT_BYTES;
    t->held = vw_core_alloc(e->core, t->room);
    t->out = vw_core_alloc(e->core, t->out_room);
    if (t->held && t->out)
        return VW_OK;
    vw_text_close(t);
    return vw_fail(err, VW_E_NOMEM, "no memory for streamed text");
}

void vw_text_close(text_stream *t)
{
    if (!t->engine)
        return;
    vw_core_release(t->engine->core, t->held);
    vw_core_release(t->engine->core, t->out);
    memset(t, 0, sizeof *t);
}

/* Only a piece longer than any that came before makes the buffers grow. */
static vw_status make_room(text_stream *t, size_t bytes, vw_error *err)
{
    vw_core *core = t->engine->core;
    if (t->n_held + bytes <= t->room)
        return VW_OK;
    size_t room = 2 * (t->n_held + bytes);
    char *held = vw_core_alloc(core, room), *out = vw_core_alloc(core, room * REPLACEMENT_BYTES);
    if (!held || !out) {
        vw_core_release(core, held);
        vw_core_release(core, out);
        return vw_fail(err, VW_E_NOMEM, "no memory for a piece of %zu bytes", bytes);
    }
    memcpy(held, t->held, t->n_held);
    vw_core_release(core, t->held);
    vw_core_release(core, t->out);
    t->held = held;
    t->out = out;
    t->room = room;
    t->out_room = room * REPLACEMENT_BYTES;
    return VW_OK;
}

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

/* Length of the character at p, 0 when it is broken, -1 when it is whole so far and goes on past the
 * end.  Unicode 15, table 3-7. */
static int utf8_length(const unsigned char *p, size_t n)
{
    unsigned char low = 0x80, high = 0xBF;
    int length;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    length = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (p[0] == 0xE0)
        low = 0xA0;
    if (p[0] == 0xED)
        high = 0x9F;
    if (p[0] == 0xF0)
        low = 0x90;
    if (p[0] == 0xF4)
        high = 0x8F;
    for (int i = 1; i < length; i++, low = 0x80, high = 0xBF) {
        if ((size_t)i == n)
            return -1;
        if (p[i] < low || p[i] > high)
            return 0;
    }
    return length;
}

/* Give out held[0 .. n), or less if it ends inside a character and more may come. */
static void give(text_stream *t, size_t n, bool is_end)
{
    const unsigned char *held = (const unsigned char *)t->held;
    size_t at = 0;
    while (at < n) {
        int length = utf8_length(held + at, n - at);
        if (length < 0 && !is_end)
            break;
        if (length > 0) {
            memcpy(t->out + t->n_out, held + at, (size_t)length);
            t->n_out += (size_t)length;
            at += (size_t)length;
        } else {
            memcpy(t->out + t->n_out, "\xEF\xBF\xBD", REPLACEMENT_BYTES);
            t->n_out += REPLACEMENT_BYTES;
            at++;
        }
    }
    memmove(t->held, t->held + at, t->n_held - at);
    t->n_held -= at;
}

/* ---- stop strings ---------------------------------------------------------------------------- */

static bool matches(const text_stream *t, size_t at, const char *stop, size_t n)
{
    return n > 0 && memcmp(t->held + at, stop, n) == 0;
}

/* Where the earliest stop string begins, if a whole one has come. */
static bool find_whole(const text_stream *t, size_t *at)
{
    for (*at = 0; *at < t->n_held; (*at)++)
        for (size_t i = 0; t->stop && t->stop[i]; i++) {
            size_t length = strlen(t->stop[i]);
            if (length <= t->n_held - *at && matches(t, *at, t->stop[i], length))
                return true;
        }
    return false;
}

/* Where the bytes begin that may still become a stop string: they must wait. */
static size_t find_partial(const text_stream *t)
{
    for (size_t at = 0; at < t->n_held; at++)
        for (size_t i = 0; t->stop && t->stop[i]; i++) {
            size_t left = t->n_held - at;
            if (left < strlen(t->stop[i]) && matches(t, at, t->stop[i], left))
                return at;
        }
    return t->n_held;
}

/* ---- the stream ------------------------------------------------------------------------------ */

static bool is_special(const vw_engine *e, int32_t id)
{
    return id == e->tokens.bos || id == e->tokens.eos || id == e->tokens.pad;
}

static vw_status append(text_stream *t, int32_t id, vw_error *err)
{
    vw_engine *e = t->engine;
    void *self = e->tokenizer->self;
    size_t n = 0;
    vw_status st = e->tok->piece(self, id, !t->has_begun, 0, t->held + t->n_held,
                                 t->room - t->n_held, &n, err);
    if (!st && n > t->room - t->n_held) {
        st = make_room(t, n, err);
        if (!st)
            st = e->tok->piece(self, id, !t->has_begun, 0, t->held + t->n_held,
                               t->room - t->n_held, &n, err);
    }
    if (st)
        return st;
    t->n_held += n;
    t->has_begun = t->has_begun || !is_special(e, id);
    return VW_OK;
}

vw_status vw_text_push(text_stream *t, int32_t id, vw_error *err)
{
    size_t at;
    t->n_out = 0;
    if (t->is_stopped)
        return VW_OK;
    vw_status st = append(t, id, err);
    if (st)
        return st;
    if (find_whole(t, &at)) {
        t->is_stopped = true;
        give(t, at, true);
        t->n_held = 0;
        return VW_OK;
    }
    give(t, find_partial(t), false);
    return VW_OK;
}

vw_status vw_text_flush(text_stream *t, vw_error *err)
{
    (void)err;
    t->n_out = 0;
    if (!t->is_stopped)
        give(t, t->n_held, true);
    return VW_OK;
}

/* ---- for applications ------------------------------------------------------------------------ */

static vw_status need_tokenizer(const vw_engine *e, vw_error *err)
{
    if (e->tokenizer)
        return VW_OK;
    return vw_fail(err, VW_E_NOTFOUND, "%s has no tokenizer, without which there is no text; "
                   "token ids can be given in its place", e->path);
}

vw_status vw_engine_encode(vw_engine *e, const char *text, size_t bytes, int with_bos, int32_t *ids,
                           size_t room, size_t *n, vw_error *err)
{
    vw_status st = need_tokenizer(e, err);
    if (st)
        return st;
    size_t first = with_bos < 0 ? e->tokens.adds_bos && e->tokens.bos >= 0 : with_bos != 0;
    if (first && e->tokens.bos < 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: the tokenizer has no BOS token", e->path);
    if (first && room)
        ids[0] = e->tokens.bos;
    size_t left = room > first ? room - first : 0, count;
    st = e->tok->encode(e->tokenizer->self, text, bytes, 0, left ? ids + first : NULL, left, &count,
                        err);
    if (!st)
        *n = count + first;
    return st;
}

vw_status vw_engine_encode_chat(vw_engine *e, const char *const *roles, const char *const *texts,
                                size_t n_messages, int32_t *ids, size_t room, size_t *n,
                                vw_error *err)
{
    vw_status st = need_tokenizer(e, err);
    if (st)
        return st;
    vw_chat_message *messages = vw_core_alloc(e->core, n_messages * sizeof *messages);
    if (!messages)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu messages", n_messages);
    for (size_t i = 0; i < n_messages; i++)
        messages[i] = (vw_chat_message){roles[i], texts[i]};
    st = e->tok->chat(e->tokenizer->self, messages, n_messages, ids, room, n, err);
    vw_core_release(e->core, messages);
    return st;
}

vw_status vw_engine_decode_dup(vw_engine *e, const int32_t *ids, size_t n, char **text,
                               size_t *bytes, vw_error *err)
{
    text_stream t;
    size_t size = 0;
    char *all = NULL;
    FILE *to;
    vw_status st = need_tokenizer(e, err);
    if (st || (st = vw_text_open(&t, e, NULL, false, err)))
        return st;
    to = open_memstream(&all, &size);
    if (!to)
        st = vw_fail(err, VW_E_NOMEM, "no memory for the text of %zu tokens", n);
    for (size_t i = 0; i <= n && !st; i++) {
        st = i < n ? vw_text_push(&t, ids[i], err) : vw_text_flush(&t, err);
        if (!st && fwrite(t.out, 1, t.n_out, to) != t.n_out)
            st = vw_fail(err, VW_E_NOMEM, "no memory for the text of %zu tokens", n);
    }
    if (to && fclose(to) != 0 && !st)
        st = vw_fail(err, VW_E_NOMEM, "no memory for the text of %zu tokens", n);
    vw_text_close(&t);
    if (st) {
        free(all);
        return st;
    }
    *text = all;
    *bytes = size;
    return VW_OK;
}
