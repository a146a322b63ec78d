/* bpe_pattern.c - Oniguruma's expressions on PCRE2.
 *
 * Differences that matter, and what becomes of them: \s is Unicode's White_Space (PCRE2 counts
 * U+180E too) and \w the alphabetic characters, marks, digits, connectors and six numbers of Latin-1
 * (measured on every assigned code point): written as properties.  \h is a hexadecimal digit.  ^ and $ match at every line.  Inside [ ] an unescaped [
 * opens a class and && intersects: refused, since PCRE2 has neither.  \W inside a class is refused.
 *
 * PCRE2 brings its own version of Unicode; a letter that is newer than it splits like a character
 * without properties.
 */
#include "plugins/tokenizer/bpe_pattern.h"
#include "plugins/tokenizer/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

/* ---- compiling ------------------------------------------------------------------------------- */

static void add_text(bpe_buffer *b, const char *text)
{
    bpe_buffer_add(b, text, strlen(text));
}

/* The escape \c as PCRE2 should read it; NULL: as it is; "": refused. */
static const char *escape(char c, int in_class)
{
    switch (c) {
    case 's': return "\\p{White_Space}";
    case 'S': return "\\P{White_Space}";
    case 'w': return in_class ? WORD : "[" WORD "]";
    case 'W': return in_class ? "" : "[^" WORD "]";
    case 'h': return in_class ? "0-9a-fA-F" : "[0-9a-fA-F]";
    case 'H': return in_class ? "" : "[^0-9a-fA-F]";
    case 'R': case 'X': case 'K': case 'y': case 'Y': case 'g': case 'k': case 'C': case 'Q':
    case 'E': case 'N': case 'V': case 'O': return "";
    default: return NULL;
    }
}

static vw_status rewrite(bpe_buffer *to, const char *text, size_t bytes, vw_error *err)
{
    int in_class = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i], next = i + 1 < bytes ? text[i + 1] : '\0';
        if (c == '\\' && i + 1 < bytes) {
            const char *other = escape(next, in_class);
            if (other && !*other)
                return vw_fail(err, VW_E_UNSUPPORTED, "\\%c%s is not supported", next,
                               in_class ? " in a class" : "");
            if (other)
                add_text(to, other);
            else
                bpe_buffer_add(to, text + i, 2);
            i++;
            continue;
        }
        if (in_class && ((c == '[' && next != ':') || (c == '&' && next == '&')))
            return vw_fail(err, VW_E_UNSUPPORTED, "%s in a class is not supported",
                           c == '[' ? "a class" : "&&");
        if (in_class && c == '[') { /* [:alpha:] to its end */
            while (i + 1 < bytes && text[i] != ']')
                bpe_buffer_add(to, text + i++, 1);
        } else if (c == '[') {
            in_class = 1;
            bpe_buffer_add(to, "[", 1);
            if (next == '^')
                bpe_buffer_add(to, text + ++i, 1);
            if (i + 1 < bytes && text[i + 1] == ']') { /* a ] that stands first is one of it */
                bpe_buffer_add(to, "\\]", 2);
                i++;
            }
            continue;
        } else if (c == ']') {
            in_class = 0;
        }
        bpe_buffer_add(to, text + i, 1);
    }
    return VW_OK;
}

static void set_shown(bpe_pattern *p, const char *text, size_t bytes)
{
    snprintf(p->shown, sizeof p->shown, "%.*s", (int)(bytes < 90 ? bytes : 90), text);
    vw_text_trim(p->shown);
}

vw_status bpe_pattern_regex(bpe_pattern *p, const vw_host *host, const char *text, size_t bytes,
                            vw_error *err)
{
    bpe_buffer b;
    int code;
    size_t at;
    PCRE2_UCHAR why[160] = "";
    *p = (bpe_pattern){.host = host};
    set_shown(p, text, bytes);
    bpe_buffer_init(&b, host);
    vw_status st = rewrite(&b, text, bytes, err);
    if (!st && b.is_failed)
        st = vw_fail(err, VW_E_NOMEM, "no memory for it");
    if (!st) {
        p->code = pcre2_compile((PCRE2_SPTR)(b.at ? b.at : ""), b.n,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                &code, &at, NULL);
        if (!p->code) {
            pcre2_get_error_message(code, why, sizeof why);
            st = vw_fail(err, VW_E_FORMAT, "%s, at byte %zu", (const char *)why, at);
        }
    }
    bpe_buffer_free(&b);
    if (st)
        return vw_fail_in(err, st, "the pattern \"%s\"", p->shown);
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* where that is possible */
    return VW_OK;
}

vw_status bpe_pattern_literal(bpe_pattern *p, const vw_host *host, const char *text, size_t bytes,
                              vw_error *err)
{
    *p = (bpe_pattern){.host = host};
    set_shown(p, text, bytes);
    if (!bytes)
        return vw_fail(err, VW_E_FORMAT, "a pattern is empty");
    p->literal = host->alloc(host->core, bytes);
    if (!p->literal)
        return vw_fail(err, VW_E_NOMEM, "no memory for a pattern of %zu bytes", bytes);
    memcpy(p->literal, text, bytes);
    p->n_literal = bytes;
    return VW_OK;
}

void bpe_pattern_free(bpe_pattern *p)
{
    pcre2_code_free(p->code);
    if (p->host)
        p->host->free(p->host->core, p->literal);
    *p = (bpe_pattern){0};
}

/* ---- searching ------------------------------------------------------------------------------- */

vw_status bpe_search_open(bpe_search *s, const bpe_pattern *p, vw_error *err)
{
    *s = (bpe_search){.pattern = p};
    if (p->code && !(s->match = pcre2_match_data_create(1, NULL)))
        return vw_fail(err, VW_E_NOMEM, "no memory to search a text");
    return VW_OK;
}

void bpe_search_close(bpe_search *s)
{
    pcre2_match_data_free(s->match);
    s->match = NULL;
}

void bpe_search_in(bpe_search *s, const char *text, size_t bytes)
{
    s->text = text;
    s->bytes = bytes;
    s->from = s->last_end = 0;
    s->has_last = 0;
}

static int find_literal(bpe_search *s, size_t *start, size_t *end)
{
    const bpe_pattern *p = s->pattern;
    const char *at = s->text + s->from, *stop = s->text + s->bytes;
    while ((size_t)(stop - at) >= p->n_literal &&
           (at = memchr(at, p->literal[0], (size_t)(stop - at) - p->n_literal + 1)) != NULL) {
        if (!memcmp(at, p->literal, p->n_literal)) {
            *start = (size_t)(at - s->text);
            s->from = *end = *start + p->n_literal;
            return 1;
        }
        at++;
    }
    return 0;
}

vw_status bpe_search_next(bpe_search *s, int *found, size_t *start, size_t *end, vw_error *err)
{
    *found = 0;
    if (!s->pattern->code) {
        *found = find_literal(s, start, end);
        return VW_OK;
    }
    while (s->from <= s->bytes) {
        int n = pcre2_match(s->pattern->code, (PCRE2_SPTR)s->text, s->bytes, s->from,
                            PCRE2_NO_UTF_CHECK, s->match, NULL);
        if (n == PCRE2_ERROR_JIT_STACKLIMIT)
            n = pcre2_match(s->pattern->code, (PCRE2_SPTR)s->text, s->bytes, s->from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, NULL);
        if (n == PCRE2_ERROR_NOMATCH)
            return VW_OK;
        if (n < 0) {
            PCRE2_UCHAR why[160] = "";
            pcre2_get_error_message(n, why, sizeof why);
            return vw_fail(err, VW_E_FORMAT, "the pattern \"%s\" gives up on a text of %zu bytes: %s",
                           s->pattern->shown, s->bytes, (const char *)why);
        }
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
        *start = at[0];
        *end = at[1];
        if (*start == *end && s->has_last && s->last_end == *end) {
            s->from = *end < s->bytes ? *end + utf8_length(s->text + *end, s->bytes - *end)
                                      : s->bytes + 1;
            continue;
        }
        s->from = s->last_end = *end;
        s->has_last = *found = 1;
        return VW_OK;
    }
    return VW_OK;
}
