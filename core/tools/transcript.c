/* transcript.c - keeping a conversation and encoding it. */
#include "transcript.h"

#include <stdlib.h>
#include <string.h>

vw_status transcript_add(transcript *t, const char *role, const char *text, size_t bytes,
                         vw_error *err)
{
    if (t->n == t->room) {
        size_t room = 2 * t->room + 16;
        const char **roles = realloc(t->roles, room * sizeof *roles);
        if (roles)
            t->roles = roles;
        char **texts = realloc(t->texts, room * sizeof *texts);
        if (texts)
            t->texts = texts;
        if (!roles || !texts)
            return vw_fail(err, VW_E_NOMEM, "no memory for the conversation");
        t->room = room;
    }
    char *copy = malloc(bytes + 1);
    if (!copy)
        return vw_fail(err, VW_E_NOMEM, "no memory for the conversation");
    if (bytes)
        memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    t->roles[t->n] = role;
    t->texts[t->n++] = copy;
    return VW_OK;
}

void transcript_drop_last(transcript *t)
{
    if (t->n)
        free(t->texts[--t->n]);
}

static size_t n_system(const transcript *t)
{
    return t->n && strcmp(t->roles[0], "system") == 0;
}

void transcript_clear(transcript *t)
{
    while (t->n > n_system(t))
        transcript_drop_last(t);
}

int transcript_drop_oldest(transcript *t)
{
    size_t first = n_system(t), n = 2;
    if (t->n < first + n + 1)
        return 0;
    for (size_t i = 0; i < n; i++)
        free(t->texts[first + i]);
    memmove(t->roles + first, t->roles + first + n, (t->n - first - n) * sizeof *t->roles);
    memmove(t->texts + first, t->texts + first + n, (t->n - first - n) * sizeof *t->texts);
    t->n -= n;
    return 1;
}

void transcript_free(transcript *t)
{
    while (t->n)
        transcript_drop_last(t);
    free(t->roles);
    free(t->texts);
    *t = (transcript){0};
}

static vw_status encode_by_template(const transcript *t, vw_engine *engine, id_list *ids,
                                    vw_error *err)
{
    const char *const *texts = (const char *const *)t->texts;
    size_t n = 0;
    vw_status status = vw_engine_encode_chat(engine, t->roles, texts, t->n, NULL, 0, &n, err);
    if (status != VW_OK)
        return status;
    int32_t *room = malloc((n + 1) * sizeof *room);
    if (!room)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu token ids", n);
    status = vw_engine_encode_chat(engine, t->roles, texts, t->n, room, n, &n, err);
    if (status == VW_OK)
        status = id_list_add(ids, room, n, err);
    free(room);
    return status;
}

static vw_status encode_plainly(const transcript *t, vw_engine *engine, id_list *ids, vw_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    if (!to)
        return vw_fail(err, VW_E_NOMEM, "no memory for the conversation");
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->roles[i], "system") == 0)
            fprintf(to, "%s\n\n", t->texts[i]);
        else if (strcmp(t->roles[i], "user") == 0)
            fprintf(to, "User: %s\nAssistant:", t->texts[i]);
        else
            fprintf(to, " %s\n", t->texts[i]);
    }
    vw_status status = VW_OK;
    if (fclose(to) != 0)
        status = vw_fail(err, VW_E_NOMEM, "no memory for the conversation");
    else
        status = input_encode(engine, text, bytes, -1, ids, err);
    free(text);
    return status;
}

vw_status transcript_encode(transcript *t, vw_engine *engine, id_list *ids, vw_error *err)
{
    ids->n = 0;
    if (!t->is_plain) {
        vw_status status = encode_by_template(t, engine, ids, err);
        if (status != VW_E_UNSUPPORTED)
            return status;
        t->is_plain = 1;
    }
    return encode_plainly(t, engine, ids, err);
}
