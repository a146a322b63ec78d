/* tap.c - the lines that tap.h promises.
 *
 * One lock covers the counters and the line being written, so that assertions from several threads
 * keep their numbers in order.  Diagnoses go to standard output as comments: there they stay beside
 * the line they explain, under prove and in Automake's logs alike.
 */
#include "tap.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int n_planned = -1;
static int n_run;
static int n_failed;

/* Print a text so that no character of it can be taken for protocol: each line is led by `prefix`
 * after the first, and a hash sign (which opens a directive) is escaped. */
static void put_text(const char *prefix, bool escape, const char *format, va_list args)
{
    char text[2048];

    vsnprintf(text, sizeof text, format, args);
    for (const char *c = text; *c; c++) {
        if (*c == '\n' && c[1])
            printf("\n%s", prefix);
        else if (*c == '#' && escape)
            fputs("\\#", stdout);
        else if (*c != '\n')
            putchar(*c);
    }
    putchar('\n');
}

/* `ok 3 - text` or `not ok 3 - text`, and for the latter where it stands.  Leaves the lock held, so
 * that the caller's diagnosis follows at once. */
static void report(const char *file, int line, bool pass, const char *format, va_list args)
{
    pthread_mutex_lock(&lock);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%sok %d - ", pass ? "" : "not ", ++n_run);
    put_text("# ", true, format, args);
    if (!pass) {
        n_failed++;
        printf("#   at %s line %d\n", file, line);
    }
}

static bool finish(bool pass)
{
    fflush(stdout);
    pthread_mutex_unlock(&lock);
    return pass;
}

void plan(int n_tests)
{
    n_planned = n_tests;
    printf("1..%d\n", n_tests);
    fflush(stdout);
}

int done_testing(void)
{
    bool kept = n_planned < 0 || n_planned == n_run;

    if (n_planned < 0)
        printf("1..%d\n", n_run);
    if (!kept)
        printf("# planned %d tests but ran %d\n", n_planned, n_run);
    if (n_failed)
        printf("# %d of %d tests failed\n", n_failed, n_run);
    if (n_run == 0)
        printf("# no tests were run\n");
    fflush(stdout);
    return kept && n_failed == 0 && n_run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

void skip_all(const char *reason, ...)
{
    va_list args;

    fputs("1..0 # SKIP ", stdout);
    va_start(args, reason);
    put_text("# ", false, reason, args);
    va_end(args);
    exit(EXIT_SUCCESS);
}

void bail_out(const char *reason, ...)
{
    va_list args;

    fputs("Bail out! ", stdout);
    va_start(args, reason);
    put_text("# ", false, reason, args);
    va_end(args);
    exit(255);
}

static void skip_list(int n_tests, const char *reason, va_list args)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_tests; i++) {
        va_list again;

        va_copy(again, args);
        printf("ok %d # SKIP ", ++n_run);
        put_text("# ", false, reason, again);
        va_end(again);
    }
    finish(true);
}

void skip(int n_tests, const char *reason, ...)
{
    va_list args;

    va_start(args, reason);
    skip_list(n_tests, reason, args);
    va_end(args);
}

/* Is `word` one of the comma-separated words of `list`? */
static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    while (list && *list) {
        const char *end = list + strcspn(list, ",");

        if ((size_t)(end - list) == length && strncmp(list, word, length) == 0)
            return true;
        list = *end ? end + 1 : NULL;
    }
    return false;
}

void skip_unless_required(const char *what, int n_tests, const char *reason, ...)
{
    va_list args;

    va_start(args, reason);
    if (has_word(getenv("VW_REQUIRE"), what)) {
        report("VW_REQUIRE", 0, false, reason, args);
        printf("#   VW_REQUIRE names %s, so this must not be skipped\n", what);
        finish(false);
    } else {
        skip_list(n_tests, reason, args);
    }
    va_end(args);
}

void diag(const char *text, ...)
{
    va_list args;

    pthread_mutex_lock(&lock);
    fputs("# ", stdout);
    va_start(args, text);
    put_text("# ", false, text, args);
    va_end(args);
    finish(true);
}

/* The assertions: judge, report, and when it failed say what was there and what was wanted. */

bool tap_ok(const char *file, int line, bool pass, const char *text, ...)
{
    va_list args;

    va_start(args, text);
    report(file, line, pass, text, args);
    va_end(args);
    return finish(pass);
}

bool tap_is_int(const char *file, int line, long long got, long long want, const char *text, ...)
{
    bool pass = got == want;
    va_list args;

    va_start(args, text);
    report(file, line, pass, text, args);
    va_end(args);
    if (!pass)
        printf("#   got:  %lld\n#   want: %lld\n", got, want);
    return finish(pass);
}

/* A string in a diagnosis: quoted, with every byte that could break a line escaped. */
static void put_string(const char *label, const char *string)
{
    printf("#   %s ", label);
    if (!string) {
        puts("NULL");
        return;
    }
    putchar('"');
    for (; *string; string++) {
        unsigned char c = (unsigned char)*string;

        if (c == '\n')
            fputs("\\n", stdout);
        else if (c < 32 || c == 127)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    puts("\"");
}

bool tap_is_str(const char *file, int line, const char *got, const char *want, const char *text,
                ...)
{
    bool pass = got && want ? strcmp(got, want) == 0 : got == want;
    va_list args;

    va_start(args, text);
    report(file, line, pass, text, args);
    va_end(args);
    if (!pass) {
        put_string("got: ", got);
        put_string("want:", want);
    }
    return finish(pass);
}

bool tap_is_mem(const char *file, int line, const void *got, const void *want, size_t n_bytes,
                const char *text, ...)
{
    const unsigned char *g = got, *w = want;
    size_t at = 0;
    va_list args;

    while (at < n_bytes && g[at] == w[at])
        at++;
    va_start(args, text);
    report(file, line, at == n_bytes, text, args);
    va_end(args);
    if (at < n_bytes)
        printf("#   byte %zu of %zu: got 0x%02x, want 0x%02x\n", at, n_bytes, g[at], w[at]);
    return finish(at == n_bytes);
}

bool tap_like(const char *file, int line, const char *got, const char *part, const char *text, ...)
{
    bool pass = got && part && strstr(got, part);
    va_list args;

    va_start(args, text);
    report(file, line, pass, text, args);
    va_end(args);
    if (!pass) {
        put_string("got:    ", got);
        put_string("without:", part);
    }
    return finish(pass);
}

/* How far apart: 0 for equal values (infinities too), NaN or infinity when never near. */
static double distance(double value, double expected)
{
    return value == expected ? 0 : fabs(value - expected);
}

bool tap_near(const char *file, int line, double value, double expected, double tolerance,
              const char *text, ...)
{
    bool pass = distance(value, expected) <= tolerance;
    va_list args;

    va_start(args, text);
    report(file, line, pass, text, args);
    va_end(args);
    if (!pass)
        printf("#   got:  %.17g\n#   want: %.17g within %g\n#   off:  %g\n", value, expected,
               tolerance, value - expected);
    return finish(pass);
}

bool tap_near_array(const char *file, int line, const float *values, const float *expected,
                    size_t n, double tolerance, const char *text, ...)
{
    size_t worst = 0, n_off = 0;
    double worst_distance = -1;
    va_list args;

    for (size_t i = 0; i < n; i++) {
        double d = distance(values[i], expected[i]);

        if (!(d <= tolerance))
            n_off++;
        if (!(d <= worst_distance)) {
            worst = i;
            worst_distance = isnan(d) ? INFINITY : d;
        }
    }
    va_start(args, text);
    report(file, line, n_off == 0, text, args);
    va_end(args);
    if (n_off)
        printf("#   %zu of %zu off; worst at %zu: got %.9g, want %.9g within %g\n", n_off, n,
               worst, (double)values[worst], (double)expected[worst], tolerance);
    return finish(n_off == 0);
}
