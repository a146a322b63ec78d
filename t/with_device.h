/* with_device.h - a gemm or an attention whose memory is a device's, tested as if it were the host's.
 *
 * The tests of these kinds hand plain memory to a plugin.  For a plugin that does not run on the CPU
 * the calls go through a table of the same shape, which copies what the call reads to the device,
 * runs it there, and copies back what it may have written.  Behind everything it lends, and behind
 * the workspace, lie 256 bytes that nobody may change; what a result does not cover stays as the
 * test had it, so its own guards keep working.
 */
#ifndef VW_WITH_DEVICE_H
#define VW_WITH_DEVICE_H

#include "t/mock_host.h"

#include <vishwamai/attention.h>
#include <vishwamai/gemm.h>

enum { WITH_DEVICE_LENT = 128 };

/* Host memory and its copy on the device during one call. */
typedef struct lent {
    void *host; /* NULL: nothing to copy */
    size_t bytes;
    bool is_result;
    vw_buffer buffer;
} lent;

typedef struct with_device {
    bool is_used;      /* the plugin needs one, and here it is */
    bool is_simulated; /* and is slow: a test repeats less */
    mock_host mock;
    mock_instance it;
    const vw_device_ops *dev;
    void *dev_self;
    vw_stream *stream;
    /* the plugin behind the tables */
    const void *ops;
    void *self;
    vw_gemm_ops gemm;
    vw_attention_ops attention;
    lent lent[WITH_DEVICE_LENT];
    int n_lent;
} with_device;

/* Open the device that a plugin wants and wire it to the plugin's host; does nothing for a plugin of
 * the CPU.  False when there is no such device: then VW_REQUIRE=device's name has made it a failure,
 * or the assertion is skipped. */
bool with_device_open(with_device *w, const vw_plugin *plugin, mock_host *mock);

/* The table and instance for the test: the plugin's own, or those that go through the device. */
const vw_gemm_ops *with_device_gemm(with_device *w, const mock_instance *it, void **self);
const vw_attention_ops *with_device_attention(with_device *w, const mock_instance *it, void **self);

/* After the plugin itself is closed. */
void with_device_close(with_device *w);

/* ---- for the two tables ---- */

/* The device's copy of host memory; NULL for none.  A result is copied back by give_back(). */
void *lend(with_device *w, const void *host, size_t bytes, bool is_result);
/* Memory that holds a pattern. */
void *lend_workspace(with_device *w, size_t bytes);
/* Wait, copy the results back, look behind everything that was lent, and take it away.  Returns
 * `status`, or the device's own failure. */
vw_status give_back(with_device *w, vw_status status, vw_error *err);

void with_device_fill_gemm(with_device *w);
void with_device_fill_attention(with_device *w);

#endif
