/* bpe_added.c - the longest added token at a place, from the left.
 *
 * As the reference library (tokenizers, tokenizer/added_vocabulary.rs): leftmost-longest matches
 * that do not overlap; one that is refused (special ones are text, or it must be a whole word and is
 * none) is passed over as a whole.
 */
#include "plugins/tokenizer/bpe_added.h"
#include "plugins/tokenizer/utf8.h"

#include <stdlib.h>

static int by_match(const void *a, const void *b)
{
    const bpe_added *x = a, *y = b;
    size_t n = x->n_match < y->n_match ? x->n_match : y->n_match;
    int c = memcmp(x->match, y->match, n);
    if (c)
        return c;
    return x->n_match != y->n_match ? (x->n_match < y->n_match ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

void bpe_added_sort(bpe_added_set *set)
{
    size_t at = 0;
    if (set->n)
        qsort(set->tokens, set->n, sizeof *set->tokens, by_match);
    for (unsigned b = 0; b <= 256; b++) {
        while (at < set->n && (unsigned char)set->tokens[at].match[0] < b)
            at++;
        set->first[b] = at;
    }
}

/* First index in [lo, hi) whose byte `depth` is at least b; those that end before it come first. */
static size_t lower(const bpe_added_set *set, size_t lo, size_t hi, size_t depth, unsigned b)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const bpe_added *t = set->tokens + mid;
        if (t->n_match <= depth || (unsigned char)t->match[depth] < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static ptrdiff_t longest_at(const bpe_added_set *set, const char *text, size_t bytes)
{
    unsigned b = (unsigned char)*text;
    size_t lo = set->first[b], hi = set->first[b + 1];
    ptrdiff_t best = -1;
    for (size_t depth = 1; lo < hi; depth++) {
        if (set->tokens[lo].n_match == depth)
            best = (ptrdiff_t)lo;
        if (depth == bytes)
            break;
        b = (unsigned char)text[depth];
        lo = lower(set, lo, hi, depth, b);
        hi = lower(set, lo, hi, depth, b + 1);
    }
    return best;
}

/* The last whole character before p, which is not the beginning. */
static const char *character_before(const char *text, const char *p)
{
    do
        p--;
    while (p > text && ((unsigned char)*p & 0xC0) == 0x80);
    return p;
}

/* Letters, digits and '_' of ASCII, and everything beyond that is no space: enough to tell a word's
 * edge, and what single_word tokens of published files stand beside. */
static int is_word_character(const char *p)
{
    unsigned char c = (unsigned char)*p;
    if (c >= 0x80)
        return !utf8_space(p);
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static int is_allowed(const bpe_added *t, bpe_guard guard, const char *text, size_t bytes,
                      size_t start, size_t end)
{
    if ((guard != BPE_ALL && t->is_special) || (guard == BPE_NO_MARKS && t->is_mark))
        return 0;
    return !t->is_word || ((start == 0 || !is_word_character(character_before(text, text + start))) &&
                           (end == bytes || !is_word_character(text + end)));
}

ptrdiff_t bpe_added_next(const bpe_added_set *set, bpe_guard guard, const char *text, size_t bytes,
                         size_t floor, size_t *start, size_t *end)
{
    for (size_t i = floor; set->n && i < bytes;) {
        ptrdiff_t found = longest_at(set, text + i, bytes - i);
        const bpe_added *t = set->tokens + found;
        if (found < 0) {
            i++;
            continue;
        }
        *start = i;
        *end = i + t->n_match;
        if (!is_allowed(t, guard, text, bytes, *start, *end)) {
            i = *end;
            continue;
        }
        while (t->strips_left && *start > floor) {
            const char *before = character_before(text, text + *start);
            if (!utf8_space(before) || (size_t)(before - text) < floor)
                break;
            *start = (size_t)(before - text);
        }
        for (size_t n; t->strips_right && *end < bytes && (n = utf8_space(text + *end)) > 0;)
            *end += n;
        return found;
    }
    return -1;
}
