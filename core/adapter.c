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

/* "model.layers.0.self_attn.q_proj.weight": the block's name, and its last word, q_proj. */
void vw_adapter_block(const char *name, char *block, size_t room, char *last, size_t last_room)
{
    size_t n = strlen(name), tail = sizeof weight_suffix - 1;
    if (n > tail && strcmp(name + n - tail, weight_suffix) == 0)
        n -= tail;
    snprintf(block, room, "%.*s", (int)n, name);
    const char *dot = strrchr(block, '.');
    snprintf(last, last_room, "%s", dot ? dot + 1 : block);
}

static bool is_of_experts(const vw_model_info *info, size_t param)
{
    for (int32_t l = 0; l < info->n_experts; l++) {
        const vw_experts_spec *s = &info->experts[l];
        if (param >= s->first_param && param < s->first_param + 3 * (size_t)s->n_experts)
            return true;
    }
    return false;
}

bool vw_adaptable(const vw_engine *e, size_t param)
{
    const vw_param_spec *s = &e->info->params[param];
    return e->param_list[param] && s->rows > 0 && s->split != VW_SPLIT_VOCABULARY && !s->is_exact &&
           !is_of_experts(e->info, param);
}

vw_status vw_adapters_open(vw_engine *e, vw_error *err)
{
    adapter_list *a = &e->adapters;
    size_t most = e->info->n_params;
    a->params = vw_core_alloc(e->core, 2 * most * sizeof *a->params);
    a->of = vw_core_alloc(e->core, most * sizeof *a->of);
    a->specs = vw_core_alloc(e->core, 2 * most * sizeof *a->specs);
    a->names = vw_core_alloc(e->core, 2 * most * sizeof *a->names);
    a->adapted = vw_core_alloc(e->core, most * sizeof *a->adapted);
    if (!a->params || !a->of || !a->specs || !a->names || !a->adapted)
        return vw_fail(err, VW_E_NOMEM, "no memory for adapters");
    memset(a->params, 0, 2 * most * sizeof *a->params);
    return VW_OK;
}

/* A begins normal with deviation 1 / sqrt(inputs) and B zero: a new adapter changes nothing. */
void vw_adapters_attach(vw_engine *e, vw_param *w, int64_t rank, double alpha, double dropout)
{
    adapter_list *a = &e->adapters;
    size_t i = a->n++;
    vw_param_spec *down = &a->specs[2 * i], *up = down + 1;
    char name[512], block[160], last[64];
    vw_adapter_block(vw_param_name(e, w->spec, name, sizeof name), block, sizeof block, last,
                     sizeof last);
    for (size_t j = 0; j < 2; j++)
        snprintf(a->names[2 * i + j], sizeof *a->names, "%s%s.lora_%c.weight", prefix, block,
                 "AB"[j]);
    *down = (vw_param_spec){.name = a->names[2 * i],
                            .rows = rank,
                            .cols = w->spec->cols,
                            .init = VW_INIT_NORMAL,
                            .init_std = 1 / sqrt((double)w->spec->cols),
                            .decay_group = 1};
    *up = (vw_param_spec){.name = a->names[2 * i + 1],
                          .rows = w->spec->rows,
                          .cols = rank,
                          .init = VW_INIT_ZEROS,
                          .decay_group = 1};
    a->params[2 * i].spec = down;
    a->params[2 * i + 1].spec = up;
    a->of[i] = (vw_adapter){&a->params[2 * i], &a->params[2 * i + 1], (float)(alpha / (double)rank),
                            (float)dropout};
    a->adapted[i] = w;
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
    memset(a, 0, sizeof *a);
}

/* ---- from a folder --------------------------------------------------------------------------- */

typedef struct adapter_file {
    const char *folder;
    vw_weights_reader *reader;
    double alpha;
} adapter_file;

static vw_status read_config(const char *folder, double *alpha, vw_error *err)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    const char *type;
    int is_rank_scaled;
    char path[VW_PLACE_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/adapter_config.json", folder) >= sizeof path)
        return vw_fail(err, VW_E_INVALID, "the path %s is too long", folder);
    vw_status st = json->open_file(path, &doc, err);
    if (st)
        return st;
    const vw_json_value *root = json->root(doc);
    if (!(st = json->get_string(doc, root, "peft_type", "", &type, err)) &&
        !(st = json->get_real(doc, root, "lora_alpha", 8, alpha, err)))
        st = json->get_bool(doc, root, "use_rslora", 0, &is_rank_scaled, err);
    if (!st && (strcmp(type, "LORA") != 0 || is_rank_scaled))
        st = vw_fail(err, VW_E_UNSUPPORTED, "%s: peft_type is \"%s\"%s; plain \"LORA\" can be run",
                     path, type, is_rank_scaled ? " with use_rslora" : "");
    json->close(doc);
    return st;
}

/* The parameter whose A has this name. */
static vw_param *matrix_of(vw_engine *e, const char *name)
{
    char file[512], want[192], block[160], last[64];
    for (size_t i = 0; i < e->info->n_params; i++) {
        if (!vw_adaptable(e, i))
            continue;
        vw_adapter_block(vw_param_name(e, &e->info->params[i], file, sizeof file), block,
                         sizeof block, last, sizeof last);
        snprintf(want, sizeof want, "%s%s.lora_A.weight", prefix, block);
        if (strcmp(want, name) == 0)
            return e->param_list[i];
    }
    return NULL;
}

static vw_status attach_all(vw_engine *e, const adapter_file *f, vw_error *err)
{
    void *wts = e->weights->self;
    size_t n = e->wts->count(wts, f->reader);
    for (size_t i = 0; i < n; i++) {
        vw_weights_tensor t;
        vw_status st = e->wts->tensor(wts, f->reader, i, &t, err);
        if (st)
            return st;
        if (strstr(t.name, ".lora_B."))
            continue; /* looked for beside its A */
        vw_param *w = matrix_of(e, t.name);
        if (!w)
            return vw_fail(err, VW_E_FORMAT,
                           "%s: tensor \"%s\" adapts no matrix of this model (%s)", t.file, t.name,
                           e->info->description);
        if (t.n_dims != 2 || t.shape[0] < 1 || t.shape[0] > 65536)
            return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" is no A of an adapter", t.file,
                           t.name);
        vw_adapters_attach(e, w, t.shape[0], f->alpha, 0);
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
    vw_weights_tensor t;
    vw_status st = e->wts->find(e->weights->self, f->reader, s->name, &t, err);
    if (st)
        return st;
    if (t.n_dims != 2 || t.shape[0] != s->rows || t.shape[1] != s->cols || !vw_dtype_bits(t.dtype))
        return vw_fail(err, VW_E_FORMAT, "%s: tensor \"%s\" should be [%lld, %lld]", t.file, t.name,
                       (long long)s->rows, (long long)s->cols);
    for (size_t i = 0; i < n; i++)
        host[i] = (float)vw_dtype_get(t.dtype, t.data, i);
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
        e->token_bytes += a->params[i].bytes;
    }
    vw_core_release(e->core, host);
    return st;
}

vw_status vw_adapters_load(vw_engine *e, const char *folder, vw_error *err)
{
    adapter_file f = {.folder = folder};
    char path[VW_PLACE_BYTES];
    vw_status st = read_config(folder, &f.alpha, err);
    if (!st)
        st = vw_adapters_open(e, err);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    if (!st)
        st = e->wts->open(e->weights->self, path, &f.reader, err);
    if (st)
        return st;
    st = attach_all(e, &f, err);
    if (!st)
        st = load_all(e, &f, err);
    e->wts->close(e->weights->self, f.reader);
    return st;
}
