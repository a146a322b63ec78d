/* bpe_decode.c - ids to bytes.
 *
 * The bytes of every id are made once: a stream asks for one id at a time, and half a character is
 * no error here but what such an id is.
 */
#include "plugins/tokenizer/bpe.h"
#include "plugins/tokenizer/utf8.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 :
           c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "<0x41>", or -1. */
static int byte_of(const char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) || text[5] != '>' || hex(text[3]) < 0 || hex(text[4]) < 0)
        return -1;
    return hex(text[3]) * 16 + hex(text[4]);
}

/* A text in the byte alphabet; one that is not, such as an added token's, stays as it is. */
static void write_bytes(bpe_buffer *to, const char *text, size_t n)
{
    size_t before = to->n;
    for (size_t i = 0, used; i < n; i += used) {
        int byte = utf8_length(text + i, n - i) ? bpe_character_byte(utf8_get(text + i, &used)) : -1;
        if (byte < 0) {
            to->n = before;
            bpe_buffer_add(to, text, n);
            return;
        }
        char c = (char)byte;
        bpe_buffer_add(to, &c, 1);
    }
}

static void write_replaced(bpe_buffer *to, const bpe_decoder *d, const char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t r = 0;
        while (r < d->n_replace && (d->replace[r].n_from > n - i ||
                                    memcmp(d->replace[r].from, text + i, d->replace[r].n_from)))
            r++;
        if (r < d->n_replace) {
            bpe_buffer_add(to, d->replace[r].to, d->replace[r].n_to);
            i += d->replace[r].n_from;
        } else {
            bpe_buffer_add(to, text + i++, 1);
        }
    }
}

static void write_piece(bpe_buffer *to, const bpe_decoder *d, const char *text, size_t n)
{
    int byte = d->has_bytes ? byte_of(text, n) : -1;
    char c = (char)byte;
    if (byte >= 0)
        bpe_buffer_add(to, &c, 1);
    else if (d->is_byte_level)
        write_bytes(to, text, n);
    else
        write_replaced(to, d, text, n);
}

vw_status bpe_decode_all(bpe_tokenizer *t, vw_error *err)
{
    t->bytes_of = t->host->alloc(t->host->core, ((size_t)t->n_ids + 1) * sizeof *t->bytes_of);
    if (!t->bytes_of)
        return vw_fail(err, VW_E_NOMEM, "no memory for the texts of %d ids", t->n_ids);
    for (int32_t id = 0; id < t->n_ids; id++) {
        size_t n = 0, before = t->decoded.n;
        const char *text = id < t->model.n_ids ? bpe_model_text(&t->model, id, &n) : "";
        if (t->added_of[id]) {
            text = t->added_of[id]->content;
            n = t->added_of[id]->n_content;
        }
        write_piece(&t->decoded, &t->decoder, text, n);
        if (t->decoded.is_failed || t->decoded.n > UINT32_MAX)
            return vw_fail(err, VW_E_NOMEM, "no memory for the texts of %d ids", t->n_ids);
        t->bytes_of[id] = (bpe_span){(uint32_t)before, (uint32_t)(t->decoded.n - before)};
    }
    return VW_OK;
}

vw_status bpe_piece(const bpe_tokenizer *t, int32_t id, int is_first, int show_special, char *text,
                    size_t room, size_t *bytes, vw_error *err)
{
    if (id < 0 || id >= t->n_ids)
        return vw_fail(err, VW_E_INVALID, "token id %d, expected 0 to %d", id, t->n_ids - 1);
    const bpe_added *a = t->added_of[id];
    bpe_span s = t->bytes_of[id];
    if (a && a->is_special && !show_special)
        s.bytes = 0;
    if (!a && is_first && t->decoder.strips_first && s.bytes && t->decoded.at[s.at] == ' ')
        s = (bpe_span){s.at + 1, s.bytes - 1};
    if (room && s.bytes)
        memcpy(text, t->decoded.at + s.at, s.bytes < room ? s.bytes : room);
    *bytes = s.bytes;
    return VW_OK;
}
