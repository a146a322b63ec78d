/* device-case.c - matrices on a device, and how far its results are from the expectation. */
#include "t/device-case.h"

#include "t/tap/tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vw_error err;

bool offers(const bench *b, size_t at, const char *what)
{
    static void (*const none)(void);
    bool is_there = at < b->ops->size && memcmp((const char *)b->ops + at, &none, sizeof none);
    if (!is_there)
        skip(1, "device/%s has no %s", b->name, what);
    return is_there;
}

/* ---- device memory --------------------------------------------------------------------------- */

void *to_device(const bench *b, const void *host, size_t bytes, vw_buffer *buffer)
{
    if (b->ops->alloc(b->self, bytes ? bytes : 1, buffer, &err) != VW_OK ||
        (host && b->ops->upload(b->self, b->stream, buffer->data, host, bytes, &err) != VW_OK))
        bail_out("%s: no memory: %s", b->name, err.text);
    return buffer->data;
}

void from_device(const bench *b, void *host, const void *device, size_t bytes)
{
    if (b->ops->download(b->self, b->stream, host, device, bytes, &err) != VW_OK ||
        b->ops->synchronize(b->self, b->stream, &err) != VW_OK)
        bail_out("%s: download: %s", b->name, err.text);
}

uint64_t random_state = 1;

float uniform(float low, float high)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return low + (high - low) * (float)(random_state >> 40) * 0x1p-24f;
}

grid make_grid(const bench *b, int64_t rows, int64_t cols, int64_t pad, float range)
{
    grid g = {rows, cols, cols + pad, NULL, {0}, {0}};
    size_t n = (size_t)(rows * g.stride);
    g.host = malloc((n + 1) * sizeof *g.host);
    for (size_t i = 0; i < n; i++)
        g.host[i] = (int64_t)i % g.stride < cols ? uniform(-range, range) : NAN;
    to_device(b, g.host, n * sizeof *g.host, &g.buffer);
    g.t = vw_tensor_2d(g.buffer.data, VW_F32, rows, cols);
    g.t.stride[0] = g.stride;
    return g;
}

/* The device's values, rows end to end; freed by the caller. */
float *fetch(const bench *b, const grid *g)
{
    float *all = malloc((size_t)(g->rows * g->stride + 1) * sizeof *all);
    from_device(b, all, g->buffer.data, (size_t)(g->rows * g->stride) * sizeof *all);
    for (int64_t t = 0; t < g->rows; t++)
        memmove(all + t * g->cols, all + t * g->stride, (size_t)g->cols * sizeof *all);
    return all;
}

void drop(const bench *b, grid *g)
{
    b->ops->free(b->self, &g->buffer);
    free(g->host);
}

/* All values of a grid within `bound` (absolute plus relative) of the expectation. */
void expect(const bench *b, const grid *g, const double *want, double bound, const char *what)
{
    float *got = fetch(b, g);
    double worst = 0;
    for (int64_t i = 0; i < g->rows * g->cols; i++) {
        double diff = fabs((double)got[i] - want[i]) / (1 + fabs(want[i]));
        if (!(diff <= worst))
            worst = diff;
    }
    near(worst, 0, bound, "%s: %s", b->name, what);
    free(got);
}

double *doubles(const grid *g)
{
    double *x = malloc((size_t)(g->rows * g->cols + 1) * sizeof *x);
    for (int64_t i = 0; i < g->rows * g->cols; i++)
        x[i] = (double)g->host[i / g->cols * g->stride + i % g->cols];
    return x;
}

/* ---- every device ---------------------------------------------------------------------------- */

static void test_device(const vw_plugin *plugin, void *test)
{
    mock_host mock;
    mock_instance it;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    bench b = {plugin->name, it.component.ops, it.component.self, NULL, &mock};
    must(b.ops->stream_new(b.self, &b.stream, &err), "%s: a stream", b.name);
    (*(void (**)(const bench *))test)(&b);
    b.ops->stream_free(b.self, b.stream);
    mock_close(&mock, &it);
}

int test_devices(void (*test)(const bench *b))
{
    ok(mock_plugins(VW_KIND_DEVICE, test_device, &test) > 0, "there are devices");
    return done_testing();
}
