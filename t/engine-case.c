/* engine-case.c - opening, ids, sequences. */
#include "t/engine-case.h"

#include "t/tap/tap.h"

void open_or_die(with_engine *w, const char *path, const char *settings)
{
    if (!engine_open(w, path, settings))
        bail_out("%s", w->err.text);
}

vw_sequence *sequence(with_engine *w)
{
    vw_sequence *s;
    if (vw_sequence_new(w->engine, &s, &w->err))
        bail_out("%s", w->err.text);
    return s;
}

void random_ids(int32_t *ids, size_t n, int32_t vocab, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = 3 + (int32_t)((seed >> 8) % (unsigned)(vocab - 3));
    }
}
