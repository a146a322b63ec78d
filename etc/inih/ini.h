/* ini.h - the part of inih's interface that libvishwamai calls, for systems without the package.
 *
 * This is not inih: it is a stand-in of our own with the same names, so that core/ is written once.
 * configure uses the packaged library where there is one (--with-inih).
 */
#ifndef VW_ETC_INI_H
#define VW_ETC_INI_H

#ifdef __cplusplus
extern "C" {
#endif

/* Called for every `name = value`; returns non-zero to go on, 0 to mark the line as an error. */
typedef int (*ini_handler)(void *user, const char *section, const char *name, const char *value);

/* Like fgets(): at most n - 1 characters of the next line into `line`, NULL at the end. */
typedef char *(*ini_reader)(char *line, int n, void *stream);

/* Read `stream` to its end.  0, or the number of the first line that is neither a section, nor a
 * setting, nor a comment, nor blank, or whose handler returned 0.  Reading goes on after an error. */
int ini_parse_stream(ini_reader reader, void *stream, ini_handler handler, void *user);

#ifdef __cplusplus
}
#endif
#endif
