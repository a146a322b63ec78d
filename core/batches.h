/* batches.h - which tokens are learnt next.
 *
 * A data set is cut into units of at most `context` tokens, and an epoch is a seeded order of all
 * of them; where the data ends the next epoch begins.  Two ways to cut:
 *
 *     crossing   windows of exactly `context` tokens over the whole text, whatever documents lie in
 *                them; each epoch begins at another offset, so that the borders are others
 *                (not where what a teacher said of each token is kept)
 *     packed     documents, whole where they fit; attention and positions begin anew at each, and a
 *                micro-batch takes as many as it has room for, without padding
 *
 * A position is (epoch, index) and nothing else, so that a resumed run reads the same tokens.
 */
#ifndef VW_CORE_BATCHES_H
#define VW_CORE_BATCHES_H

#include "core/dataset.h"

typedef enum vw_long_documents {
    VW_LONG_ERROR = 0,
    VW_LONG_SPLIT,
    VW_LONG_TRUNCATE
} vw_long_documents;

typedef struct vw_batches_options {
    int64_t context; /* tokens of a unit, at most */
    int64_t least;   /* packed: shorter documents are left out */
    bool is_packed, is_shuffled;
    bool is_still;            /* crossing: windows are the same in every epoch */
    bool may_be_short;        /* crossing: less than one window is a unit too */
    vw_long_documents longer; /* packed: documents of more than context + 1 tokens */
    uint64_t seed;
} vw_batches_options;

typedef struct vw_unit {
    int64_t from;
    int64_t n; /* inputs; the labels are one further */
} vw_unit;

typedef struct vw_batches {
    const vw_dataset *data;
    vw_batches_options options;
    vw_unit *units;     /* packed; NULL for windows */
    int64_t n_units;    /* packed */
    int64_t n_left_out; /* documents that are too short */
} vw_batches;

typedef struct vw_position {
    uint64_t epoch;
    int64_t index; /* of the next unit in the order of the epoch */
} vw_position;

/* Tokens for one micro-batch, in arrays of the caller's. */
typedef struct vw_batch {
    int32_t *ids, *labels; /* [max_tokens]; a label of -1 is not scored */
    int32_t *starts;       /* [max_tokens + 1] */
    int64_t *from;         /* [max_tokens]: where in the data each document's first token is */
    int64_t max_tokens;
    int64_t n_tokens, n_scored;
    int32_t n_documents;
} vw_batch;

/* VW_E_CONFIG when the data has no unit, VW_E_FORMAT for a document that is too long, with what to
 * do about it.  `name` is the data's, for errors. */
vw_status vw_batches_open(const vw_dataset *data, const vw_batches_options *options,
                          const char *name, vw_batches *batches, vw_error *err);
void vw_batches_close(vw_batches *batches);

/* Units of an epoch, and the i-th of its order. */
int64_t vw_batches_count(const vw_batches *batches, uint64_t epoch);
vw_unit vw_batches_unit(const vw_batches *batches, vw_position at);

/* Fill with the next units, at most max_units of them and as many as there is room for, at least
 * one; the position moves on, into the next epoch where one ends. */
void vw_batches_next(const vw_batches *batches, vw_position *at, int64_t max_units,
                     vw_batch *batch);

/* For validation: windows in their order from the beginning, the short last one too, or documents;
 * every stride-th of them.  Returns how many are in the batch, 0 after the last. */
int64_t vw_batches_walk_count(const vw_batches *batches);
int64_t vw_batches_walk(const vw_batches *batches, int64_t *index, int64_t stride,
                        int64_t max_units, vw_batch *batch);

vw_status vw_batch_new(int64_t max_tokens, vw_batch *batch, vw_error *err);
void vw_batch_free(vw_batch *batch);

#endif
