/* ini_reader.c - the line reader that stands between a file and inih.
 *
 * For each line that inih asks for, one line of the file is read and judged; inih is given the line
 * itself if it is a setting or a section that it splits as we mean it, else an empty line.  As it
 * calls back before it asks for the next line, our count is also the number of the line it has.
 */
#include "core/ini_reader.h"

#include <ini.h>
#include <stdbool.h>

enum { MAX_FILE = 4 << 20 };

typedef struct reader {
    FILE *file;
    const vw_ini_events *events;
    int line;
    size_t total;                   /* bytes read */
    char text[VW_INI_MAX_LINE + 2]; /* the line, or its beginning */
    size_t bytes;                   /* of the whole line */
    int bad_byte;                   /* a control character in it, or -1 */
    bool is_too_big;
    size_t limit;                   /* bytes of a line that inih's own buffer takes */
} reader;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Read one line, keeping as much as fits.  False at the end of the file. */
static bool read_line(reader *r)
{
    size_t kept = 0;
    int c;

    r->bytes = 0;
    r->bad_byte = -1;
    while ((c = getc(r->file)) != EOF && c != '\n') {
        if (++r->total > MAX_FILE) {
            r->is_too_big = true;
            return false;
        }
        if (r->bad_byte < 0 && ((c < 32 && c != '\t' && c != '\r') || c == 127))
            r->bad_byte = c;
        if (kept + 1 < sizeof r->text)
            r->text[kept++] = (char)c;
        r->bytes++;
    }
    while (r->bytes == kept && kept > 0 &&
           (is_blank(r->text[kept - 1]) || r->text[kept - 1] == '\r'))
        r->bytes = --kept;
    r->text[kept] = '\0';
    if (c == EOF && r->bytes == 0)
        return false;
    r->line++;
    if (r->line == 1 && strncmp(r->text, "\xEF\xBB\xBF", 3) == 0) {
        memmove(r->text, r->text + 3, kept - 2);
        r->bytes -= 3;
    }
    return true;
}

static bool wrong(reader *r, const char *shown, const char *what)
{
    r->events->wrong(r->events->arg, r->line, shown, what);
    return false;
}

/* The text without the comment at its end, if it has one: a ';' after a blank. */
static size_t length_without_comment(const char *text)
{
    size_t n = 0;

    while (text[n] && !(text[n] == ';' && n > 0 && is_blank(text[n - 1])))
        n++;
    while (n > 0 && is_blank(text[n - 1]))
        n--;
    return n;
}

static bool judge_section(reader *r)
{
    char name[VW_INI_MAX_WORD + 1], what[96];
    const char *end = strchr(r->text, ']');
    size_t n = length_without_comment(r->text), bytes;

    if (!end || (size_t)(end - r->text) >= n)
        return wrong(r, r->text, "the ']' is missing; a section is [name]");
    if ((size_t)(end - r->text) + 1 < n)
        return wrong(r, r->text, "text after the ']'; a section stands alone in its line");
    bytes = (size_t)(end - r->text) - 1;
    if (bytes > VW_INI_MAX_WORD) {
        snprintf(what, sizeof what, "the section's name has %zu bytes; at most %d fit", bytes,
                 VW_INI_MAX_WORD);
        return wrong(r, r->text, what);
    }
    memcpy(name, r->text + 1, bytes);
    name[bytes] = '\0';
    r->events->section(r->events->arg, r->line, name);
    return true;
}

static bool judge_setting(reader *r)
{
    size_t n = length_without_comment(r->text), key = strcspn(r->text, "=:");
    char what[96];

    if (key >= n || r->text[key] != '=')
        return wrong(r, r->text, "no '=' after the key; a setting is key = value");
    while (key > 0 && is_blank(r->text[key - 1]))
        key--;
    if (key == 0)
        return wrong(r, r->text, "no key before the '='; a setting is key = value");
    if (key <= VW_INI_MAX_WORD)
        return true;
    snprintf(what, sizeof what, "the key has %zu bytes; at most %d fit", key, VW_INI_MAX_WORD);
    return wrong(r, r->text, what);
}

/* May inih see this line? */
static bool judge(reader *r)
{
    const char *start = r->text + strspn(r->text, " \t");
    char what[128];

    if (r->bad_byte >= 0) {
        snprintf(what, sizeof what, "a byte 0x%02x; this is text, without control characters",
                 (unsigned)r->bad_byte);
        return wrong(r, "", what);
    }
    if (*start == '\0' && r->bytes == 0)
        return false;
    if (*start == ';' || *start == '#')
        return false;
    if (r->bytes > r->limit) {
        r->text[40] = '\0';
        vw_text_trim(r->text);
        snprintf(what, sizeof what,
                 "a line of %zu bytes; at most %zu fit, and --set takes values of any length",
                 r->bytes, r->limit);
        return wrong(r, r->text, what);
    }
    if (start > r->text)
        return wrong(r, start, "an indented line; every line begins in the first column");
    return *r->text == '[' ? judge_section(r) : judge_setting(r);
}

static char *next_line(char *line, int room, void *stream)
{
    reader *r = stream;

    if (room - 2 < VW_INI_MAX_LINE)
        r->limit = (size_t)room - 2;
    if (!read_line(r))
        return NULL;
    if (!judge(r))
        r->bytes = 0;
    memcpy(line, r->text, r->bytes);
    memcpy(line + r->bytes, "\n", 2);
    return line;
}

static int on_setting(void *user, const char *section, const char *key, const char *value)
{
    reader *r = user;

    r->events->setting(r->events->arg, r->line, section, key, value);
    return 1;
}

vw_status vw_ini_read(FILE *file, const vw_ini_events *events, vw_error *err)
{
    reader r;

    memset(&r, 0, sizeof r);
    r.file = file;
    r.events = events;
    r.limit = VW_INI_MAX_LINE;
    ini_parse_stream(next_line, &r, on_setting, &r);
    if (r.is_too_big)
        return vw_fail(err, VW_E_FORMAT, "larger than %d MiB: this is no file of settings",
                       MAX_FILE >> 20);
    if (ferror(file))
        return vw_fail(err, VW_E_IO, "cannot be read");
    return VW_OK;
}
