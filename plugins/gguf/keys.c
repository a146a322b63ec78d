/* keys.c - the keys of a GGUF file as a family reads them. */
#include "plugins/gguf/keys.h"

#include <stdio.h>

vw_status gguf_view_of(const vw_json *json, const vw_json_doc *doc, gguf_view *v, vw_error *err)
{
    *v = (gguf_view){json, doc, json->root(doc), ""};
    return json->get_string(doc, v->root, "general.architecture", "", &v->architecture, err);
}

const char *gguf_key_name(const gguf_view *v, const char *key, char name[GGUF_KEY_ROOM])
{
    snprintf(name, GGUF_KEY_ROOM, "%s.%s", v->architecture, key);
    return name;
}

int gguf_has_key(const gguf_view *v, const char *key)
{
    char name[GGUF_KEY_ROOM];
    return v->json->get(v->root, gguf_key_name(v, key, name)) != NULL;
}

vw_status gguf_key_int(const gguf_view *v, const char *key, int64_t min, int64_t max, int64_t def,
                   int64_t *out, vw_error *err)
{
    char name[GGUF_KEY_ROOM];
    gguf_key_name(v, key, name);
    vw_status st = v->json->get_int(v->doc, v->root, name, min, max, def, out, err);
    if (!st && *out < 0 && min >= 0)
        return vw_fail(err, VW_E_FORMAT, "\"%s\" is missing", name);
    return st;
}

vw_status gguf_key_real(const gguf_view *v, const char *key, double def, double *out, vw_error *err)
{
    char name[GGUF_KEY_ROOM];
    const vw_json_value *value = v->json->get(v->root, gguf_key_name(v, key, name));
    if (value && v->json->type(value) == VW_JSON_NULL) /* how weights/gguf gives infinities */
        return vw_fail(err, VW_E_FORMAT, "\"%s\" is no finite number", name);
    return v->json->get_real(v->doc, v->root, name, def, out, err);
}

vw_status gguf_key_sizes(const gguf_view *v, const gguf_size *sizes, size_t n, vw_error *err)
{
    int64_t value;
    for (size_t i = 0; i < n; i++) {
        vw_status st = gguf_key_int(v, sizes[i].key, sizes[i].min, sizes[i].max, sizes[i].def, &value, err);
        if (st)
            return st;
        *sizes[i].to = (int32_t)value;
    }
    return VW_OK;
}

int gguf_has_tensor(const gguf_view *v, const char *name)
{
    char key[GGUF_KEY_ROOM];
    snprintf(key, sizeof key, "shape:%s", name);
    return v->json->get(v->root, key) != NULL;
}

vw_status gguf_vocabulary(const gguf_view *v, int32_t *size, vw_model_info *info, vw_error *err)
{
    const vw_json_value *shape = v->json->get(v->root, "shape:token_embd.weight");
    int64_t value = v->json->integer(v->json->at(shape, 0));
    vw_status st = VW_OK;
    if (v->json->count(shape) != 2 || value < 1 || value > 1 << 24)
        return vw_fail(err, VW_E_FORMAT, "token_embd.weight is missing or no table of embeddings");
    *size = (int32_t)value;
    const struct {
        const char *key;
        int32_t *to;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &info->bos},
               {"tokenizer.ggml.eos_token_id", &info->eos},
               {"tokenizer.ggml.padding_token_id", &info->pad}};
    for (size_t i = 0; i < 3 && !st; i++) {
        st = v->json->get_int(v->doc, v->root, ids[i].key, -1, *size - 1, -1, &value, err);
        if (!st)
            *ids[i].to = (int32_t)value;
    }
    return st;
}

/* It stands at the beginning: key, type 8, length, text. */
void gguf_find_architecture(const char *bytes, size_t n, char *type, size_t room)
{
    static const char key[] = "general.architecture\10\0\0\0";
    for (size_t i = 0; i + sizeof key + 8 + 16 < n; i++)
        if (!memcmp(bytes + i, key, sizeof key - 1)) {
            uint64_t length;
            memcpy(&length, bytes + i + sizeof key - 1, 8);
            snprintf(type, room, "%.*s", (int)(length < 16 ? length : 16), bytes + i + sizeof key + 7);
            return;
        }
}
