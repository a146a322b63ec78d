/* cuda.c - device/cuda: an NVIDIA device through its driver; memory, streams, events, captures.
 *
 * The host cannot see the memory; everything is queued on a stream, which is the driver's own (as
 * an event is), so that other plugins queue their kernels between ours.  Copies are in
 * cuda_staging.c, the pointwise set in cuda_pointwise.c and cuda_rows.c, its kernels in
 * kernels/cuda.
 */
#include "plugins/device/cuda.h"

extern const unsigned long long vw_fatbin_pointwise[], vw_fatbin_rows[], vw_fatbin_sample[];

typedef struct cuda_config {
    int64_t index;
    uint64_t staging;
} cuda_config;

static const vw_option options[] = {
    {"index", VW_OPTION_INT, "0", 0, 1023, NULL, offsetof(cuda_config, index), VW_OPTION_RANGE,
     "which of the driver's devices; CUDA_VISIBLE_DEVICES chooses and orders them"},
    {"staging", VW_OPTION_SIZE, "32M", 64 << 10, 0x1p40, NULL, offsetof(cuda_config, staging),
     VW_OPTION_RANGE | VW_OPTION_ADVANCED,
     "pinned host memory through which other host memory is copied, in bytes"},
    VW_OPTION_END,
};

static vw_status check(const cuda_device *dev, CUresult result, const char *what, vw_error *err)
{
    return vw_cuda_check(&dev->cuda, result, what, err);
}

/* ---- memory --------------------------------------------------------------------------------- */

static vw_status no_memory(const cuda_device *dev, size_t bytes, vw_error *err)
{
    size_t free_bytes = 0, total = 0;
    dev->cuda.api.cuMemGetInfo(&free_bytes, &total);
    return vw_fail(
        err, VW_E_NOMEM,
        "no memory for %zu MiB (%zu bytes) on CUDA device %d; %zu of its %zu MiB are free",
        bytes >> 20, bytes, dev->cuda.ordinal, free_bytes >> 20, total >> 20);
}

static vw_status cuda_alloc(void *self, size_t bytes, vw_buffer *buffer, vw_error *err)
{
    const cuda_device *dev = self;
    const vw_cuda_api *api = &dev->cuda.api;
    CUdeviceptr at = 0;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    if (st)
        return st;
    CUresult result = api->cuMemAlloc(&at, bytes ? bytes : 1);
    if (result == CUDA_ERROR_OUT_OF_MEMORY)
        return no_memory(dev, bytes, err);
    if (result != CUDA_SUCCESS)
        return check(dev, result, "allocating device memory", err);
    result = api->cuMemsetD8Async(at, 0, bytes, dev->zeroing);
    if (result == CUDA_SUCCESS)
        result = api->cuStreamSynchronize(dev->zeroing);
    if (result != CUDA_SUCCESS) {
        api->cuMemFree(at);
        return check(dev, result, "zeroing device memory", err);
    }
    *buffer = (vw_buffer){(void *)(uintptr_t)at, bytes, 0};
    return VW_OK;
}

static void cuda_free(void *self, vw_buffer *buffer)
{
    const cuda_device *dev = self;
    if (buffer->data && vw_cuda_enter(&dev->cuda, NULL) == VW_OK)
        dev->cuda.api.cuMemFree((CUdeviceptr)(uintptr_t)buffer->data);
    *buffer = (vw_buffer){0};
}

static vw_status cuda_map(void *self, const void *host, size_t bytes, vw_buffer *buffer,
                          vw_error *err)
{
    (void)self, (void)host, (void)bytes, (void)buffer;
    return vw_fail(err, VW_E_UNSUPPORTED, "a CUDA device does not work on host memory; copy it");
}

static vw_status cuda_copy(void *self, vw_stream *s, void *to, const void *from, size_t bytes,
                           vw_error *err)
{
    const cuda_device *dev = self;
    vw_status st = bytes ? vw_cuda_enter(&dev->cuda, err) : VW_OK;
    if (st || !bytes)
        return st;
    return check(dev,
                 dev->cuda.api.cuMemcpyDtoDAsync((CUdeviceptr)(uintptr_t)to,
                                                 (CUdeviceptr)(uintptr_t)from, bytes, (CUstream)s),
                 "copy", err);
}

static vw_status cuda_fill(void *self, vw_stream *s, void *to, uint8_t value, size_t bytes,
                           vw_error *err)
{
    const cuda_device *dev = self;
    vw_status st = bytes ? vw_cuda_enter(&dev->cuda, err) : VW_OK;
    if (st || !bytes)
        return st;
    return check(
        dev, dev->cuda.api.cuMemsetD8Async((CUdeviceptr)(uintptr_t)to, value, bytes, (CUstream)s),
        "fill", err);
}

/* ---- streams and events --------------------------------------------------------------------- */

static vw_status cuda_stream_new(void *self, vw_stream **stream, vw_error *err)
{
    const cuda_device *dev = self;
    CUstream s = NULL;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    if (!st)
        st = check(dev, dev->cuda.api.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING), "making a stream",
                   err);
    if (!st)
        *stream = (vw_stream *)s;
    return st;
}

static vw_status cuda_event_new(void *self, vw_event **event, vw_error *err)
{
    const cuda_device *dev = self;
    CUevent e = NULL;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    if (!st)
        st = check(dev, dev->cuda.api.cuEventCreate(&e, CU_EVENT_DEFAULT), "making an event", err);
    if (!st)
        *event = (vw_event *)e;
    return st;
}

static void cuda_event_free(void *self, vw_event *event)
{
    const cuda_device *dev = self;
    if (event && vw_cuda_enter(&dev->cuda, NULL) == VW_OK)
        dev->cuda.api.cuEventDestroy((CUevent)event);
}

static vw_status cuda_event_record(void *self, vw_event *event, vw_stream *stream, vw_error *err)
{
    const cuda_device *dev = self;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    return st ? st
              : check(dev, dev->cuda.api.cuEventRecord((CUevent)event, (CUstream)stream),
                      "recording an event", err);
}

static vw_status cuda_event_wait(void *self, vw_event *event, vw_stream *stream, vw_error *err)
{
    const cuda_device *dev = self;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    return st ? st
              : check(dev, dev->cuda.api.cuStreamWaitEvent((CUstream)stream, (CUevent)event, 0),
                      "waiting for an event", err);
}

static vw_status cuda_event_seconds(void *self, vw_event *from, vw_event *to, double *seconds,
                                    vw_error *err)
{
    const cuda_device *dev = self;
    const vw_cuda_api *api = &dev->cuda.api;
    float milliseconds = 0;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    if (st)
        return st;
    CUresult result = api->cuEventSynchronize((CUevent)to);
    if (result == CUDA_SUCCESS)
        result = api->cuEventElapsedTime(&milliseconds, (CUevent)from, (CUevent)to);
    st = check(dev, result, "the time between two events", err);
    if (!st)
        *seconds = 1e-3 * (double)milliseconds;
    return st;
}

/* ---- captures ------------------------------------------------------------------------------- */

static vw_status cuda_capture_begin(void *self, vw_stream *stream, vw_error *err)
{
    const cuda_device *dev = self;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    return st ? st
              : check(dev,
                      dev->cuda.api.cuStreamBeginCapture((CUstream)stream,
                                                         CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                      "beginning a capture", err);
}

static vw_status cuda_capture_end(void *self, vw_stream *stream, void **graph, vw_error *err)
{
    const cuda_device *dev = self;
    const vw_cuda_api *api = &dev->cuda.api;
    CUgraph recorded = NULL;
    CUgraphExec ready = NULL;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    if (!st)
        st = check(dev, api->cuStreamEndCapture((CUstream)stream, &recorded), "ending a capture",
                   err);
    if (st)
        return st;
    st = check(dev, api->cuGraphInstantiate(&ready, recorded, 0), "making a graph", err);
    api->cuGraphDestroy(recorded);
    if (!st)
        *graph = ready;
    return st;
}

static vw_status cuda_graph_launch(void *self, void *graph, vw_stream *stream, vw_error *err)
{
    const cuda_device *dev = self;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    return st ? st
              : check(dev, dev->cuda.api.cuGraphLaunch(graph, (CUstream)stream),
                      "launching a graph", err);
}

static void cuda_graph_free(void *self, void *graph)
{
    const cuda_device *dev = self;
    if (graph && vw_cuda_enter(&dev->cuda, NULL) == VW_OK)
        dev->cuda.api.cuGraphExecDestroy(graph);
}

/* ---- kernels -------------------------------------------------------------------------------- */

static const struct {
    const unsigned long long *fatbin;
    cuda_kernel first;
    int n;
} modules[CUDA_MODULES] = {
    {vw_fatbin_pointwise, CUDA_RMS_NORM, CUDA_GATHER - CUDA_RMS_NORM},
    {vw_fatbin_rows, CUDA_GATHER, CUDA_SAMPLE - CUDA_GATHER},
    {vw_fatbin_sample, CUDA_SAMPLE, 1},
};

static const char *const kernel_names[CUDA_KERNELS] = {
    [CUDA_RMS_NORM] = "vw_rms_norm", [CUDA_SOFTMAX] = "vw_softmax",
    [CUDA_ROPE] = "vw_rope",         [CUDA_GATE] = "vw_gate",
    [CUDA_AXPBY] = "vw_axpby",       [CUDA_SOFTCAP] = "vw_softcap",
    [CUDA_GATHER] = "vw_gather",     [CUDA_SCATTER_ADD] = "vw_scatter_add",
    [CUDA_TOP_K] = "vw_top_k",       [CUDA_CONVERT] = "vw_convert",
    [CUDA_QUANTISE] = "vw_quantise", [CUDA_DEQUANTISE] = "vw_dequantise",
    [CUDA_SAMPLE] = "vw_sample",
};

static vw_status load_kernels(cuda_device *dev, vw_error *err)
{
    vw_status st = VW_OK;
    for (int i = 0; i < CUDA_MODULES && !st; i++)
        st = vw_cuda_load(&dev->cuda, modules[i].fatbin, &kernel_names[modules[i].first],
                          modules[i].n, &dev->modules[i], &dev->kernels[modules[i].first], err);
    return st;
}

vw_status cuda_launch(const cuda_device *dev, vw_stream *s, cuda_kernel kernel, int64_t blocks,
                      int threads, const void *args, size_t args_bytes, const char *what,
                      vw_error *err)
{
    vw_cuda_shape shape = {.grid_x = blocks, .block_x = threads};
    if (kernel == CUDA_ROPE)
        shape.block_y = VW_TURN_HEADS;
    return vw_cuda_launch(&dev->cuda, s, dev->kernels[kernel], &shape, args, args_bytes, what, err);
}

/* ---- what it is ----------------------------------------------------------------------------- */

static vw_status cuda_info(void *self, vw_device_info *info, vw_error *err)
{
    const cuda_device *dev = self;
    const vw_cuda *c = &dev->cuda;
    char name[64] = "a device without a name";
    size_t free_bytes = 0, total = 0;
    if (info->size < sizeof *info)
        return vw_fail(err, VW_E_INVALID, "device info of %zu bytes is too small", info->size);
    vw_status st = vw_cuda_enter(c, err);
    if (!st)
        st = check(dev, c->api.cuMemGetInfo(&free_bytes, &total), "asking for free memory", err);
    if (st)
        return st;
    c->api.cuDeviceGetName(name, sizeof name, c->device);
    info->flags = VW_DEVICE_CAPTURE;
    info->memory_bytes = total;
    info->memory_free_bytes = free_bytes;
    snprintf(info->description, sizeof info->description,
             "%s, compute capability %d.%d, %d multiprocessors", name, c->major, c->minor,
             c->n_processors);
    return VW_OK;
}

static int32_t cuda_probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    return vw_cuda_probe(why, why_bytes);
}

static void cuda_close(void *self)
{
    cuda_device *dev = self;
    const vw_host *host = dev->host;
    if (dev->cuda.context && vw_cuda_enter(&dev->cuda, NULL) == VW_OK) {
        cuda_staging_close(dev);
        if (dev->zeroing)
            dev->cuda.api.cuStreamDestroy(dev->zeroing);
        for (int i = 0; i < CUDA_MODULES; i++)
            vw_cuda_unload(&dev->cuda, dev->modules[i]);
    }
    vw_cuda_close(&dev->cuda);
    host->free(host->core, dev);
}

static vw_status cuda_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    const cuda_config *c = config;
    cuda_device *dev = host->alloc(host->core, sizeof *dev);
    if (!dev)
        return vw_fail(err, VW_E_NOMEM, "no memory for the cuda device");
    memset(dev, 0, sizeof *dev);
    dev->host = host;
    vw_status st = vw_cuda_open(&dev->cuda, (int)c->index, err);
    if (!st)
        st = check(dev, dev->cuda.api.cuStreamCreate(&dev->zeroing, CU_STREAM_NON_BLOCKING),
                   "making a stream", err);
    if (!st)
        st = load_kernels(dev, err);
    if (!st)
        st = cuda_staging_open(dev, c->staging, err);
    if (st)
        cuda_close(dev);
    else
        *self = dev;
    return st;
}

static const vw_device_ops ops = {
    .size = sizeof ops,
    .info = cuda_info,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .map = cuda_map,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free,
    .synchronize = cuda_synchronize,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .event_seconds = cuda_event_seconds,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .rms_norm = cuda_rms_norm,
    .rope = cuda_rope,
    .activate = cuda_activate,
    .gate = cuda_gate,
    .axpby = cuda_axpby,
    .softcap = cuda_softcap,
    .softmax = cuda_softmax,
    .gather = cuda_gather,
    .scatter_add = cuda_scatter_add,
    .top_k = cuda_top_k,
    .convert = cuda_convert,
    .sample_bytes = cuda_sample_bytes,
    .sample = cuda_sample,
};

static const char *const devices[] = {"cuda", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_DEVICE,
    .ops_major = VW_DEVICE_OPS_MAJOR,
    .ops_minor = VW_DEVICE_OPS_MINOR,
    .name = "cuda",
    .summary = "an NVIDIA device and its memory, through the driver alone",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .config_size = sizeof(cuda_config),
    .options = options,
    .probe = cuda_probe,
    .open = cuda_open,
    .close = cuda_close,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(device, cuda)
{
    return &description;
}
