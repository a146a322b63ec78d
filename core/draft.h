/* draft.h - guessing the next tokens with a layer of the model made for it.
 *
 * That layer has a cache of its own in the sequence's pages.  Its place i holds token i + 1 beside the
 * hidden state of token i, so a place can be filled as soon as the token after it is known, and the
 * last rows of a feed wait for the token that is drawn.
 */
#ifndef VW_CORE_DRAFT_H
#define VW_CORE_DRAFT_H

#include "core/engine.h"

typedef struct drafter {
    vw_engine *engine;
    vw_sequence *sequence;
    int64_t n_waiting;                /* last tokens of the sequence, whose states are in e->hidden */
    int64_t n_proposed, n_accepted;
} drafter;

enum { MAX_DRAFT = 16 };

/* As vw_feed_device with one feed, and the drafting layer follows.  Tokens of the sequence that it did
 * not see are computed again. */
vw_status vw_draft_feed(drafter *d, const int32_t *tokens, int64_t n, vw_want want,
                        device_row_fn on_row, void *arg, vw_error *err);

/* Up to `room` guesses of the tokens after `next`, which follows the sequence; as many as fit. */
vw_status vw_draft_propose(drafter *d, int32_t next, int64_t room, int32_t *guesses, int64_t *n,
                           vw_error *err);

/* Cut the sequence to `length`: guesses behind it were wrong. */
vw_status vw_draft_cut(drafter *d, int64_t length, vw_error *err);

#endif
