/* bpe_encode.c - text to ids: added tokens cut out, the rest normalised, split, merged.
 *
 * The order is the reference library's: added tokens that want the raw text, then the normalizer on
 * each stretch between them, then added tokens that want it normalised, then the pre-tokenizer.
 * Bytes that are no UTF-8, which the reference never sees, end a stretch and become byte pieces
 * where the vocabulary has them.
 */
#include "plugins/tokenizer/bpe.h"
#include "plugins/tokenizer/utf8.h"

#define MAX_TEXT ((size_t)256 << 20) /* steps and symbols take some fifty times that */

typedef struct job {
    const bpe_tokenizer *t;
    bpe_guard guard;
    bpe_splitter splitter;
    bpe_work work;
    bpe_buffer normal, other;
    bpe_ids *out;
    int is_first; /* nothing was encoded yet */
} job;

static vw_status encode_words(job *j, const char *text, size_t bytes, vw_error *err)
{
    const bpe_tokenizer *t = j->t;
    const bpe_words *words;
    vw_status st =
        bpe_split(&j->splitter, t->steps, t->n_steps, text, bytes, j->is_first, &words, err);
    for (size_t i = 0; !st && i < bpe_words_count(words); i++) {
        size_t n;
        const char *word = bpe_words_get(words, i, &n);
        st = bpe_encode_word(&t->model, &j->work, word, n, j->out, err);
    }
    j->is_first = 0;
    return st;
}

static vw_status encode_normal(job *j, const char *text, size_t bytes, vw_error *err);

/* Cut out the tokens of one set; what lies between goes on to the next stage. */
static vw_status encode_between(job *j, const bpe_added_set *set, const char *text, size_t bytes,
                                vw_status (*next)(job *, const char *, size_t, vw_error *),
                                vw_error *err)
{
    size_t floor = 0, start = 0, end = 0;
    ptrdiff_t found;
    while ((found = bpe_added_next(set, j->guard, text, bytes, floor, &start, &end)) >= 0) {
        vw_status st = start > floor ? next(j, text + floor, start - floor, err) : VW_OK;
        if (st)
            return st;
        bpe_push(j->out, set->tokens[found].id);
        j->is_first = 0;
        floor = end;
    }
    return bytes > floor ? next(j, text + floor, bytes - floor, err) : VW_OK;
}

static vw_status encode_normal(job *j, const char *text, size_t bytes, vw_error *err)
{
    if (j->t->n_rules == 0)
        return encode_between(j, j->t->added + 1, text, bytes, encode_words, err);
    vw_status st =
        bpe_normalise(j->t->rules, j->t->n_rules, text, bytes, &j->normal, &j->other, err);
    if (st)
        return st;
    return encode_between(j, j->t->added + 1, j->normal.at ? j->normal.at : "", j->normal.n,
                          encode_words, err);
}

static void push_byte(job *j, unsigned char byte)
{
    const bpe_model *m = &j->t->model;
    char text[2];
    int32_t id = m->byte_id[byte];
    if (j->t->decoder.is_byte_level)
        id = bpe_model_find(m, text, utf8_put(bpe_byte_character(byte), text));
    if (id < 0)
        id = m->unk;
    if (id >= 0)
        bpe_push(j->out, id);
    j->is_first = 0;
}

static vw_status encode_all(job *j, const char *text, size_t bytes, vw_error *err)
{
    size_t start = 0;
    for (size_t i = 0, n; i < bytes; i += n ? n : 1) {
        if ((n = utf8_length(text + i, bytes - i)) > 0)
            continue;
        vw_status st = encode_between(j, j->t->added, text + start, i - start, encode_normal, err);
        if (st)
            return st;
        push_byte(j, (unsigned char)text[i]);
        start = i + 1;
    }
    return encode_between(j, j->t->added, text + start, bytes - start, encode_normal, err);
}

/* Text that becomes a mark by another way than its own text, such as through the normalizer. */
static vw_status check_guarded(const bpe_tokenizer *t, const bpe_ids *out, size_t from,
                               vw_error *err)
{
    for (size_t i = from; i < out->n && i < out->room; i++) {
        const bpe_added *a = t->added_of[out->ids[i]];
        if (a && (a->is_special || a->is_mark) && a->id != t->model.unk)
            return vw_fail(err, VW_E_INVALID, "a message holds a disguised %.*s",
                           (int)a->n_content, a->content);
    }
    return VW_OK;
}

vw_status bpe_encode(const bpe_tokenizer *t, const char *text, size_t bytes, bpe_guard guard,
                     int is_first, bpe_ids *out, vw_error *err)
{
    job j = {.t = t, .guard = guard, .out = out, .is_first = is_first};
    size_t from = out->n;
    if (bytes > MAX_TEXT)
        return vw_fail(err, VW_E_INVALID, "a text of %zu bytes, expected at most %zu", bytes,
                       MAX_TEXT);
    bpe_splitter_init(&j.splitter, t->host);
    bpe_work_init(&j.work, t->host);
    bpe_buffer_init(&j.normal, t->host);
    bpe_buffer_init(&j.other, t->host);
    vw_status st = bytes ? encode_all(&j, text, bytes, err) : VW_OK;
    bpe_splitter_free(&j.splitter);
    bpe_work_free(&j.work);
    bpe_buffer_free(&j.normal);
    bpe_buffer_free(&j.other);
    if (!st && guard == BPE_NO_MARKS)
        st = check_guarded(t, out, from, err);
    return st ? vw_fail_in(err, st, "%s", t->path) : VW_OK;
}
