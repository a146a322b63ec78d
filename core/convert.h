/* convert.h - a checkpoint written again in another form: what the files of the conversion share.
 *
 *     convert.c         the plan, the shards, the folder that is renamed when it is whole
 *     convert_item.c    one tensor: which form it gets, its pieces, its bytes
 *     convert_config.c  config.json, the index, the files that only travel
 *     convert_gguf.c    a GGUF file instead: its keys, and the file
 *
 * Between a folder and a GGUF file names, configuration and norms differ by the family; the model plugin
 * gives them (vw_model_ops.respell).
 *
 * Everything that can be wrong with the source is found before anything is written.  At any time one
 * tensor is in memory, in its new form; the source is mapped, and its pages are let go.
 */
#ifndef VW_CORE_CONVERT_H
#define VW_CORE_CONVERT_H

#include "core/json_write.h"
#include "core/stored.h"

typedef enum convert_form {
    FORM_KEEP, FORM_F32, FORM_BF16, FORM_F16, FORM_INT8_ROWS, FORM_INT8_BLOCKS, FORM_FP8_BLOCKS,
    FORM_INT4_GROUPS, FORM_Q8_0, FORM_Q4_0, CONVERT_FORMS
} convert_form;

enum { CONVERT_BLOCK = 128, MAX_PIECES = 3 };

/* A tensor as it is written. */
typedef struct piece {
    vw_weights_tensor tensor; /* its name is the item's */
    void *bytes;              /* while the item is being written; NULL: tensor.data as it is */
} piece;

/* A parameter, or a tensor that belongs to none, and what becomes of it. */
typedef struct item {
    const vw_param_spec *spec; /* NULL: unmatched */
    vw_respelt part;             /* what of it, under which name; the whole but between two kinds of file */
    bool continues;            /* the tensor that the item before began */
    bool is_joined;            /* its tensor is made of several items, rows below rows */
    const char *name;          /* in the source, without an ending of its form */
    const char *new_name;      /* the same of what is written */
    vw_stored source;
    convert_form form;
    const char *why;           /* FORM_KEEP though another was asked for */
    int n_pieces;
    piece pieces[MAX_PIECES];
    char *names;               /* this one and those of the pieces */
    uint64_t bytes;            /* of the pieces */
    bool is_glued;             /* stands right behind the item before: one expert, one tensor */
    int shard;
} item;

typedef struct conversion {
    vw_core *core;
    vw_engine *engine;
    const vw_convert_options *options;
    const vw_component *out;   /* the weights plugin that writes */
    const vw_weights_ops *wts;
    convert_form form;
    int64_t group;
    bool is_gguf;              /* of what is written */
    vw_spelling spelling;      /* size 0: names and configuration stay */
    vw_json_doc *config;       /* of the spelling */
    item *items;
    size_t n_items, room;
    int n_shards;
    uint64_t total, done;      /* bytes of the source */
    char folder[VW_PLACE_BYTES]; /* where it is written: a temporary name */
} conversion;

const char *vw_convert_form_name(convert_form form);
vw_status vw_convert_form_of(const char *name, bool is_gguf, convert_form *form, vw_error *err);

/* Decide on form and pieces of an item whose spec and source are set. */
vw_status vw_convert_plan_item(conversion *c, item *it, vw_error *err);
/* Make the bytes of its pieces, and tell how far they are off. */
vw_status vw_convert_encode(conversion *c, item *it, double *relative_error, vw_error *err);
void vw_convert_drop(conversion *c, item *it);

/* Write items [first, last) as one file. */
vw_status vw_convert_write_file(conversion *c, const char *path, size_t first, size_t last,
                                const char *const *metadata, vw_error *err);
/* All of them, with the keys of spelling and tokenizer; what is wrong with that is said first. */
vw_status vw_convert_write_gguf(conversion *c, vw_error *err);

/* A JSON value, as a member or element of what is being written. */
void vw_convert_put_value(vw_json_writer *w, const char *key, const vw_json_value *v);

/* The path of a file in the folder. */
vw_status vw_convert_path(const conversion *c, const char *name, char path[VW_PLACE_BYTES],
                          vw_error *err);
/* The name of a shard, of up to VW_SHARD_NAME bytes. */
enum { VW_SHARD_NAME = 64 };
const char *vw_convert_shard(const conversion *c, int shard, char name[VW_SHARD_NAME]);

vw_status vw_convert_write_index(conversion *c, vw_error *err);
vw_status vw_convert_write_config(conversion *c, vw_error *err);
/* Tokenizer, templates, licence: whatever else lies in the source's folder and is no weights. */
vw_status vw_convert_copy_files(conversion *c, vw_error *err);

#endif
