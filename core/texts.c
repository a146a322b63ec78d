/* texts.c - two linked lists: single strings, and lists by the text they were split from. */
#include "core/texts.h"

#include <stdlib.h>
#include <string.h>

typedef struct text {
    struct text *next;
    char bytes[];
} text;

typedef struct list {
    struct list *next;
    const char *source; /* kept */
    const char **items; /* kept, NULL-terminated */
} list;

struct vw_texts {
    text *texts;
    list *lists;
};

vw_texts *vw_texts_new(void)
{
    return calloc(1, sizeof(vw_texts));
}

void vw_texts_free(vw_texts *texts)
{
    if (!texts)
        return;
    for (text *t = texts->texts, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    for (list *l = texts->lists, *next; l; l = next) {
        next = l->next;
        free(l->items);
        free(l);
    }
    free(texts);
}

static const char *keep_bytes(vw_texts *texts, const char *from, size_t n)
{
    text *t;

    for (t = texts->texts; t; t = t->next)
        if (strncmp(t->bytes, from, n) == 0 && t->bytes[n] == '\0')
            return t->bytes;
    t = malloc(sizeof *t + n + 1);
    if (!t)
        return NULL;
    memcpy(t->bytes, from, n);
    t->bytes[n] = '\0';
    t->next = texts->texts;
    texts->texts = t;
    return t->bytes;
}

const char *vw_texts_keep(vw_texts *texts, const char *text_)
{
    return keep_bytes(texts, text_, strlen(text_));
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Keep each part of l->source in l->items, which has room for all of them. */
static int split(vw_texts *texts, list *l)
{
    const char *at = l->source;
    size_t n = 0;

    while (*at) {
        const char *end = at + strcspn(at, ","), *next = *end ? end + 1 : end;
        while (at < end && is_blank(*at))
            at++;
        while (end > at && is_blank(end[-1]))
            end--;
        if (end > at) {
            l->items[n] = keep_bytes(texts, at, (size_t)(end - at));
            if (!l->items[n++])
                return 0;
        }
        at = next;
    }
    return 1;
}

const char *const *vw_texts_list(vw_texts *texts, const char *comma_separated)
{
    size_t parts = 2; /* one more than commas, and the end */
    list *l;

    for (l = texts->lists; l; l = l->next)
        if (strcmp(l->source, comma_separated) == 0)
            return l->items;
    for (const char *c = comma_separated; *c; c++)
        parts += *c == ',';
    l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->source = vw_texts_keep(texts, comma_separated);
    l->items = calloc(parts, sizeof *l->items);
    if (!l->source || !l->items || !split(texts, l)) {
        free(l->items);
        free(l);
        return NULL;
    }
    l->next = texts->lists;
    texts->lists = l;
    return l->items;
}
