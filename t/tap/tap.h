/* tap.h - what a test written in C says about itself, in the Test Anything Protocol.
 *
 * A test program makes assertions and ends with `return done_testing();`.  Each assertion prints one
 * line, returns whether it held, and never stops the program, so one run shows all that is wrong.
 * The macros add the place of the assertion to a failure's diagnosis; nothing else hides in them.
 *
 *     int main(void)
 *     {
 *         is_int(add(2, 2), 4, "two and two");
 *         near(mean, 0.5, 1e-6, "mean of %d samples", n);
 *         return done_testing();
 *     }
 *
 * plan() is optional and comes first; without it done_testing() prints the count.  Every text is a
 * printf format.  Assertions may come from any thread.
 */
#ifndef VW_TAP_H
#define VW_TAP_H

#include <stdbool.h>
#include <stddef.h>

#if defined __GNUC__
#define TAP_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TAP_PRINTF(text, first)
#endif

/* Announce the number of assertions; a different number at the end is a failure. */
void plan(int n_tests);

/* The last call: prints the plan if plan() did not, a summary of failures, and returns main's exit
 * status: 0 if every assertion held and the plan was kept. */
int done_testing(void);

/* Nothing can be tested here: `1..0 # SKIP reason`, and the program ends with status 0. */
_Noreturn void skip_all(const char *reason, ...) TAP_PRINTF(1, 2);

/* Nothing makes sense any more: the program, and under prove the whole run, ends. */
_Noreturn void bail_out(const char *reason, ...) TAP_PRINTF(1, 2);

/* Count n assertions as passed because they cannot be made here: `ok N # SKIP reason`. */
void skip(int n_tests, const char *reason, ...) TAP_PRINTF(2, 3);

/* A skip that may be forbidden.  If the comma-separated list in the environment variable VW_REQUIRE
 * holds `what` (VW_REQUIRE=cuda,blas), this is a failed assertion instead: a machine that has the
 * device must not pass its tests by skipping them. */
void skip_unless_required(const char *what, int n_tests, const char *reason, ...) TAP_PRINTF(3, 4);

/* A comment line on standard output. */
void diag(const char *text, ...) TAP_PRINTF(1, 2);

/* Is the condition true? */
#define ok(condition, ...) tap_ok(__FILE__, __LINE__, (condition) ? true : false, __VA_ARGS__)

/* Equal integers, equal strings (NULL equals NULL alone), equal bytes. */
#define is_int(got, want, ...) \
    tap_is_int(__FILE__, __LINE__, (long long)(got), (long long)(want), __VA_ARGS__)
#define is_str(got, want, ...) tap_is_str(__FILE__, __LINE__, (got), (want), __VA_ARGS__)
#define is_mem(got, want, n_bytes, ...) \
    tap_is_mem(__FILE__, __LINE__, (got), (want), (n_bytes), __VA_ARGS__)

/* Does the string hold the other one? */
#define like(got, part, ...) tap_like(__FILE__, __LINE__, (got), (part), __VA_ARGS__)

/* |value - expected| <= tolerance; a NaN is near nothing, equal infinities are near. */
#define near(value, expected, tolerance, ...) \
    tap_near(__FILE__, __LINE__, (value), (expected), (tolerance), __VA_ARGS__)

/* The same for n floats: one assertion, whose diagnosis shows the worst element. */
#define near_array(values, expected, n, tolerance, ...) \
    tap_near_array(__FILE__, __LINE__, (values), (expected), (n), (tolerance), __VA_ARGS__)

bool tap_ok(const char *file, int line, bool pass, const char *text, ...) TAP_PRINTF(4, 5);
bool tap_is_int(const char *file, int line, long long got, long long want, const char *text, ...)
    TAP_PRINTF(5, 6);
bool tap_is_str(const char *file, int line, const char *got, const char *want, const char *text,
                ...) TAP_PRINTF(5, 6);
bool tap_is_mem(const char *file, int line, const void *got, const void *want, size_t n_bytes,
                const char *text, ...) TAP_PRINTF(6, 7);
bool tap_like(const char *file, int line, const char *got, const char *part, const char *text, ...)
    TAP_PRINTF(5, 6);
bool tap_near(const char *file, int line, double value, double expected, double tolerance,
              const char *text, ...) TAP_PRINTF(6, 7);
bool tap_near_array(const char *file, int line, const float *values, const float *expected,
                    size_t n, double tolerance, const char *text, ...) TAP_PRINTF(7, 8);

#endif
