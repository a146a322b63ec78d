/* transcript.h - a conversation, and the tokens that stand for it.
 *
 * A model with a chat template gets the conversation in that form.  Another one gets a plain
 * transcript, which most text models continue sensibly:
 *
 *     <system text>\n\nUser: <text>\nAssistant: <text>\nUser: <text>\nAssistant:
 *
 * and an answer ends before "\nUser:".
 */
#ifndef VW_TOOLS_TRANSCRIPT_H
#define VW_TOOLS_TRANSCRIPT_H

#include "input.h"

#define TRANSCRIPT_STOP "\nUser:"

/* Begin with zeros. */
typedef struct transcript {
    const char **roles; /* "system", "user", "assistant": static */
    char **texts;
    size_t n, room;
    int is_plain;       /* known after the first transcript_encode() */
} transcript;

vw_status transcript_add(transcript *t, const char *role, const char *text, size_t bytes,
                         vw_error *err);

/* Forget the last message, everything but the system's, or the oldest question with its answer; the
 * last returns 0 when only the newest question is left. */
void transcript_drop_last(transcript *t);
void transcript_clear(transcript *t);
int transcript_drop_oldest(transcript *t);
void transcript_free(transcript *t);

/* The conversation as ids, ready for the answer. */
vw_status transcript_encode(transcript *t, vw_engine *engine, id_list *ids, vw_error *err);

#endif
