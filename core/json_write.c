/* json_write.c - a JSON document, grown in memory.
 */
#include "core/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(vw_json_writer *w, const char *text, size_t n)
{
    if (w->failed)
        return;
    if (n > w->room - w->bytes) {
        size_t room = 2 * w->room + n + 256;
        char *grown = realloc(w->text, room);
        if (!grown) {
            w->failed = 1;
            return;
        }
        w->text = grown;
        w->room = room;
    }
    memcpy(w->text + w->bytes, text, n);
    w->bytes += n;
}

static void put_text(vw_json_writer *w, const char *text)
{
    put(w, text, strlen(text));
}

/* Bytes of the UTF-8 character at p, or 0: not one (table 3-7 of the Unicode standard). */
static size_t utf8_length(const unsigned char *p, size_t room)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 :
               p[0] < 0xF5 ? 4 : 0;
    if (n == 0 || n > room)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

static void put_escaped(vw_json_writer *w, unsigned char c)
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char out[8];
    for (const char *p = letters; *p; p += 2)
        if ((unsigned char)*p == c) {
            snprintf(out, sizeof out, "\\%c", p[1]);
            put(w, out, 2);
            return;
        }
    snprintf(out, sizeof out, "\\u%04x", c);
    put(w, out, 6);
}

static void put_string(vw_json_writer *w, const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    put(w, "\"", 1);
    for (size_t i = 0, n; i < bytes; i += n ? n : 1) {
        n = utf8_length(p + i, bytes - i);
        if (n == 0)
            put_text(w, "\xEF\xBF\xBD");
        else if (p[i] < 32 || p[i] == '"' || p[i] == '\\' || p[i] == 127)
            put_escaped(w, p[i]);
        else
            put(w, text + i, n);
    }
    put(w, "\"", 1);
}

/* What stands before every value. */
static void lead(vw_json_writer *w, const char *key)
{
    if (w->wants_comma)
        put(w, ",", 1);
    w->wants_comma = 1;
    if (key) {
        put_string(w, key, strlen(key));
        put(w, ":", 1);
    }
}

static void begin(vw_json_writer *w, const char *key, const char *bracket)
{
    lead(w, key);
    put_text(w, bracket);
    w->wants_comma = 0;
}

static void end(vw_json_writer *w, const char *bracket)
{
    put_text(w, bracket);
    w->wants_comma = 1;
}

void vw_json_begin_object(vw_json_writer *w, const char *key)
{
    begin(w, key, "{");
}

void vw_json_end_object(vw_json_writer *w)
{
    end(w, "}");
}

void vw_json_begin_array(vw_json_writer *w, const char *key)
{
    begin(w, key, "[");
}

void vw_json_end_array(vw_json_writer *w)
{
    end(w, "]");
}

static void add_word(vw_json_writer *w, const char *key, const char *word)
{
    lead(w, key);
    put_text(w, word);
}

void vw_json_add_null(vw_json_writer *w, const char *key)
{
    add_word(w, key, "null");
}

void vw_json_add_bool(vw_json_writer *w, const char *key, int value)
{
    add_word(w, key, value ? "true" : "false");
}

void vw_json_add_int(vw_json_writer *w, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    add_word(w, key, text);
}

void vw_json_add_uint(vw_json_writer *w, const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    add_word(w, key, text);
}

/* An application may have set a locale whose decimal point is none of JSON's. */
static void add_number(vw_json_writer *w, const char *key, char *text)
{
    char *out = text;
    for (const char *p = text; *p; p++)
        if (strchr("+-0123456789e", *p))
            *out++ = *p;
        else if (out == text || out[-1] != '.')
            *out++ = '.';
    *out = '\0';
    add_word(w, key, text);
}

void vw_json_add_float(vw_json_writer *w, const char *key, float value)
{
    char text[48];
    if (!isfinite(value)) {
        vw_json_add_null(w, key);
        return;
    }
    snprintf(text, sizeof text, "%.8g", (double)value);
    if (strtof(text, NULL) != value)
        snprintf(text, sizeof text, "%.9g", (double)value);
    add_number(w, key, text);
}

static void add_real(vw_json_writer *w, const char *key, double value, const char *ending)
{
    char text[48];
    if (!isfinite(value)) {
        vw_json_add_null(w, key);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text - 2, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (!strpbrk(text, ".e"))
        strcat(text, ending);
    add_number(w, key, text);
}

void vw_json_add_double(vw_json_writer *w, const char *key, double value)
{
    add_real(w, key, value, "");
}

void vw_json_add_real(vw_json_writer *w, const char *key, double value)
{
    add_real(w, key, value, ".0");
}

void vw_json_add_string(vw_json_writer *w, const char *key, const char *text)
{
    vw_json_add_bytes(w, key, text, text ? strlen(text) : 0);
}

void vw_json_add_bytes(vw_json_writer *w, const char *key, const char *text, size_t bytes)
{
    lead(w, key);
    if (text)
        put_string(w, text, bytes);
    else
        put_text(w, "null");
}

const char *vw_json_text(vw_json_writer *w, size_t *bytes)
{
    put(w, "", 1);
    if (w->failed)
        return NULL;
    w->bytes--;
    if (bytes)
        *bytes = w->bytes;
    return w->text;
}

const char *vw_json_take(vw_json_writer *w, size_t *bytes)
{
    const char *text = vw_json_text(w, bytes);
    w->bytes = 0;
    return text;
}

void vw_json_writer_free(vw_json_writer *w)
{
    free(w->text);
    *w = (vw_json_writer){0};
}
