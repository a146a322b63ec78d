/* bpe_split.h - a text to words: the steps of a pre-tokenizer.
 *
 * Every pre-tokenizer of the reference library is one of three steps or a sequence of them: cut at a
 * pattern, write bytes in the byte alphabet, mark spaces.
 */
#ifndef VW_TOKENIZER_BPE_SPLIT_H
#define VW_TOKENIZER_BPE_SPLIT_H

#include "plugins/tokenizer/bpe_pattern.h"

#include <stdint.h>

typedef enum bpe_behaviour { /* what becomes of what a pattern matches */
    BPE_REMOVED, BPE_ISOLATED, BPE_CONTIGUOUS, BPE_WITH_PREVIOUS, BPE_WITH_NEXT
} bpe_behaviour;

typedef enum bpe_step_kind { BPE_STEP_CUT, BPE_STEP_BYTES, BPE_STEP_SPACE, BPE_STEP_MARK } bpe_step_kind;

typedef struct bpe_step {
    bpe_step_kind kind;
    bpe_pattern pattern;     /* CUT */
    bpe_behaviour behaviour;
    int inverts;             /* what it does not match is the match */
    char mark[8];            /* MARK: what a space becomes */
    int puts_in_front;       /* MARK: 0 never, 1 before the first word of a text, 2 before each */
} bpe_step;

/* Words one behind another: word i is text [end[i - 1], end[i]). */
typedef struct bpe_words {
    bpe_buffer text, ends; /* ends holds size_t */
} bpe_words;

void bpe_words_init(bpe_words *w, const vw_host *host);
void bpe_words_free(bpe_words *w);
size_t bpe_words_count(const bpe_words *w);
const char *bpe_words_get(const bpe_words *w, size_t i, size_t *bytes);

/* Memory for the steps, kept from text to text. */
typedef struct bpe_splitter {
    bpe_words words[2];
    bpe_buffer parts;
} bpe_splitter;

void bpe_splitter_init(bpe_splitter *s, const vw_host *host);
void bpe_splitter_free(bpe_splitter *s);

/* All steps on one text of whole UTF-8 characters; *out is one of s->words.  is_first: the text
 * stands at the beginning of what is encoded. */
vw_status bpe_split(bpe_splitter *s, const bpe_step *steps, size_t n_steps, const char *text,
                    size_t bytes, int is_first, const bpe_words **out, vw_error *err);

/* The byte alphabet of GPT-2: the character that stands for a byte, and the byte of a character or
 * -1. */
uint32_t bpe_byte_character(unsigned char byte);
int bpe_character_byte(uint32_t c);

#endif
