/* log.h - one line on stderr for each thing worth telling.
 *
 * Errors are returned, never logged by the library; the log holds what is true although nobody
 * asked: which component was chosen and why, what was left out.  A line is written by one system
 * call, so lines of several threads do not mix.
 */
#ifndef VW_CORE_LOG_H
#define VW_CORE_LOG_H

#include <vishwamai/host.h>

/* Write "vishwamai: level: who: text" if `level` is at or below `limit`; `who` may be NULL. */
VW_PRINTF(4, 5)
void vw_log_line(vw_log_level limit, vw_log_level level, const char *who, const char *format, ...);
void vw_log_args(vw_log_level limit, vw_log_level level, const char *who, const char *format,
                 va_list args);

#endif
