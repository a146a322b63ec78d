/* chat.c - the rules, and the writing of a conversation by one.
 *
 * A turn is a text in which \1 begins a mark, \2 ends it, and $ is the message.  What stands between
 * two marks is given out as one text, because a tokenizer may merge across its parts.
 */
#include "plugins/tokenizer/chat.h"

#include <stdlib.h>

typedef enum system_form {
    SYSTEM_NONE, SYSTEM_TURN, /* a turn of its own: `system` */
    SYSTEM_IN_USER            /* in front of the first message, two newlines between */
} system_form;

struct chat_rule {
    const char *name;
    const char *in_template[3]; /* texts that the family's published template contains, all of them */
    const char *needs[2];       /* marks that the vocabulary must have */
    const char *family;         /* without a template: "model_type" begins with it; NULL: any */
    int by_vocabulary;          /* may be chosen without a template */
    int has_bos, trims;
    int drops_thought;          /* of earlier answers, what ends with </think> is left out */
    system_form form;
    const char *system, *user, *assistant, *answer;
    const char *thought;        /* what stands for `answer` when the model is to think; NULL: it cannot */
};

#define DS_USER "\1<\xEF\xBD\x9CUser\xEF\xBD\x9C>\2"
#define DS_ASSISTANT "\1<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>\2"
#define DS_END "\1<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>\2"
#define DS_NEEDS {"<\xEF\xBD\x9CUser\xEF\xBD\x9C>", "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>"}
#define GEMMA_TURNS                                                                  \
    .user = "\1<start_of_turn>\2user\n$\1<end_of_turn>\2\n",                         \
    .assistant = "\1<start_of_turn>\2model\n$\1<end_of_turn>\2\n",                   \
    .answer = "\1<start_of_turn>\2model\n", .needs = {"<start_of_turn>", "<end_of_turn>"}, \
    .has_bos = 1, .trims = 1, .by_vocabulary = 1

/* The first that fits is taken, so the more particular stand first. */
static const chat_rule rules[] = {
    {.name = "gemma3", .in_template = {"<start_of_turn>", "first_user_prefix"}, .family = "gemma3",
     .form = SYSTEM_IN_USER, GEMMA_TURNS},
    {.name = "gemma", .in_template = {"<start_of_turn>"}, .form = SYSTEM_NONE, GEMMA_TURNS},
    {.name = "deepseek-v3.1", .in_template = {"Assistant\xEF\xBD\x9C>", "</think>", "thinking"},
     .needs = DS_NEEDS, .has_bos = 1, .drops_thought = 1, .form = SYSTEM_TURN, .system = "$",
     .user = DS_USER "$", .assistant = DS_ASSISTANT "\1</think>\2$" DS_END,
     .answer = DS_ASSISTANT "\1</think>\2", .thought = DS_ASSISTANT "\1<think>\2"},
    {.name = "deepseek-r1", .in_template = {"Assistant\xEF\xBD\x9C><think>"}, .needs = DS_NEEDS,
     .has_bos = 1, .drops_thought = 1, .form = SYSTEM_TURN, .system = "$", .user = DS_USER "$",
     .assistant = DS_ASSISTANT "$" DS_END, .answer = DS_ASSISTANT "\1<think>\2\n",
     .thought = DS_ASSISTANT "\1<think>\2\n"},
    {.name = "deepseek", .in_template = {"Assistant\xEF\xBD\x9C>"}, .needs = DS_NEEDS,
     .by_vocabulary = 1, .has_bos = 1, .drops_thought = 1, .form = SYSTEM_TURN, .system = "$",
     .user = DS_USER "$", .assistant = DS_ASSISTANT "$" DS_END, .answer = DS_ASSISTANT},
    {.name = "chatml", .in_template = {"<|im_start|>", "<|im_end|>"},
     .needs = {"<|im_start|>", "<|im_end|>"}, .by_vocabulary = 1, .form = SYSTEM_TURN,
     .system = "\1<|im_start|>\2system\n$\1<|im_end|>\2\n",
     .user = "\1<|im_start|>\2user\n$\1<|im_end|>\2\n",
     .assistant = "\1<|im_start|>\2assistant\n$\1<|im_end|>\2\n",
     .answer = "\1<|im_start|>\2assistant\n"},
};

enum { N_RULES = sizeof rules / sizeof *rules };

/* ---- which rule ------------------------------------------------------------------------------ */

static int fits(const chat_rule *r, const checkpoint *c)
{
    for (int i = 0; i < 2; i++)
        if (r->needs[i] && c->find(c->tokenizer, r->needs[i]) < 0)
            return 0;
    if (!c->chat_template)
        return r->by_vocabulary &&
               (!r->family || !strncmp(c->family, r->family, strlen(r->family)));
    for (int i = 0; i < 3; i++)
        if (r->in_template[i] && !strstr(c->chat_template, r->in_template[i]))
            return 0;
    return 1;
}

const chat_rule *chat_rule_of(const checkpoint *c, char *why, size_t why_bytes)
{
    for (int i = 0; i < N_RULES; i++)
        if (fits(rules + i, c))
            return rules + i;
    if (c->chat_template)
        snprintf(why, why_bytes, "its chat template is none of those that are known here (Gemma, "
                 "DeepSeek, ChatML); `run' takes a prompt whose turns are written out");
    else
        snprintf(why, why_bytes, "it has no chat template and no <start_of_turn> and <end_of_turn>: "
                 "this model was not made for chat");
    return NULL;
}

int chat_begins_with_bos(const chat_rule *rule)
{
    return rule->has_bos;
}

int chat_may_think(const chat_rule *rule)
{
    return rule->thought != NULL;
}

int chat_is_mark(const char *text, size_t bytes)
{
    static const char *const marks[] = {
        "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
        "<image_soft_token>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|eot_id|>",
        "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>",
        "<|user|>", "<|assistant|>", "<|system|>", "<|separator|>", "<think>", "</think>",
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strlen(marks[i]) == bytes && !memcmp(marks[i], text, bytes))
            return 1;
    /* DeepSeek's all begin with '<' and a full-width bar. */
    return bytes > 4 && !memcmp(text, "<\xEF\xBD\x9C", 4);
}

/* ---- writing --------------------------------------------------------------------------------- */

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

/* A text that is being put together, up to the next mark. */
typedef struct pending {
    const vw_host *host;
    const chat_sink *sink;
    char *text;
    size_t n, room;
} pending;

static vw_status append(pending *p, const char *text, size_t bytes, vw_error *err)
{
    if (bytes > p->room - p->n) {
        size_t room = p->room + p->room / 2 + bytes + 64;
        char *grown = p->host->alloc(p->host->core, room);
        if (!grown)
            return vw_fail(err, VW_E_NOMEM, "no memory for a message of %zu bytes", bytes);
        if (p->n)
            memcpy(grown, p->text, p->n);
        p->host->free(p->host->core, p->text);
        p->text = grown;
        p->room = room;
    }
    if (bytes)
        memcpy(p->text + p->n, text, bytes);
    p->n += bytes;
    return VW_OK;
}

static vw_status give(pending *p, vw_error *err)
{
    size_t n = p->n;
    p->n = 0;
    return n ? p->sink->text(p->sink->arg, p->text, n, err) : VW_OK;
}

static vw_status put_mark(pending *p, const char *mark, size_t bytes, vw_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)bytes, mark);
    vw_status st = give(p, err);
    return st ? st : p->sink->mark(p->sink->arg, name, err);
}

/* One turn; `front` (may be NULL) goes before the message, two newlines between. */
static vw_status put_turn(pending *p, const char *turn, const char *front, const char *text,
                          size_t bytes, vw_error *err)
{
    vw_status st = VW_OK;
    for (const char *at = turn; *at && !st; at++) {
        size_t plain = strcspn(at, "\1$");
        if (plain) {
            st = append(p, at, plain, err);
            at += plain - 1;
        } else if (*at == '\1') {
            size_t mark = strcspn(at + 1, "\2");
            st = put_mark(p, at + 1, mark, err);
            at += mark + 1;
        } else {
            if (front)
                st = append(p, front, strlen(front), err);
            if (front && !st)
                st = append(p, "\n\n", 2, err);
            if (!st)
                st = append(p, text, bytes, err);
        }
    }
    return st;
}

static vw_status check_roles(const chat_rule *r, const vw_chat_message *m, size_t n, size_t *first,
                             vw_error *err)
{
    *first = n && !strcmp(m[0].role, "system");
    if (*first && r->form == SYSTEM_NONE)
        return vw_fail(err, VW_E_INVALID, "this model's template has no system role; put the "
                       "instructions into the first user message");
    if (*first == n)
        return vw_fail(err, VW_E_INVALID, "a conversation without a user message");
    for (size_t i = *first; i < n; i++) {
        int is_user = (i - *first) % 2 == 0;
        int is_right = is_user ? !strcmp(m[i].role, "user") :
                       !strcmp(m[i].role, "assistant") || !strcmp(m[i].role, "model");
        if (!is_right)
            return vw_fail(err, VW_E_INVALID, "message %zu has the role \"%s\", expected \"%s\": "
                           "user and assistant must alternate", i + 1, m[i].role,
                           is_user ? "user" : "assistant");
    }
    if ((n - *first) % 2 == 0)
        return vw_fail(err, VW_E_INVALID, "the last message is the assistant's; expected the "
                       "user's, which it is to answer");
    return VW_OK;
}

static vw_status put_message(pending *p, const chat_rule *r, const char *system,
                             const vw_chat_message *m, int is_user, vw_error *err)
{
    const char *text = m->text, *thought;
    if (!is_user && r->drops_thought)
        while ((thought = strstr(text, "</think>")) != NULL)
            text = thought + strlen("</think>");
    size_t bytes = strlen(text);
    if (r->trims)
        trim(&text, &bytes);
    return put_turn(p, is_user ? r->user : r->assistant, system, text, bytes, err);
}

vw_status chat_write(const vw_host *host, const chat_rule *r, int thinks, const vw_chat_message *m,
                     size_t n, const chat_sink *sink, vw_error *err)
{
    pending p = {host, sink, NULL, 0, 0};
    size_t first;
    vw_status st = check_roles(r, m, n, &first, err);
    if (!st && first && r->form == SYSTEM_TURN)
        st = put_turn(&p, r->system, NULL, m[0].text, strlen(m[0].text), err);
    for (size_t i = first; i < n && !st; i++) {
        const char *system = i == first && first && r->form == SYSTEM_IN_USER ? m[0].text : NULL;
        st = put_message(&p, r, system, m + i, (i - first) % 2 == 0, err);
    }
    if (!st)
        st = put_turn(&p, thinks ? r->thought : r->answer, NULL, "", 0, err);
    if (!st)
        st = give(&p, err);
    host->free(host->core, p.text);
    return st;
}
