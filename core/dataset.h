/* dataset.h - a text as token ids, with where its documents begin and which tokens are scored.
 *
 *     dataset.c           opening: which format, one file or a folder of them; splitting
 *     dataset_text.c      plain text, and UTF-8 checked
 *     dataset_jsonl.c     a JSON object a line: texts, and prompts with their answers
 *     dataset_chat.c      conversations
 *     dataset_tokens.c    ids as they are, mapped
 *
 * Labels are the ids shifted by one, made when a batch is (batches.h), never stored.  Every file is
 * hostile; an error names file and line, or the position in bytes or tokens.
 */
#ifndef VW_CORE_DATASET_H
#define VW_CORE_DATASET_H

#include <stdbool.h>
#include <vishwamai/tokenizer.h>

#include "core/core.h"

/* What turns text into ids. */
typedef struct vw_encoder {
    const vw_tokenizer_ops *ops; /* NULL: none, so that only ids can be read */
    void *self;
    vw_tokenizer_info info;
    int32_t vocab_size; /* of the model: no id is as large */
} vw_encoder;

typedef enum vw_data_format {
    VW_DATA_AUTO = 0, /* by the name: .jsonl, .u16 and .bin, .u32, else text */
    VW_DATA_TEXT,
    VW_DATA_JSONL,
    VW_DATA_U16,
    VW_DATA_U32
} vw_data_format;

typedef struct vw_dataset_options {
    vw_data_format format;
    bool by_blank_line;   /* text: documents end at an empty line; else a file is one */
    bool scores_prompts;  /* JSONL: prompts are learnt like answers */
    bool finds_documents; /* ids: documents end with EOS; else a file is one */
} vw_dataset_options;

typedef struct vw_dataset {
    const int32_t *ids; /* [n]; NULL where narrow is in use */
    const uint16_t *narrow;
    int64_t n;
    const int64_t *starts; /* [n_documents + 1], ascending from 0 to n */
    int64_t n_documents;
    const uint8_t *is_scored;         /* [n]: as a label; NULL: all */
    struct vw_dataset_memory *memory; /* what owns the above; NULL in a part of another */
} vw_dataset;

/* Read a file, or all files of a folder in the order of their names, hidden ones left out. */
vw_status vw_dataset_open(const vw_encoder *encoder, const char *path,
                          const vw_dataset_options *options, vw_dataset *dataset, vw_error *err);
void vw_dataset_close(vw_dataset *dataset);

/* Cut off a share of the tokens for validation: the last ones, wherever that is; or, with a seed,
 * whole documents, each with that probability.  The parts borrow from `all` and are closed before
 * it. VW_E_CONFIG when a part would be empty. */
vw_status vw_dataset_split_last(const vw_dataset *all, double share, vw_dataset *train,
                                vw_dataset *validation, vw_error *err);
vw_status vw_dataset_split_documents(const vw_dataset *all, double share, uint64_t seed,
                                     vw_dataset *train, vw_dataset *validation, vw_error *err);

static inline int32_t vw_dataset_id(const vw_dataset *d, int64_t i)
{
    return d->narrow ? d->narrow[i] : d->ids[i];
}

/* ---- for the files that read ----------------------------------------------------------------- */

typedef struct vw_dataset_memory {
    int32_t *ids;
    uint8_t *is_scored;
    int64_t *starts;
    int64_t n, room, n_documents, starts_room;
    bool has_unscored;
    void *map; /* of a file of ids */
    size_t map_bytes;
} vw_dataset_memory;

/* Append ids to the document that is being read; and end it, with EOS where there is one. */
vw_status vw_dataset_add(vw_dataset_memory *m, const int32_t *ids, int64_t n, bool is_scored,
                         vw_error *err);
vw_status vw_dataset_end_document(vw_dataset_memory *m, const vw_encoder *e, vw_error *err);

/* Encode a text and append it; `where` is for errors.  The beginning of a document gets BOS where
 * the tokenizer wants one.  has_marks: control pieces in the text are meant. */
vw_status vw_dataset_add_text(vw_dataset_memory *m, const vw_encoder *e, const char *text,
                              size_t bytes, bool begins, bool is_scored, bool has_marks,
                              const char *where, vw_error *err);

vw_status vw_dataset_read_text(vw_dataset_memory *m, const vw_encoder *e, const char *path,
                               const vw_dataset_options *options, vw_error *err);
vw_status vw_dataset_read_jsonl(vw_dataset_memory *m, const vw_encoder *e, const char *path,
                                const vw_dataset_options *options, vw_error *err);
/* A dataset of its own, since it is mapped and not copied. */
vw_status vw_dataset_map_ids(const vw_encoder *e, const char *path, vw_data_format width,
                             const vw_dataset_options *options, vw_dataset *dataset, vw_error *err);

/* A whole file, 0-terminated, freed with free(). */
vw_status vw_file_read_dup(const char *path, char **text, size_t *bytes, vw_error *err);

#endif
