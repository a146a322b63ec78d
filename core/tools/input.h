/* input.h - texts and token ids that come from the user. */
#ifndef VW_TOOLS_INPUT_H
#define VW_TOOLS_INPUT_H

#include <vishwamai/vishwamai.h>

/* A whole file, or standard input for "-"; freed by the caller.  0-terminated besides. */
vw_status input_read_dup(const char *path, char **text, size_t *bytes, vw_error *err);

/* All that an open stream still has; `name` is for the error. */
vw_status input_read_stream_dup(FILE *from, const char *name, char **text, size_t *bytes,
                                vw_error *err);

/* Token ids in memory that grows. */
typedef struct id_list {
    int32_t *ids;
    size_t n, room;
} id_list;

void id_list_free(id_list *list);
vw_status id_list_add(id_list *list, const int32_t *ids, size_t n, vw_error *err);

/* "2 7 9": whole numbers apart by blanks or commas.  `where` begins an error's sentence. */
vw_status input_ids(const char *where, const char *text, id_list *list, vw_error *err);

/* Encode a text, as vw_engine_encode(), at the end of the list. */
vw_status input_encode(vw_engine *engine, const char *text, size_t bytes, int with_bos,
                       id_list *list, vw_error *err);

#endif
