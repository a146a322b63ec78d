/* json.c - the service "json": reading the nodes of a parsed document, and wording what is wrong.
 */
#include "core/json.h"

#include <inttypes.h>

#include "core/json_tree.h"

static int by_key(const void *a, const void *b)
{
    const vw_json_value *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static const vw_json_value *root(const vw_json_doc *doc)
{
    return doc ? doc->nodes : NULL;
}

static vw_json_type type(const vw_json_value *v)
{
    return v ? v->type : VW_JSON_MISSING;
}

static size_t count(const vw_json_value *v)
{
    return type(v) == VW_JSON_ARRAY || type(v) == VW_JSON_OBJECT ? v->count : 0;
}

static const vw_json_value *at(const vw_json_value *v, size_t i)
{
    return type(v) == VW_JSON_ARRAY && i < v->count ? v->is.in.child + i : NULL;
}

static const vw_json_value *get(const vw_json_value *v, const char *key)
{
    vw_json_value probe = {.key = key}, *wanted = &probe;
    if (type(v) != VW_JSON_OBJECT)
        return NULL;
    if (v->is.in.sorted) {
        const vw_json_value **hit =
            bsearch(&wanted, v->is.in.sorted, v->count, sizeof *v->is.in.sorted, by_key);
        return hit ? *hit : NULL;
    }
    for (size_t i = 0; i < v->count; i++)
        if (!strcmp(v->is.in.child[i].key, key))
            return v->is.in.child + i;
    return NULL;
}

static const vw_json_value *member(const vw_json_value *v, size_t i, const char **key)
{
    if (type(v) != VW_JSON_OBJECT || i >= v->count)
        return NULL;
    if (key)
        *key = v->is.in.child[i].key;
    return v->is.in.child + i;
}

/* "rope_scaling.factor", "layers[2].name": the way from the root, built from its end. */
static const char *way_to(const vw_json_value *v, char *room, size_t bytes)
{
    size_t start = bytes - 1;
    room[start] = '\0';
    for (; v && v->parent; v = v->parent) {
        char step[80], name[64];
        if (v->key) {
            vw_json_printable(name, sizeof name, v->key, strlen(v->key));
            snprintf(step, sizeof step, "%s%s", v->parent->parent ? "." : "", name);
        } else {
            snprintf(step, sizeof step, "[%td]", v - v->parent->is.in.child);
        }
        size_t n = strlen(step);
        if (n > start)
            break;
        start -= n;
        memcpy(room + start, step, n);
    }
    return room + start;
}

static void describe(const vw_json_value *v, char *out, size_t room)
{
    char text[48];
    switch (type(v)) {
    case VW_JSON_BOOL:
        snprintf(out, room, "%s", v->is.integer ? "true" : "false");
        break;
    case VW_JSON_INTEGER:
        snprintf(out, room, "%" PRId64, v->is.integer);
        break;
    case VW_JSON_REAL:
        snprintf(out, room, "%.17g", v->is.real);
        break;
    case VW_JSON_STRING:
        vw_json_printable(text, sizeof text, v->is.string, v->count);
        snprintf(out, room, "the string \"%s\"", text);
        break;
    default:
        snprintf(out, room, "%s", type(v) == VW_JSON_ARRAY ? "an array" :
                 type(v) == VW_JSON_OBJECT ? "an object" : "null");
    }
}

static vw_status unexpected(const vw_json_doc *doc, const vw_json_value *v, const char *expected,
                            vw_error *err)
{
    char way[512], found[96];
    const char *key = way_to(v, way, sizeof way);
    describe(v, found, sizeof found);
    if (!*key)
        return vw_fail(err, VW_E_FORMAT, "%s: holds %s, expected %s", doc->where, found, expected);
    return vw_fail(err, VW_E_FORMAT, "%s: \"%s\" is %s, expected %s", doc->where, key, found,
                   expected);
}

/* The member, or NULL when it is missing or null. */
static vw_status lookup(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                        const vw_json_value **v, vw_error *err)
{
    *v = NULL;
    if (type(object) == VW_JSON_MISSING || type(object) == VW_JSON_NULL)
        return VW_OK;
    if (type(object) != VW_JSON_OBJECT)
        return unexpected(doc, object, "an object", err);
    *v = get(object, key);
    if (type(*v) == VW_JSON_NULL)
        *v = NULL;
    return VW_OK;
}

static vw_status get_int(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                         int64_t min, int64_t max, int64_t def, int64_t *out, vw_error *err)
{
    const vw_json_value *v;
    char expected[80];
    vw_status status = lookup(doc, object, key, &v, err);
    if (status)
        return status;
    if (v && (v->type != VW_JSON_INTEGER || v->is.integer < min || v->is.integer > max)) {
        snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, min, max);
        return unexpected(doc, v, expected, err);
    }
    *out = v ? v->is.integer : def;
    return VW_OK;
}

static double real(const vw_json_value *v)
{
    return type(v) == VW_JSON_REAL ? v->is.real :
           type(v) == VW_JSON_INTEGER ? (double)v->is.integer : 0.0;
}

static vw_status get_real(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                          double def, double *out, vw_error *err)
{
    const vw_json_value *v;
    vw_status status = lookup(doc, object, key, &v, err);
    if (status)
        return status;
    if (v && v->type != VW_JSON_REAL && v->type != VW_JSON_INTEGER)
        return unexpected(doc, v, "a number", err);
    *out = v ? real(v) : def;
    return VW_OK;
}

static vw_status get_bool(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                          int def, int *out, vw_error *err)
{
    const vw_json_value *v;
    vw_status status = lookup(doc, object, key, &v, err);
    if (status)
        return status;
    if (v && v->type != VW_JSON_BOOL)
        return unexpected(doc, v, "true or false", err);
    *out = v ? (int)v->is.integer : def;
    return VW_OK;
}

static vw_status get_string(const vw_json_doc *doc, const vw_json_value *object, const char *key,
                            const char *def, const char **out, vw_error *err)
{
    const vw_json_value *v;
    vw_status status = lookup(doc, object, key, &v, err);
    if (status)
        return status;
    if (v && v->type != VW_JSON_STRING)
        return unexpected(doc, v, "a string", err);
    if (v && strlen(v->is.string) != v->count)
        return unexpected(doc, v, "a string without a zero byte", err);
    *out = v ? v->is.string : def;
    return VW_OK;
}

static int64_t integer(const vw_json_value *v)
{
    return type(v) == VW_JSON_INTEGER || type(v) == VW_JSON_BOOL ? v->is.integer : 0;
}

static const char *string(const vw_json_value *v, size_t *bytes)
{
    int is_string = type(v) == VW_JSON_STRING;
    if (bytes)
        *bytes = is_string ? v->count : 0;
    return is_string ? v->is.string : "";
}

const vw_json *vw_json_service(void)
{
    static const vw_json table = {
        .size = sizeof table,
        .open_file = vw_json_parse_file, .open_text = vw_json_parse_text, .close = vw_json_free,
        .root = root,
        .type = type, .count = count, .at = at, .get = get, .member = member,
        .get_int = get_int, .get_real = get_real, .get_bool = get_bool, .get_string = get_string,
        .integer = integer, .real = real, .string = string,
    };
    return &table;
}
