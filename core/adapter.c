/* adapter.c - low-rank adapters beside a model's matrices (Hu et al. 2021, equation 3).
 *
 * y = W x + (alpha / rank) B A x.  A and B are parameters of their own, under the names that PEFT
 * gives them; what they compute is made of the ordinary blocks (nn_product.c).  In inference they
 * come from a folder that holds adapter_config.json and adapter_model.safetensors; in training from
 * lora.c.
 */
#include "core/engine.h"

#include <math.h>
#include <string.h>

#include "core/json.h"

static const char weight_suffix[] = ".weight", prefix[] = "base_model.model.";

/* ---- where ----------------------------------------------------------------------------------- */

static bool is_table(const vw_param_spec *s)
{
    return s->split == VW_SPLIT_VOCABULARY && s->rows > 0;
}

/* Tables of a model: the first is looked up in, the last is the head. */
static bool is_end_table(const vw_engine *e, size_t param, bool is_last)
{
    for (size_t i = 0; i < e->info->n_params; i++)
        if (is_table(&e->info->params[i]) && e->param_list[i] && (is_last ? i > param : i < param))
            return false;
    return true;
}

/* Not what is used a head at a time, in which no product takes an adapter, and no slice, whose name is
 * that of others. */
bool vw_adaptable(const vw_engine *e, size_t param, adapter_site site)
{
    const vw_param_spec *s = &e->info->params[param];
    if (!e->param_list[param] || s->rows <= 0 || s->is_exact || s->n_heads || s->n_slices)
        return false;
    if (!is_table(s))
        return site == ADAPTS_PRODUCT;
    return site != ADAPTS_PRODUCT && is_end_table(e, param, site == ADAPTS_HEAD);
}

/* "model.layers.0.self_attn.q_proj" and q_proj.  The head of a model whose head is its embedding is a
 * block of its own in PEFT's eyes, without a parameter. */
adapter_block vw_adapter_block(const vw_engine *e, const vw_param *w, adapter_site site)
{
    adapter_block b;
    char name[512];
    vw_param_name(e, w->spec, name, sizeof name);
    size_t n = strlen(name), tail = sizeof weight_suffix - 1;
    if (n > tail && strcmp(name + n - tail, weight_suffix) == 0)
        n -= tail;
    if (site == ADAPTS_HEAD && vw_adaptable(e, (size_t)(w->spec - e->info->params), ADAPTS_LOOKUP))
        snprintf(b.name, sizeof b.name, "lm_head");
    else
        snprintf(b.name, sizeof b.name, "%.*s", (int)n, name);
    const char *dot = strrchr(b.name, '.');
    snprintf(b.last, sizeof b.last, "%.63s", dot ? dot + 1 : b.name);
    return b;
}

static void name_of(const adapter_block *b, adapter_site site, char which, char name[256])
{
    if (site == ADAPTS_LOOKUP)
        snprintf(name, 256, "%s%s.lora_embedding_%c", prefix, b->name, which);
    else
        snprintf(name, 256, "%s%s.lora_%c.weight", prefix, b->name, which);
}

vw_status vw_adapters_open(vw_engine *e, vw_error *err)
{
    adapter_list *a = &e->adapters;
    size_t most = e->info->n_params + 1; /* a table may have two */
    a->params = vw_core_alloc(e->core, 2 * most * sizeof *a->params);
    a->of = vw_core_alloc(e->core, most * sizeof *a->of);
    a->specs = vw_core_alloc(e->core, 2 * most * sizeof *a->specs);
    a->names = vw_core_alloc(e->core, 2 * most * sizeof *a->names);
    a->adapted = vw_core_alloc(e->core, most * sizeof *a->adapted);
    a->sites = vw_core_alloc(e->core, most * sizeof *a->sites);
    if (!a->params || !a->of || !a->specs || !a->names || !a->adapted || !a->sites)
        return vw_fail(err, VW_E_NOMEM, "no memory for adapters");
    memset(a->params, 0, 2 * most * sizeof *a->params);
    return VW_OK;
}

/* What is not zero at first is normal: an A with deviation 1 / sqrt(inputs), and the B of a table,
 * whose A is what is zero, with 1.  A new adapter changes nothing. */
void vw_adapters_attach(vw_engine *e, vw_param *w, adapter_site site, int64_t rank, double alpha,
                        double dropout)
{
    adapter_list *a = &e->adapters;
    size_t i = a->n++;
    vw_param_spec *down = &a->specs[2 * i], *up = down + 1;
    adapter_block block = vw_adapter_block(e, w, site);
    bool is_lookup = site == ADAPTS_LOOKUP;
    for (size_t j = 0; j < 2; j++)
        name_of(&block, site, "AB"[j], a->names[2 * i + j]);
    *down = (vw_param_spec){.name = a->names[2 * i],
                            .rows = is_lookup ? w->spec->rows : rank,
                            .cols = is_lookup ? rank : w->spec->cols,
                            .init = is_lookup ? VW_INIT_ZEROS : VW_INIT_NORMAL,
                            .init_std = 1 / sqrt((double)w->spec->cols),
                            .decay_group = 1};
    *up = (vw_param_spec){.name = a->names[2 * i + 1],
                          .rows = is_lookup ? w->spec->cols : w->spec->rows,
                          .cols = rank,
                          .init = is_lookup ? VW_INIT_NORMAL : VW_INIT_ZEROS,
                          .init_std = 1,
                          .decay_group = 1};
    a->params[2 * i].spec = down;
    a->params[2 * i].is_transposed = is_lookup;
    a->params[2 * i + 1].spec = up;
    a->of[i] = (vw_adapter){&a->params[2 * i], &a->params[2 * i + 1], (float)(alpha / (double)rank),
                            (float)dropout};
    a->adapted[i] = w;
    a->sites[i] = site;
    if (is_lookup)
        w->lookup = &a->of[i];
    else
        w->adapter = &a->of[i];
}

void vw_adapters_close(vw_engine *e)
{
    adapter_list *a = &e->adapters;
    e->dev->free(e->device->self, &a->values);
    vw_core_release(e->core, a->params);
    vw_core_release(e->core, a->of);
    vw_core_release(e->core, a->specs);
    vw_core_release(e->core, a->names);
    vw_core_release(e->core, a->adapted);
    vw_core_release(e->core, a->sites);
    memset(a, 0, sizeof *a);
}

/* ---- from a folder --------------------------------------------------------------------------- */

typedef struct adapter_file { /* whatever the model's own files are */
    const char *folder;
    const vw_weights_ops *wts;
    void *self;
    vw_weights_reader *reader;
    double alpha;
} adapter_file;

static vw_status read_config(const char *folder, double *alpha, vw_error *err)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    const char *type;
    int is_rank_scaled, is_dora;
    char path[VW_PLACE_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/adapter_config.json", folder) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    vw_status st = json->open_file(path, &doc, err);
    if (st)
        return st;
    const vw_json_value *root = json->root(doc);
    if (!(st = json->get_string(doc, root, "peft_type", "", &type, err)) &&
        !(st = json->get_real(doc, root, "lora_alpha", 8, alpha, err)))
        if (!(st = json->get_bool(doc, root, "use_rslora", 0, &is_rank_scaled, err)))
            st = json->get_bool(doc, root, "use_dora", 0, &is_dora, err);
    if (!st && (strcmp(type, "LORA") != 0 || is_rank_scaled || is_dora))
        st = vw_fail(err, VW_E_UNSUPPORTED, "%s: peft_type is \"%s\"%s; plain \"LORA\" can be run",
                     path, type,
                     is_rank_scaled ? " with use_rslora"
                     : is_dora      ? " with use_dora"
                                    : "");
    if (!st && json->count(json->get(root, "alpha_pattern")))
        st = vw_fail(err, VW_E_UNSUPPORTED,
                     "%s: alpha_pattern gives blocks factors of their own; one lora_alpha for all "
                     "can be run",
                     path);
    json->close(doc);
    return st;
}

/* The parameter whose A has this name, and where it is used. */
static vw_param *matrix_of(vw_engine *e, const char *name, adapter_site *site)
{
    char want[256];
    for (size_t i = 0; i < e->info->n_params; i++)
        for (*site = 0; *site < ADAPTER_SITES; (*site)++) {
            if (!vw_adaptable(e, i, *site))
                continue;
            adapter_block block = vw_adapter_block(e, e->param_list[i], *site);
            name_of(&block, *site, 'A', want);
            if (strcmp(want, name) == 0)
                return e->param_list[i];
        }
    return NULL;
}

static vw_status attach_all(vw_engine *e, const adapter_file *f, vw_error *err)
{
    size_t n = f->wts->count(f->self, f->reader);
    for (size_t i = 0; i < n; i++) {
        vw_weights_tensor t;
        vw_status st = f->wts->tensor(f->self, f->reader, i, &t, err);
        if (st)
            return st;
        if (strstr(t.name, ".lora_B.") || strstr(t.name, ".lora_embedding_B"))
            continue; /* looked for beside its A */
        if (strstr(t.name, ".base_layer."))
            return vw_fail(err, VW_E_UNSUPPORTED,
                           "%s: \"%s\" is the base model's own; let PEFT save the adapter alone "
                           "(save_embedding_layers=False)",
                           t.file, t.name);
        adapter_site site;
        vw_param *w = matrix_of(e, t.name, &site);
        if (!w)
            return vw_fail(err, VW_E_FORMAT,
                           "%s: tensor \"%s\" adapts no matrix of this model (%s)", t.file, t.name,
                           e->info->description);
        if (t.n_dims != 2 || t.shape[0] < 1 || t.shape[0] > 65536)
            return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is no A of an adapter", t.file,
                           t.name);
        vw_adapters_attach(e, w, site, t.shape[0], f->alpha, 0);
    }
    if (2 * e->adapters.n != n)
        return vw_fail(err, VW_E_FORMAT, "%s: %zu tensors for %zu adapters of two", f->folder, n,
                       e->adapters.n);
    return VW_OK;
}

static vw_status load_one(vw_engine *e, const adapter_file *f, vw_param *p, float *values,
                          float *host, vw_error *err)
{
    const vw_param_spec *s = p->spec;
    size_t n = (size_t)s->rows * (size_t)s->cols;
    int64_t rows = p->is_transposed ? s->cols : s->rows, cols = p->is_transposed ? s->rows : s->cols;
    vw_weights_tensor t;
    vw_status st = f->wts->find(f->self, f->reader, s->name, &t, err);
    if (st)
        return st;
    if (t.n_dims != 2 || t.shape[0] != rows || t.shape[1] != cols || !vw_dtype_bits(t.dtype))
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" should be [%lld, %lld]", t.file, t.name,
                       (long long)rows, (long long)cols);
    for (size_t i = 0; i < n; i++) {
        size_t at = p->is_transposed ? i % (size_t)cols * (size_t)rows + i / (size_t)cols : i;
        host[at] = (float)vw_dtype_get(t.dtype, t.data, i);
    }
    p->bytes = n * sizeof *host;
    p->weight = (vw_gemm_weight){.stored = {.data = values,
                                            .dtype = VW_F32,
                                            .layout = VW_OUT_IN,
                                            .rows = s->rows,
                                            .cols = s->cols,
                                            .row_stride = s->cols}};
    st = e->dev->upload(e->device->self, e->stream, values, host, n * sizeof *host, err);
    return st ? st : e->dev->synchronize(e->device->self, e->stream, err);
}

static vw_status load_all(vw_engine *e, const adapter_file *f, vw_error *err)
{
    adapter_list *a = &e->adapters;
    size_t all = 0, most = 0, at = 0;
    for (size_t i = 0; i < 2 * a->n; i++) {
        size_t n = ((size_t)a->specs[i].rows * (size_t)a->specs[i].cols + 15) / 16 * 16;
        all += n;
        most = n > most ? n : most;
    }
    vw_status st = e->dev->alloc(e->device->self, (all + 1) * sizeof(float), &a->values, err);
    float *host = vw_core_alloc(e->core, (most + 1) * sizeof *host);
    if (!st && !host)
        st = vw_fail(err, VW_E_NOMEM, "no memory for an adapter");
    for (size_t i = 0; i < 2 * a->n && !st; i++) {
        st = load_one(e, f, &a->params[i], (float *)a->values.data + at, host, err);
        at += ((size_t)a->specs[i].rows * (size_t)a->specs[i].cols + 15) / 16 * 16;
        e->weight_bytes += a->params[i].bytes;
    }
    vw_core_release(e->core, host);
    return st;
}

vw_status vw_adapters_load(vw_engine *e, const char *folder, vw_error *err)
{
    adapter_file f = {.folder = folder};
    const vw_component *weights;
    char path[VW_PLACE_BYTES];
    vw_status st = read_config(folder, &f.alpha, err);
    if (!st)
        st = vw_adapters_open(e, err);
    if (!st)
        st = vw_core_plugin(e->core, VW_KIND_WEIGHTS, "safetensors", &weights, err);
    if (st)
        return st;
    f.wts = weights->ops;
    f.self = weights->self;
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    if ((st = f.wts->open(f.self, path, &f.reader, err)))
        return st;
    st = attach_all(e, &f, err);
    if (!st)
        st = load_all(e, &f, err);
    f.wts->close(f.self, f.reader);
    return st;
}
