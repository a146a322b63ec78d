/* bpe_pre.h - the ways of splitting a text that "tokenizer.ggml.pre" of a GGUF file gives by name.
 */
#ifndef VW_TOKENIZER_BPE_PRE_H
#define VW_TOKENIZER_BPE_PRE_H

#include <stddef.h>

enum { BPE_PRE_PATTERNS = 3 };

/* The patterns, one after another, each of which isolates what it matches. */
typedef struct bpe_pre {
    const char *name, *patterns[BPE_PRE_PATTERNS];
    int whole_first;
} bpe_pre;

/* NULL when it is not known. */
const bpe_pre *bpe_pre_by_name(const char *name, size_t bytes);
/* By `n` patterns; carriage returns and new lines in them may be written either way. */
const bpe_pre *bpe_pre_by_patterns(const char *const *patterns, int n, int whole_first);

/* What GPT-2 splits by. */
extern const char bpe_pre_gpt2[];

#endif
