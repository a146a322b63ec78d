/* checkpoint.c - the settings beside a tokenizer, the same for every kind of tokenizer file.
 *
 * generation_config.json decides what ends a text, config.json where that is silent.
 * tokenizer_config.json names tokens by their text and says whether a text begins with BOS.
 */
#include "plugins/tokenizer/checkpoint.h"

#include <stdlib.h>
#include <unistd.h>

#define MAX_TEMPLATE ((size_t)4 << 20)

char *checkpoint_path(const checkpoint *c, const char *name)
{
    size_t n = strlen(c->folder) + strlen(name) + 2, end = strlen(c->folder);
    char *path = c->host->alloc(c->host->core, n);
    while (end > 1 && c->folder[end - 1] == '/')
        end--;
    if (path)
        snprintf(path, n, "%.*s/%s", (int)end, c->folder, name);
    return path;
}

/* A JSON file of the folder; a missing one is a NULL document and no error. */
static vw_status open_json(const checkpoint *c, const char *name, vw_json_doc **doc, vw_error *err)
{
    char *path = checkpoint_path(c, name);
    *doc = NULL;
    if (!path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    vw_status status = access(path, F_OK) ? VW_OK : c->json->open_file(path, doc, err);
    c->host->free(c->host->core, path);
    return status;
}

/* ---- ids by number --------------------------------------------------------------------------- */

void checkpoint_add_stop(vw_tokenizer_info *info, int32_t id)
{
    for (int32_t i = 0; i < info->n_stop; i++)
        if (info->stop[i] == id)
            return;
    if (id >= 0 && info->n_stop < VW_TOKENIZER_MAX_EOS)
        info->stop[info->n_stop++] = id;
}

/* eos_token_id is one id or several; the first one is *eos if the vocabulary names none. */
static vw_status read_eos(const checkpoint *c, const vw_json_doc *doc, const char *file,
                          vw_tokenizer_info *info, int *found, vw_error *err)
{
    const vw_json *json = c->json;
    const vw_json_value *v = json->get(json->root(doc), "eos_token_id");
    int64_t id;
    if (json->type(v) != VW_JSON_ARRAY) {
        vw_status status =
            json->get_int(doc, json->root(doc), "eos_token_id", 0, INT32_MAX, -1, &id, err);
        if (status || id < 0)
            return status;
        checkpoint_add_stop(info, (int32_t)id);
    }
    for (size_t i = 0; i < json->count(v); i++) {
        id = json->integer(json->at(v, i));
        if (json->type(json->at(v, i)) != VW_JSON_INTEGER || id < 0 || id > INT32_MAX)
            return vw_fail(err, VW_E_FORMAT, "%s: \"eos_token_id\" has an element %zu that is no "
                           "token id", file, i);
        checkpoint_add_stop(info, (int32_t)id);
    }
    *found = 1;
    return VW_OK;
}

static vw_status read_id(const checkpoint *c, const vw_json_doc *doc, const char *key, int32_t *out,
                         vw_error *err)
{
    int64_t id;
    if (*out >= 0)
        return VW_OK;
    vw_status status = c->json->get_int(doc, c->json->root(doc), key, -1, INT32_MAX, -1, &id, err);
    if (!status)
        *out = (int32_t)id;
    return status;
}

static vw_status read_configs(checkpoint *c, vw_tokenizer_info *info, vw_error *err)
{
    static const char *const files[] = {"generation_config.json", "config.json"};
    const char *family = "";
    int found = 0;
    for (int i = 0; i < 2; i++) {
        vw_json_doc *doc;
        vw_status status = open_json(c, files[i], &doc, err);
        if (!status && doc) {
            if (!found)
                status = read_eos(c, doc, files[i], info, &found, err);
            if (!status)
                status = read_id(c, doc, "bos_token_id", &info->bos, err);
            if (!status)
                status = read_id(c, doc, "pad_token_id", &info->pad, err);
            if (!status && i == 1)
                status = c->json->get_string(doc, c->json->root(doc), "model_type", "", &family,
                                             err);
            if (!status && i == 1)
                snprintf(c->family, sizeof c->family, "%s", family);
        }
        c->json->close(doc);
        if (status)
            return status;
    }
    return VW_OK;
}

/* ---- tokenizer_config.json ------------------------------------------------------------------- */

/* "bos_token" is a text, or an object with the text as "content". */
static void read_token(const checkpoint *c, const vw_json_value *root, const char *key, int32_t *id)
{
    const vw_json_value *v = c->json->get(root, key);
    if (c->json->type(v) == VW_JSON_OBJECT)
        v = c->json->get(v, "content");
    if (*id < 0 && c->json->type(v) == VW_JSON_STRING)
        *id = c->find(c->tokenizer, c->json->string(v, NULL));
}

static vw_status keep_template(checkpoint *c, const char *text, size_t bytes, vw_error *err)
{
    c->host->free(c->host->core, c->chat_template);
    c->chat_template = c->host->alloc(c->host->core, bytes + 1);
    if (!c->chat_template)
        return vw_fail(err, VW_E_NOMEM, "no memory for a chat template of %zu bytes", bytes);
    memcpy(c->chat_template, text, bytes);
    c->chat_template[bytes] = '\0';
    return VW_OK;
}

/* One text, or several with names, of which one is "default". */
static vw_status read_template(checkpoint *c, const vw_json_value *root, vw_error *err)
{
    const vw_json *json = c->json;
    const vw_json_value *v = json->get(root, "chat_template");
    size_t bytes;
    for (size_t i = 0; i < json->count(v) && json->type(v) == VW_JSON_ARRAY; i++)
        if (!strcmp(json->string(json->get(json->at(v, i), "name"), NULL), "default")) {
            v = json->get(json->at(v, i), "template");
            break;
        }
    if (json->type(v) != VW_JSON_STRING)
        return VW_OK;
    const char *text = json->string(v, &bytes);
    return keep_template(c, text, bytes, err);
}

static vw_status read_tokenizer_config(checkpoint *c, vw_tokenizer_info *info, vw_error *err)
{
    vw_json_doc *doc;
    vw_status status = open_json(c, "tokenizer_config.json", &doc, err);
    if (!status && doc) {
        const vw_json_value *root = c->json->root(doc);
        read_token(c, root, "bos_token", &info->bos);
        read_token(c, root, "eos_token", &info->eos);
        read_token(c, root, "pad_token", &info->pad);
        read_token(c, root, "unk_token", &info->unk);
        status = c->json->get_bool(doc, root, "add_bos_token", -1, &c->adds_bos, err);
        if (!status)
            status = c->json->get_bool(doc, root, "add_eos_token", -1, &c->adds_eos, err);
        if (!status)
            status = read_template(c, root, err);
    }
    c->json->close(doc);
    return status;
}

/* A file of its own wins over the text in tokenizer_config.json, as in the reference library. */
static vw_status read_template_file(checkpoint *c, vw_error *err)
{
    vw_status status = VW_OK;
    char *path = checkpoint_path(c, "chat_template.jinja");
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (file) {
        char *text = c->host->alloc(c->host->core, MAX_TEMPLATE + 1);
        size_t n = text ? fread(text, 1, MAX_TEMPLATE + 1, file) : 0;
        if (!text)
            status = vw_fail(err, VW_E_NOMEM, "no memory to read %s", path);
        else if (ferror(file) || n > MAX_TEMPLATE)
            status = vw_fail(err, VW_E_IO, "%s cannot be read, or has more than %zu bytes", path,
                             MAX_TEMPLATE);
        else
            status = keep_template(c, text, n, err);
        c->host->free(c->host->core, text);
        fclose(file);
    }
    c->host->free(c->host->core, path);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

void checkpoint_add_ends(const checkpoint *c, vw_tokenizer_info *info)
{
    static const char *const ends[] = {"<end_of_turn>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>",
                                       "<|end|>", "<|end_of_text|>", "<|endoftext|>"};
    checkpoint_add_stop(info, info->eos);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        checkpoint_add_stop(info, c->find(c->tokenizer, ends[i]));
}

vw_status checkpoint_read(checkpoint *c, vw_tokenizer_info *info, vw_error *err)
{
    c->adds_bos = c->adds_eos = -1;
    checkpoint_add_ends(c, info);
    vw_status status = read_configs(c, info, err);
    if (!status)
        status = read_tokenizer_config(c, info, err);
    if (!status)
        status = read_template_file(c, err);
    if (status) {
        checkpoint_free(c);
        return status;
    }
    if (info->eos < 0 && info->n_stop)
        info->eos = info->stop[0];
    checkpoint_add_stop(info, info->eos);
    return VW_OK;
}

void checkpoint_free(checkpoint *c)
{
    if (c->host)
        c->host->free(c->host->core, c->chat_template);
    c->chat_template = NULL;
}
