/* pickle.h - the arrays in a Python pickle, found without running it.
 *
 * A pickle is a program.  This reads the few instructions that files of numpy arrays consist of and
 * keeps what they would build as a tree of words, numbers and places in the file; nothing is called,
 * imported or copied.  Any other instruction and any other name is an error.
 */
#ifndef VW_WEIGHTS_PICKLE_H
#define VW_WEIGHTS_PICKLE_H

#include <vishwamai/weights.h>

enum { PICKLE_MAX_ARRAYS = 2, PICKLE_MAX_DIMS = 4 };

/* An array in C order; its bytes were held against its shape and the file's length. */
typedef struct pickle_array {
    vw_dtype dtype;
    int32_t n_dims;
    int64_t shape[PICKLE_MAX_DIMS];
    size_t at, bytes; /* in the file */
} pickle_array;

/* The arrays of a file of `bytes` bytes, in its order; *n of them, at least one.  Errors name
 * `path`, the offset and the instruction. */
vw_status pickle_arrays(const unsigned char *file, size_t bytes, const char *path,
                        pickle_array arrays[PICKLE_MAX_ARRAYS], int *n, vw_error *err);

#endif
