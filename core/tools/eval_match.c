/* eval_match.c - judging an answer, and how sure a share of right answers is. */
#include "eval_task.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- numbers --------------------------------------------------------------------------------- */

/* A number at the start of the text: sign, digits with thousands commas, decimals.  Returns where
 * it ends, or NULL. */
static const char *number_at(const char *text, double *value)
{
    char digits[64];
    size_t n = 0;
    const char *p = text;
    if (*p == '-')
        digits[n++] = *p++;
    if (*p == '$')
        p++;
    if (!isdigit((unsigned char)*p))
        return NULL;
    while (n < sizeof digits - 1) {
        if (isdigit((unsigned char)*p))
            digits[n++] = *p++;
        else if (*p == ',' && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
                 isdigit((unsigned char)p[3]) && !isdigit((unsigned char)p[4]))
            p++;
        else if (*p == '.' && isdigit((unsigned char)p[1]) && !memchr(digits, '.', n))
            digits[n++] = *p++;
        else
            break;
    }
    digits[n] = '\0';
    *value = strtod(digits, NULL);
    return p;
}

static int is_number(const char *text, double *value)
{
    while (isspace((unsigned char)*text))
        text++;
    const char *end = number_at(text, value);
    while (end && isspace((unsigned char)*end))
        end++;
    return end && !*end;
}

static int last_number(const char *text, double *value)
{
    int is_found = 0;
    for (const char *p = text; *p;) {
        double x;
        const char *end = number_at(p, &x);
        if (end) {
            *value = x;
            is_found = 1;
            p = end;
        } else {
            p++;
        }
    }
    return is_found;
}

/* The text after the last "####", or all of it. */
static const char *after_mark(const char *text)
{
    const char *next, *after = text;
    while ((next = strstr(after, "####")) != NULL)
        after = next + 4;
    return after;
}

/* ---- words ----------------------------------------------------------------------------------- */

/* The first line that is not blank, trimmed, without a final full stop. */
static size_t first_line(const char **text)
{
    const char *p = *text;
    while (isspace((unsigned char)*p))
        p++;
    size_t n = strcspn(p, "\r\n");
    while (n && isspace((unsigned char)p[n - 1]))
        n--;
    if (n && p[n - 1] == '.')
        n--;
    *text = p;
    return n;
}

int eval_matches(const char *text, const char *answer)
{
    double wanted, given;
    if (is_number(answer, &wanted)) {
        const char *mark = after_mark(text);
        if (mark != text && number_at(mark + strspn(mark, " "), &given))
            return given == wanted;
        return last_number(text, &given) && given == wanted;
    }
    size_t n = first_line(&text), m = first_line(&answer);
    return n == m && strncasecmp(text, answer, n) == 0;
}

/* E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927. */
void eval_interval(size_t right, size_t n, double *low, double *high)
{
    const double z = 1.959963984540054; /* the 97.5 % point of the normal distribution */
    double count = (double)n, p = (double)right / count;
    double middle = p + z * z / (2 * count);
    double half = z * sqrt(p * (1 - p) / count + z * z / (4 * count * count));
    double scale = 1 + z * z / count;
    *low = right ? (middle - half) / scale : 0;
    *high = right < n ? (middle + half) / scale : 1;
}
