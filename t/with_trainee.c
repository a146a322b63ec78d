/* with_trainee.c - see with_trainee.h. */
#include "t/with_trainee.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vishwamai/weights.h>

#include "core/json.h"
#include "t/folder.h"
#include "t/tap/tap.h"
#include "t/with_engine.h"

bool trainee_open(with_trainee *w, const vw_trainee_options *options, const char *assignments)
{
    char text[1024], *save = NULL;
    memset(w, 0, sizeof *w);
    snprintf(text, sizeof text, "%s", assignments);
    vw_status st = vw_settings_new(&w->settings, &w->err);
    for (char *a = strtok_r(text, " ", &save); a && !st; a = strtok_r(NULL, " ", &save))
        st = vw_settings_assign(w->settings, a, "test", &w->err);
    if (!st)
        st = vw_core_new(w->settings, &w->core, &w->err);
    if (!st)
        st = vw_trainee_open(w->core, options, &w->trainee, &w->err);
    if (!st)
        vw_trainee_get_info(w->trainee, &w->info);
    return st == VW_OK;
}

void trainee_close(with_trainee *w)
{
    vw_trainee_close(w->trainee);
    vw_core_free(w->core);
    vw_settings_free(w->settings);
    memset(w, 0, sizeof *w);
}

vw_trainee_param trainee_param(const with_trainee *w, const char *name)
{
    vw_trainee_param p;
    for (size_t i = 0; i < w->info.n_params; i++) {
        vw_trainee_get_param(w->trainee, i, &p);
        if (strcmp(p.name, name) == 0)
            return p;
    }
    bail_out("no parameter %s", name);
}

float *trainee_gradients(const with_trainee *w)
{
    size_t bytes = (size_t)w->info.n_trained * sizeof(float);
    float *copy = malloc(bytes + 1);
    if (!copy)
        bail_out("no memory");
    memcpy(copy, w->info.gradients, bytes);
    return copy;
}

vw_losses trainee_learn(with_trainee *w, const vw_micro_batch *micro)
{
    vw_losses losses;
    if (vw_trainee_zero(w->trainee, &w->err) ||
        vw_trainee_learn(w->trainee, micro, &losses, &w->err))
        bail_out("%s", w->err.text);
    return losses;
}

/* ---- goldens --------------------------------------------------------------------------------- */

float *golden_tensor(vw_core *core, const char *folder, const char *name, size_t *n)
{
    const vw_component *weights;
    vw_weights_reader *reader;
    vw_weights_tensor t;
    vw_error err;
    char path[4200];
    snprintf(path, sizeof path, "%s/golden.safetensors", folder);
    if (vw_core_plugin(core, VW_KIND_WEIGHTS, "safetensors", &weights, &err))
        bail_out("%s", err.text);
    const vw_weights_ops *ops = weights->ops;
    if (ops->open(weights->self, path, &reader, &err) ||
        ops->find(weights->self, reader, name, &t, &err))
        bail_out("%s", err.text);
    *n = 1;
    for (int i = 0; i < t.n_dims; i++)
        *n *= (size_t)t.shape[i];
    float *values = malloc((*n + 1) * sizeof *values);
    for (size_t i = 0; values && i < *n; i++)
        values[i] = (float)vw_dtype_get(t.dtype, t.data, i);
    ops->close(weights->self, reader);
    if (!values)
        bail_out("no memory");
    return values;
}

static int32_t *read_ids(vw_core *core, const char *folder, const char *name, int64_t *n)
{
    size_t count;
    float *values = golden_tensor(core, folder, name, &count);
    int32_t *ids = malloc((count + 1) * sizeof *ids);
    for (size_t i = 0; ids && i < count; i++)
        ids[i] = (int32_t)values[i]; /* small enough to be exact */
    free(values);
    if (!ids)
        bail_out("no memory");
    *n = (int64_t)count;
    return ids;
}

golden_batch golden_batch_read(vw_core *core, const char *folder)
{
    golden_batch g = {0};
    int64_t n;
    g.ids = read_ids(core, folder, "ids", &g.n_tokens);
    g.labels = read_ids(core, folder, "labels", &n);
    g.starts = read_ids(core, folder, "starts", &n);
    g.n_documents = n - 1;
    for (int64_t i = 0; i < g.n_tokens; i++)
        g.n_scored += g.labels[i] >= 0;
    return g;
}

void golden_batch_free(golden_batch *g)
{
    free(g->ids);
    free(g->labels);
    free(g->starts);
}

double golden_number(const char *folder, const char *key)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    vw_error err;
    char path[4200];
    snprintf(path, sizeof path, "%s/golden.json", folder);
    if (json->open_file(path, &doc, &err))
        bail_out("%s", err.text);
    const vw_json_value *v = json->get(json->root(doc), key);
    double value = json->type(v) == VW_JSON_INTEGER ? (double)json->integer(v) : json->real(v);
    json->close(doc);
    return value;
}

vw_micro_batch golden_micro(const golden_batch *g)
{
    return (vw_micro_batch){.n_tokens = g->n_tokens,
                            .ids = g->ids,
                            .labels = g->labels,
                            .n_documents = (int32_t)g->n_documents,
                            .starts = g->starts,
                            .divisor = (double)g->n_scored,
                            .loss_scale = 1};
}

/* ---- what several tests do ------------------------------------------------------------------- */

const char *trainee_model(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "t/data/goldens/%s", name);
    return source_file(path);
}

void trainee_open_or_die(with_trainee *w, const char *model, const vw_trainee_options *changes,
                         const char *settings)
{
    vw_trainee_options o = *changes;
    if (!o.path && model)
        o.path = trainee_model(model);
    if (!o.max_tokens)
        o.max_tokens = 64;
    if (!trainee_open(w, &o, settings))
        bail_out("%s", w->err.text);
}

double gradient_difference(const float *a, const float *b, size_t n)
{
    double square = 0, worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        square += (double)b[i] * b[i];
        worst = d > worst || !isfinite(d) ? d : worst;
    }
    return square > 0 ? worst / sqrt(square / (double)n) : worst;
}

float *trainee_learn_once(const char *model, const vw_trainee_options *o, const char *settings,
                          vw_losses *losses)
{
    with_trainee w;
    trainee_open_or_die(&w, model, o, settings);
    golden_batch g = golden_batch_read(w.core, trainee_model(model));
    vw_micro_batch micro = golden_micro(&g);
    micro.seed = 7;
    *losses = trainee_learn(&w, &micro);
    float *gradients = trainee_gradients(&w);
    golden_batch_free(&g);
    trainee_close(&w);
    return gradients;
}

size_t trainee_trained(const char *model)
{
    const vw_trainee_options o = {0};
    with_trainee w;
    trainee_open_or_die(&w, model, &o, "");
    size_t n = (size_t)w.info.n_trained;
    trainee_close(&w);
    return n;
}

void trainee_fill(int32_t *ids, int32_t *labels, size_t n, int32_t vocab)
{
    uint64_t state = 5;
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(folder_random(&state) % (uint64_t)vocab);
    for (size_t i = 0; i < n; i++)
        labels[i] = ids[(i + 1) % n];
}

void trainee_descend(with_trainee *w, float rate)
{
    for (uint64_t i = 0; i < w->info.n_trained; i++)
        w->info.values[i] -= rate * w->info.gradients[i];
}

void trainee_refuses(with_trainee *w, const vw_micro_batch *micro, const char *why)
{
    vw_losses losses;
    vw_status st = vw_trainee_learn(w->trainee, micro, &losses, &w->err);
    ok(st == VW_E_INVALID, "refused: %s", why);
    like(w->err.text, why, "and it says why");
}
