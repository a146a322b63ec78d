/* bpe_read.c - tokenizer.json: vocabulary, merges and added tokens, every number checked.
 *
 * The document stays open as long as the tokenizer: texts are borrowed from it.
 */
#include "plugins/tokenizer/bpe.h"

#include <stdlib.h>

/* ---- the vocabulary -------------------------------------------------------------------------- */

static vw_status check_id(const bpe_tokenizer *t, const vw_json_value *v, const char *what,
                          const char *text, int32_t *max, vw_error *err)
{
    int64_t id = t->json->integer(v);
    if (t->json->type(v) != VW_JSON_INTEGER || id < 0 || id >= BPE_MAX_IDS)
        return vw_fail(err, VW_E_FORMAT, "%s \"%s\" has an id that is no number from 0 to %d", what,
                       text, BPE_MAX_IDS - 1);
    if (id > *max)
        *max = (int32_t)id;
    return VW_OK;
}

static vw_status largest_id(const bpe_tokenizer *t, const vw_json_value *vocab, int32_t *max,
                            vw_error *err)
{
    vw_status st = VW_OK;
    const char *key = "";
    *max = -1;
    if (t->json->type(vocab) != VW_JSON_OBJECT)
        return vw_fail(err, VW_E_FORMAT, "model.vocab is missing or no object");
    for (size_t i = 0; !st && i < t->json->count(vocab); i++) {
        const vw_json_value *v = t->json->member(vocab, i, &key);
        st = check_id(t, v, "the piece", key, max, err);
    }
    return st;
}

static vw_status read_vocabulary(bpe_tokenizer *t, const vw_json_value *vocab, vw_error *err)
{
    vw_status st = VW_OK;
    const char *key = "";
    for (size_t i = 0; !st && i < t->json->count(vocab); i++) {
        const vw_json_value *v = t->json->member(vocab, i, &key);
        if (*key) /* an empty piece is never found, and some files have one */
            st = bpe_model_add(&t->model, (int32_t)t->json->integer(v), key, strlen(key), err);
    }
    return st;
}

/* ---- merges ---------------------------------------------------------------------------------- */

/* "a b" or ["a", "b"]. */
static int merge_texts(const vw_json *json, const vw_json_value *v, const char **a, size_t *n_a,
                       const char **b, size_t *n_b)
{
    if (json->type(v) == VW_JSON_ARRAY && json->count(v) == 2 &&
        json->type(json->at(v, 0)) == VW_JSON_STRING && json->type(json->at(v, 1)) == VW_JSON_STRING) {
        *a = json->string(json->at(v, 0), n_a);
        *b = json->string(json->at(v, 1), n_b);
        return 1;
    }
    if (json->type(v) != VW_JSON_STRING)
        return 0;
    size_t n;
    *a = json->string(v, &n);
    const char *blank = memchr(*a, ' ', n);
    if (!blank)
        return 0;
    *n_a = (size_t)(blank - *a);
    *b = blank + 1;
    *n_b = n - *n_a - 1;
    return !memchr(*b, ' ', *n_b);
}

static vw_status read_merges(bpe_tokenizer *t, const vw_json_value *merges, vw_error *err)
{
    size_t n_prefix = strlen(t->model.prefix);
    bpe_buffer text;
    vw_status st = VW_OK;
    bpe_buffer_init(&text, t->host);
    for (size_t i = 0; !st && i < t->json->count(merges); i++) {
        const char *a, *b;
        size_t n_a, n_b;
        if (!merge_texts(t->json, t->json->at(merges, i), &a, &n_a, &b, &n_b)) {
            st = vw_fail(err, VW_E_FORMAT, "merge %zu is not two pieces", i);
            break;
        }
        text.n = 0;
        bpe_buffer_add(&text, a, n_a);
        if (n_b >= n_prefix)
            bpe_buffer_add(&text, b + n_prefix, n_b - n_prefix);
        int32_t left = bpe_model_find(&t->model, a, n_a), right = bpe_model_find(&t->model, b, n_b),
                id = text.is_failed ? -1 : bpe_model_find(&t->model, text.at, text.n);
        if (text.is_failed)
            st = vw_fail(err, VW_E_NOMEM, "no memory for a merge");
        else if (left < 0 || right < 0 || id < 0)
            st = vw_fail(err, VW_E_FORMAT, "merge %zu: \"%.*s\" is no piece of the vocabulary", i,
                         (int)(left < 0 ? n_a : right < 0 ? n_b : text.n),
                         left < 0 ? a : right < 0 ? b : text.at);
        else
            st = bpe_model_merge(&t->model, left, right, (int32_t)i, id, err);
    }
    bpe_buffer_free(&text);
    return st;
}

static vw_status read_model(bpe_tokenizer *t, const vw_json_value *model, int32_t max,
                            vw_error *err)
{
    const vw_json *json = t->json;
    const vw_json_value *merges = json->get(model, "merges");
    const char *unk;
    int has_bytes;
    vw_status st;
    if (json->type(merges) != VW_JSON_ARRAY)
        return vw_fail(err, VW_E_FORMAT, "model.merges is missing or no array");
    if ((st = bpe_model_make(&t->model, t->host, max + 1, json->count(merges), err)) ||
        (st = read_vocabulary(t, json->get(model, "vocab"), err)) ||
        (st = json->get_string(t->doc, model, "unk_token", "", &unk, err)) ||
        (st = json->get_string(t->doc, model, "continuing_subword_prefix", "", &t->model.prefix,
                               err)) ||
        (st = json->get_string(t->doc, model, "end_of_word_suffix", "", &t->model.suffix, err)) ||
        (st = json->get_bool(t->doc, model, "byte_fallback", 0, &has_bytes, err)) ||
        (st = json->get_bool(t->doc, model, "fuse_unk", 0, &t->model.fuses_unk, err)) ||
        (st = json->get_bool(t->doc, model, "ignore_merges", 0, &t->model.whole_first, err)) ||
        (st = read_merges(t, merges, err)))
        return st;
    t->model.unk = bpe_model_find(&t->model, unk, strlen(unk));
    if (*unk && t->model.unk < 0)
        return vw_fail(err, VW_E_FORMAT, "unk_token \"%s\" is no piece of the vocabulary", unk);
    if (has_bytes)
        bpe_model_find_bytes(&t->model);
    return VW_OK;
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static vw_status read_added_one(bpe_tokenizer *t, const vw_json_value *v, bpe_added *a,
                                vw_error *err)
{
    const vw_json *json = t->json;
    const vw_json_value *content = json->get(v, "content");
    vw_status st;
    *a = (bpe_added){0};
    a->content = json->string(content, &a->n_content);
    a->id = (int32_t)json->integer(json->get(v, "id")); /* checked before */
    if (json->type(content) != VW_JSON_STRING)
        return vw_fail(err, VW_E_FORMAT, "the added token with the id %d has no content", a->id);
    if ((st = json->get_bool(t->doc, v, "special", 0, &a->is_special, err)) ||
        (st = json->get_bool(t->doc, v, "normalized", !a->is_special, &a->is_normalised, err)) ||
        (st = json->get_bool(t->doc, v, "lstrip", 0, &a->strips_left, err)) ||
        (st = json->get_bool(t->doc, v, "rstrip", 0, &a->strips_right, err)) ||
        (st = json->get_bool(t->doc, v, "single_word", 0, &a->is_word, err)))
        return st;
    int32_t piece = bpe_model_find(&t->model, a->content, a->n_content);
    if (piece >= 0 && piece != a->id)
        return vw_fail(err, VW_E_FORMAT, "the added token \"%s\" has the id %d, but the vocabulary "
                       "has it as %d", a->content, a->id, piece);
    return VW_OK;
}

static vw_status read_added(bpe_tokenizer *t, const vw_json_value *list, vw_error *err)
{
    size_t n = t->json->count(list);
    bpe_added *tokens = t->host->alloc(t->host->core, (n + 1) * sizeof *tokens);
    vw_status st = VW_OK;
    if (!tokens)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu added tokens", n);
    for (size_t i = 0; i < n && !st; i++)
        st = read_added_one(t, t->json->at(list, i), tokens + i, err);
    if (!st)
        st = bpe_take_added(t, tokens, n, err);
    t->host->free(t->host->core, tokens);
    return st;
}

/* What the normalizer makes of the contents of those that are looked for behind it. */
static vw_status normalise_matches(bpe_tokenizer *t, vw_error *err)
{
    bpe_added_set *set = t->added + 1;
    bpe_buffer to, other;
    vw_status st = VW_OK;
    size_t at = 0;
    bpe_buffer_init(&to, t->host);
    bpe_buffer_init(&other, t->host);
    for (size_t i = 0; i < set->n && !st; i++) {
        bpe_added *a = set->tokens + i;
        st = bpe_normalise(t->rules, t->n_rules, a->content, a->n_content, &to, &other, err);
        bpe_buffer_add(&t->matches, to.at, to.n);
        a->n_match = to.n;
    }
    for (size_t i = 0; i < set->n; at += set->tokens[i++].n_match)
        set->tokens[i].match = t->matches.at + at;
    bpe_buffer_free(&to);
    bpe_buffer_free(&other);
    return !st && t->matches.is_failed ? vw_fail(err, VW_E_NOMEM, "no memory for added tokens") : st;
}

/* An empty match would be found everywhere. */
static void drop_empty(bpe_added_set *set)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        if (set->tokens[i].n_match)
            set->tokens[n++] = set->tokens[i];
    set->n = n;
}

vw_status bpe_take_added(bpe_tokenizer *t, const bpe_added *tokens, size_t n, vw_error *err)
{
    const vw_host *host = t->host;
    vw_status st = VW_OK;
    for (int s = 0; s < 2; s++) {
        bpe_added_set *set = t->added + s;
        set->tokens = host->alloc(host->core, (n + 1) * sizeof *set->tokens);
        if (!set->tokens)
            return vw_fail(err, VW_E_NOMEM, "no memory for %zu added tokens", n);
        for (size_t i = 0; i < n; i++)
            if (!tokens[i].is_normalised == !s) {
                set->tokens[set->n] = tokens[i];
                set->tokens[set->n].match = tokens[i].content;
                set->tokens[set->n++].n_match = tokens[i].n_content;
            }
        if (s && (st = normalise_matches(t, err)))
            return st; /* and there is nothing to sort */
        drop_empty(set);
        bpe_added_sort(set);
    }
    t->added_of = host->alloc(host->core, ((size_t)t->n_ids + 1) * sizeof *t->added_of);
    if (!t->added_of)
        return vw_fail(err, VW_E_NOMEM, "no memory for %zu added tokens", n);
    memset(t->added_of, 0, ((size_t)t->n_ids + 1) * sizeof *t->added_of);
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < t->added[s].n; i++)
            t->added_of[t->added[s].tokens[i].id] = t->added[s].tokens + i;
    return VW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static vw_status check_type(const bpe_tokenizer *t, const vw_json_value *model, vw_error *err)
{
    const char *type;
    vw_status st;
    if (t->json->type(model) != VW_JSON_OBJECT)
        return vw_fail(err, VW_E_FORMAT, "\"model\" is missing or no object");
    if ((st = t->json->get_string(t->doc, model, "type", "BPE", &type, err)))
        return st;
    if (strcmp(type, "BPE") != 0)
        return vw_fail(err, VW_E_UNSUPPORTED, "model.type is \"%s\"; this plugin reads \"BPE\"", type);
    return VW_OK;
}

static vw_status read_all(bpe_tokenizer *t, vw_error *err)
{
    const vw_json_value *root = t->json->root(t->doc), *model = t->json->get(root, "model"),
                        *added = t->json->get(root, "added_tokens");
    int32_t max = -1, max_added = -1;
    vw_status st;
    if ((st = check_type(t, model, err)) ||
        (st = largest_id(t, t->json->get(model, "vocab"), &max, err)))
        return st;
    for (size_t i = 0; i < t->json->count(added) && !st; i++)
        st = check_id(t, t->json->get(t->json->at(added, i), "id"), "an added token",
                      "of added_tokens", &max_added, err);
    t->n_ids = (max_added > max ? max_added : max) + 1;
    if (!st && t->n_ids == 0)
        st = vw_fail(err, VW_E_FORMAT, "the vocabulary is empty");
    if (st || (st = read_model(t, model, max, err)) || (st = bpe_read_steps(t, root, err)) ||
        (st = read_added(t, added, err)))
        return st;
    return bpe_decode_all(t, err);
}

vw_status bpe_read(bpe_tokenizer *t, const char *path, vw_json_doc *doc, vw_error *err)
{
    size_t n = strlen(path) + 1;
    t->doc = doc;
    bpe_buffer_init(&t->matches, t->host);
    bpe_buffer_init(&t->decoded, t->host);
    t->path = t->host->alloc(t->host->core, n);
    if (!t->path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    memcpy(t->path, path, n);
    vw_status st = read_all(t, err);
    return st ? vw_fail_in(err, st, "%s", path) : VW_OK;
}

void bpe_free(bpe_tokenizer *t)
{
    const vw_host *host = t->host;
    for (size_t i = 0; i < t->n_rules; i++)
        bpe_pattern_free(&t->rules[i].pattern);
    for (size_t i = 0; i < t->n_steps; i++)
        bpe_pattern_free(&t->steps[i].pattern);
    host->free(host->core, t->added[0].tokens);
    host->free(host->core, t->added[1].tokens);
    host->free(host->core, t->added_of);
    host->free(host->core, t->bytes_of);
    host->free(host->core, t->path);
    bpe_buffer_free(&t->matches);
    bpe_buffer_free(&t->decoded);
    bpe_model_free(&t->model);
    if (t->doc)
        t->json->close(t->doc);
    *t = (bpe_tokenizer){.host = host, .json = t->json};
}

int32_t bpe_find(const void *tokenizer, const char *text)
{
    const bpe_tokenizer *t = tokenizer;
    size_t n = strlen(text);
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < t->added[s].n; i++)
            if (t->added[s].tokens[i].n_content == n && !memcmp(t->added[s].tokens[i].content, text, n))
                return t->added[s].tokens[i].id;
    return bpe_model_find(&t->model, text, n);
}
