/* convert_gguf.c - a model as one GGUF file: the keys of its family and of its vocabulary.
 *
 * weights/gguf takes each key with a JSON value; the model plugin and the tokenizer give objects of
 * them, whose members are passed on one by one.
 */
#include "core/convert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"

typedef struct keys {
    char **pairs; /* key, value ..., NULL; of the C library's memory */
    size_t n;
    bool is_out_of_room;
} keys;

static void add_pair(keys *k, const char *key, const char *value)
{
    char **more = realloc(k->pairs, (k->n + 3) * sizeof *more);
    if (more)
        k->pairs = more;
    char *a = more ? strdup(key) : NULL, *b = more && value ? strdup(value) : NULL;
    if (!a || !b) {
        free(a);
        free(b);
        k->is_out_of_room = true;
        return;
    }
    k->pairs[k->n++] = a;
    k->pairs[k->n++] = b;
    k->pairs[k->n] = NULL;
}

/* The lists of a vocabulary say something of every row of the embedding, which may have more than the
 * tokenizer has ids: a reader takes the number of rows from their length. */
static bool put_list(vw_json_writer *w, const char *key, const vw_json_value *v, int32_t rows)
{
    enum { UNUSED = 5 }; /* tokenizer.ggml.token_type */
    const vw_json *json = vw_json_service();
    bool is_text = !strcmp(key, "tokenizer.ggml.tokens"), is_type = !strcmp(key, "tokenizer.ggml.token_type");
    char text[32];
    if (!is_text && !is_type && strcmp(key, "tokenizer.ggml.scores") != 0)
        return false;
    vw_json_begin_array(w, NULL);
    for (size_t i = 0; i < json->count(v); i++)
        vw_convert_put_value(w, NULL, json->at(v, i));
    for (int64_t i = (int64_t)json->count(v); i < rows; i++) {
        snprintf(text, sizeof text, "[PAD%lld]", (long long)i);
        if (is_text)
            vw_json_add_string(w, NULL, text);
        else if (is_type)
            vw_json_add_int(w, NULL, UNUSED);
        else
            vw_json_add_real(w, NULL, -1000);
    }
    vw_json_end_array(w);
    return true;
}

static void add_members(const conversion *c, keys *k, const vw_json_value *object)
{
    const vw_json *json = vw_json_service();
    for (size_t i = 0; i < json->count(object); i++) {
        vw_json_writer w = {0};
        const char *key;
        const vw_json_value *v = json->member(object, i, &key);
        if (!put_list(&w, key, v, c->engine->info->vocab_size))
            vw_convert_put_value(&w, NULL, v);
        add_pair(k, key, vw_json_text(&w, NULL));
        vw_json_writer_free(&w);
    }
}

static void add_id(keys *k, const char *key, int32_t id)
{
    char text[16];
    snprintf(text, sizeof text, "%d", id);
    if (id >= 0)
        add_pair(k, key, text);
}

/* A model without its vocabulary is still a model; its ids are then all there is. */
static vw_status add_vocabulary(const conversion *c, keys *k, vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_engine *e = c->engine;
    const char *text;
    vw_json_doc *doc;
    vw_error why = {VW_OK, "the source has none"};
    if (!e->tokenizer || e->tok->gguf_keys(e->tokenizer->self, &text, &why)) {
        vw_core_log(c->core, VW_LOG_WARN, "the GGUF file gets no vocabulary: %s", why.text);
        add_pair(k, "tokenizer.ggml.model", "\"none\"");
        add_id(k, "tokenizer.ggml.bos_token_id", e->info->bos);
        add_id(k, "tokenizer.ggml.eos_token_id", e->info->eos);
        add_id(k, "tokenizer.ggml.padding_token_id", e->info->pad);
        return VW_OK;
    }
    vw_status st = json->open_text(text, strlen(text), "the vocabulary", &doc, err);
    if (!st)
        add_members(c, k, json->root(doc));
    if (!st)
        json->close(doc);
    return st;
}

vw_status vw_convert_write_gguf(conversion *c, vw_error *err)
{
    const vw_json *json = vw_json_service();
    const char *path = c->options->to;
    keys k = {0};
    vw_status st = VW_OK;
    if (access(path, F_OK) == 0)
        return vw_fail(err, VW_E_INVALID, "%s is there already", path);
    add_members(c, &k, json->root(c->config));
    st = add_vocabulary(c, &k, err);
    if (!st && k.is_out_of_room)
        st = vw_fail(err, VW_E_NOMEM, "no memory for the keys of %s", path);
    if (!st)
        st = vw_convert_write_file(c, path, 0, c->n_items, (const char *const *)k.pairs, err);
    for (size_t i = 0; i < k.n; i++)
        free(k.pairs[i]);
    free(k.pairs);
    return st;
}
