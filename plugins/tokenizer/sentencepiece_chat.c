/* sentencepiece_chat.c - a conversation as ids: marks by their pieces, texts encoded so that none of
 * them can become one.  What a user types never ends his turn.
 */
#include "plugins/tokenizer/sentencepiece.h"

typedef struct destination {
    const sp_plugin *sp;
    sp_ids out;
} destination;

static vw_status put_mark(void *arg, const char *mark, vw_error *err)
{
    destination *d = arg;
    int32_t id = sp_find_special(d->sp, mark);
    if (id < 0)
        return vw_fail(err, VW_E_FORMAT, "%s has no piece %s", d->sp->path, mark);
    sp_push(&d->out, id);
    return VW_OK;
}

static vw_status put_text(void *arg, const char *text, size_t bytes, vw_error *err)
{
    destination *d = arg;
    return sp_encode(d->sp, text, bytes, SP_GUARDED, d->out.n == 0, &d->out, err);
}

vw_status sp_chat_ids(void *self, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
                      size_t room, size_t *n, vw_error *err)
{
    const sp_plugin *sp = self;
    destination d = {sp, {ids, room, 0}};
    const chat_sink sink = {&d, put_mark, put_text};
    if (!sp->path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    if (!sp->chat)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: %s", sp->path, sp->no_chat);
    if (chat_begins_with_bos(sp->chat) && sp->info.bos >= 0)
        sp_push(&d.out, sp->info.bos);
    vw_status status = chat_write(sp->host, sp->chat, 0, messages, n_messages, &sink, err);
    if (!status)
        *n = d.out.n;
    return status;
}
