/* exact.c - verifier/exact: is the answer the expected one, as text or as a number?
 *
 * Blanks at both ends never matter.  Numbers are compared as decimals, digit by digit and not as
 * floating point, so that 18, 18.0, +1.8e1 and 1,000 = 1000 agree while two integers of thirty
 * digits that differ in the last one do not.  The C library's number parser is not used: it follows
 * the locale, and takes "nan" and hexadecimal.
 */
#include <vishwamai/verifier.h>

#include <math.h>

typedef struct config {
    int32_t ignore_case, numeric;
    double tolerance;
    const char *after;
} config;

typedef struct span {
    const char *begin, *end;
} span;

/* A decimal: the digits between begin and end (dots and commas among them are skipped) times ten to
 * the power of `exponent`, with no zero digit at either end; no digits at all are zero. */
typedef struct decimal {
    int is_negative;
    span digits;
    int64_t exponent;
} decimal;

static int is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static span trimmed(const char *text)
{
    span s = {text, text + strlen(text)};

    while (s.begin < s.end && is_blank(*s.begin))
        s.begin++;
    while (s.begin < s.end && is_blank(s.end[-1]))
        s.end--;
    return s;
}

/* What follows the last marker, where one is set and occurs. */
static span relevant(const char *text, const char *marker)
{
    const char *last = text;

    if (*marker)
        for (const char *at = text; (at = strstr(at, marker)) != NULL; at++)
            last = at + strlen(marker);
    return trimmed(last);
}

/* Digits with commas only between groups of three, as in 1,234,567; returns where they end. */
static const char *whole_part(const char *at, const char *end)
{
    const char *digits = at;

    while (at < end && is_digit(*at))
        at++;
    if (at - digits < 1 || at - digits > 3)
        return at;
    while (end - at >= 4 && *at == ',' && is_digit(at[1]) && is_digit(at[2]) && is_digit(at[3]) &&
           !(end - at > 4 && is_digit(at[4])))
        at += 4;
    return at;
}

/* An exponent behind e or E, limited so that sums of it cannot overflow; NULL if there is none. */
static const char *power_part(const char *at, const char *end, int64_t *power)
{
    int is_negative = 0;

    if (at < end && (*at == '+' || *at == '-'))
        is_negative = *at++ == '-';
    if (at == end || !is_digit(*at))
        return NULL;
    for (*power = 0; at < end && is_digit(*at); at++)
        if (*power < INT64_MAX / 100)
            *power = *power * 10 + (*at - '0');
    if (is_negative)
        *power = -*power;
    return at;
}

/* Read the whole of `s` as a number; 0 if it is none. */
static int read_decimal(span s, decimal *d)
{
    const char *at = s.begin, *whole, *dot = NULL;
    int64_t power = 0;

    memset(d, 0, sizeof *d);
    if (at < s.end && (*at == '+' || *at == '-'))
        d->is_negative = *at++ == '-';
    whole = d->digits.begin = at;
    d->digits.end = at = whole_part(at, s.end);
    if (at < s.end && *at == '.') {
        dot = at++;
        while (at < s.end && is_digit(*at))
            at++;
        d->digits.end = at;
    }
    if (at - whole == (dot != NULL))
        return 0;
    if (at < s.end && (*at == 'e' || *at == 'E') && !(at = power_part(at + 1, s.end, &power)))
        return 0;
    d->exponent = power - (dot ? d->digits.end - dot - 1 : 0);
    while (d->digits.begin < d->digits.end && !(*d->digits.begin >= '1' && *d->digits.begin <= '9'))
        d->digits.begin++;
    while (d->digits.begin < d->digits.end &&
           !(d->digits.end[-1] >= '1' && d->digits.end[-1] <= '9'))
        d->exponent += *--d->digits.end == '0';
    if (d->digits.begin == d->digits.end) {
        d->is_negative = 0;
        d->exponent = 0;
    }
    return at == s.end;
}

/* Digit by digit; separators do not count. */
static int is_same_decimal(const decimal *a, const decimal *b)
{
    const char *p = a->digits.begin, *q = b->digits.begin;

    if (a->is_negative != b->is_negative || a->exponent != b->exponent)
        return 0;
    for (;;) {
        while (p < a->digits.end && !is_digit(*p))
            p++;
        while (q < b->digits.end && !is_digit(*q))
            q++;
        if (p == a->digits.end || q == b->digits.end)
            return p == a->digits.end && q == b->digits.end;
        if (*p++ != *q++)
            return 0;
    }
}

static double to_double(const decimal *d)
{
    double x = 0;

    for (const char *p = d->digits.begin; p < d->digits.end; p++)
        if (is_digit(*p))
            x = x * 10 + (*p - '0');
    x *= pow(10, (double)d->exponent);
    return d->is_negative ? -x : x;
}

static int is_same_number(const config *c, span answer, span expected)
{
    decimal a, b;
    double x, y;

    if (!c->numeric || !read_decimal(answer, &a) || !read_decimal(expected, &b))
        return 0;
    if (is_same_decimal(&a, &b))
        return 1;
    x = to_double(&a);
    y = to_double(&b);
    return c->tolerance > 0 && isfinite(x) && isfinite(y) &&
           fabs(x - y) <= c->tolerance * fmax(1, fabs(y));
}

static char folded(const config *c, char x)
{
    return c->ignore_case && x >= 'A' && x <= 'Z' ? (char)(x - 'A' + 'a') : x;
}

static int is_same_text(const config *c, span a, span b)
{
    if (a.end - a.begin != b.end - b.begin)
        return 0;
    while (a.begin < a.end)
        if (folded(c, *a.begin++) != folded(c, *b.begin++))
            return 0;
    return 1;
}

VW_PRINTF(3, 4)
static void say(char *reason, size_t bytes, const char *format, ...)
{
    va_list args;

    if (!reason || bytes == 0)
        return;
    va_start(args, format);
    vsnprintf(reason, bytes, format, args);
    va_end(args);
    vw_text_trim(reason);
}

/* How much of a text fits into a sentence. */
static int shown(span s)
{
    return s.end - s.begin > 60 ? 60 : (int)(s.end - s.begin);
}

static vw_status check(void *self, const char *problem, const char *answer, const char *expected,
                       vw_verdict *verdict, char *reason, size_t reason_bytes, vw_error *err)
{
    const config *c = self;
    span a, e;

    (void)problem;
    if (!answer || !verdict)
        return vw_fail(err, VW_E_INVALID, "no answer to judge, or nowhere to put the verdict");
    if (!expected) {
        *verdict = VW_VERDICT_UNKNOWN;
        say(reason, reason_bytes, "no expected answer is known");
        return VW_OK;
    }
    a = relevant(answer, c->after);
    e = relevant(expected, c->after);
    *verdict = VW_VERDICT_RIGHT;
    if (is_same_text(c, a, e)) {
        say(reason, reason_bytes, "the answer is the expected text");
    } else if (is_same_number(c, a, e)) {
        say(reason, reason_bytes, "the answer is the expected number");
    } else {
        *verdict = VW_VERDICT_WRONG;
        say(reason, reason_bytes, "expected \"%.*s\", got \"%.*s\"", shown(e), e.begin, shown(a),
            a.begin);
    }
    return VW_OK;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "needs an expected answer");
    return 1;
}

/* The configuration is all the state there is. */
static vw_status open_exact(const vw_host *host, const void *options, void **self, vw_error *err)
{
    (void)host, (void)err;
    *self = (void *)options;
    return VW_OK;
}

static void close_exact(void *self)
{
    (void)self;
}

static const vw_verifier_ops ops = {.size = sizeof ops, .check = check};

static const vw_option options[] = {
    {"ignore_case", VW_OPTION_BOOL, "no", 0, 0, NULL, offsetof(config, ignore_case), 0,
     "A and a are the same (ASCII letters)"},
    {"numeric", VW_OPTION_BOOL, "yes", 0, 0, NULL, offsetof(config, numeric), 0,
     "18, 18.0 and 1.8e1 are the same"},
    {"tolerance", VW_OPTION_REAL, "0", 0, 1, NULL, offsetof(config, tolerance), VW_OPTION_RANGE,
     "difference allowed between numbers, relative above 1 and absolute below"},
    {"after", VW_OPTION_STRING, "", 0, 0, NULL, offsetof(config, after), 0,
     "judge only what follows the last such text, as #### in GSM8K"},
    VW_OPTION_END,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_VERIFIER,
    .ops_major = VW_VERIFIER_OPS_MAJOR,
    .ops_minor = VW_VERIFIER_OPS_MINOR,
    .name = "exact",
    .summary = "the answer equals the expected one, as text or as a number",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_exact,
    .close = close_exact,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(verifier, exact)
{
    return &description;
}
