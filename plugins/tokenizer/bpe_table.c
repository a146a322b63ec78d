/* bpe_table.c - what a loaded byte-pair tokenizer does for the kind. */
#include "plugins/tokenizer/bpe_table.h"

static vw_status not_loaded(vw_error *err)
{
    return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
}

vw_status bpe_table_info(void *self, vw_tokenizer_info *out, vw_error *err)
{
    const bpe_plugin *p = self;
    if (!p->t.path)
        return not_loaded(err);
    *out = p->info;
    return VW_OK;
}

vw_status bpe_table_encode(void *self, const char *text, size_t bytes, int parse_special,
                           int32_t *ids, size_t room, size_t *n, vw_error *err)
{
    const bpe_plugin *p = self;
    bpe_ids out = {ids, room, 0};
    if (!p->t.path)
        return not_loaded(err);
    vw_status st = bpe_encode(&p->t, text, bytes, parse_special ? BPE_ALL : BPE_NO_SPECIAL, 1, &out,
                              err);
    if (!st)
        *n = out.n;
    return st;
}

vw_status bpe_table_piece(void *self, int32_t id, int is_first, int show_special, char *text,
                          size_t room, size_t *bytes, vw_error *err)
{
    const bpe_plugin *p = self;
    if (!p->t.path)
        return not_loaded(err);
    return bpe_piece(&p->t, id, is_first, show_special, text, room, bytes, err);
}

/* ---- chat ------------------------------------------------------------------------------------ */

const vw_option bpe_table_options[] = {
    {"thinking", VW_OPTION_BOOL, "no", 0, 0, NULL, offsetof(bpe_config, thinking), 0,
     "chat: the model thinks before it answers, where its template leaves that open (DeepSeek-V3.1)"},
    VW_OPTION_END,
};

vw_status bpe_table_set_chat(bpe_plugin *p, const checkpoint *c, vw_error *err)
{
    p->chat = chat_rule_of(c, p->no_chat, sizeof p->no_chat);
    if (!p->thinking || (p->chat && chat_may_think(p->chat)))
        return VW_OK;
    return vw_fail(err, VW_E_CONFIG, "thinking = yes, but this model's chat template knows no "
                   "thinking; leave it out");
}

typedef struct destination {
    const bpe_plugin *p;
    bpe_ids out;
} destination;

static vw_status put_mark(void *arg, const char *mark, vw_error *err)
{
    destination *d = arg;
    int32_t id = bpe_find(&d->p->t, mark);
    if (id < 0) /* R1's <think> was text before it was a token */
        return bpe_encode(&d->p->t, mark, strlen(mark), BPE_NO_MARKS, d->out.n == 0, &d->out, err);
    bpe_push(&d->out, id);
    return VW_OK;
}

static vw_status put_text(void *arg, const char *text, size_t bytes, vw_error *err)
{
    destination *d = arg;
    return bpe_encode(&d->p->t, text, bytes, BPE_NO_MARKS, d->out.n == 0, &d->out, err);
}

vw_status bpe_table_chat(void *self, const vw_chat_message *messages, size_t n_messages,
                         int32_t *ids, size_t room, size_t *n, vw_error *err)
{
    const bpe_plugin *p = self;
    destination d = {p, {ids, room, 0}};
    const chat_sink sink = {&d, put_mark, put_text};
    if (!p->t.path)
        return not_loaded(err);
    if (!p->chat)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: %s", p->t.path, p->no_chat);
    if (chat_begins_with_bos(p->chat) && p->info.bos >= 0)
        bpe_push(&d.out, p->info.bos);
    vw_status st = chat_write(p->t.host, p->chat, p->thinking, messages, n_messages, &sink, err);
    if (!st)
        *n = d.out.n;
    return st;
}
