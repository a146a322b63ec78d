/* cuda-device.c - what device/cuda does beyond the kind's own tests, on the simulated driver.
 *
 * There, work runs at the last moment and device memory is closed to the host, so an order that is
 * only usually right is wrong here.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <vishwamai/device.h>

#include "t/mock_host.h"
#include "t/tap/tap.h"

typedef struct rig {
    mock_host mock;
    mock_instance it;
    const vw_device_ops *ops;
    void *self;
    vw_stream *stream;
} rig;

static vw_error err;

#define must(call, ...) \
    (err.text[0] = 0, ok((call) == VW_OK, __VA_ARGS__) || (diag("%s", err.text), 0))

static bool open_rig(rig *r, const char *const *settings)
{
    const vw_plugin *plugin = mock_plugin(VW_KIND_DEVICE, "cuda");
    mock_host_init(&r->mock);
    if (!plugin || !mock_open(&r->mock, plugin, settings, &r->it))
        return false;
    r->ops = r->it.component.ops;
    r->self = r->it.component.self;
    return must(r->ops->stream_new(r->self, &r->stream, &err), "a stream");
}

static void close_rig(rig *r)
{
    r->ops->stream_free(r->self, r->stream);
    mock_close(&r->mock, &r->it);
}

static void *new_memory(rig *r, size_t bytes, vw_buffer *buffer)
{
    if (r->ops->alloc(r->self, bytes, buffer, &err))
        bail_out("%s", err.text);
    return buffer->data;
}

static void fetch(rig *r, void *host, const void *device, size_t bytes)
{
    if (r->ops->download(r->self, r->stream, host, device, bytes, &err) ||
        r->ops->synchronize(r->self, r->stream, &err))
        bail_out("%s", err.text);
}

/* ---- copies --------------------------------------------------------------------------------- */

/* Larger than the whole ring, and reused as soon as the call is back. */
static void test_staging(void)
{
    static const char *const settings[] = {"staging=64K", NULL};
    enum { BYTES = 300001 };
    unsigned char *host = malloc(BYTES), *back = calloc(BYTES, 1);
    vw_buffer buffer;
    rig r;
    if (!host || !back || !open_rig(&r, settings))
        bail_out("no device");
    unsigned char *at = new_memory(&r, BYTES, &buffer);
    for (int i = 0; i < BYTES; i++)
        host[i] = (unsigned char)(i * 7 + i / 251);
    must(r.ops->upload(r.self, r.stream, at, host, BYTES, &err), "an upload larger than the ring");
    memset(host, 0, BYTES);
    must(r.ops->download(r.self, r.stream, back, at + 1, BYTES - 1, &err), "and back");
    must(r.ops->synchronize(r.self, r.stream, &err), "the end");
    int wrong = 0;
    for (int i = 1; i < BYTES; i++)
        wrong += back[i - 1] != (unsigned char)(i * 7 + i / 251);
    is_int(wrong, 0, "every byte came and went");
    r.ops->free(r.self, &buffer);
    close_rig(&r);
    free(host), free(back);
}

/* A download is put in its place by synchronize, in the order of the calls; a stream that is freed
 * without it writes nothing. */
static void test_downloads(void)
{
    vw_buffer buffer;
    vw_stream *other;
    int32_t value = -1, second = -1;
    rig r;
    if (!open_rig(&r, NULL))
        bail_out("no device");
    int32_t *at = new_memory(&r, 8, &buffer);
    r.ops->fill(r.self, r.stream, at, 1, 4, &err);
    r.ops->download(r.self, r.stream, &value, at, 4, &err);
    r.ops->fill(r.self, r.stream, at, 2, 4, &err);
    r.ops->download(r.self, r.stream, &second, at, 4, &err);
    is_int(value, -1, "nothing is on the host before its stream is synchronised");
    must(r.ops->synchronize(r.self, r.stream, &err), "then");
    is_int(value, 0x01010101, "the first");
    is_int(second, 0x02020202, "and the second, each of its own time");
    must(r.ops->stream_new(r.self, &other, &err), "another stream");
    r.ops->download(r.self, other, &value, at, 4, &err);
    r.ops->stream_free(r.self, other);
    is_int(value, 0x01010101, "a stream that is freed forgets its downloads");
    r.ops->free(r.self, &buffer);
    close_rig(&r);
}

/* ---- order between streams ------------------------------------------------------------------ */

static void test_events(void)
{
    vw_buffer buffer;
    vw_stream *other;
    vw_event *event;
    int32_t value = 0;
    rig r;
    if (!open_rig(&r, NULL))
        bail_out("no device");
    int32_t *at = new_memory(&r, 8, &buffer);
    must(r.ops->stream_new(r.self, &other, &err), "a second stream");
    must(r.ops->event_new(r.self, &event, &err), "an event");
    r.ops->fill(r.self, other, at, 5, 4, &err);
    r.ops->event_record(r.self, event, other, &err);
    r.ops->fill(r.self, other, at, 9, 4, &err);
    r.ops->event_wait(r.self, event, r.stream, &err);
    fetch(&r, &value, at, 4);
    is_int(value, 0x05050505, "what came before the event, and no more of the other stream");
    r.ops->event_free(r.self, event);
    r.ops->stream_free(r.self, other);
    r.ops->free(r.self, &buffer);
    close_rig(&r);
}

/* ---- captures ------------------------------------------------------------------------------- */

static void test_capture(void)
{
    enum { N = 40 };
    float host[N], back[N];
    vw_buffer buffer;
    void *graph = NULL;
    rig r;
    if (!open_rig(&r, NULL))
        bail_out("no device");
    float *at = new_memory(&r, sizeof host, &buffer);
    vw_tensor x = vw_tensor_2d(at, VW_F32, 1, N);
    vw_device_info info = {.size = sizeof info};
    r.ops->info(r.self, &info, &err);
    ok(info.flags & VW_DEVICE_CAPTURE, "it says that it captures");
    for (int i = 0; i < N; i++)
        host[i] = (float)i;
    must(r.ops->upload(r.self, r.stream, at, host, sizeof host, &err), "values");
    must(r.ops->capture_begin(r.self, r.stream, &err), "begin");
    must(r.ops->axpby(r.self, r.stream, 1, x, 1, x, &err), "x = 2 x");
    must(r.ops->softcap(r.self, r.stream, 1e9f, x, &err), "and another kernel");
    is_int(r.ops->upload(r.self, r.stream, at, host, 4, &err), VW_E_UNSUPPORTED,
           "an upload cannot be captured");
    is_str(err.text, "upload: a captured stream copies only from and to pinned host memory",
           "and says so");
    must(r.ops->capture_end(r.self, r.stream, &graph, &err), "end");
    fetch(&r, back, at, sizeof back);
    is_mem(back, host, sizeof host, "capturing does nothing");
    for (int i = 0; i < 3; i++)
        must(r.ops->graph_launch(r.self, graph, r.stream, &err), "launch");
    fetch(&r, back, at, sizeof back);
    near(back[N - 1], 8 * (N - 1), 1e-3, "three launches double three times");
    r.ops->graph_free(r.self, graph);
    r.ops->free(r.self, &buffer);
    close_rig(&r);
}

static void test_broken_capture(void)
{
    void *graph = NULL;
    vw_buffer buffer;
    rig r;
    if (!open_rig(&r, NULL))
        bail_out("no device");
    must(r.ops->capture_begin(r.self, r.stream, &err), "begin");
    is_int(r.ops->alloc(r.self, 16, &buffer, &err), VW_E_DEVICE, "no memory within a capture");
    is_int(r.ops->synchronize(r.self, r.stream, &err), VW_E_DEVICE, "no waiting either");
    is_int(r.ops->capture_end(r.self, r.stream, &graph, &err), VW_E_DEVICE, "which broke it");
    like(err.text,
         "ending a capture: the CUDA driver answers CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "%s",
         err.text);
    must(r.ops->synchronize(r.self, r.stream, &err), "and the stream goes on");
    close_rig(&r);
}

/* ---- many rows, many threads ---------------------------------------------------------------- */

/* More rows than one launch of the sampler takes; row i can only draw token i mod V. */
static void test_many_rows(void)
{
    enum { T = 150, V = 97 };
    static float logits[T][V];
    static vw_sample_desc desc[T];
    int32_t token[T];
    float logprob[T];
    vw_buffer rows, out, space;
    int wrong = 0;
    rig r;
    if (!open_rig(&r, NULL))
        bail_out("no device");
    for (int t = 0; t < T; t++) {
        for (int v = 0; v < V; v++)
            logits[t][v] = v == t % V ? 50.0f : (float)(v % 7);
        desc[t] = (vw_sample_desc){t % 2 ? 1.0f : 0.0f, 10, 0.9f, 0.01f, 0.37};
    }
    float *x = new_memory(&r, sizeof logits, &rows);
    char *result = new_memory(&r, sizeof token + sizeof logprob, &out);
    void *work = new_memory(&r, r.ops->sample_bytes(r.self, T, V), &space);
    r.ops->upload(r.self, r.stream, x, logits, sizeof logits, &err);
    must(r.ops->sample(r.self, r.stream, vw_tensor_2d(x, VW_F32, T, V), desc,
                       (int32_t *)(void *)result, (float *)(void *)(result + sizeof token), work,
                       &err),
         "%d rows", T);
    memset(desc, 0, sizeof desc);
    fetch(&r, token, result, sizeof token);
    fetch(&r, logprob, result + sizeof token, sizeof logprob);
    for (int t = 0; t < T; t++)
        wrong += token[t] != t % V || !(logprob[t] > -1e-6f && logprob[t] <= 0);
    is_int(wrong, 0, "each row has its own token");
    r.ops->free(r.self, &rows);
    r.ops->free(r.self, &out);
    r.ops->free(r.self, &space);
    close_rig(&r);
}

typedef struct worker {
    rig *r;
    pthread_t thread;
    int number, wrong;
} worker;

/* A stream of its own; nothing was done in this thread before. */
static void *work(void *arg)
{
    enum { N = 3000 };
    worker *w = arg;
    const vw_device_ops *ops = w->r->ops;
    void *self = w->r->self;
    float host[N];
    vw_stream *s;
    vw_buffer buffer;
    vw_error why;
    if (ops->stream_new(self, &s, &why) || ops->alloc(self, sizeof host, &buffer, &why))
        return arg;
    vw_tensor x = vw_tensor_2d(buffer.data, VW_F32, 3, N / 3);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++)
            host[i] = (float)(i + w->number);
        if (ops->upload(self, s, buffer.data, host, sizeof host, &why) ||
            ops->axpby(self, s, 1, x, 2, x, &why) ||
            ops->download(self, s, host, buffer.data, sizeof host, &why) ||
            ops->synchronize(self, s, &why))
            w->wrong++;
        for (int i = 0; i < N; i++)
            w->wrong += host[i] != (float)(3 * (i + w->number));
    }
    ops->free(self, &buffer);
    ops->stream_free(self, s);
    return NULL;
}

static void test_threads(void)
{
    enum { WORKERS = 4 };
    static const char *const settings[] = {"staging=64K", NULL};
    worker workers[WORKERS];
    void *failed;
    rig r;
    if (!open_rig(&r, settings))
        bail_out("no device");
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.r = &r, .number = i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            bail_out("no thread");
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, &failed);
        ok(!failed && workers[i].wrong == 0, "thread %d with a stream of its own", i);
    }
    close_rig(&r);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static void test_refusals(void)
{
    static const char *const far[] = {"index=7", NULL};
    const vw_plugin *plugin = mock_plugin(VW_KIND_DEVICE, "cuda");
    vw_buffer buffer = {0};
    mock_instance it;
    rig r;
    mock_host_init(&r.mock);
    is_int(mock_try_open(&r.mock, plugin, far, &it, &err), VW_E_NOTFOUND, "a device too far");
    is_str(err.text, "there is no CUDA device 7; the driver has 1", "and its sentence");
    is_int(r.mock.n_live, 0, "nothing stays open");
    if (!open_rig(&r, NULL))
        bail_out("no device");
    is_int(r.ops->map(r.self, &r, 4, &buffer, &err), VW_E_UNSUPPORTED, "host memory is not mapped");
    is_int(r.ops->alloc(r.self, (size_t)1 << 40, &buffer, &err), VW_E_NOMEM, "a terabyte");
    like(err.text, "no memory for 1048576 MiB (1099511627776 bytes) on CUDA device 0; ", "%s",
         err.text);
    close_rig(&r);
}

int main(void)
{
    const char *built = getenv("top_builddir");
    char path[4096];
    snprintf(path, sizeof path, "%s/t/cuda-sim/.libs/libcuda.so", built ? built : ".");
    setenv("VW_CUDA_DRIVER", path, 1);
    setenv("VW_CUDA_SIM_STRICT", "1", 1);
    test_staging();
    test_downloads();
    test_events();
    test_capture();
    test_broken_capture();
    test_many_rows();
    test_threads();
    test_refusals();
    return done_testing();
}
