/* bpe_gguf.c - the vocabulary of a tokenizer.json as a GGUF file has it, under the keys of llama.cpp.
 *
 * Its tokenizer "gpt2" is byte-level BPE, whose way of splitting a text has one of the names of bpe_pre.c;
 * what does not fit into that is refused rather than written nearly right.
 */
#include "plugins/tokenizer/bpe_pre.h"
#include "plugins/tokenizer/bpe_table.h"

#include <stdio.h>
#include <stdlib.h>

enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 }; /* tokenizer.ggml.token_type */
enum { MAX_NESTED = 8 };

typedef struct token {
    const char *text;
    size_t bytes;
    int type;
} token;

/* ---- how texts are split --------------------------------------------------------------------- */

typedef struct ways {
    const char *patterns[BPE_PRE_PATTERNS];
    int n, is_byte_level;
} ways;

static int is_true(const vw_json *json, const vw_json_value *v, const char *key, int def)
{
    const vw_json_value *flag = json->get(v, key);
    return json->type(flag) == VW_JSON_BOOL ? json->integer(flag) != 0 : def;
}

static const char *text_of(const vw_json *json, const vw_json_value *v, const char *key)
{
    size_t bytes;
    const vw_json_value *text = json->get(v, key);
    return json->type(text) == VW_JSON_STRING ? json->string(text, &bytes) : "";
}

/* Collect the patterns; 0 when something is not a pattern that isolates. */
static int take_ways(const vw_json *json, const vw_json_value *v, int depth, ways *w)
{
    const char *type = text_of(json, v, "type");
    const vw_json_value *list = json->get(v, "pretokenizers");
    const char *pattern = NULL;
    if (!strcmp(type, "Sequence")) {
        int fits = depth < MAX_NESTED;
        for (size_t i = 0; i < json->count(list) && fits; i++)
            fits = take_ways(json, json->at(list, i), depth + 1, w);
        return fits;
    }
    if (w->is_byte_level) /* what comes behind it sees letters for bytes */
        return 0;
    if (!strcmp(type, "ByteLevel")) {
        w->is_byte_level = 1;
        if (is_true(json, v, "add_prefix_space", 1))
            return 0;
        pattern = is_true(json, v, "use_regex", 1) ? bpe_pre_gpt2 : NULL;
    } else if (strcmp(type, "Split") != 0 || strcmp(text_of(json, v, "behavior"), "Isolated") != 0 ||
               is_true(json, v, "invert", 0) ||
               !*(pattern = text_of(json, json->get(v, "pattern"), "Regex"))) {
        return 0;
    }
    if (pattern && w->n == BPE_PRE_PATTERNS)
        return 0;
    if (pattern)
        w->patterns[w->n++] = pattern;
    return 1;
}

static vw_status find_pre(const bpe_plugin *p, const bpe_pre **pre, vw_error *err)
{
    const bpe_tokenizer *t = &p->t;
    ways w = {.n = 0};
    int fits = t->n_rules == 0 &&
               take_ways(t->json, t->json->get(t->json->root(t->doc), "pre_tokenizer"), 0, &w) &&
               w.is_byte_level;
    *pre = fits ? bpe_pre_by_patterns(w.patterns, w.n, t->model.whole_first) : NULL;
    if (*pre)
        return VW_OK;
    return vw_fail(err, VW_E_UNSUPPORTED, "%s: GGUF has no name for this way of normalising and splitting "
                   "a text, or none that is known here", t->path);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void take(token *list, int32_t n, int64_t id, const char *text, size_t bytes, int type)
{
    if (id >= 0 && id < n)
        list[id] = (token){text, bytes, type};
}

static void list_tokens(const bpe_plugin *p, token *list)
{
    const vw_json *json = p->t.json;
    const vw_json_value *root = json->root(p->t.doc), *model = json->get(root, "model");
    const vw_json_value *vocab = json->get(model, "vocab"), *added = json->get(root, "added_tokens");
    for (size_t i = 0; i < json->count(vocab); i++) {
        const char *text;
        const vw_json_value *id = json->member(vocab, i, &text);
        take(list, p->t.n_ids, json->integer(id), text, strlen(text), NORMAL);
    }
    for (size_t i = 0; i < json->count(added); i++) {
        const vw_json_value *a = json->at(added, i), *content = json->get(a, "content");
        size_t bytes = 0;
        const char *text = json->string(content, &bytes);
        take(list, p->t.n_ids, json->integer(json->get(a, "id")), text, bytes,
             is_true(json, a, "special", 0) ? CONTROL : USER_DEFINED);
    }
}

static void put_bytes(FILE *to, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < ' ')
            fprintf(to, "\\u%04x", c);
        else
            fputc(c, to);
    }
}

static void put_tokens(FILE *to, const token *list, int32_t n)
{
    fputs(",\"tokenizer.ggml.tokens\":[", to);
    for (int32_t i = 0; i < n; i++) {
        fputs(i ? ",\"" : "\"", to);
        if (list[i].text)
            put_bytes(to, list[i].text, list[i].bytes);
        else
            fprintf(to, "[PAD%d]", i);
        fputc('"', to);
    }
    fputs("],\"tokenizer.ggml.token_type\":[", to);
    for (int32_t i = 0; i < n; i++)
        fprintf(to, "%s%d", i ? "," : "", list[i].text ? list[i].type : UNUSED);
    fputc(']', to);
}

/* "a b", or ["a", "b"]: the former here. */
static void put_merges(FILE *to, const vw_json *json, const vw_json_value *merges)
{
    size_t bytes;
    fputs(",\"tokenizer.ggml.merges\":[", to);
    for (size_t i = 0; i < json->count(merges); i++) {
        const vw_json_value *m = json->at(merges, i);
        int is_pair = json->type(m) == VW_JSON_ARRAY;
        const char *text = json->string(is_pair ? json->at(m, 0) : m, &bytes);
        fputs(i ? ",\"" : "\"", to);
        put_bytes(to, text, bytes);
        if (is_pair) {
            fputc(' ', to);
            text = json->string(json->at(m, 1), &bytes);
            put_bytes(to, text, bytes);
        }
        fputc('"', to);
    }
    fputc(']', to);
}

static void put_id(FILE *to, const char *name, int32_t id)
{
    if (id >= 0)
        fprintf(to, ",\"tokenizer.ggml.%s_token_id\":%d", name, id);
}

static void put_all(const bpe_plugin *p, const bpe_pre *pre, const token *list, FILE *to)
{
    const vw_json *json = p->t.json;
    fprintf(to, "{\"tokenizer.ggml.model\":\"gpt2\",\"tokenizer.ggml.pre\":\"%s\"", pre->name);
    put_tokens(to, list, p->t.n_ids);
    put_merges(to, json, json->get(json->get(json->root(p->t.doc), "model"), "merges"));
    put_id(to, "bos", p->info.bos);
    put_id(to, "eos", p->info.eos);
    put_id(to, "unknown", p->info.unk);
    put_id(to, "padding", p->info.pad);
    fprintf(to, ",\"tokenizer.ggml.add_bos_token\":%s,\"tokenizer.ggml.add_eos_token\":%s}",
            p->info.adds_bos ? "true" : "false", p->info.adds_eos ? "true" : "false");
}

vw_status bpe_gguf_keys(void *self, const char **out, vw_error *err)
{
    bpe_plugin *p = self;
    const vw_host *host = p->t.host;
    const bpe_pre *pre;
    size_t bytes, n = (size_t)p->t.n_ids;
    if (!p->t.path)
        return vw_fail(err, VW_E_INVALID, "no tokenizer is loaded");
    vw_status st = find_pre(p, &pre, err);
    if (st)
        return st;
    free(p->gguf);
    p->gguf = NULL;
    token *list = host->alloc(host->core, (n + 1) * sizeof *list);
    FILE *to = list ? open_memstream(&p->gguf, &bytes) : NULL;
    if (to) {
        memset(list, 0, n * sizeof *list);
        list_tokens(p, list);
        put_all(p, pre, list, to);
    }
    host->free(host->core, list);
    if (!to || fclose(to))
        return vw_fail(err, VW_E_NOMEM, "no memory for the keys of a vocabulary");
    *out = p->gguf;
    return VW_OK;
}
