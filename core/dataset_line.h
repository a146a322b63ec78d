/* dataset_line.h - a line of JSON on its way into a data set. */
#ifndef VW_CORE_DATASET_LINE_H
#define VW_CORE_DATASET_LINE_H

#include "core/dataset.h"
#include "core/json.h"

typedef struct vw_dataset_line {
    const vw_json *json;
    const vw_json_doc *doc;
    const vw_json_value *root;
    const char *where; /* file and line, for errors */
} vw_dataset_line;

/* A conversation: messages of "role" and "content", rendered as the tokenizer renders them; answers
 * are scored, the rest with options->scores_prompts alone. */
vw_status vw_dataset_add_chat(vw_dataset_memory *m, const vw_encoder *e, const vw_dataset_line *l,
                              const vw_json_value *messages, const vw_dataset_options *options,
                              vw_error *err);

#endif
