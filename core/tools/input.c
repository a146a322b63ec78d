/* input.c - reading files, standard input and lists of ids. */
#include "input.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

vw_status input_read_stream_dup(FILE *from, const char *name, char **text, size_t *bytes,
                                vw_error *err)
{
    size_t room = 1 << 16, n = 0;
    char *data = malloc(room);
    while (data) {
        n += fread(data + n, 1, room - n - 1, from);
        if (n < room - 1)
            break;
        char *grown = room <= SIZE_MAX / 2 ? realloc(data, room *= 2) : NULL;
        if (!grown)
            free(data);
        data = grown;
    }
    if (!data)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for its text", name);
    if (ferror(from)) {
        free(data);
        return vw_fail(err, VW_E_IO, "%s: cannot be read: %s", name, strerror(errno));
    }
    data[n] = '\0';
    *text = data;
    *bytes = n;
    return VW_OK;
}

vw_status input_read_dup(const char *path, char **text, size_t *bytes, vw_error *err)
{
    if (strcmp(path, "-") == 0)
        return input_read_stream_dup(stdin, "standard input", text, bytes, err);
    FILE *file = fopen(path, "rb");
    if (!file)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "%s: cannot be opened: %s",
                       path, strerror(errno));
    vw_status status = input_read_stream_dup(file, path, text, bytes, err);
    fclose(file);
    return status;
}

void id_list_free(id_list *list)
{
    free(list->ids);
    *list = (id_list){NULL, 0, 0};
}

static vw_status reserve(id_list *list, size_t more, vw_error *err)
{
    if (more <= list->room - list->n && list->ids)
        return VW_OK;
    size_t room = list->n + more + list->n / 2 + 16;
    int32_t *grown = room < SIZE_MAX / sizeof *grown ? realloc(list->ids, room * sizeof *grown)
                                                     : NULL;
    if (!grown)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu token ids", room);
    list->ids = grown;
    list->room = room;
    return VW_OK;
}

vw_status id_list_add(id_list *list, const int32_t *ids, size_t n, vw_error *err)
{
    vw_status status = reserve(list, n, err);
    if (status == VW_OK && n) {
        memcpy(list->ids + list->n, ids, n * sizeof *ids);
        list->n += n;
    }
    return status;
}

static int is_gap(char c)
{
    return isspace((unsigned char)c) || c == ',';
}

vw_status input_ids(const char *where, const char *text, id_list *list, vw_error *err)
{
    for (const char *p = text;;) {
        while (is_gap(*p))
            p++;
        if (!*p)
            return VW_OK;
        char *end;
        errno = 0;
        long long value = strtoll(p, &end, 10);
        if (end == p || (*end && !is_gap(*end)) || errno || value < 0 || value > INT32_MAX) {
            int n = (int)strcspn(p, " ,\t\n");
            return vw_fail(err, VW_E_CONFIG,
                           "%s: '%.*s' is not a token id: whole numbers are expected", where, n, p);
        }
        int32_t id = (int32_t)value;
        vw_status status = id_list_add(list, &id, 1, err);
        if (status != VW_OK)
            return status;
        p = end;
    }
}

vw_status input_encode(vw_engine *engine, const char *text, size_t bytes, int with_bos,
                       id_list *list, vw_error *err)
{
    size_t n = 0;
    vw_status status = vw_engine_encode(engine, text, bytes, with_bos, NULL, 0, &n, err);
    if (status == VW_OK)
        status = reserve(list, n, err);
    if (status == VW_OK)
        status = vw_engine_encode(engine, text, bytes, with_bos, list->ids + list->n, n, &n, err);
    if (status == VW_OK)
        list->n += n;
    return status;
}
