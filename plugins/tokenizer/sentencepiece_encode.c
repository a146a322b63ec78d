/* sentencepiece_encode.c - text to ids: the library's own encoding, and what it has no word for.
 *
 * The library takes text without special pieces, and turns a byte that is not UTF-8 into U+FFFD.
 * So a text is cut where something else must stand: a control piece that the caller wants parsed, a
 * broken byte that the vocabulary has a piece for, or, in a user's message, the middle of a turn
 * marker, which then is no marker any more.  A text without any of these is one call.
 *
 * Behind a cut the library would add its space again where the model wants one in front of a text;
 * the stretches after the first go through a second instance that adds none.
 */
#include "plugins/tokenizer/sentencepiece.h"
#include "plugins/tokenizer/utf8.h"

#include <stdlib.h>

#define MAX_TEXT ((size_t)256 << 20) /* the library needs thirty times that in memory */

void sp_push(sp_ids *out, int32_t id)
{
    if (out->n < out->room)
        out->ids[out->n] = id;
    out->n++;
}

/* ---- special pieces -------------------------------------------------------------------------- */

int sp_is_control(const sp_piece *p)
{
    return p->type == SP_CONTROL;
}

/* Marks of turns and media, as far as the library would parse them from plain text. */
int sp_is_turn(const sp_piece *p)
{
    return p->type == SP_USER_DEFINED && chat_is_mark(p->text.at, p->text.bytes);
}

static unsigned first_byte(const sp_plugin *sp, int32_t id)
{
    return (unsigned char)sp->model.pieces[id].text.at[0];
}

/* Does id a come before id b: a smaller first byte, then the longer text? */
static int comes_first(const sp_plugin *sp, int32_t a, int32_t b)
{
    unsigned x = first_byte(sp, a), y = first_byte(sp, b);
    if (x != y)
        return x < y;
    return sp->model.pieces[a].text.bytes > sp->model.pieces[b].text.bytes;
}

/* Bottom-up merge sort: qsort's comparison could not see the pieces. */
static void sort_ids(const sp_plugin *sp, int32_t *ids, int32_t *other, int32_t n)
{
    for (int32_t width = 1; width < n; width *= 2) {
        for (int32_t lo = 0; lo < n; lo += 2 * width) {
            int32_t mid = lo + width < n ? lo + width : n, end = mid + width < n ? mid + width : n;
            for (int32_t a = lo, b = mid, o = lo; o < end; o++) {
                int take_b = a == mid || (b < end && comes_first(sp, ids[b], ids[a]));
                other[o] = take_b ? ids[b++] : ids[a++];
            }
        }
        memcpy(ids, other, (size_t)n * sizeof *ids);
    }
}

vw_status sp_specials_make(const sp_plugin *sp, int (*wanted)(const sp_piece *), sp_specials *out,
                           vw_error *err)
{
    const sp_model *m = &sp->model;
    int32_t n = 0, at = 0;
    for (int32_t i = 0; i < m->n_pieces; i++)
        n += wanted(m->pieces + i) != 0;
    int32_t *other = sp->host->alloc(sp->host->core, ((size_t)n + 1) * sizeof *other);
    out->n = 0;
    out->ids = sp->host->alloc(sp->host->core, ((size_t)n + 1) * sizeof *out->ids);
    if (!out->ids || !other) {
        sp->host->free(sp->host->core, other);
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %d special pieces", sp->path, n);
    }
    for (int32_t i = 0; i < m->n_pieces; i++)
        if (wanted(m->pieces + i))
            out->ids[out->n++] = i;
    sort_ids(sp, out->ids, other, n);
    sp->host->free(sp->host->core, other);
    for (int b = 0; b <= 256; b++) {
        while (at < n && first_byte(sp, out->ids[at]) < (unsigned)b)
            at++;
        out->first[b] = at;
    }
    return VW_OK;
}

/* The longest special piece that stands at the beginning of a text, or -1. */
static int32_t special_at(const sp_plugin *sp, const sp_specials *s, const char *text, size_t bytes)
{
    unsigned b = (unsigned char)*text;
    for (int32_t i = s->first[b]; i < s->first[b + 1]; i++) {
        sp_text t = sp->model.pieces[s->ids[i]].text;
        if (t.bytes <= bytes && !memcmp(t.at, text, t.bytes))
            return s->ids[i];
    }
    return -1;
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* One call of the library. */
static vw_status encode_run(const sp_plugin *sp, const char *text, size_t bytes, int is_first,
                            sp_ids *out, vw_error *err)
{
    char why[300];
    size_t n = 0, room = out->n < out->room ? out->room - out->n : 0;
    if (!bytes)
        return VW_OK;
    int failed = sp_shim_encode(is_first ? sp->shim : sp->rest, text, bytes,
                                room ? out->ids + out->n : NULL, room, &n, why, sizeof why);
    if (failed)
        return vw_fail(err, failed == 2 ? VW_E_NOMEM : VW_E_FORMAT, "%s: cannot encode a text of "
                       "%zu bytes: %s", sp->path, bytes, failed == 2 ? "no memory" : why);
    out->n += n;
    return VW_OK;
}

/* A normaliser may make a marker of characters that were none (full-width signs); the library then
 * takes it for one.  In a user's message that is refused. */
static vw_status check_guarded(const sp_plugin *sp, const sp_ids *out, size_t from, vw_error *err)
{
    for (size_t i = from; i < out->n && i < out->room; i++)
        for (int32_t j = 0; j < sp->turns.n; j++)
            if (out->ids[i] == sp->turns.ids[j])
                return vw_fail(err, VW_E_INVALID, "a message holds a disguised %.*s",
                               (int)sp->model.pieces[out->ids[i]].text.bytes,
                               sp->model.pieces[out->ids[i]].text.at);
    return VW_OK;
}

/* What interrupts the plain text at p. */
typedef struct cut {
    size_t keep; /* bytes from here that still belong to the run before */
    size_t skip; /* bytes that the cut itself takes */
    int32_t id;  /* that it becomes, or -1 */
} cut;

static int find_cut(const sp_plugin *sp, const char *p, size_t room, sp_mode mode, size_t length,
                    cut *c)
{
    int32_t id;
    if (length == 0 && sp->model.has_bytes) {
        *c = (cut){0, 1, sp->model.byte_id[(unsigned char)*p]};
        return c->id >= 0;
    }
    if (mode == SP_SPECIAL && (id = special_at(sp, &sp->control, p, room)) >= 0) {
        *c = (cut){0, sp->model.pieces[id].text.bytes, id};
        return 1;
    }
    *c = (cut){length ? length : 1, 0, -1};
    return mode == SP_GUARDED && special_at(sp, &sp->turns, p, room) >= 0;
}

vw_status sp_encode(const sp_plugin *sp, const char *text, size_t bytes, sp_mode mode, int is_first,
                    sp_ids *out, vw_error *err)
{
    size_t start = 0, n_before = out->n;
    vw_status status = VW_OK;
    if (bytes > MAX_TEXT)
        return vw_fail(err, VW_E_INVALID, "a text of %zu bytes, expected at most %zu", bytes,
                       MAX_TEXT);
    for (size_t i = 0; i < bytes && !status;) {
        size_t length = utf8_length(text + i, bytes - i);
        cut c;
        if (!find_cut(sp, text + i, bytes - i, mode, length, &c)) {
            i += length ? length : 1;
            continue;
        }
        i += c.keep;
        status = encode_run(sp, text + start, i - start, is_first, out, err);
        is_first = 0;
        if (c.id >= 0)
            sp_push(out, c.id);
        start = i += c.skip;
    }
    if (!status)
        status = encode_run(sp, text + start, bytes - start, is_first, out, err);
    if (!status && mode == SP_GUARDED)
        status = check_guarded(sp, out, n_before, err);
    return status;
}
