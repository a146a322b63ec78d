/* golden.h - one prompt of a golden: its tokens, its greedy continuation and its logits, and how an
 * engine's are compared with them (etc/goldens/README.md). */
#ifndef T_GOLDEN_H
#define T_GOLDEN_H

#include <vishwamai/weights.h>

#include "t/with_engine.h"

enum { GOLDEN_MAX_TOKENS = 256, GOLDEN_MAX_GREEDY = 64 };

typedef struct golden {
    int32_t tokens[GOLDEN_MAX_TOKENS], greedy[GOLDEN_MAX_GREEDY];
    size_t n, n_greedy;
    size_t first; /* rows before it are not compared; 0 unless a test says otherwise */
    double std;
    const float *logits; /* [n][vocab], mapped; may lie at any address */
    vw_weights_reader *reader;
} golden;

/* Of t/data/goldens/MODEL; bails out when it is not as expected. */
void golden_open(with_engine *w, const char *model, const char *prompt, golden *g);
void golden_close(with_engine *w, golden *g);

/* Another array of the same golden, f32 [rows][vocab]. */
const float *golden_array(with_engine *w, const golden *g, const char *name, size_t rows);

/* All rows of logits from `first` on, fed `chunk` tokens at a time (0: at once), within 2e-4 of their standard
 * deviation. */
void golden_compare(with_engine *w, const golden *g, size_t chunk, const char *what);

#endif
