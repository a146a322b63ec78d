/* @NAME@.c - device/@NAME@: the memory, streams and pointwise operations of a processor.
 *
 * What every operation must do, its thread rule, lifetimes and errors are in vishwamai/device.h.  A
 * plugin links nothing of the library: all that it needs comes through the host table.
 *
 * To see it at work:
 *
 *     VW_PLUGIN_PATH=. vishwamai run --set device.plugin=@NAME@ -p "ROMEO:"
 *     VW_PLUGIN_PATH=. vishwamai bench device/@NAME@
 */
#include <vishwamai/device.h>

/* Skeletons do not use all that they are given; take this line out when yours does. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- options: [device.@NAME@] ---------------------------------------------------------------- */

typedef struct config {
    int64_t example;
} config;

static const vw_option options[] = {
    {"example", VW_OPTION_INT, "3", 0, 10, NULL, offsetof(config, example), VW_OPTION_RANGE,
     "a number that does nothing"},
    VW_OPTION_END,
};

/* ---- an instance ----------------------------------------------------------------------------- */

typedef struct state {
    const vw_host *host;
    const config *config;
} state;

/* Can it be used here?  A score, or 0 with the reason. */
static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    snprintf(why, why_bytes, "a template");
    return 1;
}

static vw_status open_instance(const vw_host *host, const void *config_, void **self, vw_error *err)
{
    state *s = host->alloc(host->core, sizeof *s);

    if (!s)
        return vw_fail(err, VW_E_NOMEM, "out of memory");
    s->host = host;
    s->config = config_;
    *self = s;
    return VW_OK;
}

static void close_instance(void *self)
{
    state *s = self;

    s->host->free(s->host->core, s);
}

/* ---- operations ------------------------------------------------------------------------------ */

/* Required: what this device is. */
static vw_status info(void *self, vw_device_info *out, vw_error *err)
{
    out->flags = 0;
    out->memory_bytes = 0;
    out->memory_free_bytes = 0;
    snprintf(out->description, sizeof out->description, "@NAME@");
    return VW_OK;
}

/* Required: device memory, aligned to 256 bytes, zeroed. */
static vw_status alloc(void *self, size_t bytes, vw_buffer *buffer, vw_error *err)
{
    return vw_fail(err, VW_E_NOMEM, "device/@NAME@ has no memory for %zu bytes yet", bytes);
}

static void free_buffer(void *self, vw_buffer *buffer)
{
}

/* Everything else may come one by one: upload, download, stream_new, rms_norm, rope ... */

/* ---- the description ------------------------------------------------------------------------- */

static const vw_device_ops ops = {
    .size = sizeof ops,
    .info = info,
    .alloc = alloc,
    .free = free_buffer,
};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_DEVICE,
    .ops_major = VW_DEVICE_OPS_MAJOR,
    .ops_minor = VW_DEVICE_OPS_MINOR,
    .name = "@NAME@",
    .summary = "one line about @NAME@",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "your name",
    .url = "https://example.org/@NAME@",
    .rank = VW_RANK_NEVER, /* only by name; VW_RANK_NORMAL when `auto` may choose it */
    .config_size = sizeof(config),
    .options = options,
    .probe = probe,
    .open = open_instance,
    .close = close_instance,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(device, @NAME@)
{
    return &description;
}
