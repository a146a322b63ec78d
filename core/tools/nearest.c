/* nearest.c - edit distance with swaps of neighbours (optimal string alignment). */
#include "nearest.h"

#include <string.h>

enum { MAX_WORD = 40 };

static int least(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Rows i - 2, i - 1 and i of the usual table, in turn. */
static int distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b);
    int rows[3][MAX_WORD + 1];
    if (n > MAX_WORD || m > MAX_WORD)
        return MAX_WORD;
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], above2[j - 2] + 1, row[j]);
        }
    }
    return rows[n % 3][m];
}

nearest nearest_to(const char *wrong)
{
    /* A third of the word may be wrong, and never more than three letters. */
    int far = (int)strlen(wrong) / 3 + 1;
    return (nearest){wrong, NULL, far < 3 ? far + 1 : 4};
}

void nearest_offer(nearest *best, const char *known)
{
    int d = distance(best->wrong, known);
    if (d < best->distance) {
        best->distance = d;
        best->name = known;
    }
}
