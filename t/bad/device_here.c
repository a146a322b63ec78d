/* device_here.c - the least that a device can be, so that tests have one in use. */
#include "bad.h"

#include <vishwamai/device.h>

static vw_status info(void *self, vw_device_info *out, vw_error *err)
{
    (void)self, (void)err;
    memset(out, 0, sizeof *out);
    return VW_OK;
}

static vw_status alloc(void *self, size_t bytes, vw_buffer *buffer, vw_error *err)
{
    (void)self, (void)buffer;
    return vw_fail(err, VW_E_NOMEM, "no memory for %zu bytes", bytes);
}

static const vw_device_ops ops = {.size = sizeof ops, .info = info, .alloc = alloc};

VW_PLUGIN_DEFINE(device, here)
{
    static vw_plugin p;

    p = good_plugin(VW_KIND_DEVICE, "here", VW_DEVICE_OPS_MINOR, &ops);
    return &p;
}
