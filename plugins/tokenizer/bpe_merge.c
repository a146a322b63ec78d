/* bpe_merge.c - one word to ids: the pair that ranks first merges, until no pair does.
 *
 * The symbols are a doubly linked list in an array, the possible merges a heap ordered by rank and
 * then by place, as in the reference library (tokenizers, models/bpe/word.rs; sentencepiece,
 * bpe_model.cc): a merge that was overtaken by another is found out when it comes up, since its left
 * symbol is gone or its pair gives another piece.  Every merge removes a symbol and adds at most two
 * candidates, so a word of n characters takes O(n log n).
 */
#include "plugins/tokenizer/bpe_merge.h"
#include "plugins/tokenizer/utf8.h"

enum { GONE = -2, UNKNOWN = -1 };

typedef struct symbol {
    int32_t id;          /* UNKNOWN: no piece yet, possible with scores only; GONE: merged away */
    uint32_t at, bytes;  /* of the word */
    int32_t prev, next;  /* -1: none */
} symbol;

typedef struct candidate {
    int32_t rank, at, id; /* symbol `at` with the next one becomes `id` */
} candidate;

typedef struct word {
    const bpe_model *model;
    const char *text;
    symbol *symbols;
    int32_t n;
    candidate *heap;
    size_t n_heap;
} word;

void bpe_work_init(bpe_work *w, const vw_host *host)
{
    bpe_buffer_init(&w->symbols, host);
    bpe_buffer_init(&w->heap, host);
    bpe_buffer_init(&w->text, host);
}

void bpe_work_free(bpe_work *w)
{
    bpe_buffer_free(&w->symbols);
    bpe_buffer_free(&w->heap);
    bpe_buffer_free(&w->text);
}

/* ---- the heap -------------------------------------------------------------------------------- */

static int comes_before(candidate a, candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(word *w, candidate c)
{
    size_t i = w->n_heap++;
    while (i && comes_before(c, w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = c;
}

static candidate heap_pop(word *w)
{
    candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < w->n_heap) {
        child += child + 1 < w->n_heap && comes_before(w->heap[child + 1], w->heap[child]);
        if (!comes_before(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* What symbols a and b, neighbours, would become; 0 if they do not merge. */
static int find_merge(const word *w, const symbol *a, const symbol *b, candidate *c)
{
    if (!w->model->rank_of) {
        const bpe_pair *p = bpe_model_pair(w->model, a->id, b->id);
        if (p)
            *c = (candidate){p->rank, 0, p->id};
        return p != NULL;
    }
    int32_t id = bpe_model_find(w->model, w->text + a->at, (size_t)a->bytes + b->bytes);
    if (id >= 0)
        *c = (candidate){w->model->rank_of[id], 0, id};
    return id >= 0;
}

static void consider(word *w, int32_t left)
{
    candidate c;
    if (left < 0 || w->symbols[left].next < 0)
        return;
    if (find_merge(w, w->symbols + left, w->symbols + w->symbols[left].next, &c)) {
        c.at = left;
        heap_push(w, c);
    }
}

static void merge_all(word *w)
{
    for (int32_t i = 0; i + 1 < w->n; i++)
        consider(w, i);
    while (w->n_heap) {
        candidate top = heap_pop(w), now;
        symbol *left = w->symbols + top.at;
        if (left->id == GONE || left->next < 0)
            continue;
        symbol *right = w->symbols + left->next;
        if (!find_merge(w, left, right, &now) || now.id != top.id)
            continue;
        left->id = top.id;
        left->bytes += right->bytes;
        left->next = right->next;
        right->id = GONE;
        if (left->next >= 0)
            w->symbols[left->next].prev = top.at;
        consider(w, left->prev);
        consider(w, top.at);
    }
}

/* ---- characters to symbols ------------------------------------------------------------------- */

static void add_symbol(word *w, int32_t id, size_t at, size_t bytes)
{
    w->symbols[w->n] = (symbol){id, (uint32_t)at, (uint32_t)bytes, w->n - 1, w->n + 1};
    w->n++;
}

/* The piece of one character, dressed as the vocabulary writes it inside a word. */
static int32_t find_character(const bpe_model *m, bpe_work *work, const char *c, size_t bytes,
                              int is_first, int is_last)
{
    if (!*m->prefix && !*m->suffix)
        return bpe_model_find(m, c, bytes);
    work->text.n = 0;
    if (!is_first)
        bpe_buffer_add(&work->text, m->prefix, strlen(m->prefix));
    bpe_buffer_add(&work->text, c, bytes);
    if (is_last)
        bpe_buffer_add(&work->text, m->suffix, strlen(m->suffix));
    return work->text.is_failed ? -1 : bpe_model_find(m, work->text.at, work->text.n);
}

static int has_bytes_of(const bpe_model *m, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (m->byte_id[(unsigned char)text[i]] < 0)
            return 0;
    return m->has_bytes;
}

/* Characters that are no piece: their bytes, or unk, or nothing. */
static void cut(word *w, bpe_work *work, size_t bytes)
{
    const bpe_model *m = w->model;
    size_t unk_bytes = 0;
    for (size_t i = 0, n; i < bytes; i += n) {
        n = utf8_length(w->text + i, bytes - i);
        n = n ? n : 1;
        int32_t id = find_character(m, work, w->text + i, n, i == 0, i + n == bytes);
        if (id >= 0) {
            if (unk_bytes)
                add_symbol(w, m->unk, i - unk_bytes, unk_bytes);
            unk_bytes = 0;
            add_symbol(w, id, i, n);
        } else if (m->rank_of) {
            add_symbol(w, UNKNOWN, i, n);
        } else if (has_bytes_of(m, w->text + i, n)) {
            for (size_t b = 0; b < n; b++)
                add_symbol(w, m->byte_id[(unsigned char)w->text[i + b]], i + b, 1);
        } else if (m->unk >= 0) {
            if (unk_bytes && !m->fuses_unk) {
                add_symbol(w, m->unk, i - unk_bytes, unk_bytes);
                unk_bytes = 0;
            }
            unk_bytes += n;
        }
    }
    if (unk_bytes)
        add_symbol(w, m->unk, bytes - unk_bytes, unk_bytes);
    if (w->n)
        w->symbols[w->n - 1].next = -1;
}

/* A symbol that no merge has made a piece. */
static void push_unknown(const word *w, const symbol *s, int32_t before, bpe_ids *out)
{
    const bpe_model *m = w->model;
    if (has_bytes_of(m, w->text + s->at, s->bytes))
        for (uint32_t b = 0; b < s->bytes; b++)
            bpe_push(out, m->byte_id[(unsigned char)w->text[s->at + b]]);
    else if (m->unk >= 0 && !(m->fuses_unk && before == UNKNOWN))
        bpe_push(out, m->unk);
}

vw_status bpe_encode_word(const bpe_model *m, bpe_work *work, const char *text, size_t bytes,
                          bpe_ids *out, vw_error *err)
{
    word w = {.model = m, .text = text};
    int32_t whole = m->whole_first || bytes == 1 ? bpe_model_find(m, text, bytes) : -1;
    if (whole >= 0 && (m->whole_first || (!*m->prefix && !*m->suffix))) {
        bpe_push(out, whole);
        return VW_OK;
    }
    work->symbols.n = work->heap.n = 0;
    if (bytes > INT32_MAX / 4)
        return vw_fail(err, VW_E_INVALID, "a word of %zu bytes, expected at most %d", bytes,
                       INT32_MAX / 4);
    /* Every byte may be a symbol; every symbol is a candidate once and after each merge twice. */
    w.symbols = (symbol *)(void *)bpe_buffer_more(&work->symbols, (bytes + 1) * sizeof *w.symbols);
    w.heap = (candidate *)(void *)bpe_buffer_more(&work->heap, 3 * (bytes + 1) * sizeof *w.heap);
    if (!w.symbols || !w.heap)
        return vw_fail(err, VW_E_NOMEM, "no memory to encode a word of %zu bytes", bytes);
    cut(&w, work, bytes);
    merge_all(&w);
    int32_t before = 0;
    for (int32_t i = w.n ? 0 : -1; i >= 0; i = w.symbols[i].next) {
        if (w.symbols[i].id == UNKNOWN)
            push_unknown(&w, w.symbols + i, before, out);
        else
            bpe_push(out, w.symbols[i].id);
        before = w.symbols[i].id;
    }
    return VW_OK;
}
