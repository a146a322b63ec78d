/* core/json_write.h - the one way in which the tools print JSON.
 *
 * A writer grows a buffer; nothing is printed before the document is whole, so a command that fails
 * half way prints its error and no half of a document; vw_json_take() is for one that would not fit
 * into memory.  Every adder takes the member's key, or NULL
 * in an array and at the root.  Memory that runs out is remembered and told once, by
 * vw_json_text().
 *
 *     vw_json_writer w = {0};
 *     vw_json_begin_object(&w, NULL);
 *     vw_json_add_int(&w, "tokens", n);
 *     vw_json_begin_array(&w, "logits");
 *     vw_json_add_float(&w, NULL, x);
 *     vw_json_end_array(&w);
 *     vw_json_end_object(&w);
 *     const char *text = vw_json_text(&w, &bytes);      NULL: no memory
 *     vw_json_writer_free(&w);
 */
#ifndef VW_CORE_JSON_WRITE_H
#define VW_CORE_JSON_WRITE_H

#include <stddef.h>
#include <stdint.h>

/* Zeros are an empty writer. */
typedef struct vw_json_writer {
    char *text;
    size_t bytes, room;
    int wants_comma; /* something stands before, in the same object or array */
    int failed;      /* no memory: everything since is dropped */
} vw_json_writer;

void vw_json_begin_object(vw_json_writer *w, const char *key);
void vw_json_end_object(vw_json_writer *w);
void vw_json_begin_array(vw_json_writer *w, const char *key);
void vw_json_end_array(vw_json_writer *w);

void vw_json_add_null(vw_json_writer *w, const char *key);
void vw_json_add_bool(vw_json_writer *w, const char *key, int value);
void vw_json_add_int(vw_json_writer *w, const char *key, int64_t value);
void vw_json_add_uint(vw_json_writer *w, const char *key, uint64_t value);

/* The shortest of 8 or 9 (15 to 17) digits that reads back as the same value; null for what JSON
 * has no word for: infinities and NaN. */
void vw_json_add_float(vw_json_writer *w, const char *key, float value);
void vw_json_add_double(vw_json_writer *w, const char *key, double value);
/* The same, but 2 becomes 2.0: for readers that tell the two apart. */
void vw_json_add_real(vw_json_writer *w, const char *key, double value);

/* Text is escaped; bytes that are not UTF-8 become U+FFFD, one for each.  NULL text is null. */
void vw_json_add_string(vw_json_writer *w, const char *key, const char *text);
void vw_json_add_bytes(vw_json_writer *w, const char *key, const char *text, size_t bytes);

/* The document, terminated by a zero byte and without a newline; valid until the next call.  NULL
 * when memory ran out on the way.  `bytes` may be NULL. */
const char *vw_json_text(vw_json_writer *w, size_t *bytes);
/* The same, but of what came since the last call; the document goes on behind it. */
const char *vw_json_take(vw_json_writer *w, size_t *bytes);
void vw_json_writer_free(vw_json_writer *w);

#endif
