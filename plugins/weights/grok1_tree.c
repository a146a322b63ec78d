/* grok1_tree.c - which leaf of the checkpoint is which parameter.
 *
 * The files are numbered as JAX flattens the tree: names in sorted order, so that the layers come as
 * decoder_layer_0, 1, 10, 11, ... 19, 2, 20 and not by number.  Matrices are stored [in, out]; those
 * whose rows were divided among eight devices have a row of scales for each eighth of them.  What
 * comes out bears the names of the conversion by keyfan, in which a stack of experts is a matrix
 * each.
 */
#include "plugins/weights/grok1.h"

#include <stdlib.h>

/* The leaves of a layer, in their sorted order; %d is the layer, then the expert. */
enum { LINEAR, LINEAR_1, LINEAR_V, KEY, OUT, QUERY, VALUE, NORM, NORM_3 = NORM + 3, ROUTER };
typedef struct leaf_form {
    const char *name;
    int32_t n_dims;
} leaf_form;

static const leaf_form own[GROK1_OWN] = {{"in_out_embed", 2}, {"rms_norm", 1}};
static const leaf_form of_layer[GROK1_LAYER] = {
    [LINEAR] = {"linear", 3}, [LINEAR_1] = {"linear_1", 3}, [LINEAR_V] = {"linear_v", 3},
    [KEY] = {"multi_head_attention.key", 2}, [OUT] = {"multi_head_attention.linear", 2},
    [QUERY] = {"multi_head_attention.query", 2}, [VALUE] = {"multi_head_attention.value", 2},
    [NORM] = {"rms_norm", 1}, {"rms_norm_1", 1}, {"rms_norm_2", 1}, [NORM_3] = {"rms_norm_3", 1},
    [ROUTER] = {"router", 2},
};

static vw_status check_leaf(const grok1_leaf *l, const leaf_form *form, vw_error *err)
{
    const pickle_array *v = &l->values, *s = &l->scales;
    int32_t n = v->n_dims;
    if (n != form->n_dims)
        return vw_fail(err, VW_E_FORMAT, "%s: %s has %d dimensions; %d are expected", l->path,
                       form->name, n, form->n_dims);
    if ((v->dtype == VW_I8) != (s->dtype != VW_DTYPE_NONE))
        return vw_fail(err, VW_E_FORMAT, "%s: %s is %s %s scales; int8 has them, and nothing else",
                       l->path, form->name, vw_dtype_name(v->dtype), s->dtype ? "with" : "without");
    if (s->dtype == VW_DTYPE_NONE)
        return VW_OK;
    int fits = n >= 2 && s->n_dims == n && (s->dtype == VW_BF16 || s->dtype == VW_F32) &&
               s->shape[n - 1] == v->shape[n - 1] && v->shape[n - 2] % s->shape[n - 2] == 0 &&
               (n == 2 || s->shape[0] == v->shape[0]);
    if (!fits)
        return vw_fail(err, VW_E_FORMAT, "%s: the scales of %s do not fit it: %s of %d dimensions, "
                       "the last %lld, for a last one of %lld", l->path, form->name,
                       vw_dtype_name(s->dtype), s->n_dims, (long long)s->shape[s->n_dims - 1],
                       (long long)v->shape[n - 1]);
    return VW_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Matrix (or vector) `part` of a leaf that may be a stack of them. */
static vw_weights_tensor view(const grok1_leaf *l, int64_t part)
{
    const pickle_array *v = &l->values, *s = &l->scales;
    int32_t first = v->n_dims == 3;
    vw_weights_tensor t = {.file = l->path, .dtype = v->dtype, .n_dims = v->n_dims - first};
    for (int i = 0; i < t.n_dims; i++)
        t.shape[i] = v->shape[first + i];
    t.bytes = first ? v->bytes / (size_t)v->shape[0] : v->bytes;
    t.data = l->map + v->at + (size_t)part * t.bytes;
    if (s->dtype == VW_DTYPE_NONE)
        return t;
    size_t scale_bytes = first ? s->bytes / (size_t)s->shape[0] : s->bytes;
    t.scales = (vw_scales){l->map + s->at + (size_t)part * scale_bytes, s->dtype,
                           t.shape[0] / s->shape[first], 1, t.shape[1]};
    return t;
}

static void add(vw_weights_reader *r, vw_weights_tensor t, vw_layout layout)
{
    t.name = r->names[r->n_tensors];
    t.layout = layout;
    r->tensors[r->n_tensors++] = t;
}

static void add_layer(vw_weights_reader *r, const grok1_leaf *leaves, int32_t layer)
{
    for (int p = 0; p < GROK1_LAYER; p++) {
        const grok1_leaf *l = &leaves[p];
        int64_t n = l->values.n_dims == 3 ? l->values.shape[0] : 1;
        for (int64_t e = 0; e < n; e++) {
            char *name = r->names[r->n_tensors];
            if (l->values.n_dims == 3)
                snprintf(name, sizeof *r->names, "transformer.decoder_layer.%d.moe.%lld.%s.weight",
                         layer, (long long)e, of_layer[p].name);
            else
                snprintf(name, sizeof *r->names, "transformer.decoder_layer.%d.%s.weight", layer,
                         of_layer[p].name);
            add(r, view(l, e), l->values.n_dims > 1 ? VW_IN_OUT : VW_OUT_IN);
        }
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vw_weights_tensor *)a)->name, ((const vw_weights_tensor *)b)->name);
}

/* ---- the order of the layers ----------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    char x[16], y[16];
    snprintf(x, sizeof x, "%d", *(const int32_t *)a);
    snprintf(y, sizeof y, "%d", *(const int32_t *)b);
    return strcmp(x, y);
}

static void sort_layers(int32_t *layers, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        layers[i] = i;
    qsort(layers, (size_t)n, sizeof *layers, by_text);
}

/* ---- the configuration ----------------------------------------------------------------------- */

/* What shapes tell, in the words of run.py; heads of 128 as published.  A config.json beside the
 * files is for models that differ. */
static vw_status write_config(const grok1_plugin *g, vw_weights_reader *r, vw_error *err)
{
    enum { KEY_SIZE = 128, ROOM = 600 };
    const grok1_leaf *layer = r->leaves + GROK1_OWN;
    const int64_t *embedding = r->leaves[0].values.shape, *experts = layer[LINEAR].values.shape;
    int64_t q = layer[QUERY].values.shape[1], kv = layer[KEY].values.shape[1];
    if (q % KEY_SIZE || kv % KEY_SIZE)
        return VW_OK;
    r->config = g->host->alloc(g->host->core, ROOM);
    if (!r->config)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for its configuration", r->folder);
    snprintf(r->config, ROOM, "{\"model_type\": \"grok\", \"vocab_size\": %lld, \"emb_size\": %lld, "
             "\"num_layers\": %d, \"num_q_heads\": %lld, \"num_kv_heads\": %lld, \"key_size\": %d, "
             "\"num_experts\": %lld, \"intermediate_size\": %lld}", (long long)embedding[0],
             (long long)embedding[1], r->n_layers, (long long)(q / KEY_SIZE),
             (long long)(kv / KEY_SIZE), KEY_SIZE, (long long)experts[0], (long long)experts[2]);
    return VW_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static vw_status check_leaves(const vw_weights_reader *r, size_t *n_tensors, vw_error *err)
{
    *n_tensors = 0;
    for (size_t i = 0; i < r->n_leaves; i++) {
        const grok1_leaf *l = &r->leaves[i];
        vw_status st = check_leaf(l, i < GROK1_OWN ? &own[i]
                                                   : &of_layer[(i - GROK1_OWN) % GROK1_LAYER], err);
        if (st)
            return st;
        if (l->values.n_dims == 3 && l->values.shape[0] > GROK1_MAX_EXPERTS)
            return vw_fail(err, VW_E_FORMAT, "%s: %lld experts; at most %d are expected", l->path,
                           (long long)l->values.shape[0], GROK1_MAX_EXPERTS);
        *n_tensors += l->values.n_dims == 3 ? (size_t)l->values.shape[0] : 1;
    }
    return VW_OK;
}

vw_status grok1_name_tensors(const grok1_plugin *g, vw_weights_reader *r, vw_error *err)
{
    int32_t layers[GROK1_MAX_LAYERS];
    size_t n;
    vw_status st = check_leaves(r, &n, err);
    if (st)
        return st;
    r->tensors = g->host->alloc(g->host->core, n * sizeof *r->tensors);
    r->names = g->host->alloc(g->host->core, n * sizeof *r->names);
    if (!r->tensors || !r->names)
        return vw_fail(err, VW_E_NOMEM, "%s: no memory for %zu tensors", r->folder, n);
    for (size_t i = 0; i < GROK1_OWN; i++) {
        snprintf(r->names[i], sizeof *r->names, "transformer.%s.weight", own[i].name);
        add(r, view(&r->leaves[i], 0), VW_OUT_IN);
    }
    sort_layers(layers, r->n_layers);
    for (int32_t i = 0; i < r->n_layers; i++)
        add_layer(r, r->leaves + GROK1_OWN + (size_t)i * GROK1_LAYER, layers[i]);
    qsort(r->tensors, r->n_tensors, sizeof *r->tensors, by_name);
    return write_config(g, r, err);
}
