/* models.h - several models of one process: each is opened when it is first spoken to, and stays. */
#ifndef VW_TOOLS_MODELS_H
#define VW_TOOLS_MODELS_H

#include "input.h"
#include "opened.h"

/* A model with what its cache holds; the one in use lies in `opened` and here. */
typedef struct loaded_model {
    char name[64];        /* "": [model] */
    vw_engine *engine;
    vw_engine_info info;
    vw_sequence *sequence;
    id_list cached;       /* what the sequence holds */
} loaded_model;

typedef struct loaded_models {
    loaded_model *list;
    size_t n;
    size_t current;
} loaded_models;

/* The model that is open in `o`, under the name that the command line gave it. */
vw_status models_begin(loaded_models *all, const choices *c, const opened *o, vw_error *err);

/* Go on with [model:name]: o->engine and o->info are then its.  What was in use stays when it fails. */
vw_status models_use(loaded_models *all, const char *name, opened *o, vw_error *err);

/* "mini, big"; the one in use in brackets. */
void models_list(const loaded_models *all, const vw_settings *settings, char *text, size_t room);

/* Close all but the one that `o` closes. */
void models_free(loaded_models *all, opened *o);

#endif
