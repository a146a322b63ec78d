/* bpe_read_steps.c - the normalizer, pre-tokenizer, decoder and post-processor of a tokenizer.json.
 *
 * Each is one object with a "type", or a Sequence of them.  What this plugin cannot do exactly is an
 * error that names it: a tokenizer that is nearly right makes a model quietly worse.
 */
#include "plugins/tokenizer/bpe.h"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* \w as the reference's own expressions mean it, which are not Oniguruma's. */
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}"

enum { MAX_NESTED = 8 };

typedef vw_status (*read_one)(bpe_tokenizer *t, const vw_json_value *v, const char *type,
                              vw_error *err);

/* Call `one` for a component, or for each of a Sequence, whose list has the name `members`. */
static vw_status read_sequence(bpe_tokenizer *t, const vw_json_value *v, const char *members,
                               int depth, read_one one, vw_error *err)
{
    const vw_json *json = t->json;
    const vw_json_value *list;
    const char *type;
    if (json->type(v) == VW_JSON_NULL || json->type(v) == VW_JSON_MISSING)
        return VW_OK;
    vw_status st = json->get_string(t->doc, v, "type", "", &type, err);
    if (st)
        return st;
    if (strcmp(type, "Sequence") != 0)
        return one(t, v, type, err);
    list = json->get(v, members);
    if (json->type(list) != VW_JSON_ARRAY || depth == MAX_NESTED)
        return vw_fail(err, VW_E_FORMAT, "a Sequence without an array \"%s\", or nested too deep",
                       members);
    for (size_t i = 0; i < json->count(list) && !st; i++)
        st = read_sequence(t, json->at(list, i), members, depth + 1, one, err);
    return st;
}

/* {"String": "..."} or {"Regex": "..."} */
static vw_status read_pattern(bpe_tokenizer *t, const vw_json_value *v, bpe_pattern *p,
                              vw_error *err)
{
    const vw_json_value *text = t->json->get(t->json->get(v, "pattern"), "Regex");
    size_t n;
    if (t->json->type(text) == VW_JSON_STRING) {
        const char *s = t->json->string(text, &n);
        return bpe_pattern_regex(p, t->host, s, n, err);
    }
    text = t->json->get(t->json->get(v, "pattern"), "String");
    if (t->json->type(text) != VW_JSON_STRING)
        return vw_fail(err, VW_E_FORMAT, "a pattern that has neither \"String\" nor \"Regex\"");
    const char *s = t->json->string(text, &n);
    return bpe_pattern_literal(p, t->host, s, n, err);
}

static vw_status too_many(const char *what, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "more than %d %s", BPE_MAX_STEPS, what);
}

/* ---- the normalizer -------------------------------------------------------------------------- */

static vw_status read_form(bpe_rule *r, const char *type, vw_error *err)
{
    if (!bpe_has_forms())
        return vw_fail(err, VW_E_UNSUPPORTED, "%s needs libutf8proc, which this build has not; "
                       "configure --with-utf8proc", type);
    r->kind = BPE_RULE_FORM;
    r->is_compatible = type[2] == 'K';
    r->is_composed = type[strlen(type) - 1] == 'C';
    return VW_OK;
}

static vw_status read_rule(bpe_tokenizer *t, const vw_json_value *v, const char *type, vw_error *err)
{
    const vw_json *json = t->json;
    bpe_rule *r = t->rules + t->n_rules;
    vw_status st = VW_OK;
    if (t->n_rules == BPE_MAX_STEPS)
        return too_many("normalizers", err);
    *r = (bpe_rule){.content = ""};
    if (!strcmp(type, "NFC") || !strcmp(type, "NFD") || !strcmp(type, "NFKC") ||
        !strcmp(type, "NFKD")) {
        st = read_form(r, type, err);
    } else if (!strcmp(type, "Replace")) {
        r->kind = BPE_RULE_REPLACE;
        r->content = json->string(json->get(v, "content"), &r->n_content);
        st = read_pattern(t, v, &r->pattern, err);
    } else if (!strcmp(type, "Prepend")) {
        r->kind = BPE_RULE_PREPEND;
        r->content = json->string(json->get(v, "prepend"), &r->n_content);
    } else if (!strcmp(type, "Strip")) {
        r->kind = BPE_RULE_STRIP;
        st = json->get_bool(t->doc, v, "strip_left", 1, &r->strips_left, err);
        if (!st)
            st = json->get_bool(t->doc, v, "strip_right", 1, &r->strips_right, err);
    } else {
        return vw_fail(err, VW_E_UNSUPPORTED, "the type \"%s\" is not supported (NFC, NFD, NFKC, "
                       "NFKD, Replace, Prepend, Strip and Sequence are)", type);
    }
    if (!st)
        t->n_rules++;
    return st;
}

/* ---- the pre-tokenizer ----------------------------------------------------------------------- */

static vw_status next_step(bpe_tokenizer *t, bpe_step **step, vw_error *err)
{
    if (t->n_steps == BPE_MAX_STEPS)
        return too_many("pre-tokenizers", err);
    *step = t->steps + t->n_steps;
    **step = (bpe_step){.kind = BPE_STEP_CUT, .behaviour = BPE_ISOLATED};
    return VW_OK;
}

static vw_status add_cut(bpe_tokenizer *t, const char *regex, bpe_behaviour behaviour, int inverts,
                         vw_error *err)
{
    bpe_step *s = NULL;
    vw_status st = next_step(t, &s, err);
    if (st || (st = bpe_pattern_regex(&s->pattern, t->host, regex, strlen(regex), err)))
        return st;
    s->behaviour = behaviour;
    s->inverts = inverts;
    t->n_steps++;
    return VW_OK;
}

static vw_status add_plain(bpe_tokenizer *t, bpe_step_kind kind, vw_error *err)
{
    bpe_step *s = NULL;
    vw_status st = next_step(t, &s, err);
    if (!st) {
        s->kind = kind;
        t->n_steps++;
    }
    return st;
}

static vw_status read_behaviour(bpe_tokenizer *t, const vw_json_value *v, bpe_behaviour *out,
                                vw_error *err)
{
    static const char *const names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const char *name;
    vw_status st = t->json->get_string(t->doc, v, "behavior", "Isolated", &name, err);
    for (int i = 0; !st && i < 5; i++)
        if (!strcmp(name, names[i])) {
            *out = (bpe_behaviour)i;
            return VW_OK;
        }
    return st ? st : vw_fail(err, VW_E_FORMAT, "behavior is \"%s\"; expected Removed, Isolated, "
                             "Contiguous, MergedWithPrevious or MergedWithNext", name);
}

static vw_status read_split(bpe_tokenizer *t, const vw_json_value *v, vw_error *err)
{
    bpe_step *s = NULL;
    vw_status st = next_step(t, &s, err);
    if (st || (st = t->json->get_bool(t->doc, v, "invert", 0, &s->inverts, err)) ||
        (st = read_behaviour(t, v, &s->behaviour, err)) ||
        (st = read_pattern(t, v, &s->pattern, err)))
        return st;
    t->n_steps++;
    return VW_OK;
}

static vw_status read_byte_level(bpe_tokenizer *t, const vw_json_value *v, vw_error *err)
{
    int spaces, splits;
    vw_status st = t->json->get_bool(t->doc, v, "add_prefix_space", 1, &spaces, err);
    if (!st)
        st = t->json->get_bool(t->doc, v, "use_regex", 1, &splits, err);
    if (!st && spaces)
        st = add_plain(t, BPE_STEP_SPACE, err);
    if (!st && splits)
        st = add_cut(t, GPT2, BPE_ISOLATED, 0, err);
    return st ? st : add_plain(t, BPE_STEP_BYTES, err);
}

/* A Metaspace, here and as a decoder: its mark, and whether it puts one in front. */
static vw_status read_mark(bpe_tokenizer *t, const vw_json_value *v, const char **mark, int *front,
                           vw_error *err)
{
    const char *scheme;
    int prefixes;
    vw_status st = t->json->get_string(t->doc, v, "replacement", "\xE2\x96\x81", mark, err);
    if (st || (st = t->json->get_bool(t->doc, v, "add_prefix_space", 1, &prefixes, err)) ||
        (st = t->json->get_string(t->doc, v, "prepend_scheme", prefixes ? "always" : "never",
                                  &scheme, err)))
        return st;
    *front = !strcmp(scheme, "always") ? 2 : !strcmp(scheme, "first") ? 1 : 0;
    if (!*front && strcmp(scheme, "never") != 0)
        return vw_fail(err, VW_E_FORMAT, "prepend_scheme is \"%s\"; expected always, first or never",
                       scheme);
    if (!**mark || strlen(*mark) >= sizeof t->steps->mark)
        return vw_fail(err, VW_E_FORMAT, "replacement \"%s\" is not one character", *mark);
    return VW_OK;
}

static vw_status read_metaspace(bpe_tokenizer *t, const vw_json_value *v, vw_error *err)
{
    const char *mark;
    bpe_step *s = NULL;
    int splits;
    vw_status st = next_step(t, &s, err);
    if (st || (st = read_mark(t, v, &mark, &s->puts_in_front, err)) ||
        (st = t->json->get_bool(t->doc, v, "split", 1, &splits, err)))
        return st;
    s->kind = BPE_STEP_MARK;
    memcpy(s->mark, mark, strlen(mark) + 1);
    t->n_steps++;
    if (!splits)
        return VW_OK;
    if ((st = next_step(t, &s, err)) ||
        (st = bpe_pattern_literal(&s->pattern, t->host, mark, strlen(mark), err)))
        return st;
    s->behaviour = BPE_WITH_NEXT;
    t->n_steps++;
    return VW_OK;
}

static vw_status read_step(bpe_tokenizer *t, const vw_json_value *v, const char *type, vw_error *err)
{
    bpe_behaviour how = BPE_ISOLATED;
    int each;
    vw_status st;
    if (!strcmp(type, "Split"))
        return read_split(t, v, err);
    if (!strcmp(type, "ByteLevel"))
        return read_byte_level(t, v, err);
    if (!strcmp(type, "Metaspace"))
        return read_metaspace(t, v, err);
    if (!strcmp(type, "Digits")) {
        st = t->json->get_bool(t->doc, v, "individual_digits", 0, &each, err);
        return st ? st : add_cut(t, "\\p{N}", each ? BPE_ISOLATED : BPE_CONTIGUOUS, 0, err);
    }
    if (!strcmp(type, "Punctuation")) {
        st = read_behaviour(t, v, &how, err);
        return st ? st : add_cut(t, "[\\p{P}$+<=>^`|~]", how, 0, err);
    }
    if (!strcmp(type, "WhitespaceSplit"))
        return add_cut(t, "\\s", BPE_REMOVED, 0, err);
    if (!strcmp(type, "Whitespace"))
        return add_cut(t, "[" WORD "]+|[^" WORD "\\s]+", BPE_REMOVED, 1, err);
    return vw_fail(err, VW_E_UNSUPPORTED, "the type \"%s\" is not supported (Split, ByteLevel, Digits, "
                   "Punctuation, Metaspace, Whitespace, WhitespaceSplit and Sequence are)", type);
}

/* ---- the decoder ----------------------------------------------------------------------------- */

static vw_status add_replace(bpe_decoder *d, const char *from, size_t n_from, const char *to,
                             size_t n_to, vw_error *err)
{
    if (d->n_replace == BPE_MAX_STEPS)
        return too_many("decoders", err);
    if (!n_from)
        return vw_fail(err, VW_E_FORMAT, "a pattern is empty");
    d->replace[d->n_replace].from = from;
    d->replace[d->n_replace].n_from = n_from;
    d->replace[d->n_replace].to = to;
    d->replace[d->n_replace++].n_to = n_to;
    return VW_OK;
}

/* A space at the beginning goes; nothing else can be said while a text still streams. */
static vw_status read_strip(bpe_tokenizer *t, const vw_json_value *v, vw_error *err)
{
    const char *content;
    int64_t start, stop;
    vw_status st;
    if ((st = t->json->get_string(t->doc, v, "content", " ", &content, err)) ||
        (st = t->json->get_int(t->doc, v, "start", 0, 1000, 0, &start, err)) ||
        (st = t->json->get_int(t->doc, v, "stop", 0, 1000, 0, &stop, err)))
        return st;
    if (strcmp(content, " ") != 0 || start > 1 || stop)
        return vw_fail(err, VW_E_UNSUPPORTED, "Strip of more than one space in front");
    t->decoder.strips_first |= start == 1;
    return VW_OK;
}

static vw_status read_decoder(bpe_tokenizer *t, const vw_json_value *v, const char *type,
                              vw_error *err)
{
    const vw_json *json = t->json;
    const vw_json_value *from = json->get(json->get(v, "pattern"), "String"),
                        *to = json->get(v, "content");
    const char *mark;
    size_t n_from, n_to;
    int front;
    if (!strcmp(type, "ByteLevel")) {
        t->decoder.is_byte_level = 1;
    } else if (!strcmp(type, "ByteFallback")) {
        t->decoder.has_bytes = 1;
    } else if (!strcmp(type, "Replace")) {
        if (json->type(from) != VW_JSON_STRING || json->type(to) != VW_JSON_STRING)
            return vw_fail(err, VW_E_UNSUPPORTED, "Replace of something that is no String");
        mark = json->string(from, &n_from);
        const char *text = json->string(to, &n_to);
        return add_replace(&t->decoder, mark, n_from, text, n_to, err);
    } else if (!strcmp(type, "Metaspace")) {
        vw_status st = read_mark(t, v, &mark, &front, err);
        t->decoder.strips_first |= !st && front > 0;
        return st ? st : add_replace(&t->decoder, mark, strlen(mark), " ", 1, err);
    } else if (!strcmp(type, "Strip")) {
        return read_strip(t, v, err);
    } else if (strcmp(type, "Fuse") != 0) {
        return vw_fail(err, VW_E_UNSUPPORTED, "the type \"%s\" is not supported (ByteLevel, "
                       "ByteFallback, Replace, Metaspace, Strip, Fuse and Sequence are)", type);
    }
    return VW_OK;
}

vw_status bpe_read_steps(bpe_tokenizer *t, const vw_json_value *root, vw_error *err)
{
    const struct {
        const char *key, *members;
        read_one one;
    } parts[] = {{"normalizer", "normalizers", read_rule},
                 {"pre_tokenizer", "pretokenizers", read_step},
                 {"decoder", "decoders", read_decoder}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        vw_status st = read_sequence(t, t->json->get(root, parts[i].key), parts[i].members, 0,
                                     parts[i].one, err);
        if (st)
            return vw_fail_in(err, st, "%s", parts[i].key);
    }
    return VW_OK;
}

/* ---- the post-processor ---------------------------------------------------------------------- */

typedef struct ends {
    int32_t before, after;
    int n_before, n_after;
} ends;

static void read_template(const bpe_tokenizer *t, const vw_json_value *v, ends *e)
{
    const vw_json *json = t->json;
    const vw_json_value *single = json->get(v, "single"), *known = json->get(v, "special_tokens");
    int is_behind = 0;
    for (size_t i = 0; i < json->count(single); i++) {
        const vw_json_value *special = json->get(json->at(single, i), "SpecialToken");
        if (json->type(special) != VW_JSON_OBJECT) {
            is_behind = 1;
            continue;
        }
        const vw_json_value *ids =
            json->get(json->get(known, json->string(json->get(special, "id"), NULL)), "ids");
        int32_t id = (int32_t)json->integer(json->at(ids, 0));
        *(is_behind ? &e->after : &e->before) = id;
        *(is_behind ? &e->n_after : &e->n_before) += json->count(ids) == 1 && id >= 0 &&
                                                     id < t->n_ids ? 1 : 2;
    }
}

static void read_processor(const bpe_tokenizer *t, const vw_json_value *v, int depth, ends *e)
{
    const vw_json *json = t->json;
    const vw_json_value *list = json->get(v, "processors");
    const char *type = json->string(json->get(v, "type"), NULL);
    if (!strcmp(type, "TemplateProcessing")) {
        read_template(t, v, e);
    } else if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing")) {
        e->before = (int32_t)json->integer(json->at(json->get(v, "cls"), 1));
        e->after = (int32_t)json->integer(json->at(json->get(v, "sep"), 1));
        e->n_before++;
        e->n_after++;
    }
    for (size_t i = 0; depth < MAX_NESTED && i < json->count(list); i++)
        read_processor(t, json->at(list, i), depth + 1, e);
}

vw_status bpe_read_ends(const bpe_tokenizer *t, int32_t *before, int32_t *after, vw_error *err)
{
    ends e = {-1, -1, 0, 0};
    read_processor(t, t->json->get(t->json->root(t->doc), "post_processor"), 0, &e);
    if (e.n_before > 1 || e.n_after > 1)
        return vw_fail(err, VW_E_UNSUPPORTED, "%s: post_processor: more than one token in front of "
                       "or behind a text", t->path);
    if (e.before >= t->n_ids || e.after >= t->n_ids)
        return vw_fail(err, VW_E_FORMAT, "%s: post_processor: token id %d, expected 0 to %d", t->path,
                       e.before >= t->n_ids ? e.before : e.after, t->n_ids - 1);
    *before = e.n_before ? e.before : -1;
    *after = e.n_after ? e.after : -1;
    return VW_OK;
}
