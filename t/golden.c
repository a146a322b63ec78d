/* golden.c - see golden.h. */
#include "t/golden.h"

#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "t/tap/tap.h"

static size_t read_ids(const vw_json_value *array, int32_t *ids, size_t room)
{
    const vw_json *json = vw_json_service();
    size_t n = json->count(array);
    if (n > room)
        bail_out("a golden has %zu ids; there is room for %zu", n, room);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)json->integer(json->at(array, i));
    return n;
}

static const vw_component *weights_of(with_engine *w)
{
    const vw_component *weights;
    if (vw_core_plugin(w->core, VW_KIND_WEIGHTS, "safetensors", &weights, &w->err))
        bail_out("%s", w->err.text);
    return weights;
}

const float *golden_array(with_engine *w, const golden *g, const char *name, size_t rows)
{
    const vw_component *weights = weights_of(w);
    const vw_weights_ops *ops = weights->ops;
    vw_weights_tensor t;
    if (ops->find(weights->self, g->reader, name, &t, &w->err))
        bail_out("%s", w->err.text);
    if (t.dtype != VW_F32 || t.shape[0] != (int64_t)rows || t.shape[1] != w->info.vocab_size)
        bail_out("%s: %s has not the expected shape", t.file, name);
    return t.data;
}

void golden_open(with_engine *w, const char *model, const char *prompt, golden *g)
{
    const vw_json *json = vw_json_service();
    const vw_component *weights = weights_of(w);
    vw_json_doc *doc;
    char path[8192], name[64];
    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "%s/%s/golden.json", source_file("t/data/goldens"), model);
    if (json->open_file(path, &doc, &w->err))
        bail_out("%s", w->err.text);
    const vw_json_value *p = json->get(json->get(json->root(doc), "prompts"), prompt);
    g->n = read_ids(json->get(p, "tokens"), g->tokens, GOLDEN_MAX_TOKENS);
    g->n_greedy = read_ids(json->get(p, "greedy"), g->greedy, GOLDEN_MAX_GREEDY);
    g->std = json->real(json->get(p, "logits_std"));
    json->close(doc);
    snprintf(path, sizeof path, "%s/%s/golden.safetensors", source_file("t/data/goldens"), model);
    if (((const vw_weights_ops *)weights->ops)->open(weights->self, path, &g->reader, &w->err))
        bail_out("%s", w->err.text);
    snprintf(name, sizeof name, "%s.logits", prompt);
    g->logits = golden_array(w, g, name, g->n);
}

void golden_close(with_engine *w, golden *g)
{
    const vw_component *weights = weights_of(w);
    ((const vw_weights_ops *)weights->ops)->close(weights->self, g->reader);
}

void golden_compare(with_engine *w, const golden *g, size_t chunk, const char *what)
{
    size_t before = g->first * (size_t)w->info.vocab_size;
    size_t values = g->n * (size_t)w->info.vocab_size - before;
    float *got = all_logits(w, g->tokens, g->n, chunk), *want = malloc(values * sizeof *want);
    if (!want)
        bail_out("no memory");
    memcpy(want, g->logits + before, values * sizeof *want);
    if (got)
        near_array(got + before, want, values, 2e-4 * g->std, "%s, chunks of %zu", what, chunk);
    free(want);
    free(got);
}
