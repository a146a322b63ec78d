/* core/json_tree.h - the nodes behind vw_json_doc, between json_parse.c, which makes them, and
 * json.c, which reads them.
 *
 * jansson's tree is mirrored by flat nodes, because readers need what jansson has not: the members
 * of an object by position at no cost (a weight index has 92,000), and the way from a value to its
 * parent, so that an error names "rope_scaling.factor" and not "factor".
 */
#ifndef VW_CORE_JSON_TREE_H
#define VW_CORE_JSON_TREE_H

#include <jansson.h>

#include "core/json.h"

struct vw_json_value {
    const vw_json_value *parent;
    const char *key; /* in the parent, if that is an object */
    size_t count;    /* children, or bytes of a string */
    vw_json_type type;
    union {
        int64_t integer; /* and bool */
        double real;
        const char *string;
        struct {
            const vw_json_value *child;
            const vw_json_value **sorted; /* children by key, from SORT_FROM on; else NULL */
        } in;
    } is;
};

struct vw_json_doc {
    char *where;
    json_t *tree;                 /* owns the strings */
    vw_json_value *nodes;         /* nodes[0] is the root */
    const vw_json_value **sorted; /* room for every object's index, handed out in order */
    size_t n_nodes, room, n_sorted;
};

/* Refuse what is too large, too deep or not JSON; else a document that vw_json_free() takes. */
vw_status vw_json_parse_file(const char *path, vw_json_doc **doc, vw_error *err);
vw_status vw_json_parse_text(const char *text, size_t bytes, const char *where, vw_json_doc **doc,
                             vw_error *err);
void vw_json_free(vw_json_doc *doc); /* NULL is accepted */

/* Copy text from outside into a message: control characters out, cut at `room` with dots. */
void vw_json_printable(char *out, size_t room, const char *text, size_t bytes);

#endif
