/* bpe_normal.c - the rules of a normalizer, one after another.
 */
#include "plugins/tokenizer/bpe_normal.h"
#include "plugins/tokenizer/utf8.h"

#ifdef HAVE_UTF8PROC
#include <limits.h>
#include <stdlib.h>
#include <utf8proc.h>
#endif

int bpe_has_forms(void)
{
#ifdef HAVE_UTF8PROC
    return 1;
#else
    return 0;
#endif
}

static vw_status write_form(const bpe_rule *rule, const bpe_buffer *from, bpe_buffer *to,
                            vw_error *err)
{
#ifdef HAVE_UTF8PROC
    utf8proc_uint8_t *out = NULL;
    int options = UTF8PROC_STABLE | (rule->is_composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                  (rule->is_compatible ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)(from->at ? from->at : ""),
                     (utf8proc_ssize_t)from->n, &out, (utf8proc_option_t)options);
    if (n < 0)
        return vw_fail(err, n == UTF8PROC_ERROR_NOMEM ? VW_E_NOMEM : VW_E_FORMAT,
                       "cannot normalise a text of %zu bytes: %s", from->n, utf8proc_errmsg(n));
    bpe_buffer_add(to, out, (size_t)n);
    free(out);
    return VW_OK;
#else
    (void)rule, (void)from, (void)to;
    return vw_fail(err, VW_E_UNSUPPORTED, "this build has no libutf8proc");
#endif
}

static vw_status write_replaced(const bpe_rule *rule, const bpe_buffer *from, bpe_buffer *to,
                                vw_error *err)
{
    bpe_search search;
    size_t before = 0, start = 0, end = 0;
    int found = 1;
    vw_status st = bpe_search_open(&search, &rule->pattern, err);
    if (st)
        return st;
    bpe_search_in(&search, from->at ? from->at : "", from->n);
    while (!(st = bpe_search_next(&search, &found, &start, &end, err)) && found) {
        bpe_buffer_add(to, from->at + before, start - before);
        bpe_buffer_add(to, rule->content, rule->n_content);
        before = end;
    }
    bpe_search_close(&search);
    bpe_buffer_add(to, from->at + before, from->n - before);
    return st;
}

static void write_stripped(const bpe_rule *rule, const bpe_buffer *from, bpe_buffer *to)
{
    size_t start = 0, end = from->n, n;
    while (rule->strips_left && start < end && (n = utf8_space(from->at + start)) > 0)
        start += n;
    while (rule->strips_right && end > start) {
        size_t last = end - 1;
        while (last > start && ((unsigned char)from->at[last] & 0xC0) == 0x80)
            last--;
        if (!utf8_space(from->at + last))
            break;
        end = last;
    }
    bpe_buffer_add(to, from->at + start, end - start);
}

static vw_status run_rule(const bpe_rule *rule, const bpe_buffer *from, bpe_buffer *to,
                          vw_error *err)
{
    to->n = 0;
    switch (rule->kind) {
    case BPE_RULE_REPLACE:
        return write_replaced(rule, from, to, err);
    case BPE_RULE_FORM:
        return write_form(rule, from, to, err);
    case BPE_RULE_STRIP:
        write_stripped(rule, from, to);
        return VW_OK;
    case BPE_RULE_PREPEND:
        if (from->n)
            bpe_buffer_add(to, rule->content, rule->n_content);
        bpe_buffer_add(to, from->at, from->n);
        return VW_OK;
    }
    return VW_OK;
}

vw_status bpe_normalise(const bpe_rule *rules, size_t n_rules, const char *text, size_t bytes,
                        bpe_buffer *to, bpe_buffer *other, vw_error *err)
{
    to->n = 0;
    bpe_buffer_add(to, text, bytes);
    for (size_t i = 0; i < n_rules; i++) {
        vw_status st = run_rule(rules + i, to, other, err);
        if (st)
            return st;
        bpe_buffer swap = *to;
        *to = *other;
        *other = swap;
    }
    if (to->is_failed || other->is_failed)
        return vw_fail(err, VW_E_NOMEM, "no memory to normalise a text of %zu bytes", bytes);
    return VW_OK;
}
