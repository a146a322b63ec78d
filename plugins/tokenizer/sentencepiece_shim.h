/* sentencepiece_shim.h - the one C++ library of the project behind a few C functions.
 */
#ifndef VW_TOKENIZER_SENTENCEPIECE_SHIM_H
#define VW_TOKENIZER_SENTENCEPIECE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sp_shim sp_shim;

/* Each returns 0, or 1 with a reason in `why`, or 2 when there is no memory; none throws. */
int sp_shim_open(const char *model, size_t bytes, sp_shim **shim, char *why, size_t why_bytes);
void sp_shim_close(sp_shim *shim); /* NULL is accepted */

/* Up to `room` ids, and the full count in *n.  Any thread. */
int sp_shim_encode(const sp_shim *shim, const char *text, size_t bytes, int32_t *ids, size_t room,
                   size_t *n, char *why, size_t why_bytes);

/* A vocabulary learnt from texts, line by line: pieces 0 to 3 are <pad>, <eos>, <bos>, <unk>, a line
 * break is a piece, what has none is spelt in bytes, and nothing is normalised, so that every text
 * comes back to the byte.  *model is freed with sp_shim_free(). */
typedef struct sp_shim_training {
    const char *const *texts;
    const size_t *bytes;
    size_t n_texts;
    int32_t vocab_size, threads;
    int is_unigram; /* else byte-pair encoding */
} sp_shim_training;
int sp_shim_train(const sp_shim_training *training, char **model, size_t *bytes, char *why,
                  size_t why_bytes);
void sp_shim_free(char *model);

#ifdef __cplusplus
}
#endif
#endif
