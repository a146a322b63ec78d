/* sentencepiece_shim.h - the one C++ library of the project behind three C functions.
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

#ifdef __cplusplus
}
#endif
#endif
