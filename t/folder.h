/* folder.h - a folder of a test's own, for files that are made to be read, and removed at the end.
 */
#ifndef VW_T_FOLDER_H
#define VW_T_FOLDER_H

#include <stddef.h>
#include <stdint.h>

/* Make a new folder under $TMPDIR; the test bails out if there can be none.  It and all in it goes
 * when the program ends normally.  Returns its path. */
const char *folder_make(void);

/* The path of a file in it; the text lives until eight more were asked for. */
const char *folder_path(const char *name);

/* Write a file whole, and return its path as folder_path() does. */
const char *folder_write(const char *name, const void *data, size_t bytes);
const char *folder_text(const char *name, const char *text);

/* How many files the folder holds whose name contains `part`. */
int folder_count(const char *part);

/* A whole file from anywhere and a zero byte; bails out if there is none.  free() it. */
char *folder_slurp(const char *path, size_t *bytes);

/* The next number of a fixed sequence (splitmix64): random, and the same in every run. */
uint64_t folder_random(uint64_t *state);

#endif
