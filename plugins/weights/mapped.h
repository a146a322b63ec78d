/* mapped.h - the mapped files of a reader as memory: which file a stretch of bytes lies in, and hints
 * about its pages.
 *
 * A stretch that is in none of the files is refused, or left alone: a hint about foreign memory would be
 * an attack on it, since DONTNEED on the heap destroys it.
 */
#ifndef VW_WEIGHTS_MAPPED_H
#define VW_WEIGHTS_MAPPED_H

#include <vishwamai/weights.h>

typedef struct mapped_file {
    const char *path; /* NULL: there is no such file */
    const unsigned char *map;
    size_t bytes;
} mapped_file;

/* File i of a reader, counted from 0. */
typedef mapped_file (*mapped_nth)(const vw_weights_reader *r, size_t i);

/* As the kind has them.  VW_E_INVALID, with `path` of the whole in its text: none of the files' bytes. */
vw_status mapped_locate(const vw_weights_reader *r, mapped_nth nth, const char *path, const void *data,
                        size_t bytes, const char **file, uint64_t *offset, vw_error *err);
void mapped_prefetch(const vw_weights_reader *r, mapped_nth nth, const void *data, size_t bytes);
void mapped_release(const vw_weights_reader *r, mapped_nth nth, const void *data, size_t bytes);

#endif
