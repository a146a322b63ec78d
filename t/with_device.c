/* with_device.c - opening a device beside a plugin under test, and lending it the host's memory. */
#include "t/with_device.h"

#include "t/tap/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BEHIND = 256, PATTERN = 0xA5 };

static vw_error err;

static bool runs_on(const vw_plugin *plugin, const char *device)
{
    for (const char *const *name = plugin->devices; name && *name; name++)
        if (!strcmp(*name, device))
            return true;
    return !plugin->devices;
}

/* One skipped assertion; a failed one where VW_REQUIRE has the device's name. */
static bool is_there(const vw_plugin *plugin, const char *device)
{
    vw_probe about = {.size = sizeof about, .device = device};
    char why[256] = "";
    if (plugin->probe(&about, why, sizeof why) > 0)
        return true;
    skip_unless_required(device, 1, "%s/%s: %s", mock_kind_name(plugin->kind), plugin->name, why);
    return false;
}

bool with_device_open(with_device *w, const vw_plugin *plugin, mock_host *mock)
{
    vw_device_info info = {.size = sizeof info};
    memset(w, 0, sizeof *w);
    if (runs_on(plugin, "cpu"))
        return true;
    if (!is_there(plugin, plugin->devices[0]))
        return false;
    const vw_plugin *device = mock_plugin(VW_KIND_DEVICE, plugin->devices[0]);
    mock_host_init(&w->mock);
    w->mock.is_quiet = true;
    if (!device || !mock_open(&w->mock, device, NULL, &w->it)) {
        ok(false, "%s: device/%s opens", plugin->name, plugin->devices[0]);
        return false;
    }
    w->is_used = true;
    w->dev = w->it.component.ops;
    w->dev_self = w->it.component.self;
    if (w->dev->info(w->dev_self, &info, &err) == VW_OK)
        w->is_simulated = strstr(info.description, "simulated") != NULL;
    if (w->dev->stream_new(w->dev_self, &w->stream, &err) != VW_OK)
        bail_out("device/%s: a stream: %s", device->name, err.text);
    mock->component[VW_KIND_DEVICE] = &w->it.component;
    return true;
}

const vw_gemm_ops *with_device_gemm(with_device *w, const mock_instance *it, void **self)
{
    w->ops = it->component.ops;
    w->self = it->component.self;
    *self = w->is_used ? w : w->self;
    if (!w->is_used)
        return w->ops;
    with_device_fill_gemm(w);
    return &w->gemm;
}

const vw_attention_ops *with_device_attention(with_device *w, const mock_instance *it, void **self)
{
    w->ops = it->component.ops;
    w->self = it->component.self;
    *self = w->is_used ? w : w->self;
    if (!w->is_used)
        return w->ops;
    with_device_fill_attention(w);
    return &w->attention;
}

void with_device_close(with_device *w)
{
    if (!w->is_used)
        return;
    w->dev->stream_free(w->dev_self, w->stream);
    mock_close(&w->mock, &w->it);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static lent *lend_bytes(with_device *w, size_t bytes)
{
    lent *l = &w->lent[w->n_lent++];
    if (w->n_lent > WITH_DEVICE_LENT)
        bail_out("a call with more than %d pieces of memory", WITH_DEVICE_LENT);
    *l = (lent){.bytes = bytes};
    if (w->dev->alloc(w->dev_self, bytes + BEHIND, &l->buffer, &err) != VW_OK ||
        w->dev->fill(w->dev_self, w->stream, l->buffer.data, PATTERN, bytes + BEHIND, &err) != VW_OK)
        bail_out("device memory: %s", err.text);
    return l;
}

void *lend(with_device *w, const void *host, size_t bytes, bool is_result)
{
    if (!host || !bytes)
        return NULL;
    lent *l = lend_bytes(w, bytes);
    l->host = (void *)(uintptr_t)host;
    l->is_result = is_result;
    if (w->dev->upload(w->dev_self, w->stream, l->buffer.data, host, bytes, &err) != VW_OK)
        bail_out("upload: %s", err.text);
    return l->buffer.data;
}

void *lend_workspace(with_device *w, size_t bytes)
{
    return lend_bytes(w, bytes)->buffer.data;
}

static void look_behind(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != PATTERN) {
            ok(false, "what lies behind a piece of device memory is unchanged");
            return;
        }
}

vw_status give_back(with_device *w, vw_status status, vw_error *told)
{
    vw_status done = w->dev->synchronize(w->dev_self, w->stream, &err);
    for (int i = 0; i < w->n_lent; i++) {
        lent *l = &w->lent[i];
        unsigned char behind[BEHIND];
        memset(behind, PATTERN, sizeof behind);
        if (!done && l->is_result)
            done = w->dev->download(w->dev_self, w->stream, l->host, l->buffer.data, l->bytes,
                                    &err);
        if (!done)
            done = w->dev->download(w->dev_self, w->stream, behind,
                                    (char *)l->buffer.data + l->bytes, BEHIND, &err);
        if (!done)
            done = w->dev->synchronize(w->dev_self, w->stream, &err);
        look_behind(behind, BEHIND);
        w->dev->free(w->dev_self, &l->buffer);
    }
    w->n_lent = 0;
    if (status == VW_OK && done != VW_OK) {
        *told = err;
        return done;
    }
    return status;
}
