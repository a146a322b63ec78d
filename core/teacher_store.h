/* teacher_store.h - what a teacher said of every scored token, on disk, so that a student can learn
 * from it without the teacher.
 *
 * A row is a position of the training data: the k largest of the teacher's logits there, less the
 * largest of them (so that the first is 0 and f16 is most exact where most of the probability is),
 * their ids, and log sum exp((logit - largest) / temperature) over the whole vocabulary, from which
 * the rest's share is known.  That sum is of one temperature, and so is a store.
 *
 *     FOLDER/store.json              shape, and what it was made of
 *     FOLDER/rows-00000.safetensors  ids i32 [n, k], logits f16 or f32 [n, k], lse f32 [n]
 *     FOLDER/checksums               as of a checkpoint (checkpoint.h)
 *
 * A folder of that name is whole: it is written as FOLDER.tmp, and renamed.
 */
#ifndef VW_CORE_TEACHER_STORE_H
#define VW_CORE_TEACHER_STORE_H

#include <stdbool.h>
#include <vishwamai/weights.h>

#include "core/core.h"

enum { VW_STORE_MAX_TOP = 1024 };

typedef struct vw_store_shape {
    int64_t rows;
    int32_t k, vocab_size;
    double temperature;
    bool is_f32; /* logits; else f16 */
} vw_store_shape;

/* Something that must be the same where the store is used; the words are those of settings. */
typedef struct vw_fact {
    const char *name;
    char text[64];
} vw_fact;

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct vw_store_writer vw_store_writer;

/* VW_E_INVALID when the folder is there already. */
vw_status vw_store_create(vw_core *core, const vw_component *weights, const char *folder,
                          const vw_store_shape *shape, vw_store_writer **writer, vw_error *err);

/* Rows row .. row + n, after all that were added before; those between have no teacher.  ids and
 * logits [n, k], the largest first; lse [n]. */
vw_status vw_store_add(vw_store_writer *writer, int64_t row, int64_t n, const int32_t *ids,
                       const float *logits, const float *lse, vw_error *err);

/* Put the folder under its name.  `about` says in words who the teacher is. */
vw_status vw_store_finish(vw_store_writer *writer, const char *about, const vw_fact *facts, int n,
                          vw_error *err);
/* After any of the above, finish included: free, and remove what is not whole. */
void vw_store_end(vw_store_writer *writer);

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct vw_store vw_store;

/* All files are read once for their checksums.  VW_E_NOTFOUND when there is no store, VW_E_FORMAT
 * when it is damaged, VW_E_CONFIG when a fact differs; each says what and what to do. */
vw_status vw_store_open(vw_core *core, const vw_component *weights, const char *folder,
                        const vw_fact *facts, int n, vw_store **store, vw_error *err);
void vw_store_close(vw_store *store);
vw_store_shape vw_store_get_shape(const vw_store *store);

/* Row `row`, below shape.rows.  VW_E_FORMAT for ids outside the vocabulary or numbers that are
 * none. */
vw_status vw_store_read(const vw_store *store, int64_t row, int32_t *ids, float *logits, float *lse,
                        vw_error *err);

#endif
