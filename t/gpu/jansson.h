/* jansson.h - as much of jansson's interface as core/json_parse.c uses, for t/gpu-check alone.
 *
 * A machine that is lent with a GPU has a compiler and no libraries of ours.  There t/gpu-check
 * builds the core with this reader, which understands the bundled model's files and is no parser for
 * a hostile world: everything that says so is tested with the real library.
 */
#ifndef T_GPU_JANSSON_H
#define T_GPU_JANSSON_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_INTEGER, JSON_REAL, JSON_TRUE, JSON_FALSE, JSON_NULL
} json_type;

typedef struct json_t json_t;
struct json_t {
    json_type type;
    char *key, *text;     /* of an object's member; of a string, without its quotes */
    size_t length, count;
    long long integer;
    double real;
    json_t *first, *next; /* of an array or object; beside it in its parent */
};

typedef struct json_error_t {
    int line, column, position, code;
    char text[160];
} json_error_t;

enum { json_error_out_of_memory = 1, json_error_duplicate_key };
enum { JSON_REJECT_DUPLICATES = 1, JSON_DECODE_ANY = 2, JSON_ALLOW_NUL = 4 };

#define json_typeof(json) ((json)->type)

static inline json_t *json_object(void) { return calloc(1, sizeof(json_t)); }
static inline int json_error_code(const json_error_t *e) { return e->code; }
static inline size_t json_object_size(const json_t *j) { return j->count; }
static inline size_t json_array_size(const json_t *j) { return j->count; }
static inline void *json_object_iter(json_t *j) { return j->first; }
static inline void *json_object_iter_next(json_t *j, void *at)
{
    (void)j;
    return ((json_t *)at)->next;
}
static inline const char *json_object_iter_key(void *at) { return ((json_t *)at)->key; }
static inline json_t *json_object_iter_value(void *at) { return at; }
static inline const char *json_string_value(const json_t *j) { return j->text; }
static inline size_t json_string_length(const json_t *j) { return j->length; }
static inline long long json_integer_value(const json_t *j) { return j->integer; }
static inline double json_real_value(const json_t *j) { return j->real; }
static inline int json_is_true(const json_t *j) { return j->type == JSON_TRUE; }

static inline json_t *json_array_get(const json_t *j, size_t i)
{
    json_t *at = j->first;
    while (at && i--)
        at = at->next;
    return at;
}

static inline void json_decref(json_t *j)
{
    while (j) {
        json_t *next = j->next;
        json_decref(j->first);
        free(j->key);
        free(j->text);
        free(j);
        j = next;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct json_reader {
    const char *at, *end;
} json_reader;

static inline void json_skip_blanks(json_reader *r)
{
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at)
        r->at++;
}

static inline int json_take(json_reader *r, char c)
{
    json_skip_blanks(r);
    if (r->at >= r->end || *r->at != c)
        return 0;
    r->at++;
    return 1;
}

/* A string without its quotes; \u escapes below 128 alone. */
static inline char *json_read_string(json_reader *r, size_t *length)
{
    char *text = malloc((size_t)(r->end - r->at) + 1), *to = text;
    if (!text || !json_take(r, '"'))
        goto fail;
    for (; r->at < r->end && *r->at != '"'; r->at++) {
        static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
        const char *escape;
        char digits[5] = "";
        if (*r->at != '\\') {
            *to++ = *r->at;
            continue;
        }
        if (++r->at >= r->end)
            goto fail;
        if (*r->at && (escape = strchr(plain, *r->at))) {
            *to++ = meant[escape - plain];
        } else if (*r->at == 'u' && r->end - r->at > 4) {
            memcpy(digits, r->at + 1, 4);
            long code = strtol(digits, NULL, 16);
            *to++ = code < 128 ? (char)code : '?';
            r->at += 4;
        } else {
            goto fail;
        }
    }
    if (r->at >= r->end)
        goto fail;
    r->at++;
    *to = '\0';
    *length = (size_t)(to - text);
    return text;
fail:
    free(text);
    return NULL;
}

static inline int json_read_number(json_reader *r, json_t *j)
{
    char digits[64];
    size_t n = 0;
    while (r->at + n < r->end && r->at[n] && strchr("+-.eE0123456789", r->at[n]))
        n++;
    if (n == 0 || n >= sizeof digits)
        return 0;
    memcpy(digits, r->at, n);
    digits[n] = '\0';
    r->at += n;
    j->type = strpbrk(digits, ".eE") ? JSON_REAL : JSON_INTEGER;
    j->real = strtod(digits, NULL);
    j->integer = strtoll(digits, NULL, 10);
    return 1;
}

static inline json_t *json_read(json_reader *r);

static inline int json_read_members(json_reader *r, json_t *j, char close)
{
    json_t **to = &j->first;
    if (json_take(r, close))
        return 1;
    do {
        char *key = NULL;
        size_t length;
        if (j->type == JSON_OBJECT && (!(key = json_read_string(r, &length)) || !json_take(r, ':'))) {
            free(key);
            return 0;
        }
        if (!(*to = json_read(r))) {
            free(key);
            return 0;
        }
        (*to)->key = key;
        to = &(*to)->next;
        j->count++;
    } while (json_take(r, ','));
    return json_take(r, close);
}

static inline json_t *json_read(json_reader *r)
{
    static const struct {
        const char *word;
        json_type type;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    json_t *j = calloc(1, sizeof *j);
    int is_good = 0;
    if (!j)
        return NULL;
    json_skip_blanks(r);
    for (size_t i = 0; i < 3 && !is_good; i++) {
        size_t n = strlen(words[i].word);
        if ((size_t)(r->end - r->at) >= n && !memcmp(r->at, words[i].word, n)) {
            j->type = words[i].type;
            r->at += n;
            is_good = 1;
        }
    }
    if (is_good)
        return j;
    if (json_take(r, '{')) {
        j->type = JSON_OBJECT;
        is_good = json_read_members(r, j, '}');
    } else if (json_take(r, '[')) {
        j->type = JSON_ARRAY;
        is_good = json_read_members(r, j, ']');
    } else if (r->at < r->end && *r->at == '"') {
        j->type = JSON_STRING;
        is_good = (j->text = json_read_string(r, &j->length)) != NULL;
    } else {
        is_good = json_read_number(r, j);
    }
    if (!is_good) {
        json_decref(j);
        return NULL;
    }
    return j;
}

static inline json_t *json_loadb(const char *text, size_t bytes, size_t flags, json_error_t *e)
{
    json_reader r = {text, text + bytes};
    json_t *j = json_read(&r);
    (void)flags;
    json_skip_blanks(&r);
    memset(e, 0, sizeof *e);
    e->line = 1;
    e->position = (int)(r.at - text);
    strcpy(e->text, "not understood by t/gpu/jansson.h");
    if (j && r.at != r.end) {
        json_decref(j);
        return NULL;
    }
    return j;
}

#endif
