/* ini.c - INI lines to (section, name, value), under inih's interface.
 *
 * The limits are those of the packaged library as Debian builds it, so that the same file means the
 * same thing with either: lines of 200 characters, section names of 49, names of 49.  The caller's
 * line reader rejects what exceeds them; here they are only cut.  Nothing is allocated.
 */
#include "ini.h"

#include <ctype.h>
#include <string.h>

enum { LINE_BYTES = 200, WORD_BYTES = 50 };

static void copy_cut(char *to, const char *from)
{
    size_t n = strlen(from);

    if (n > WORD_BYTES - 1)
        n = WORD_BYTES - 1;
    memcpy(to, from, n);
    to[n] = 0;
}

static char *trim_right(char *text)
{
    size_t n = strlen(text);

    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    return text;
}

static char *trim_left(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* End the text where an inline comment begins: a semicolon after white space. */
static void cut_comment(char *text)
{
    for (char *c = text; *c; c++)
        if (*c == ';' && c > text && isspace((unsigned char)c[-1])) {
            *c = 0;
            return;
        }
}

/* One line; `section` is read and changed.  Non-zero if it was understood. */
static int parse_line(char *line, char *section, ini_handler handler, void *user)
{
    char *start = trim_left(trim_right(line));
    char *end;

    if (*start == 0 || *start == ';' || *start == '#')
        return 1;
    cut_comment(start);
    if (*start == '[') {
        end = strchr(start, ']');
        if (!end)
            return 0;
        *end = 0;
        copy_cut(section, start + 1);
        return 1;
    }
    end = strpbrk(start, "=:");
    if (!end)
        return 0;
    *end = 0;
    return handler(user, section, trim_right(start), trim_right(trim_left(end + 1)));
}

int ini_parse_stream(ini_reader reader, void *stream, ini_handler handler, void *user)
{
    char line[LINE_BYTES];
    char section[WORD_BYTES] = "";
    int first_error = 0;

    for (int number = 1; reader(line, sizeof line, stream); number++) {
        char *start = line;

        if (number == 1 && strncmp(start, "\xef\xbb\xbf", 3) == 0)
            start += 3;
        if (!parse_line(start, section, handler, user) && !first_error)
            first_error = number;
    }
    return first_error;
}
