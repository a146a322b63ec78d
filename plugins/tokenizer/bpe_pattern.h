/* bpe_pattern.h - where a pattern of tokenizer.json matches: a literal text or a regular expression.
 *
 * The files' expressions are written for Oniguruma's Ruby syntax; PCRE2 runs them.  Where the two
 * read the same text differently it is rewritten (\s, \w, \h ...) or refused, never misread.
 */
#ifndef VW_TOKENIZER_BPE_PATTERN_H
#define VW_TOKENIZER_BPE_PATTERN_H

#include "plugins/tokenizer/bpe_buffer.h"

typedef struct bpe_pattern {
    const vw_host *host;
    void *code;       /* pcre2_code, or NULL: a literal */
    char *literal;
    size_t n_literal;
    char shown[96];   /* the beginning of the text, for messages */
} bpe_pattern;

/* Both on failure leave nothing. */
vw_status bpe_pattern_regex(bpe_pattern *p, const vw_host *host, const char *text, size_t bytes,
                            vw_error *err);
vw_status bpe_pattern_literal(bpe_pattern *p, const vw_host *host, const char *text, size_t bytes,
                              vw_error *err);
void bpe_pattern_free(bpe_pattern *p);

/* One search after another in one text. */
typedef struct bpe_search {
    const bpe_pattern *pattern;
    const char *text;
    size_t bytes, from, last_end;
    int has_last;
    void *match; /* pcre2_match_data */
} bpe_search;

vw_status bpe_search_open(bpe_search *s, const bpe_pattern *p, vw_error *err);
void bpe_search_close(bpe_search *s);
/* The same pattern in another text, which is whole UTF-8. */
void bpe_search_in(bpe_search *s, const char *text, size_t bytes);
/* The next match, or *found = 0.  An empty match right behind the last one is skipped. */
vw_status bpe_search_next(bpe_search *s, int *found, size_t *start, size_t *end, vw_error *err);

#endif
