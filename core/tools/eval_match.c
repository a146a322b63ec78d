/* eval_match.c - what of an answer is judged, and how sure a share of right answers is. */
#include "eval_task.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A part of a text. */
typedef struct span {
    const char *begin, *end;
} span;

/* ---- numbers --------------------------------------------------------------------------------- */

/* A number at the start of the text: sign, digits with thousands commas, decimals.  Returns where
 * it ends, or NULL. */
static const char *number_end(const char *text)
{
    const char *p = text;
    int has_point = 0;
    if (*p == '-')
        p++;
    if (*p == '$')
        p++;
    if (!isdigit((unsigned char)*p))
        return NULL;
    for (;; p++) {
        if (*p == '.' && isdigit((unsigned char)p[1]) && !has_point)
            has_point = 1;
        else if (!isdigit((unsigned char)*p) &&
                 !(*p == ',' && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
                   isdigit((unsigned char)p[3]) && !isdigit((unsigned char)p[4])))
            return p;
    }
}

static int is_number(const char *text, span *number)
{
    while (isspace((unsigned char)*text))
        text++;
    const char *end = number_end(text);
    *number = (span){text, end};
    while (end && isspace((unsigned char)*end))
        end++;
    return end && !*end;
}

/* The last number, or nothing. */
static span last_number(const char *text)
{
    span last = {text, text};
    for (const char *p = text; *p;) {
        const char *end = number_end(p);
        if (end)
            last = (span){p, end};
        p = end ? end : p + 1;
    }
    return last;
}

/* The number after the last "####", else the last one. */
static span given_number(const char *text)
{
    const char *next, *after = text;
    while ((next = strstr(after, "####")) != NULL)
        after = next + 4;
    const char *begin = after + strspn(after, " "), *end = number_end(begin);
    return after != text && end ? (span){begin, end} : last_number(text);
}

/* ---- words ----------------------------------------------------------------------------------- */

/* The first line that is not blank, trimmed, without a final full stop. */
static span first_line(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strcspn(text, "\r\n");
    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    if (n && text[n - 1] == '.')
        n--;
    return (span){text, text + n};
}

/* ---- the comparison -------------------------------------------------------------------------- */

/* A copy in small letters, for numbers without currency signs and commas. */
static char *plain_dup(span s, int is_figures)
{
    char *copy = malloc((size_t)(s.end - s.begin) + 1), *to = copy;
    if (!copy)
        return NULL;
    for (const char *p = s.begin; p < s.end; p++)
        if (!is_figures || (*p != '$' && *p != ','))
            *to++ = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
    *to = '\0';
    return copy;
}

vw_status eval_match(const vw_component *verifier, const eval_item *item, const char *text,
                     int *is_right, vw_error *err)
{
    const vw_verifier_ops *ops = verifier->ops;
    span wanted;
    int is_figures = is_number(item->answer, &wanted);
    char *expected = plain_dup(is_figures ? wanted : first_line(item->answer), is_figures);
    char *given = plain_dup(is_figures ? given_number(text) : first_line(text), is_figures);
    vw_verdict verdict = VW_VERDICT_UNKNOWN;
    vw_status status = expected && given
        ? ops->check(verifier->self, item->prompt, given, expected, &verdict, NULL, 0, err)
        : vw_fail(err, VW_E_NOMEM, "no memory to judge an answer");
    free(expected);
    free(given);
    if (status == VW_OK)
        *is_right = verdict == VW_VERDICT_RIGHT;
    return status;
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
