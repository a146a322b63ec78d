/* dataset_text.c - plain text, checked to be UTF-8 before a tokenizer sees it. */
#include "core/dataset.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

vw_status vw_file_read_dup(const char *path, char **text, size_t *bytes, vw_error *err)
{
    struct stat about;
    FILE *file = fopen(path, "rb");
    if (!file)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "%s: cannot be opened: %s",
                       path, strerror(errno));
    size_t room =
        fstat(fileno(file), &about) == 0 && about.st_size > 0 ? (size_t)about.st_size : 4096;
    size_t n = 0;
    char *data = malloc(room + 2);
    while (data) {
        n += fread(data + n, 1, room + 1 - n, file);
        if (n <= room)
            break;
        char *grown = room < SIZE_MAX / 4 ? realloc(data, (room *= 2) + 2) : NULL;
        if (!grown)
            free(data);
        data = grown;
    }
    vw_status st = VW_OK;
    if (!data)
        st = vw_fail(err, VW_E_NOMEM, "%s: no memory for its %zu bytes", path, room);
    else if (ferror(file))
        st = vw_fail(err, VW_E_IO, "%s: cannot be read: %s", path, strerror(errno));
    fclose(file);
    if (st) {
        free(data);
        return st;
    }
    data[n] = '\0';
    *text = data;
    *bytes = n;
    return VW_OK;
}

/* Bytes of the well-formed character at p (Unicode table 3-7), or 0. */
static int character(const unsigned char *p, const unsigned char *end)
{
    long left = end - p;
    unsigned char second = left > 1 ? p[1] : 0;
    int n = p[0] < 0x80                   ? 1
            : p[0] >= 0xC2 && p[0] < 0xE0 ? 2
            : (p[0] & 0xF0) == 0xE0       ? 3
            : p[0] >= 0xF0 && p[0] < 0xF5 ? 4
                                          : 0;
    if (n == 0 || n > left)
        return 0;
    if ((p[0] == 0xE0 && second < 0xA0) || (p[0] == 0xED && second > 0x9F) ||
        (p[0] == 0xF0 && second < 0x90) || (p[0] == 0xF4 && second > 0x8F))
        return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

static vw_status check_utf8(const char *path, const char *text, size_t bytes, vw_error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + bytes;
    long line = 1;
    while (p < end) {
        int n = character(p, end);
        if (n == 0)
            return vw_fail(err, VW_E_FORMAT,
                           "%s:%ld: byte 0x%02X at offset %zu is not UTF-8; convert "
                           "the file, for example with iconv -t UTF-8",
                           path, line, *p, (size_t)((const char *)p - text));
        line += *p == '\n';
        p += n;
    }
    return VW_OK;
}

/* The end of a document that begins at `text`: before an empty line, or the end of all. */
static const char *document_end(const char *text, const char *end)
{
    for (const char *p = text; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        if (p + 1 < end && (p[1] == '\n' || (p[1] == '\r' && p + 2 < end && p[2] == '\n')))
            return p + 1;
    return end;
}

static bool is_blank(const char *text, const char *end)
{
    for (; text < end; text++)
        if (*text != ' ' && *text != '\n' && *text != '\r' && *text != '\t')
            return false;
    return true;
}

static vw_status add_documents(vw_dataset_memory *m, const vw_encoder *e, const char *path,
                               const char *text, size_t bytes, bool by_blank_line, vw_error *err)
{
    const char *end = text + bytes;
    vw_status st = VW_OK;
    for (const char *at = text, *stop; at < end && !st; at = stop) {
        while (by_blank_line && at < end && (*at == '\n' || *at == '\r'))
            at++;
        stop = by_blank_line ? document_end(at, end) : end;
        if (by_blank_line && is_blank(at, stop))
            continue;
        st = vw_dataset_add_text(m, e, at, (size_t)(stop - at), true, true, false, path, err);
        if (!st)
            st = vw_dataset_end_document(m, e, err);
    }
    return st;
}

vw_status vw_dataset_read_text(vw_dataset_memory *m, const vw_encoder *e, const char *path,
                               const vw_dataset_options *o, vw_error *err)
{
    char *text;
    size_t bytes;
    vw_status st = vw_file_read_dup(path, &text, &bytes, err);
    if (st)
        return st;
    st = check_utf8(path, text, bytes, err);
    if (!st)
        st = add_documents(m, e, path, text, bytes, o->by_blank_line, err);
    free(text);
    return st;
}
