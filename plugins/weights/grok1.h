/* grok1.h - xAI's own checkpoint of Grok-1 as it lies in its folder. */
#ifndef VW_WEIGHTS_GROK1_H
#define VW_WEIGHTS_GROK1_H

#include "plugins/weights/pickle.h"

enum { GROK1_OWN = 2, GROK1_LAYER = 12, GROK1_MAX_LAYERS = 1000, GROK1_MAX_EXPERTS = 256 };

typedef struct grok1_plugin {
    const vw_host *host;
} grok1_plugin;

/* One file: a leaf of the tree of parameters. */
typedef struct grok1_leaf {
    char *path;
    const unsigned char *map;
    size_t bytes;
    pickle_array values, scales; /* scales of dtype NONE: there are none */
} grok1_leaf;

struct vw_weights_reader {
    char *folder, *config;      /* config: NULL where the shapes do not tell */
    grok1_leaf *leaves;
    size_t n_leaves;
    int32_t n_layers;
    vw_weights_tensor *tensors; /* ordered by name */
    char (*names)[96];
    size_t n_tensors;
};

/* Leaves to tensors: names, shapes, scales, and the configuration; grok1_tree.c. */
vw_status grok1_name_tensors(const grok1_plugin *g, vw_weights_reader *r, vw_error *err);

#endif
