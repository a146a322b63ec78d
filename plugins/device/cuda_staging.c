/* cuda_staging.c - bytes between the host and the device, through pinned memory.
 *
 * The device copies by itself only from and to memory that the driver has pinned.  Any other host
 * memory goes through a ring of slots: an upload is copied into a slot at once and travels later; a
 * download lands in a slot and is put where it belongs when its stream is synchronised, which is
 * when the caller may look.  So neither waits for the device unless the ring is full.  One lock
 * guards the ring: streams of different threads take turns.
 */
#include "plugins/device/cuda.h"

enum { WORTH_SPLITTING = 1 << 20 }; /* bytes of one copy by the host */

/* ---- the ring ------------------------------------------------------------------------------- */

vw_status cuda_staging_open(cuda_device *dev, size_t bytes, vw_error *err)
{
    staging *ring = &dev->staging;
    const vw_cuda_api *api = &dev->cuda.api;
    void *memory = NULL;
    ring->slot_bytes = bytes / STAGING_SLOTS / 4096 * 4096;
    if (pthread_mutex_init(&ring->lock, NULL))
        return vw_fail(err, VW_E_NOMEM, "no memory for a lock");
    vw_status st =
        vw_cuda_check(&dev->cuda, api->cuMemHostAlloc(&memory, ring->slot_bytes * STAGING_SLOTS, 0),
                      "pinning host memory ([device.cuda] staging)", err);
    ring->memory = memory;
    for (int i = 0; i < STAGING_SLOTS && !st; i++) {
        ring->slots[i].memory = ring->memory + (size_t)i * ring->slot_bytes;
        st = vw_cuda_check(&dev->cuda,
                           api->cuEventCreate(&ring->slots[i].event, CU_EVENT_DISABLE_TIMING),
                           "making an event", err);
    }
    return st;
}

void cuda_staging_close(cuda_device *dev)
{
    staging *ring = &dev->staging;
    const vw_cuda_api *api = &dev->cuda.api;
    if (!ring->slot_bytes)
        return;
    for (int i = 0; i < STAGING_SLOTS; i++)
        if (ring->slots[i].event)
            api->cuEventDestroy(ring->slots[i].event);
    if (ring->memory)
        api->cuMemFreeHost(ring->memory);
    pthread_mutex_destroy(&ring->lock);
}

typedef struct copy_job {
    char *to;
    const char *from;
    size_t bytes;
} copy_job;

static void copy_part(void *arg, int part, int n_parts)
{
    const copy_job *job = arg;
    size_t first = job->bytes / (size_t)n_parts * (size_t)part;
    size_t last = part + 1 == n_parts ? job->bytes : first + job->bytes / (size_t)n_parts;
    memcpy(job->to + first, job->from + first, last - first);
}

static void copy(const cuda_device *dev, void *to, const void *from, size_t bytes)
{
    copy_job job = {to, from, bytes};
    int threads = dev->host->n_threads(dev->host->core);
    if (bytes < WORTH_SPLITTING || threads < 2)
        memcpy(to, from, bytes);
    else
        dev->host->parallel_for(dev->host->core, threads, copy_part, &job);
}

/* The device has reached the slot's event. */
static void finish(const cuda_device *dev, staging_slot *slot)
{
    if (slot->to_host)
        copy(dev, slot->to_host, slot->memory, slot->host_bytes);
    slot->is_busy = 0;
}

static vw_status take(cuda_device *dev, vw_stream *s, staging_slot **slot, vw_error *err)
{
    staging *ring = &dev->staging;
    staging_slot *oldest = &ring->slots[ring->next];
    if (oldest->is_busy) {
        vw_status st = vw_cuda_check(&dev->cuda, dev->cuda.api.cuEventSynchronize(oldest->event),
                                     "waiting for a copy", err);
        if (st)
            return st;
        finish(dev, oldest);
    }
    ring->next = (ring->next + 1) % STAGING_SLOTS;
    oldest->stream = (CUstream)s;
    oldest->to_host = NULL;
    *slot = oldest;
    return VW_OK;
}

/* The copy of a slot is queued, or was refused with `result`. */
static vw_status give(cuda_device *dev, staging_slot *slot, CUresult result, const char *what,
                      vw_error *err)
{
    if (result == CUDA_SUCCESS)
        result = dev->cuda.api.cuEventRecord(slot->event, slot->stream);
    slot->is_busy = result == CUDA_SUCCESS;
    return vw_cuda_check(&dev->cuda, result, what, err);
}

/* ---- copies --------------------------------------------------------------------------------- */

static int is_pinned(const cuda_device *dev, const void *host)
{
    unsigned type = 0;
    return dev->cuda.api.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                               (CUdeviceptr)(uintptr_t)host) == CUDA_SUCCESS &&
           type == CU_MEMORYTYPE_HOST;
}

/* A slot is gone by the time a captured copy would run. */
static vw_status refuse_capture(const cuda_device *dev, vw_stream *s, const char *what,
                                vw_error *err)
{
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    vw_status st = vw_cuda_check(
        &dev->cuda, dev->cuda.api.cuStreamIsCapturing((CUstream)s, &status), what, err);
    if (!st && status != CU_STREAM_CAPTURE_STATUS_NONE)
        st = vw_fail(err, VW_E_UNSUPPORTED,
                     "%s: a captured stream copies only from and to pinned host memory", what);
    return st;
}

vw_status cuda_upload(void *self, vw_stream *s, void *to_device, const void *from_host,
                      size_t bytes, vw_error *err)
{
    cuda_device *dev = self;
    const vw_cuda_api *api = &dev->cuda.api;
    CUdeviceptr to = (CUdeviceptr)(uintptr_t)to_device;
    const char *from = from_host;
    vw_status st = bytes ? vw_cuda_enter(&dev->cuda, err) : VW_OK;
    if (st || !bytes)
        return st;
    if (is_pinned(dev, from))
        return vw_cuda_check(&dev->cuda, api->cuMemcpyHtoDAsync(to, from, bytes, (CUstream)s),
                             "upload", err);
    st = refuse_capture(dev, s, "upload", err);
    pthread_mutex_lock(&dev->staging.lock);
    while (!st && bytes) {
        size_t n = bytes < dev->staging.slot_bytes ? bytes : dev->staging.slot_bytes;
        staging_slot *slot;
        st = take(dev, s, &slot, err);
        if (st)
            break;
        copy(dev, slot->memory, from, n);
        st = give(dev, slot, api->cuMemcpyHtoDAsync(to, slot->memory, n, slot->stream), "upload",
                  err);
        to += n, from += n, bytes -= n;
    }
    pthread_mutex_unlock(&dev->staging.lock);
    return st;
}

vw_status cuda_download(void *self, vw_stream *s, void *to_host, const void *from_device,
                        size_t bytes, vw_error *err)
{
    cuda_device *dev = self;
    const vw_cuda_api *api = &dev->cuda.api;
    CUdeviceptr from = (CUdeviceptr)(uintptr_t)from_device;
    char *to = to_host;
    vw_status st = bytes ? vw_cuda_enter(&dev->cuda, err) : VW_OK;
    if (st || !bytes)
        return st;
    if (is_pinned(dev, to))
        return vw_cuda_check(&dev->cuda, api->cuMemcpyDtoHAsync(to, from, bytes, (CUstream)s),
                             "download", err);
    st = refuse_capture(dev, s, "download", err);
    pthread_mutex_lock(&dev->staging.lock);
    while (!st && bytes) {
        size_t n = bytes < dev->staging.slot_bytes ? bytes : dev->staging.slot_bytes;
        staging_slot *slot;
        st = take(dev, s, &slot, err);
        if (st)
            break;
        slot->to_host = to;
        slot->host_bytes = n;
        st = give(dev, slot, api->cuMemcpyDtoHAsync(slot->memory, from, n, slot->stream),
                  "download", err);
        to += n, from += n, bytes -= n;
    }
    pthread_mutex_unlock(&dev->staging.lock);
    return st;
}

/* ---- the end of a stream's work ------------------------------------------------------------- */

/* Slots of a stream that has come to its end, oldest first; downloads reach the host or are
 * dropped. */
static void settle(cuda_device *dev, vw_stream *s, int is_kept)
{
    staging *ring = &dev->staging;
    pthread_mutex_lock(&ring->lock);
    for (int i = 0; i < STAGING_SLOTS; i++) {
        staging_slot *slot = &ring->slots[(ring->next + i) % STAGING_SLOTS];
        if (!slot->is_busy || slot->stream != (CUstream)s)
            continue;
        if (is_kept)
            finish(dev, slot);
        slot->is_busy = 0;
    }
    pthread_mutex_unlock(&ring->lock);
}

vw_status cuda_synchronize(void *self, vw_stream *s, vw_error *err)
{
    cuda_device *dev = self;
    vw_status st = vw_cuda_enter(&dev->cuda, err);
    if (!st)
        st = vw_cuda_check(&dev->cuda, dev->cuda.api.cuStreamSynchronize((CUstream)s),
                           "waiting for the device", err);
    if (!st)
        settle(dev, s, 1);
    return st;
}

/* Nobody waits for what is still on its way. */
void cuda_stream_free(void *self, vw_stream *s)
{
    cuda_device *dev = self;
    if (!s || vw_cuda_enter(&dev->cuda, NULL))
        return;
    dev->cuda.api.cuStreamSynchronize((CUstream)s);
    settle(dev, s, 0);
    dev->cuda.api.cuStreamDestroy((CUstream)s);
}
