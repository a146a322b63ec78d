/* nearest.c - optimal string alignment distance: insert, delete, replace, swap neighbours.
 *
 * Near enough is a third of the word's letters, at least one: "thread" finds "threads", "dtyep"
 * finds "dtype", and "x" finds nothing.
 */
#include "core/nearest.h"

#include <string.h>

enum { MAX_WORD = 63 };

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][MAX_WORD + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t cost = a[i - 1] != b[j - 1];
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[m];
}

vw_nearest vw_nearest_to(const char *word)
{
    size_t n = strlen(word);
    vw_nearest nearest = {word, NULL, n > 0 && n <= MAX_WORD ? (n < 6 ? 1 : n / 3) + 1 : 0};

    return nearest;
}

void vw_nearest_offer(vw_nearest *nearest, const char *candidate)
{
    size_t n = strlen(nearest->word), m = strlen(candidate), d;

    if (nearest->distance == 0 || m > MAX_WORD || m < 2)
        return;
    d = distance(nearest->word, n, candidate, m);
    if (d < nearest->distance) {
        nearest->distance = d;
        nearest->best = candidate;
    }
}
