/* json.c - any text as a JSON document, and whatever is in it through every getter. */
#include "core/json.h"
#include "core/json_write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const vw_json *json;

/* Print a value again, and ask it for all that it is not. */
static void walk(const vw_json_doc *doc, const vw_json_value *v, const char *key, vw_json_writer *w)
{
    vw_error err;
    int64_t integer;
    double real;
    int boolean;
    size_t bytes;
    const char *text = json->string(v, &bytes), *name;
    if (text[bytes])
        abort();
    json->get_int(doc, v, "a", -5, 5, 0, &integer, &err);
    json->get_real(doc, v, "a", 0, &real, &err);
    json->get_bool(doc, v, "b", 0, &boolean, &err);
    json->get_string(doc, v, "c", "", &text, &err);
    switch (json->type(v)) {
    case VW_JSON_OBJECT:
        vw_json_begin_object(w, key);
        for (size_t i = 0; i < json->count(v); i++) {
            const vw_json_value *m = json->member(v, i, &name);
            if (json->get(v, name) != m)
                abort();
            json->get_int(doc, v, name, 0, 1, 0, &integer, &err);
            json->get_string(doc, v, name, "", &text, &err);
            walk(doc, m, name, w);
        }
        vw_json_end_object(w);
        break;
    case VW_JSON_ARRAY:
        vw_json_begin_array(w, key);
        for (size_t i = 0; i < json->count(v); i++)
            walk(doc, json->at(v, i), NULL, w);
        vw_json_end_array(w);
        break;
    case VW_JSON_STRING:
        vw_json_add_bytes(w, key, json->string(v, NULL), bytes);
        break;
    case VW_JSON_REAL:
        vw_json_add_double(w, key, json->real(v));
        break;
    default:
        vw_json_add_int(w, key, json->integer(v));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vw_json_doc *doc;
    vw_error err;
    vw_json_writer w = {0};
    json = vw_json_service();
    if (json->open_text((const char *)data, size, "fuzz", &doc, &err))
        return 0;
    walk(doc, json->root(doc), NULL, &w);
    json->close(doc);
    /* What the writer made is a document. */
    size_t bytes;
    const char *text = vw_json_text(&w, &bytes);
    if (!text || json->open_text(text, bytes, "again", &doc, &err))
        abort();
    json->close(doc);
    vw_json_writer_free(&w);
    return 0;
}
