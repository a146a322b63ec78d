/* log.c - the line and its one write. */
#include "core/log.h"

#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void vw_log_args(vw_log_level limit, vw_log_level level, const char *who, const char *format,
                 va_list args)
{
    char line[2048];
    size_t n;
    int k;

    if (level > limit || (unsigned)level > VW_LOG_DEBUG)
        return;
    k = snprintf(line, sizeof line, "vishwamai: %s: %s%s", level_names[level], who ? who : "",
                 who ? ": " : "");
    if (k < 0 || (size_t)k >= sizeof line - 1)
        return;
    vsnprintf(line + k, sizeof line - 1 - (size_t)k, format, args);
    vw_text_trim(line);
    for (char *c = line; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    n = strlen(line);
    line[n++] = '\n';
    for (const char *at = line; n > 0;) {
        ssize_t written = write(STDERR_FILENO, at, n);
        if (written <= 0)
            return; /* nowhere to complain to */
        at += written;
        n -= (size_t)written;
    }
}

void vw_log_line(vw_log_level limit, vw_log_level level, const char *who, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vw_log_args(limit, level, who, format, args);
    va_end(args);
}
