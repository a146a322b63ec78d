/* with_trainer.h - a test opens a run on the smallest trainee there is (trainee-linear.h), stops it and
 * looks at it.
 */
#ifndef VW_T_WITH_TRAINER_H
#define VW_T_WITH_TRAINER_H

#include "core/trainer.h"

typedef struct session {
    vw_settings *settings;
    vw_core *core;
    vw_trainer *trainer;
    int64_t stop_at; /* ask to stop when this step is done; 0: never */
    int64_t kill_at; /* end the process there, as kill -9 would */
    int n_saved, n_notes;
    char note[400];
    double *mean; /* [256]: averaged after every step, decay 0.9; NULL: not */
} session;

/* A text of which each letter tells the next but for one bit: its conditional entropy is ln 2.  Once,
 * before any run. */
void write_text(void);

/* Open a run in folder `out` with "section.key=value" words on top of the usual ones; and train. */
vw_status open_run(session *s, const char *out, const char *const *words, vw_error *err);
vw_status train(session *s, const char *out, const char *const *words, vw_error *err);
void close_run(session *s);

/* Training like this fails with that status and a sentence like this one. */
void refuses(const char *out, const char *const *words, vw_status status, const char *sentence);

/* The path of a file in the folder of a run (four are remembered); a folder of that name, freed by the
 * caller. */
const char *in(const char *out, const char *name);
char *folder_of(const char *name);

#endif
