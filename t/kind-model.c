/* kind-model.c - what every model family must do with a configuration, before any weight is read.
 *
 * Each plugin meets the configuration of every model in this tree, its own and the others': exactly
 * one family may claim a folder, and what it says of it must hold together.  That the numbers are
 * right is shown by the golden test of each family.
 */
#include "core/json.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/model.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const folders[] = {
    "etc/models/tiny-gemma",          "etc/models/tiny-vishwamai",
    "t/data/goldens/gemma-odd-f32",   "t/data/goldens/gemma2-odd-f32",
    "t/data/goldens/gemma3-text-f32", "t/data/goldens/gemma3-wrapped",
    "t/data/goldens/deepseek-f32",    "t/data/goldens/deepseek-v2",
    "t/data/goldens/deepseek-mtp",    "t/data/goldens/grok-original",
    "t/data/goldens/grok-keyfan",     "t/data/goldens/grok-lmzheng",
    "t/data/goldens/grok-hpcai",
};
enum { N_FOLDERS = sizeof folders / sizeof *folders };
static int n_claims[N_FOLDERS];
static mock_host mock;

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? vw_json_service() : NULL;
}

static const char *folder_of(int i)
{
    static char path[4096];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof path, "%s/%s", top ? top : ".", folders[i]);
    return path;
}

/* ---- what a model says of itself ------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int n_same_names(const vw_model_info *m)
{
    const char **names = malloc(m->n_params * sizeof *names);
    int n = 0;
    if (!names)
        bail_out("no memory");
    for (size_t i = 0; i < m->n_params; i++)
        names[i] = m->params[i].name;
    qsort(names, m->n_params, sizeof *names, by_name);
    for (size_t i = 1; i < m->n_params; i++)
        n += !strcmp(names[i], names[i - 1]);
    free(names);
    return n;
}

static bool is_sound_param(const vw_param_spec *p)
{
    bool is_split = !p->n_heads || (p->rows % p->n_heads == 0 && p->head_split > 0 &&
                                    p->head_split < p->rows / p->n_heads);
    return p->name && *p->name && strlen(p->name) < 300 && p->rows >= 0 && p->cols > 0 && is_split &&
           p->init_std >= 0;
}

static bool are_sound_experts(const vw_model_info *m, const vw_experts_spec *x)
{
    if (x->n_experts < 1 || x->top_k < 1 || x->top_k > x->n_experts || x->bias > m->n_params ||
        x->first_param + 3 * (size_t)x->n_experts > m->n_params)
        return false;
    const vw_param_spec *first = m->params + x->first_param;
    bool is_alike = first[0].cols == m->width && first[2].rows == m->width;
    for (int32_t i = 0; i < 3 * x->n_experts; i++)
        is_alike = is_alike && first[i].rows == first[i % 3].rows && first[i].cols == first[i % 3].cols;
    return is_alike && (!x->bias || m->params[x->bias - 1].cols == x->n_experts);
}

static void check_info(const char *what, const vw_model_info *m)
{
    int n_bad = 0;
    ok(m->size == sizeof *m && m->family && *m->family && *m->description && m->n_layers > 0 &&
       m->width > 0 && m->vocab_size > 0 && m->max_positions > 0 && m->q_heads > 0 && m->n_params > 0,
       "%s: %s", what, m->description);
    ok(m->bos < m->vocab_size && m->eos < m->vocab_size && m->pad < m->vocab_size,
       "%s: its special tokens are of the vocabulary", what);
    for (size_t i = 0; i < m->n_params; i++)
        n_bad += !is_sound_param(&m->params[i]);
    is_int(n_bad, 0, "%s: parameters have names and shapes", what);
    is_int(n_same_names(m), 0, "%s: no name twice", what);
    for (int32_t i = n_bad = 0; i < m->n_experts; i++)
        n_bad += !are_sound_experts(m, &m->experts[i]);
    is_int(n_bad, 0, "%s: experts lie in the list, all of one shape", what);
    for (int32_t i = n_bad = 0; i < m->n_layers + m->n_drafts; i++) {
        const vw_cache_spec *c = &m->caches[i];
        n_bad += c->k_heads < 1 || c->dk < 1 || c->dv < 1 || c->window < 0 || m->q_heads % c->k_heads;
    }
    is_int(n_bad, 0, "%s: each layer has a cache", what);
}

/* ---- configurations -------------------------------------------------------------------------- */

static vw_status load_file(const mock_instance *it, const char *path, vw_error *err)
{
    const vw_json *json = vw_json_service();
    const vw_model_ops *ops = it->component.ops;
    vw_json_doc *doc;
    if (json->open_file(path, &doc, err))
        bail_out("%s", err->text);
    vw_status st = ops->load(it->component.self, json, doc, err);
    json->close(doc);
    return st;
}

static void open_or_die(const vw_plugin *plugin, mock_instance *it)
{
    vw_error err;
    if (mock_try_open(&mock, plugin, NULL, it, &err))
        bail_out("model/%s: %s", plugin->name, err.text);
}

static void test_folder(const vw_plugin *plugin, int i)
{
    char path[4200], what[256], why[512] = "";
    vw_error err = {VW_OK, ""};
    mock_instance it;
    vw_probe about = {sizeof about, folder_of(i), NULL};
    bool is_claimed = plugin->probe(&about, why, sizeof why) > 0;
    n_claims[i] += is_claimed;
    snprintf(what, sizeof what, "%s, %s", plugin->name, folders[i]);
    snprintf(path, sizeof path, "%s/config.json", folder_of(i));
    open_or_die(plugin, &it);
    vw_status st = load_file(&it, path, &err);
    if (is_claimed) {
        ok(*why && st == VW_OK, "%s: %s: %s", what, why, st ? err.text : "loads");
        if (!st)
            check_info(what, ((const vw_model_ops *)it.component.ops)->info(it.component.self));
    } else {
        ok(*why && (!st || *err.text), "%s: %s; its configuration: %s", what, why,
           st ? err.text : "is understood");
    }
    mock_close(&mock, &it);
}

/* Texts that describe nothing. */
static void test_nonsense(const vw_plugin *plugin)
{
    static const char *const texts[] = {"{}", "[]", "null", "3", "{\"model_type\": 7}",
                                        "{\"model_type\": \"of another time\"}"};
    const vw_json *json = vw_json_service();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        vw_error err = {VW_OK, ""};
        mock_instance it;
        vw_json_doc *doc;
        open_or_die(plugin, &it);
        if (json->open_text(texts[i], strlen(texts[i]), "config.json", &doc, &err))
            bail_out("%s", err.text);
        vw_status st = ((const vw_model_ops *)it.component.ops)->load(it.component.self, json, doc, &err);
        ok(st != VW_OK && *err.text, "%s: %s is refused: %s", plugin->name, texts[i], err.text);
        json->close(doc);
        mock_close(&mock, &it);
    }
}

/* Memory that ends at any allocation is an error, and nothing is left. */
static void test_no_memory(const vw_plugin *plugin, int i)
{
    char path[4200];
    vw_status st = VW_E_NOMEM;
    int n_wrong = 0, n;
    snprintf(path, sizeof path, "%s/config.json", folder_of(i));
    for (n = 0; st && n < 100; n++) {
        vw_error err = {VW_OK, ""};
        mock_instance it;
        open_or_die(plugin, &it);
        mock.fail_after = n;
        st = load_file(&it, path, &err);
        mock.fail_after = -1;
        n_wrong += st && (st != VW_E_NOMEM || !*err.text);
        mock_close(&mock, &it);
    }
    ok(!st && n > 1 && !n_wrong, "%s: memory that ends at any of %d allocations is an error",
       plugin->name, n - 1);
}

static void test_plugin(const vw_plugin *plugin, void *arg)
{
    int own = -1;
    char why[512];
    (void)arg;
    for (int i = 0; i < N_FOLDERS; i++) {
        vw_probe about = {sizeof about, folder_of(i), NULL};
        if (own < 0 && plugin->probe(&about, why, sizeof why) > 0)
            own = i;
        test_folder(plugin, i);
    }
    test_nonsense(plugin);
    if (own >= 0)
        test_no_memory(plugin, own);
}

int main(void)
{
    mock_host_init(&mock);
    mock.service = service;
    ok(mock_plugins(VW_KIND_MODEL, test_plugin, NULL) > 0, "there are plugins");
    for (int i = 0; i < N_FOLDERS; i++)
        is_int(n_claims[i], 1, "%s: one family claims it", folders[i]);
    return done_testing();
}
