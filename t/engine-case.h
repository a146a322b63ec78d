/* engine-case.h - what the tests of the engine share: a model that opens, ids, sequences. */
#ifndef VW_T_ENGINE_CASE_H
#define VW_T_ENGINE_CASE_H

#include "t/with_engine.h"

/* Ends the test where it cannot. */
void open_or_die(with_engine *w, const char *path, const char *settings);
vw_sequence *sequence(with_engine *w);

/* Ids of a vocabulary without its first three; the same ones for a seed. */
void random_ids(int32_t *ids, size_t n, int32_t vocab, unsigned seed);

#endif
