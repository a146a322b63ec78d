/* tokenizer_train.c - a tokenizer learnt from files, by whichever plugin the settings name. */
#include "core/dataset.h"
#include "core/sections.h"

#include <stdlib.h>

/* The texts of the files: an encoder that keeps them, so that the readers of files need to know
 * nothing of it. */
typedef struct collection {
    char *text;
    size_t n, room;
    size_t *bytes; /* of each text */
    size_t n_texts, texts_room;
} collection;

static vw_status collect(void *self, const char *text, size_t bytes, int parse_special,
                         int32_t *ids, size_t room, size_t *n, vw_error *err)
{
    collection *c = self;
    (void)parse_special;
    if (c->room - c->n < bytes) {
        size_t wanted = c->n + bytes + c->n / 2;
        char *grown = realloc(c->text, wanted);
        if (!grown)
            return vw_fail(err, VW_E_NOMEM, "no memory for %zu bytes of text", wanted);
        c->text = grown;
        c->room = wanted;
    }
    if (c->n_texts == c->texts_room) {
        size_t wanted = 2 * c->texts_room + 64, *grown = realloc(c->bytes, wanted * sizeof *grown);
        if (!grown)
            return vw_fail(err, VW_E_NOMEM, "no memory for %zu texts", wanted);
        c->bytes = grown;
        c->texts_room = wanted;
    }
    if (bytes)
        memcpy(c->text + c->n, text, bytes);
    c->n += bytes;
    c->bytes[c->n_texts++] = bytes;
    if (room)
        ids[0] = 0;
    *n = 1;
    return VW_OK;
}

static vw_status read_texts(const vw_settings *settings, const char *path, collection *c,
                            vw_error *err)
{
    static const vw_tokenizer_ops ops = {.size = sizeof ops, .encode = collect};
    vw_encoder e = {&ops, c, {.bos = -1, .eos = -1}, 1};
    vw_config_data d;
    vw_dataset unused;
    vw_status st = vw_settings_bind(settings, "data", vw_data_options, &d, err);
    if (st)
        return st;
    if (d.format == VW_DATA_U16 || d.format == VW_DATA_U32)
        return vw_fail(err, VW_E_CONFIG, "%s: a tokenizer is learnt from text, not from ids", path);
    vw_dataset_options o = {.format = (vw_data_format)d.format, .by_blank_line = d.documents == 1};
    st = vw_dataset_open(&e, path, &o, &unused, err);
    if (!st)
        vw_dataset_close(&unused);
    return st;
}

vw_status vw_tokenizer_train(vw_core *core, const char *path, int32_t vocab_size,
                             const char *folder, vw_error *err)
{
    collection c = {0};
    const vw_component *tokenizer = NULL;
    const char **texts = NULL;
    vw_status st = read_texts(vw_core_settings(core), path, &c, err);
    if (!st && !(texts = malloc((c.n_texts + 1) * sizeof *texts)))
        st = vw_fail(err, VW_E_NOMEM, "no memory for %zu texts", c.n_texts);
    if (!st)
        st = vw_core_instance_open(core, VW_KIND_TOKENIZER, NULL, NULL, &tokenizer, err);
    if (!st) {
        const vw_tokenizer_ops *ops = tokenizer->ops;
        const char *at = c.text;
        for (size_t i = 0; i < c.n_texts; at += c.bytes[i], i++)
            texts[i] = at;
        vw_tokenizer_training x = {sizeof x, texts, c.bytes, c.n_texts, vocab_size, folder};
        st = ops->train(tokenizer->self, &x, err);
        if (st)
            st = vw_fail_in(err, st, "learning a tokenizer from %s", path);
    }
    vw_core_instance_close(core, tokenizer);
    free(texts);
    free(c.text);
    free(c.bytes);
    return st;
}
