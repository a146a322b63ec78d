/* keys.h - what families read from the keys of a GGUF file: numbers under the architecture's name.
 *
 * weights/gguf gives the keys as a JSON object, each under its dotted name, and "shape:NAME" for the
 * tensors.  Part of each model plugin that runs such files.
 */
#ifndef VW_GGUF_KEYS_H
#define VW_GGUF_KEYS_H

#include <vishwamai/json.h>
#include <vishwamai/model.h>

typedef struct gguf_view {
    const vw_json *json;
    const vw_json_doc *doc;
    const vw_json_value *root;
    const char *architecture; /* general.architecture, or "" */
} gguf_view;

vw_status gguf_view_of(const vw_json *json, const vw_json_doc *doc, gguf_view *v, vw_error *err);

enum { GGUF_KEY_ROOM = 128 };
/* A key under the architecture's name; returns `name`. */
const char *gguf_key_name(const gguf_view *v, const char *key, char name[GGUF_KEY_ROOM]);
int gguf_has_key(const gguf_view *v, const char *key);

/* A number from `min` to `max`; `def` where the key is missing, which is an error for a def below 0
 * and a min that is not. */
vw_status gguf_key_int(const gguf_view *v, const char *key, int64_t min, int64_t max, int64_t def,
                   int64_t *out, vw_error *err);
vw_status gguf_key_real(const gguf_view *v, const char *key, double def, double *out, vw_error *err);

typedef struct gguf_size {
    const char *key;
    int32_t *to;
    int64_t min, max, def; /* def as above */
} gguf_size;
vw_status gguf_key_sizes(const gguf_view *v, const gguf_size *sizes, size_t n, vw_error *err);

/* Is there a tensor of that name? */
int gguf_has_tensor(const gguf_view *v, const char *name);

/* The number of rows of the embedding, since few files say it in a key, and the ids of special
 * tokens, as given. */
vw_status gguf_vocabulary(const gguf_view *v, int32_t *size, vw_model_info *info, vw_error *err);

/* For probes, which have no JSON: the architecture, from the first bytes of a file. */
void gguf_find_architecture(const char *bytes, size_t n, char *type, size_t room);

#endif
