/* gguf.c - any bytes as a GGUF file; what opens is read to its end. */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"

#include <vishwamai/weights.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const vw_plugin *vw_plugin_weights_gguf(void);

static unsigned use(const vw_weights_ops *ops, void *self, vw_weights_reader *reader)
{
    unsigned sum = 0;
    vw_json_doc *doc;
    vw_error err;
    for (size_t i = 0; i < ops->count(self, reader); i++) {
        vw_weights_tensor t, again;
        if (ops->tensor(self, reader, i, &t, &err) ||
            ops->find(self, reader, t.name, &again, &err) || again.data != t.data)
            abort();
        for (size_t b = 0; b < t.bytes; b += 61)
            sum += ((const unsigned char *)t.data)[b];
    }
    const char *config = ops->config(self, reader);
    if (!vw_json_service()->open_text(config, strlen(config), "config", &doc, &err))
        vw_json_service()->close(doc);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mock_host mock;
    static const char *folder;
    const vw_plugin *plugin = vw_plugin_weights_gguf();
    const vw_weights_ops *ops = plugin->ops;
    vw_weights_reader *reader;
    vw_error err = {VW_OK, ""};
    void *self;
    if (!folder) {
        folder = folder_make();
        mock_host_init(&mock);
        mock.is_quiet = true;
    }
    const char *path = folder_write("x.gguf", data, size);
    if (plugin->open(&mock.host, NULL, &self, &err))
        abort();
    if (!ops->open(self, path, &reader, &err)) {
        use(ops, self, reader);
        ops->close(self, reader);
    } else if (!err.text[0]) {
        abort();
    }
    plugin->close(self);
    if (mock.n_live)
        abort();
    return 0;
}
