/* config.c - any text as the config.json of a model of each family: refused with a sentence, or
 * described. */
#include <stdlib.h>
#include <vishwamai/model.h>

#include "core/json.h"
#include "t/mock_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const vw_plugin *vw_plugin_model_deepseek(void);
const vw_plugin *vw_plugin_model_gemma(void);
const vw_plugin *vw_plugin_model_grok(void);
const vw_plugin *vw_plugin_model_vishwamai(void);

/* A description that was accepted must hold together. */
static void check(const vw_model_info *info)
{
    if (info->n_layers < 1 || info->width < 1 || info->vocab_size < 1 || info->max_positions < 1 ||
        info->bos >= info->vocab_size || info->eos >= info->vocab_size)
        abort();
    for (int32_t l = 0; l < info->n_layers + info->n_drafts; l++)
        if (info->caches[l].k_heads < 1 || info->q_heads % info->caches[l].k_heads ||
            info->caches[l].dk < 1)
            abort();
    for (int32_t l = 0; l < info->n_experts; l++) {
        const vw_experts_spec *s = &info->experts[l];
        if (s->n_experts < 1 || s->top_k > s->n_experts || s->bias > info->n_params ||
            s->first_param + 3 * (size_t)s->n_experts > info->n_params)
            abort();
    }
    for (size_t i = 0; i < info->n_params; i++)
        if (!info->params[i].name[0] || info->params[i].cols < 1 || info->params[i].rows < 0)
            abort();
}

static void load(const vw_plugin *plugin, const char *setting, const vw_json_doc *doc)
{
    static mock_host mock;
    const char *const settings[] = {setting, NULL};
    const vw_model_ops *ops = plugin->ops;
    const vw_json *json = vw_json_service();
    vw_error err = {VW_OK, ""};
    mock_instance it;
    void *self;
    mock_host_init(&mock);
    mock.is_quiet = true;
    if (mock_try_open(&mock, plugin, settings, &it, &err))
        abort();
    self = it.component.self;
    if (!ops->load(self, json, doc, &err))
        check(ops->info(self));
    else if (!err.text[0])
        abort();
    plugin->close(self);
    free(it.config);
    if (mock.n_live != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    if (json->open_text((const char *)data, size, "config.json", &doc, NULL))
        return 0;
    load(vw_plugin_model_deepseek(), NULL, doc);
    load(vw_plugin_model_deepseek(), "mtp=yes", doc);
    load(vw_plugin_model_gemma(), NULL, doc);
    load(vw_plugin_model_grok(), NULL, doc);
    load(vw_plugin_model_vishwamai(), NULL, doc);
    json->close(doc);
    return 0;
}
