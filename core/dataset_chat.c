/* dataset_chat.c - a conversation as a document of which the answers alone are scored.
 *
 * The tokenizer's own rendering says what stands before an answer, so that a model learns to answer
 * in just the context that it will be given.  Where the rendering up to the next answer goes on from
 * what was learnt so far, the conversation is one document; where it does not, as with templates
 * that leave earlier thoughts out, a new document begins there.
 *
 * An answer ends with the mark that ends it in the rendering of one more turn.
 */
#include "core/dataset.h"

#include <stdlib.h>

#include "core/dataset_line.h"

enum { MAX_MESSAGES = 4096 };

typedef struct ids {
    int32_t *at;
    size_t n, room;
} ids;

typedef struct chat {
    vw_dataset_memory *m;
    const vw_encoder *e;
    const char *where;
    vw_chat_message *messages; /* and room for one more */
    size_t n;
    int64_t begin; /* of the document in the making */
    ids before, after;
} chat;

/* The first n messages, ready for an answer. */
static vw_status render(chat *c, size_t n, ids *to, vw_error *err)
{
    for (;;) {
        vw_status st =
            c->e->ops->chat(c->e->self, c->messages, n, to->at, to->room, &to->n, err);
        if (st || to->n <= to->room)
            return st ? vw_fail_in(err, st, "%s", c->where) : VW_OK;
        free(to->at);
        to->room = to->n;
        if (!(to->at = malloc(to->room * sizeof *to->at))) {
            to->room = 0;
            return vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu tokens", c->where, to->n);
        }
    }
}

static bool is_stop(const chat *c, int32_t id)
{
    for (int32_t i = 0; i < c->e->info.n_stop; i++)
        if (c->e->info.stop[i] == id)
            return true;
    return id == c->e->info.eos && id >= 0;
}

/* Where in `all` the stop number `which` is; all->n: there are not so many. */
static size_t find_stop(const chat *c, const ids *all, size_t which)
{
    for (size_t i = 0; i < all->n; i++)
        if (is_stop(c, all->at[i]) && which-- == 0)
            return i;
    return all->n;
}

static size_t count_stops(const chat *c, const ids *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++)
        n += is_stop(c, all->at[i]);
    return n;
}

static bool begins_with(const ids *all, const int32_t *front, size_t n)
{
    return n <= all->n && memcmp(all->at, front, n * sizeof *front) == 0;
}

static vw_status add_ids(chat *c, const int32_t *at, size_t n, bool is_scored, vw_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] < 0 || at[i] >= c->e->vocab_size)
            return vw_fail(err, VW_E_FORMAT,
                           "%s: the tokenizer gives token %d, but the model's vocabulary has %d; "
                           "they do not belong together",
                           c->where, at[i], c->e->vocab_size);
    return vw_dataset_add(c->m, at, (int64_t)n, is_scored, err);
}

static vw_status end_document(chat *c, vw_error *err)
{
    const vw_encoder no_eos = {.info = {.eos = -1}};
    vw_status st = vw_dataset_end_document(c->m, &no_eos, err);
    c->begin = c->m->n;
    return st;
}

/* What stands before message `i`, an answer: all of it, or what is new of it. */
static vw_status add_before(chat *c, size_t i, bool is_scored, vw_error *err)
{
    vw_status st = render(c, i, &c->before, err);
    size_t known = (size_t)(c->m->n - c->begin);
    if (!st && known && !begins_with(&c->before, c->m->ids + c->begin, known)) {
        st = end_document(c, err);
        known = 0;
    }
    return st ? st : add_ids(c, c->before.at + known, c->before.n - known, is_scored, err);
}

static vw_status add_answer(chat *c, size_t i, vw_error *err)
{
    const char *text = c->messages[i].text;
    bool has_thought = strstr(text, "</think>") != NULL;
    vw_chat_message next = c->messages[i + 1];
    c->messages[i + 1] = (vw_chat_message){"user", "x"};
    vw_status st = render(c, i + 2, &c->after, err);
    c->messages[i + 1] = next;
    if (st)
        return st;
    size_t end = find_stop(c, &c->after, count_stops(c, &c->before)), n = c->before.n;
    if (end == c->after.n)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: the tokenizer's turns have no token that ends "
                       "an answer", c->where);
    if (!has_thought && end >= n && begins_with(&c->after, c->before.at, n))
        return add_ids(c, c->after.at + n, end + 1 - n, true, err);
    /* The rendering changes what was said. */
    if (!(st = vw_dataset_add_text(c->m, c->e, text, strlen(text), false, true, has_thought,
                                   c->where, err)))
        st = add_ids(c, c->after.at + end, 1, true, err);
    return st;
}

static bool is_answer(const vw_chat_message *m)
{
    return !strcmp(m->role, "assistant") || !strcmp(m->role, "model");
}

static vw_status add_all(chat *c, const vw_dataset_options *o, vw_error *err)
{
    vw_status st = VW_OK;
    if (!c->n || !is_answer(&c->messages[c->n - 1]))
        return vw_fail(err, VW_E_FORMAT,
                       "%s: the last of \"messages\" is not the assistant's: it would not be "
                       "learnt",
                       c->where);
    c->begin = c->m->n;
    for (size_t i = 0; i < c->n && !st; i++) {
        if (!is_answer(&c->messages[i]))
            continue;
        st = add_before(c, i, o->scores_prompts, err);
        if (!st)
            st = add_answer(c, i, err);
    }
    return st ? st : end_document(c, err);
}

static vw_status read_message(const vw_dataset_line *l, const vw_json_value *v, size_t i,
                              vw_chat_message *to, vw_error *err)
{
    const vw_json_value *role = l->json->get(v, "role"), *text = l->json->get(v, "content");
    size_t bytes = 0;
    if (l->json->type(role) == VW_JSON_STRING && l->json->type(text) == VW_JSON_STRING) {
        to->role = l->json->string(role, &bytes);
        to->text = l->json->string(text, &bytes);
        if (bytes == strlen(to->text))
            return VW_OK;
    }
    return vw_fail(err, VW_E_FORMAT,
                   "%s: message %zu lacks a \"role\" or a \"content\" that is a text", l->where,
                   i + 1);
}

vw_status vw_dataset_add_chat(vw_dataset_memory *m, const vw_encoder *e, const vw_dataset_line *l,
                              const vw_json_value *messages, const vw_dataset_options *o,
                              vw_error *err)
{
    chat c = {.m = m, .e = e, .where = l->where, .n = l->json->count(messages)};
    vw_status st = VW_OK;
    if (l->json->type(messages) != VW_JSON_ARRAY || c.n > MAX_MESSAGES)
        return vw_fail(err, VW_E_FORMAT, "%s: \"messages\" is no list of at most %d messages",
                       l->where, MAX_MESSAGES);
    c.messages = calloc(c.n + 1, sizeof *c.messages);
    if (!c.messages)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu messages", l->where, c.n);
    for (size_t i = 0; i < c.n && !st; i++)
        st = read_message(l, l->json->at(messages, i), i, &c.messages[i], err);
    if (!st)
        st = add_all(&c, o, err);
    free(c.before.at);
    free(c.after.at);
    free(c.messages);
    return st;
}
