/* bpe_split.c - the steps of a pre-tokenizer, each from one list of words to the next.
 *
 * Every step copies: two lists take turns, a word is never a pointer into a text that another step
 * has rewritten.  The five ways to cut at a match are those of the reference library (tokenizers,
 * tokenizer/normalizer.rs, SplitDelimiterBehavior).
 */
#include "plugins/tokenizer/bpe_split.h"
#include "plugins/tokenizer/utf8.h"

typedef struct part { /* of a word, in the order of the text */
    size_t start, end;
    int is_match;
} part;

void bpe_words_init(bpe_words *w, const vw_host *host)
{
    bpe_buffer_init(&w->text, host);
    bpe_buffer_init(&w->ends, host);
}

void bpe_words_free(bpe_words *w)
{
    bpe_buffer_free(&w->text);
    bpe_buffer_free(&w->ends);
}

static const size_t *ends_of(const bpe_words *w)
{
    return (const size_t *)(const void *)w->ends.at;
}

size_t bpe_words_count(const bpe_words *w)
{
    return w->ends.n / sizeof(size_t);
}

const char *bpe_words_get(const bpe_words *w, size_t i, size_t *bytes)
{
    size_t start = i ? ends_of(w)[i - 1] : 0;
    *bytes = ends_of(w)[i] - start;
    return w->text.at + start;
}

static void clear(bpe_words *w)
{
    w->text.n = w->ends.n = 0;
}

/* What was appended to the text since the last end is a word, unless it is nothing. */
static void end_word(bpe_words *w)
{
    size_t n = bpe_words_count(w), end = w->text.n;
    if (end > (n ? ends_of(w)[n - 1] : 0))
        bpe_buffer_add(&w->ends, &end, sizeof end);
}

/* ---- the byte alphabet ----------------------------------------------------------------------- */

/* Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and on, in order. */
static int is_printable(unsigned b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

uint32_t bpe_byte_character(unsigned char byte)
{
    if (is_printable(byte))
        return byte;
    return 256u + (byte <= 32 ? byte : byte <= 160 ? byte - 127u + 33u : 67u);
}

int bpe_character_byte(uint32_t c)
{
    if (c < 256)
        return is_printable(c) ? (int)c : -1;
    c -= 256;
    return c <= 32 ? (int)c : c <= 66 ? (int)c - 33 + 127 : c == 67 ? 173 : -1;
}

/* ---- cutting --------------------------------------------------------------------------------- */

static void add_part(bpe_buffer *parts, size_t start, size_t end, int is_match)
{
    part p = {start, end, is_match};
    bpe_buffer_add(parts, &p, sizeof p);
}

static vw_status find_parts(bpe_search *search, const bpe_step *step, const char *word,
                            size_t bytes, bpe_buffer *parts, vw_error *err)
{
    size_t before = 0, start = 0, end = 0;
    int found;
    parts->n = 0;
    bpe_search_in(search, word, bytes);
    for (;;) {
        vw_status st = bpe_search_next(search, &found, &start, &end, err);
        if (st)
            return st;
        if (!found)
            break;
        if (before != start)
            add_part(parts, before, start, step->inverts);
        add_part(parts, start, end, !step->inverts);
        before = end;
    }
    if (before != bytes)
        add_part(parts, before, bytes, step->inverts);
    return VW_OK;
}

/* Does a word end between this part and the next one? */
static int ends_here(const part *p, const part *next, bpe_behaviour how)
{
    switch (how) {
    case BPE_CONTIGUOUS: return p->is_match != next->is_match;
    case BPE_WITH_PREVIOUS: return !(next->is_match && !p->is_match);
    case BPE_WITH_NEXT: return !(p->is_match && !next->is_match);
    default: return 1;
    }
}

static void write_parts(const char *word, const bpe_buffer *parts, bpe_behaviour how, bpe_words *to)
{
    const part *p = (const part *)(const void *)parts->at;
    size_t n = parts->n / sizeof *p;
    for (size_t i = 0; i < n; i++) {
        if (how != BPE_REMOVED || !p[i].is_match)
            bpe_buffer_add(&to->text, word + p[i].start, p[i].end - p[i].start);
        if (i + 1 == n || ends_here(p + i, p + i + 1, how))
            end_word(to);
    }
}

/* ---- the other steps ------------------------------------------------------------------------- */

static void write_bytes(const char *word, size_t bytes, bpe_words *to)
{
    char *at = bpe_buffer_more(&to->text, 2 * bytes);
    if (!at)
        return;
    for (size_t i = 0; i < bytes; i++) {
        size_t n = utf8_put(bpe_byte_character((unsigned char)word[i]), at);
        at += n;
        to->text.n += n;
    }
    end_word(to);
}

static void write_marked(const bpe_step *step, const char *word, size_t bytes, int is_first,
                         bpe_words *to)
{
    size_t n_mark = strlen(step->mark);
    int has_one = bytes >= n_mark && !memcmp(word, step->mark, n_mark);
    int is_marked = step->puts_in_front == 2 || (step->puts_in_front == 1 && is_first);
    if (is_marked && !has_one && !(bytes && *word == ' '))
        bpe_buffer_add(&to->text, step->mark, n_mark);
    for (size_t i = 0; i < bytes; i++) {
        if (word[i] == ' ')
            bpe_buffer_add(&to->text, step->mark, n_mark);
        else
            bpe_buffer_add(&to->text, word + i, 1);
    }
    end_word(to);
}

static void write_spaced(const char *word, size_t bytes, bpe_words *to)
{
    if (!(bytes && *word == ' '))
        bpe_buffer_add(&to->text, " ", 1);
    bpe_buffer_add(&to->text, word, bytes);
    end_word(to);
}

/* ---- all together ---------------------------------------------------------------------------- */

void bpe_splitter_init(bpe_splitter *s, const vw_host *host)
{
    bpe_words_init(s->words, host);
    bpe_words_init(s->words + 1, host);
    bpe_buffer_init(&s->parts, host);
}

void bpe_splitter_free(bpe_splitter *s)
{
    bpe_words_free(s->words);
    bpe_words_free(s->words + 1);
    bpe_buffer_free(&s->parts);
}

static vw_status run_step(bpe_splitter *s, const bpe_step *step, const bpe_words *from, bpe_words *to,
                          int is_first, vw_error *err)
{
    bpe_search search = {0};
    vw_status st = VW_OK;
    clear(to);
    if (step->kind == BPE_STEP_CUT && (st = bpe_search_open(&search, &step->pattern, err)))
        return st;
    for (size_t i = 0; i < bpe_words_count(from) && !st; i++) {
        size_t bytes;
        const char *word = bpe_words_get(from, i, &bytes);
        if (step->kind == BPE_STEP_BYTES) {
            write_bytes(word, bytes, to);
        } else if (step->kind == BPE_STEP_MARK) {
            write_marked(step, word, bytes, is_first && i == 0, to);
        } else if (step->kind == BPE_STEP_SPACE) {
            write_spaced(word, bytes, to);
        } else {
            st = find_parts(&search, step, word, bytes, &s->parts, err);
            if (!st)
                write_parts(word, &s->parts, step->behaviour, to);
        }
    }
    bpe_search_close(&search);
    if (!st && (to->text.is_failed || to->ends.is_failed || s->parts.is_failed))
        st = vw_fail(err, VW_E_NOMEM, "no memory to split a text");
    return st;
}

vw_status bpe_split(bpe_splitter *s, const bpe_step *steps, size_t n_steps, const char *text,
                    size_t bytes, int is_first, const bpe_words **out, vw_error *err)
{
    bpe_words *from = s->words, *to = s->words + 1;
    clear(from);
    bpe_buffer_add(&from->text, text, bytes);
    end_word(from);
    if (from->text.is_failed || from->ends.is_failed)
        return vw_fail(err, VW_E_NOMEM, "no memory to split a text of %zu bytes", bytes);
    for (size_t i = 0; i < n_steps; i++) {
        vw_status st = run_step(s, steps + i, from, to, is_first, err);
        if (st)
            return st;
        bpe_words *other = from;
        from = to;
        to = other;
    }
    *out = from;
    return VW_OK;
}
