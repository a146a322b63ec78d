/* sentencepiece_chat.c - a conversation as ids, in the turns of the model's family.
 *
 * Gemma: <bos>, then for each message <start_of_turn>ROLE newline TEXT <end_of_turn> newline, and
 * at the end <start_of_turn>model newline.  The marks are pushed as ids and the texts are encoded
 * so that none of them can become one: what a user types never ends his turn.
 */
#include "plugins/tokenizer/sentencepiece.h"

/* Bytes of the white space at p (what Jinja's trim takes, which is Python's strip), or 0. */
static size_t space_length(const unsigned char *p, size_t room)
{
    if ((p[0] >= 9 && p[0] <= 13) || (p[0] >= 28 && p[0] <= 32))
        return 1;
    if (room >= 2 && p[0] == 0xC2 && (p[1] == 0x85 || p[1] == 0xA0))
        return 2;
    if (room < 3)
        return 0;
    unsigned c = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    if (p[0] >> 4 != 14)
        return 0;
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000 ? 3 : 0;
}

static void trim(const char **text, size_t *bytes)
{
    const unsigned char *p = (const unsigned char *)*text;
    size_t n = *bytes, back, k;
    while (n && (k = space_length(p, n)) > 0) {
        p += k;
        n -= k;
    }
    for (back = 1; n && back <= 3; back++)
        if (back <= n && space_length(p + n - back, back) == back) {
            n -= back;
            back = 0;
        }
    *text = (const char *)p;
    *bytes = n;
}

static vw_status put(const sp_plugin *sp, const char *text, sp_ids *out, vw_error *err)
{
    return sp_encode(sp, text, strlen(text), SP_EXACT, 0, out, err);
}

/* ROLE newline [system text, two newlines] TEXT is one text for the tokenizer, as it is in the
 * published templates. */
static vw_status put_message(const sp_plugin *sp, const char *role, const char *system,
                             const char *text, sp_ids *out, vw_error *err)
{
    size_t bytes = strlen(text), n_role = strlen(role), n_system = system ? strlen(system) + 2 : 0;
    trim(&text, &bytes);
    char *whole = sp->host->alloc(sp->host->core, n_role + 1 + n_system + bytes + 1);
    if (!whole)
        return vw_fail(err, VW_E_NOMEM, "no memory for a message of %zu bytes", bytes);
    char *at = whole;
    memcpy(at, role, n_role);
    at += n_role;
    *at++ = '\n';
    if (system) {
        memcpy(at, system, n_system - 2);
        at += n_system - 2;
        *at++ = '\n';
        *at++ = '\n';
    }
    memcpy(at, text, bytes);
    at += bytes;
    sp_push(out, sp->turn_begin);
    vw_status status = sp_encode(sp, whole, (size_t)(at - whole), SP_GUARDED, 0, out, err);
    sp->host->free(sp->host->core, whole);
    if (status)
        return status;
    sp_push(out, sp->turn_end);
    return put(sp, "\n", out, err);
}

static vw_status check_roles(const sp_plugin *sp, const vw_chat_message *m, size_t n,
                             const char **system, size_t *first, vw_error *err)
{
    *system = NULL;
    *first = 0;
    if (n && !strcmp(m[0].role, "system")) {
        if (sp->chat != SP_CHAT_GEMMA_SYSTEM)
            return vw_fail(err, VW_E_INVALID, "this model's template has no system role; put the "
                           "instructions into the first user message");
        *system = m[0].text;
        *first = 1;
    }
    if (*first == n)
        return vw_fail(err, VW_E_INVALID, "a conversation without a user message");
    for (size_t i = *first; i < n; i++) {
        int is_user = (i - *first) % 2 == 0;
        int fits = is_user ? !strcmp(m[i].role, "user") :
                   !strcmp(m[i].role, "assistant") || !strcmp(m[i].role, "model");
        if (!fits)
            return vw_fail(err, VW_E_INVALID, "message %zu has the role \"%s\", expected \"%s\": "
                           "user and assistant must alternate", i + 1, m[i].role,
                           is_user ? "user" : "assistant");
    }
    if ((n - *first) % 2 == 0)
        return vw_fail(err, VW_E_INVALID, "the last message is the assistant's; expected the "
                       "user's, which it is to answer");
    return VW_OK;
}

vw_status sp_chat_ids(void *self, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
                      size_t room, size_t *n, vw_error *err)
{
    const sp_plugin *sp = self;
    sp_ids out = {ids, room, 0};
    const char *system;
    size_t first;
    if (!sp->path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    if (sp->chat == SP_CHAT_NONE)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s has no <start_of_turn> and <end_of_turn>: this "
                       "model was not made for chat", sp->path);
    vw_status status = check_roles(sp, messages, n_messages, &system, &first, err);
    if (!status && sp->info.bos >= 0)
        sp_push(&out, sp->info.bos);
    for (size_t i = first; i < n_messages && !status; i++)
        status = put_message(sp, (i - first) % 2 ? "model" : "user", i == first ? system : NULL,
                             messages[i].text, &out, err);
    if (!status) {
        sp_push(&out, sp->turn_begin);
        status = put(sp, "model\n", &out, err);
    }
    if (!status)
        *n = out.n;
    return status;
}
