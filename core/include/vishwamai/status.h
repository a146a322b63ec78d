/* status.h - how everything here reports that it failed.
 *
 * A function that can fail returns a vw_status and takes a `vw_error *` as its last parameter.  The
 * function that decides which error it is words it: one sentence that says what, where and what to
 * do.  Callers add context in front on the way up; only the command prints.  Everything is inline,
 * because plugins use it and link nothing of ours.
 */
#ifndef VISHWAMAI_STATUS_H
#define VISHWAMAI_STATUS_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VW_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define VW_PRINTF(format_index, first_arg)
#endif

typedef enum vw_status {
    VW_OK = 0,
    VW_E_INVALID = -1,     /* the caller broke a contract: shape, dtype, null, range */
    VW_E_NOMEM = -2,       /* memory or another resource is exhausted */
    VW_E_IO = -3,          /* the operating system refused a read, write, open, map */
    VW_E_FORMAT = -4,      /* a file from outside does not say what it must */
    VW_E_NOTFOUND = -5,    /* a file, plugin, tensor or name does not exist */
    VW_E_UNSUPPORTED = -6, /* correct, but not something this component can do */
    VW_E_CONFIG = -7,      /* the settings are wrong */
    VW_E_ABI = -8,         /* a plugin was built for another version of the interface */
    VW_E_DEVICE = -9,      /* a device or its driver failed */
    VW_E_FULL = -10,       /* a bounded store is full: context length, KV pool */
    VW_E_INTERRUPTED = -11, /* the user or a callback asked to stop */
    VW_E_TIMEOUT = -12,    /* a deadline passed */
    VW_E_CHANGED = -13     /* something changed underneath, such as a file that was truncated */
} vw_status;

/* The text is complete in itself; it is cut at a whole UTF-8 character when it is too long. */
typedef struct vw_error {
    vw_status code;
    char text[1536];
} vw_error;

/* Cut a string that snprintf may have cut inside a UTF-8 character back to a whole one. */
static inline void vw_text_trim(char *text)
{
    size_t n = strlen(text), back = 0;
    while (back < n && back < 3 && ((unsigned char)text[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back < n && ((unsigned char)text[n - 1 - back] & 0xC0) == 0xC0) {
        unsigned char lead = (unsigned char)text[n - 1 - back];
        size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (back < want)
            text[n - 1 - back] = '\0';
    }
}

/* Word an error and return its code, so that `return vw_fail(err, ...)` is one statement.
 * `err` may be NULL when the caller does not care for the text. */
VW_PRINTF(3, 4)
static inline vw_status vw_fail(vw_error *err, vw_status code, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        vw_text_trim(err->text);
        err->code = code;
    }
    return code;
}

/* Put "context: " in front of an error on its way up, and return its code. */
VW_PRINTF(3, 4)
static inline vw_status vw_fail_in(vw_error *err, vw_status code, const char *format, ...)
{
    if (err) {
        char tail[sizeof err->text];
        va_list args;
        memcpy(tail, err->text, sizeof tail);
        va_start(args, format);
        int n = vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n + 2 < sizeof err->text)
            snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.*s",
                     (int)(sizeof err->text - (size_t)n), tail);
        vw_text_trim(err->text);
    }
    return code;
}

#ifdef __cplusplus
}
#endif
#endif
