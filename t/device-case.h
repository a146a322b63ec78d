/* device-case.h - what the conformance tests of devices share.
 *
 * Memory of a device is reached through upload and download alone, so a device whose memory the host
 * cannot see is tested by the same text.
 */
#ifndef T_DEVICE_CASE_H
#define T_DEVICE_CASE_H

#include "t/mock_host.h"

#include <vishwamai/device.h>

/* The device under test. */
typedef struct bench {
    const char *name;
    const vw_device_ops *ops;
    void *self;
    vw_stream *stream;
    mock_host *mock;
} bench;

/* Run a test on every installed device; what a program returns. */
int test_devices(void (*test)(const bench *b));

/* A host matrix and its copy on the device, whose rows are `pad` values longer than needed. */
typedef struct grid {
    int64_t rows, cols, stride;
    float *host;
    vw_buffer buffer;
    vw_tensor t;
} grid;

/* An assertion that a call succeeds, which shows the error's text if not.  Needs an `err`. */
#define must(call, ...) \
    (err.text[0] = 0, ok((call) == VW_OK, __VA_ARGS__) || (diag("%s", err.text), 0))

/* Device memory with a copy of the host's bytes, or zeros for NULL. */
void *to_device(const bench *b, const void *host, size_t bytes, vw_buffer *buffer);
void from_device(const bench *b, void *host, const void *device, size_t bytes);

/* Random numbers; the same ones again after the state is set back. */
extern uint64_t random_state;
float uniform(float low, float high);

/* Does the device have the optional operation at this place of its table, and so those that came with
 * it?  Else one skipped assertion. */
bool offers(const bench *b, size_t at, const char *what);

/* A grid of random values in [-range, range]; what lies between the rows is NaN. */
grid make_grid(const bench *b, int64_t rows, int64_t cols, int64_t pad, float range);
void drop(const bench *b, grid *g);

/* The device's values, rows end to end; freed by the caller. */
float *fetch(const bench *b, const grid *g);

/* The host's values, the same way. */
double *doubles(const grid *g);

/* All values of a grid within `bound` (absolute plus relative) of the expectation. */
void expect(const bench *b, const grid *g, const double *want, double bound, const char *what);

#endif
