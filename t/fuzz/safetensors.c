/* safetensors.c - any bytes as a safetensors file, or behind an 'I' as an index of two shards. */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"

#include <vishwamai/weights.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const vw_plugin *vw_plugin_weights_safetensors(void);

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg, (void)name, (void)major;
    return vw_json_service();
}

static void make_shards(void)
{
    static const char a[] = "\x38\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[2],"
                            "\"data_offsets\":[0,2]}}   xy";
    static const char b[] = "\x38\0\0\0\0\0\0\0{\"b\":{\"dtype\":\"F32\",\"shape\":[],"
                            "\"data_offsets\":[0,4]}}   1234";
    folder_write("a.safetensors", a, 8 + 0x38 + 2);
    folder_write("b.safetensors", b, 8 + 0x38 + 4);
}

/* Every byte that a view promises can be read, and every name is found. */
static void use(const vw_weights_ops *ops, void *self, vw_weights_reader *r)
{
    vw_weights_tensor t, found;
    for (size_t i = 0; i < ops->count(self, r); i++) {
        if (ops->tensor(self, r, i, &t, NULL) || ops->find(self, r, t.name, &found, NULL) ||
            found.data != t.data)
            abort();
        const volatile unsigned char *bytes = t.data;
        for (size_t j = 0; j < t.bytes; j++)
            (void)bytes[j];
        ops->prefetch(self, r, t.data, t.bytes);
        ops->release(self, r, t.data, t.bytes);
    }
    vw_error err;
    ops->find(self, r, "model.embed_tokens.weight", &found, &err);
    ops->metadata(self, r, "format");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mock_host mock;
    static void *self;
    const vw_plugin *plugin = vw_plugin_weights_safetensors();
    const vw_weights_ops *ops = plugin->ops;
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    if (!self) {
        folder_make();
        make_shards();
        mock_host_init(&mock);
        mock.service = service;
        mock.is_quiet = true;
        if (plugin->open(&mock.host, NULL, &self, &err))
            abort();
    }
    long long live = mock.n_live;
    const char *path = size && data[0] == 'I' ?
                       folder_write("model.safetensors.index.json", data + 1, size - 1) :
                       folder_write("x.safetensors", data, size);
    if (!ops->open(self, path, &r, &err)) {
        use(ops, self, r);
        ops->close(self, r);
    } else if (!err.text[0]) {
        abort();
    }
    if (mock.n_live != live)
        abort();
    return 0;
}
