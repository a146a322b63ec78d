/* tokenizer_use.c - any bytes as the file of a tokenizer; what loads encodes, decodes and talks. */
#include "t/fuzz/tokenizer_use.h"

#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"

#include <stdlib.h>

enum { MAX_IDS = 4096 };

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg, (void)name, (void)major;
    return vw_json_service();
}

static void use(const vw_tokenizer_ops *ops, void *self, const char *user, const char *text,
                size_t bytes)
{
    static int32_t ids[MAX_IDS];
    static char out[65536];
    vw_chat_message m[2] = {{"user", user}, {"assistant", ""}};
    vw_tokenizer_info info;
    vw_error err;
    size_t n = 0, used;
    if (ops->info(self, &info, &err))
        abort();
    for (int special = 0; special < 2; special++) {
        if (ops->encode(self, text, bytes, special, ids, MAX_IDS, &n, &err))
            continue;
        for (size_t i = 0; i < n && i < MAX_IDS; i++) {
            if (ids[i] < 0 || ids[i] >= info.vocab_size)
                abort();
            for (int show = 0; show < 2; show++)
                if (ops->piece(self, ids[i], i == 0, show, out, sizeof out, &used, &err))
                    abort();
        }
    }
    ops->chat(self, m, 1, ids, MAX_IDS, &n, &err);
}

int fuzz_tokenizer(const vw_plugin *plugin, const char *file, const char *user, const uint8_t *data,
                   size_t size)
{
    static mock_host mock;
    static const char *folder;
    const vw_tokenizer_ops *ops = plugin->ops;
    _Alignas(8) static const char zeros[64]; /* options as they are when all are off */
    vw_error err = {VW_OK, ""};
    void *self;
    if (plugin->config_size > sizeof zeros)
        abort();
    if (!folder) {
        folder = folder_make();
        mock_host_init(&mock);
        mock.service = service;
        mock.is_quiet = true;
    }
    folder_write(file, data, size);
    if (plugin->open(&mock.host, zeros, &self, &err))
        abort();
    if (!ops->load(self, folder, &err)) {
        size_t tail = size < 300 ? size : 300;
        use(ops, self, user, (const char *)data + size - tail, tail);
    } else if (!err.text[0]) {
        abort();
    }
    plugin->close(self);
    if (mock.n_live)
        abort();
    return 0;
}
