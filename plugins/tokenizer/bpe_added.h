/* bpe_added.h - added tokens: texts that are cut out of a text before anything else sees it.
 */
#ifndef VW_TOKENIZER_BPE_ADDED_H
#define VW_TOKENIZER_BPE_ADDED_H

#include "plugins/tokenizer/bpe_buffer.h"

#include <stdint.h>

typedef struct bpe_added {
    const char *content; /* as the file has it; borrowed */
    size_t n_content;
    const char *match;   /* what is looked for: the content, or what the normalizer makes of it */
    size_t n_match;
    int32_t id;
    int is_special, is_normalised, is_mark; /* is_mark: no user's message may contain it */
    int strips_left, strips_right, is_word;
} bpe_added;

/* Which tokens a search leaves alone. */
typedef enum bpe_guard {
    BPE_ALL,        /* none */
    BPE_NO_SPECIAL, /* special ones are text */
    BPE_NO_MARKS    /* special ones and marks of a conversation are text */
} bpe_guard;

/* Sorted by `match`, so that the longest one at a place is found by narrowing a range. */
typedef struct bpe_added_set {
    bpe_added *tokens;
    size_t n;
    size_t first[257]; /* those whose match begins with byte b: first[b] .. first[b + 1] - 1 */
} bpe_added_set;

void bpe_added_sort(bpe_added_set *set);

/* The first token in text[from ..): its index, the bytes it takes, or -1.  `floor`: the end of the
 * one before, which stripped spaces do not pass. */
ptrdiff_t bpe_added_next(const bpe_added_set *set, bpe_guard guard, const char *text, size_t bytes,
                         size_t floor, size_t *start, size_t *end);

#endif
