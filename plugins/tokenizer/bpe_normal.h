/* bpe_normal.h - what a tokenizer.json does to a text before it is split: its normalizer.
 */
#ifndef VW_TOKENIZER_BPE_NORMAL_H
#define VW_TOKENIZER_BPE_NORMAL_H

#include "plugins/tokenizer/bpe_pattern.h"

typedef enum bpe_rule_kind {
    BPE_RULE_REPLACE, /* every match of the pattern becomes the content */
    BPE_RULE_PREPEND, /* the content in front of a text that is not empty */
    BPE_RULE_STRIP,   /* white space at the ends goes */
    BPE_RULE_FORM     /* a Unicode normalization form; needs libutf8proc */
} bpe_rule_kind;

typedef struct bpe_rule {
    bpe_rule_kind kind;
    bpe_pattern pattern;
    const char *content; /* borrowed */
    size_t n_content;
    int strips_left, strips_right;
    int is_composed, is_compatible; /* of a form: NFC, NFKC; NFKC, NFKD */
} bpe_rule;

int bpe_has_forms(void); /* was this built with libutf8proc? */

/* All rules on one text; the result is `to`, the other one is used on the way. */
vw_status bpe_normalise(const bpe_rule *rules, size_t n_rules, const char *text, size_t bytes,
                        bpe_buffer *to, bpe_buffer *other, vw_error *err);

#endif
