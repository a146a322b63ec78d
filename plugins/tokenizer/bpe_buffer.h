/* bpe_buffer.h - bytes that grow, on the host's memory.
 *
 * Every step of an encoding writes its text into one of these; a failed allocation is remembered
 * until somebody asks, so that a step is written without a branch for each append.
 */
#ifndef VW_TOKENIZER_BPE_BUFFER_H
#define VW_TOKENIZER_BPE_BUFFER_H

#include <vishwamai/host.h>

typedef struct bpe_buffer {
    const vw_host *host;
    char *at;
    size_t n, room;
    int is_failed; /* an append found no memory; what is there is not to be used */
} bpe_buffer;

static inline void bpe_buffer_init(bpe_buffer *b, const vw_host *host)
{
    *b = (bpe_buffer){host, NULL, 0, 0, 0};
}

static inline void bpe_buffer_free(bpe_buffer *b)
{
    if (b->host)
        b->host->free(b->host->core, b->at);
    *b = (bpe_buffer){b->host, NULL, 0, 0, 0};
}

/* Room for `bytes` more; NULL when there is none. */
static inline char *bpe_buffer_more(bpe_buffer *b, size_t bytes)
{
    if (b->is_failed)
        return NULL;
    if (bytes > b->room - b->n) {
        size_t room = b->room + b->room / 2 + bytes + 64;
        char *grown = room > bytes ? b->host->alloc(b->host->core, room) : NULL;
        if (!grown) {
            b->is_failed = 1;
            return NULL;
        }
        if (b->n)
            memcpy(grown, b->at, b->n);
        b->host->free(b->host->core, b->at);
        b->at = grown;
        b->room = room;
    }
    return b->at + b->n;
}

static inline void bpe_buffer_add(bpe_buffer *b, const void *bytes, size_t n)
{
    char *to = n ? bpe_buffer_more(b, n) : NULL;
    if (to) {
        memcpy(to, bytes, n);
        b->n += n;
    }
}

#endif
