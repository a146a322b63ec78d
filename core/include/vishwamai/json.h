/* json.h - reading a JSON document that came from outside, such as a checkpoint's config.json.
 *
 * A read-only service ("json") for plugins.  Every getter takes a default and an error: a missing
 * key gives the default, a value of the wrong type or out of range is VW_E_FORMAT and names file,
 * key, what was found and what is expected.  Values are borrowed from their document.
 */
#ifndef VISHWAMAI_JSON_H
#define VISHWAMAI_JSON_H

#include <vishwamai/status.h>
#include <stdint.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_JSON_MAJOR 1

typedef struct vw_json_doc vw_json_doc;     /* a parsed document; owns its values */
typedef struct vw_json_value vw_json_value; /* NULL stands for "not there" */

typedef enum vw_json_type {
    VW_JSON_MISSING = 0, VW_JSON_NULL, VW_JSON_BOOL, VW_JSON_INTEGER, VW_JSON_REAL,
    VW_JSON_STRING, VW_JSON_ARRAY, VW_JSON_OBJECT
} vw_json_type;

typedef struct vw_json {
    size_t size;

    /* Parse a file or a text (`where` names it in errors).  Refuses duplicate keys, nesting deeper
     * than 64, more than 8 million values and more than 100 MiB.  Integers are exact in 64 bits; a
     * wider one is a VW_JSON_REAL. */
    vw_status (*open_file)(const char *path, vw_json_doc **doc, vw_error *err);
    vw_status (*open_text)(const char *text, size_t bytes, const char *where, vw_json_doc **doc,
                           vw_error *err);
    void (*close)(vw_json_doc *doc); /* NULL is accepted */
    const vw_json_value *(*root)(const vw_json_doc *doc);

    vw_json_type (*type)(const vw_json_value *value);
    size_t (*count)(const vw_json_value *value); /* of an array or object, else 0 */
    const vw_json_value *(*at)(const vw_json_value *array, size_t i); /* NULL outside */
    const vw_json_value *(*get)(const vw_json_value *object, const char *key); /* NULL: missing */
    /* Member i of an object, in the order of the file. */
    const vw_json_value *(*member)(const vw_json_value *object, size_t i, const char **key);

    /* Of `object`'s member `key`; JSON null counts as missing.  *out is written on success only.
     * Inclusive bounds. */
    vw_status (*get_int)(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                         int64_t min, int64_t max, int64_t def, int64_t *out, vw_error *err);
    vw_status (*get_real)(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                          double def, double *out, vw_error *err);
    vw_status (*get_bool)(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                          int def, int *out, vw_error *err);
    vw_status (*get_string)(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                            const char *def, const char **out, vw_error *err);

    /* The value itself; zero or "" when the type differs. */
    int64_t (*integer)(const vw_json_value *value);
    double (*real)(const vw_json_value *value);
    const char *(*string)(const vw_json_value *value, size_t *bytes);
} vw_json;

#ifdef __cplusplus
}
#endif
#endif
