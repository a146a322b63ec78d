/* config.c - any text as the config.json of a Gemma model: refused with a sentence, or described. */
#include <stdlib.h>

#include "core/json.h"
#include "models/gemma/gemma.h"
#include "t/mock_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const vw_plugin *vw_plugin_model_gemma(void);

/* A description that was accepted must hold together. */
static void check(const vw_model_info *info)
{
    if (info->n_layers < 1 || info->width < 1 || info->vocab_size < 1 || info->max_positions < 1 ||
        info->bos >= info->vocab_size || info->eos >= info->vocab_size)
        abort();
    for (int32_t l = 0; l < info->n_layers; l++)
        if (info->caches[l].k_heads < 1 || info->q_heads % info->caches[l].k_heads ||
            info->caches[l].dk < 1)
            abort();
    for (size_t i = 0; i < info->n_params; i++)
        if (!info->params[i].name[0] || info->params[i].cols < 1 || info->params[i].rows < 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mock_host mock;
    const vw_plugin *plugin = vw_plugin_model_gemma();
    const vw_model_ops *ops = plugin->ops;
    const vw_json *json = vw_json_service();
    vw_json_doc *doc;
    vw_error err = {VW_OK, ""};
    void *self;
    if (json->open_text((const char *)data, size, "config.json", &doc, &err))
        return 0;
    mock_host_init(&mock);
    mock.is_quiet = true;
    if (plugin->open(&mock.host, NULL, &self, &err))
        abort();
    if (!ops->load(self, json, doc, &err))
        check(ops->info(self));
    else if (!err.text[0])
        abort();
    plugin->close(self);
    json->close(doc);
    if (mock.n_live != 0)
        abort();
    return 0;
}
