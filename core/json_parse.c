/* json_parse.c - a JSON text from outside becomes a tree of nodes, or one clear sentence.
 *
 * jansson parses; this file stands around it.  Before it: a scan that refuses what would cost too
 * much (size, depth, number of values) before a byte is allocated for it, and finds integers wider
 * than 64 bits, which published files do contain (a model_max_length of 10^30) and which are read
 * as reals.  After it: the mirror of json_tree.h.
 */
#include "core/json_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 64, SORT_FROM = 16 };
#define MAX_BYTES ((size_t)100 << 20)
#define MAX_VALUES ((size_t)8 << 20) /* about a gigabyte of nodes; tokenizer.json needs 2 million */

/* What one look at the text tells. */
typedef struct scan {
    size_t values;    /* upper bound of values in it */
    size_t wide_ints; /* integers that need more than 64 bits */
} scan;

void vw_json_printable(char *out, size_t room, const char *text, size_t bytes)
{
    size_t n = bytes < room ? bytes : room - 4;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i];
    out[n] = '\0';
    if (n < bytes) {
        vw_text_trim(out);
        strcat(out, "...");
    }
}

/* Does the integer literal of n characters not fit int64_t? */
static int is_wide(const char *digits, size_t n)
{
    char copy[24];
    if (n < 19)
        return 0;
    if (n > 20)
        return 1;
    memcpy(copy, digits, n);
    copy[n] = '\0';
    errno = 0;
    strtoll(copy, NULL, 10);
    return errno == ERANGE;
}

/* The length of the number at text[i]; *is_int: it has neither fraction nor exponent. */
static size_t number_length(const char *text, size_t bytes, size_t i, int *is_int)
{
    size_t first = i;
    *is_int = 1;
    for (; i < bytes && text[i] && strchr("+-.eE0123456789", text[i]); i++)
        if (text[i] == '.' || text[i] == 'e' || text[i] == 'E')
            *is_int = 0;
    return i - first;
}

static size_t skip_string(const char *text, size_t bytes, size_t i)
{
    for (i++; i < bytes && text[i] != '"'; i++)
        if (text[i] == '\\')
            i++;
    return i;
}

static vw_status scan_text(const char *text, size_t bytes, const char *where, scan *s,
                           vw_error *err)
{
    size_t depth = 0;
    s->values = 1;
    s->wide_ints = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c == '"') {
            i = skip_string(text, bytes, i);
        } else if (c == '[' || c == '{') {
            s->values++;
            if (++depth > MAX_DEPTH)
                return vw_fail(err, VW_E_FORMAT, "%s: nested deeper than %d levels", where,
                               MAX_DEPTH);
        } else if (c == ']' || c == '}') {
            depth -= depth > 0;
        } else if (c == ',') {
            s->values++;
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            int is_int;
            size_t n = number_length(text, bytes, i, &is_int);
            s->wide_ints += is_int && is_wide(text + i, n);
            i += n - 1;
        }
    }
    if (s->values > MAX_VALUES)
        return vw_fail(err, VW_E_FORMAT, "%s: holds more than %zu values", where, MAX_VALUES);
    return VW_OK;
}

/* The text with "e0" behind every wide integer, which makes it a real. */
static char *widen(const char *text, size_t bytes, const scan *s, size_t *out_bytes)
{
    char *out = malloc(bytes + 2 * s->wide_ints + 1);
    size_t n = 0;
    if (!out)
        return NULL;
    for (size_t i = 0; i < bytes;) {
        char c = text[i];
        size_t len = 1;
        int is_int = 0;
        if (c == '"') {
            size_t end = skip_string(text, bytes, i) + 1;
            len = (end < bytes ? end : bytes) - i;
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            len = number_length(text, bytes, i, &is_int);
        }
        memcpy(out + n, text + i, len);
        n += len;
        if (is_int && is_wide(text + i, len)) {
            memcpy(out + n, "e0", 2);
            n += 2;
        }
        i += len;
    }
    *out_bytes = n;
    return out;
}

static int by_key(const void *a, const void *b)
{
    const vw_json_value *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static void mirror(vw_json_doc *doc, json_t *from, vw_json_value *to);

/* Give `to` room for its children; scan_text() counted them all. */
static vw_json_value *children(vw_json_doc *doc, vw_json_value *to, vw_json_type type, size_t n)
{
    vw_json_value *child = doc->nodes + doc->n_nodes;
    to->type = type;
    to->count = n <= doc->room - doc->n_nodes ? n : 0;
    to->is.in.child = child;
    doc->n_nodes += to->count;
    return child;
}

static void mirror_object(vw_json_doc *doc, json_t *from, vw_json_value *to)
{
    vw_json_value *child = children(doc, to, VW_JSON_OBJECT, json_object_size(from));
    size_t i = 0;
    for (void *it = json_object_iter(from); it && i < to->count;
         it = json_object_iter_next(from, it), i++) {
        child[i].parent = to;
        child[i].key = json_object_iter_key(it);
        mirror(doc, json_object_iter_value(it), child + i);
    }
    if (to->count < SORT_FROM)
        return;
    to->is.in.sorted = doc->sorted + doc->n_sorted;
    doc->n_sorted += to->count;
    for (i = 0; i < to->count; i++)
        to->is.in.sorted[i] = child + i;
    qsort(to->is.in.sorted, to->count, sizeof *to->is.in.sorted, by_key);
}

static void mirror(vw_json_doc *doc, json_t *from, vw_json_value *to)
{
    vw_json_value *child;
    switch (json_typeof(from)) {
    case JSON_OBJECT:
        mirror_object(doc, from, to);
        break;
    case JSON_ARRAY:
        child = children(doc, to, VW_JSON_ARRAY, json_array_size(from));
        for (size_t i = 0; i < to->count; i++) {
            child[i].parent = to;
            mirror(doc, json_array_get(from, i), child + i);
        }
        break;
    case JSON_STRING:
        to->type = VW_JSON_STRING;
        to->is.string = json_string_value(from);
        to->count = json_string_length(from);
        break;
    case JSON_INTEGER:
        to->type = VW_JSON_INTEGER;
        to->is.integer = json_integer_value(from);
        break;
    case JSON_REAL:
        to->type = VW_JSON_REAL;
        to->is.real = json_real_value(from);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        to->type = VW_JSON_BOOL;
        to->is.integer = json_is_true(from);
        break;
    default:
        to->type = VW_JSON_NULL;
    }
}

void vw_json_free(vw_json_doc *doc)
{
    if (!doc)
        return;
    json_decref(doc->tree);
    free(doc->nodes);
    free(doc->sorted);
    free(doc->where);
    free(doc);
}

/* The key whose closing quote is the last of n bytes, as it stands in the text: jansson names only
 * short ones. */
static void last_key(const char *text, size_t n, char *out, size_t room)
{
    size_t start = n ? n - 1 : 0, slashes;
    do {
        while (start > 0 && text[--start] != '"')
            ;
        for (slashes = 0; slashes < start && text[start - 1 - slashes] == '\\'; slashes++)
            ;
    } while (start > 0 && slashes % 2);
    vw_json_printable(out, room, text + start + 1, n < start + 2 ? 0 : n - start - 2);
}

static vw_status parse(const char *text, size_t bytes, const scan *s, vw_json_doc *doc,
                       vw_error *err)
{
    json_error_t at;
    char *wide = NULL, what[300];
    if (s->wide_ints && !(wide = widen(text, bytes, s, &bytes)))
        return vw_fail(err, VW_E_NOMEM, "%s: no memory to parse it", doc->where);
    doc->tree = json_loadb(wide ? wide : text, bytes,
                           JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &at);
    int is_twice = !doc->tree && json_error_code(&at) == json_error_duplicate_key;
    if (is_twice)
        last_key(wide ? wide : text, (size_t)at.position, what, sizeof what);
    free(wide);
    if (doc->tree)
        return VW_OK;
    if (is_twice)
        return vw_fail(err, VW_E_FORMAT, "%s: line %d, column %d: the key \"%s\" is given twice",
                       doc->where, at.line, at.column, what);
    if (json_error_code(&at) == json_error_out_of_memory)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory to parse it", doc->where);
    vw_json_printable(what, sizeof what, at.text, strlen(at.text));
    return vw_fail(err, VW_E_FORMAT, "%s: line %d, column %d: not valid JSON: %s", doc->where,
                   at.line, at.column, what);
}

vw_status vw_json_parse_text(const char *text, size_t bytes, const char *where, vw_json_doc **out,
                             vw_error *err)
{
    scan s;
    vw_status status;
    vw_json_doc *doc;
    if (bytes > MAX_BYTES)
        return vw_fail(err, VW_E_FORMAT, "%s: %zu bytes of JSON, expected at most %zu", where,
                       bytes, MAX_BYTES);
    if ((status = scan_text(text, bytes, where, &s, err)))
        return status;
    if (!(doc = calloc(1, sizeof *doc)))
        return vw_fail(err, VW_E_NOMEM, "%s: no memory to parse it", where);
    doc->room = s.values + 1;
    doc->where = strdup(where);
    doc->nodes = calloc(doc->room, sizeof *doc->nodes);
    doc->sorted = calloc(doc->room, sizeof *doc->sorted);
    if (!doc->where || !doc->nodes || !doc->sorted)
        status = vw_fail(err, VW_E_NOMEM, "%s: no memory to parse it", where);
    else
        status = parse(text, bytes, &s, doc, err);
    if (status) {
        vw_json_free(doc);
        return status;
    }
    doc->n_nodes = 1;
    mirror(doc, doc->tree, doc->nodes);
    *out = doc;
    return VW_OK;
}

/* Read a whole regular file; a pipe or a device in its place must not hang or flood us. */
static vw_status read_file(const char *path, char **text, size_t *bytes, vw_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t n = 0;
    ssize_t got = 1;
    if (fd < 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s", path,
                       strerror(errno));
    vw_status status = VW_OK;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        status = vw_fail(err, VW_E_IO, "%s: not a regular file", path);
    else if ((uint64_t)st.st_size > MAX_BYTES)
        status = vw_fail(err, VW_E_FORMAT, "%s: %lld bytes of JSON, expected at most %zu", path,
                         (long long)st.st_size, MAX_BYTES);
    else if (!(*text = malloc((size_t)st.st_size + 1)))
        status = vw_fail(err, VW_E_NOMEM, "%s: no memory to read it", path);
    while (!status && got && n < (size_t)st.st_size) {
        got = read(fd, *text + n, (size_t)st.st_size - n);
        if (got < 0 && errno != EINTR)
            status = vw_fail(err, VW_E_IO, "cannot read %s: %s", path, strerror(errno));
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    *bytes = n;
    return status;
}

vw_status vw_json_parse_file(const char *path, vw_json_doc **doc, vw_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    vw_status status = read_file(path, &text, &bytes, err);
    if (!status)
        status = vw_json_parse_text(text, bytes, path, doc, err);
    free(text);
    return status;
}
