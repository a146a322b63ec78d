/* pickle.c - any bytes as a pickle of arrays; those that are found are read to their ends. */
#include "plugins/weights/pickle.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pickle_array arrays[PICKLE_MAX_ARRAYS];
    static volatile uint8_t byte; /* the reads are made */
    vw_error err;
    int n;
    if (pickle_arrays(data, size, "input", arrays, &n, &err))
        return 0;
    for (int i = 0; i < n; i++) {
        size_t bytes = vw_dtype_bits(arrays[i].dtype) / 8;
        for (int d = 0; d < arrays[i].n_dims; d++)
            bytes *= (size_t)arrays[i].shape[d];
        if (bytes != arrays[i].bytes)
            abort();
        for (size_t b = 0; b < bytes; b++)
            byte = data[arrays[i].at + b];
    }
    return 0;
}
