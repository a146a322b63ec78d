/* find.c - looking a name up, and the nearest for the sentence that says it is not there. */
#include "plugins/weights/find.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NEAR = 255 }; /* longer names are not compared */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vw_weights_tensor *)a)->name, ((const vw_weights_tensor *)b)->name);
}

const vw_weights_tensor *weights_find(const vw_weights_tensor *tensors, size_t n, const char *name)
{
    vw_weights_tensor key = {.name = name};
    return n ? bsearch(&key, tensors, n, sizeof key, by_name) : NULL;
}

/* Edits between two names, or `limit` if there are at least so many. */
static size_t distance(const char *a, size_t n, const char *b, size_t m, size_t limit)
{
    size_t row[MAX_NEAR + 1];
    if ((n > m ? n - m : m - n) >= limit || m > MAX_NEAR)
        return limit;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0], best = row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t cost = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < cost)
                cost = row[j] + 1;
            if (row[j - 1] + 1 < cost)
                cost = row[j - 1] + 1;
            row[j] = cost;
            best = cost < best ? cost : best;
        }
        if (best >= limit)
            return limit;
    }
    return row[m];
}

const char *weights_nearest(const vw_weights_tensor *tensors, size_t n_tensors, const char *name)
{
    size_t n = strlen(name), limit = n / 2 + 4;
    const char *best = NULL;
    for (size_t i = 0; i < n_tensors; i++) {
        const char *other = tensors[i].name;
        size_t d = distance(name, n, other, strlen(other), limit);
        if (d < limit) {
            limit = d;
            best = other;
        }
    }
    return best;
}
