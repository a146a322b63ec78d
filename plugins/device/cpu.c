/* cpu.c - device/cpu: this machine's processor and memory.
 *
 * The host's memory is the device's: map is the identity and copies are memcpy.  Work is done when
 * a call returns, so streams have nothing to keep and events only read the clock.
 */
#include "plugins/device/cpu.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined __x86_64__
#include <cpuid.h>
#endif

/* ---- splitting ------------------------------------------------------------------------------- */

enum { WORTH_SPLITTING = 32768 }; /* values; below, a barrier costs more than it gives */

typedef struct split {
    cpu_units_fn fn;
    const void *arg;
    int64_t n_units;
} split;

static void split_part(void *arg, int part, int n_parts)
{
    const split *s = arg;
    s->fn(s->arg, s->n_units * part / n_parts, s->n_units * (part + 1) / n_parts);
}

int cpu_split_parts(const cpu_device *dev, int64_t n_units, int64_t unit_values)
{
    if (n_units < 2 || n_units * unit_values < WORTH_SPLITTING)
        return 1;
    int threads = dev->host->n_threads(dev->host->core);
    return n_units < threads ? (int)n_units : threads;
}

void cpu_split(const cpu_device *dev, int64_t n_units, int64_t unit_values, cpu_units_fn fn,
               const void *arg)
{
    split s = {fn, arg, n_units};
    int n_parts = cpu_split_parts(dev, n_units, unit_values);
    if (n_units < 1)
        return;
    if (n_parts < 2)
        fn(arg, 0, n_units);
    else
        dev->host->parallel_for(dev->host->core, n_parts, split_part, &s);
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum { ALIGNMENT = 256 };
static const size_t large_bytes = (size_t)1 << 20;

/* What the system could still give, as it estimates itself. */
static uint64_t memory_free(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && kib == 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
            kib = 0;
    if (file)
        fclose(file);
    return kib * 1024;
}

/* Large buffers are mapped: the system's pages come zeroed, and only when they are touched, so that
 * a cache of many gigabytes costs nothing until it fills. */
static void *alloc_large(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

/* Small ones come from the host; `handle` keeps its address, 0 for a mapping. */
static vw_status cpu_alloc(void *self, size_t bytes, vw_buffer *buffer, vw_error *err)
{
    const cpu_device *dev = self;
    vw_buffer b = {NULL, bytes, 0};
    if (bytes >= large_bytes) {
        b.data = alloc_large(bytes);
    } else {
        char *memory = dev->host->alloc(dev->host->core, bytes + ALIGNMENT);
        if (memory) {
            size_t skip = (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
            b.data = memset(memory + skip, 0, bytes);
            b.handle = (uint64_t)(uintptr_t)memory;
        }
    }
    if (!b.data)
        return vw_fail(err, VW_E_NOMEM,
                       "no memory for %zu MiB (%zu bytes); about %llu MiB are free", bytes >> 20,
                       bytes, (unsigned long long)(memory_free() >> 20));
    *buffer = b;
    return VW_OK;
}

enum { HANDLE_BORROWED = 1 }; /* no address: the memory is somebody else's */

static void cpu_free(void *self, vw_buffer *buffer)
{
    const cpu_device *dev = self;
    if (buffer->handle > HANDLE_BORROWED)
        dev->host->free(dev->host->core, (void *)(uintptr_t)buffer->handle);
    else if (buffer->data && buffer->handle == 0)
        munmap(buffer->data, buffer->bytes);
    *buffer = (vw_buffer){0};
}

static vw_status cpu_map(void *self, const void *host, size_t bytes, vw_buffer *buffer,
                         vw_error *err)
{
    (void)self, (void)err;
    *buffer = (vw_buffer){(void *)(uintptr_t)host, bytes, HANDLE_BORROWED};
    return VW_OK;
}

/* Moving memory is split too: one core does not reach the memory's bandwidth, nor does it hold in its
 * caches what the other wrote. */
enum { RUN_BYTES = 1 << 16 }; /* of a unit */

typedef struct run_job {
    char *to;
    const char *from; /* NULL: fill with `value` */
    uint8_t value;
    size_t bytes;
} run_job;

static void run_units(const void *arg, int64_t from, int64_t to)
{
    const run_job *job = arg;
    size_t first = (size_t)from * RUN_BYTES, last = (size_t)to * RUN_BYTES;
    last = last < job->bytes ? last : job->bytes;
    if (job->from)
        memcpy(job->to + first, job->from + first, last - first);
    else
        memset(job->to + first, job->value, last - first);
}

static void run_bytes(const cpu_device *dev, const run_job *job)
{
    int64_t units = (int64_t)(job->bytes / RUN_BYTES + (job->bytes % RUN_BYTES != 0));
    cpu_split(dev, units, RUN_BYTES / (int64_t)sizeof(float), run_units, job);
}

/* Do n bytes at a and at b have any in common? */
static int overlap(const void *a, const void *b, size_t n)
{
    uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
    return x < y ? y - x < n : x - y < n;
}

static vw_status cpu_copy(void *self, vw_stream *s, void *to, const void *from, size_t bytes,
                          vw_error *err)
{
    run_job job = {to, from, 0, bytes};
    (void)s, (void)err;
    if (bytes && overlap(to, from, bytes))
        memmove(to, from, bytes);
    else if (bytes)
        run_bytes(self, &job);
    return VW_OK;
}

static vw_status cpu_fill(void *self, vw_stream *s, void *to, uint8_t value, size_t bytes,
                          vw_error *err)
{
    run_job job = {to, NULL, value, bytes};
    (void)s, (void)err;
    if (bytes)
        run_bytes(self, &job);
    return VW_OK;
}

/* ---- streams and events ---------------------------------------------------------------------- */

struct vw_stream {
    int unused;
};

struct vw_event {
    double seconds; /* of the monotonic clock when it was recorded */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vw_status cpu_stream_new(void *self, vw_stream **stream, vw_error *err)
{
    const cpu_device *dev = self;
    vw_stream *s = dev->host->alloc(dev->host->core, sizeof *s);
    if (!s)
        return vw_fail(err, VW_E_NOMEM, "no memory for a stream");
    *stream = s;
    return VW_OK;
}

static void cpu_stream_free(void *self, vw_stream *stream)
{
    const cpu_device *dev = self;
    dev->host->free(dev->host->core, stream);
}

static vw_status cpu_synchronize(void *self, vw_stream *stream, vw_error *err)
{
    (void)self, (void)stream, (void)err;
    return VW_OK;
}

static vw_status cpu_event_new(void *self, vw_event **event, vw_error *err)
{
    const cpu_device *dev = self;
    vw_event *e = dev->host->alloc(dev->host->core, sizeof *e);
    if (!e)
        return vw_fail(err, VW_E_NOMEM, "no memory for an event");
    e->seconds = now();
    *event = e;
    return VW_OK;
}

static void cpu_event_free(void *self, vw_event *event)
{
    const cpu_device *dev = self;
    dev->host->free(dev->host->core, event);
}

static vw_status cpu_event_record(void *self, vw_event *event, vw_stream *stream, vw_error *err)
{
    (void)self, (void)stream, (void)err;
    event->seconds = now();
    return VW_OK;
}

static vw_status cpu_event_wait(void *self, vw_event *event, vw_stream *stream, vw_error *err)
{
    (void)self, (void)event, (void)stream, (void)err;
    return VW_OK;
}

static vw_status cpu_event_seconds(void *self, vw_event *from, vw_event *to, double *seconds,
                                   vw_error *err)
{
    (void)self, (void)err;
    *seconds = to->seconds - from->seconds;
    return VW_OK;
}

/* ---- what it is ------------------------------------------------------------------------------ */

/* The processor's own name, without the blanks that pad it. */
static void cpu_name(char *name, size_t bytes)
{
    snprintf(name, bytes, "CPU");
#if defined __x86_64__
    unsigned words[13] = {0};
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                         &words[4 * i + 3]))
            return;
    const char *text = (const char *)words;
    text += strspn(text, " ");
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (n > 0)
        snprintf(name, bytes, "%.*s", (int)n, text);
#endif
}

static vw_status cpu_info(void *self, vw_device_info *info, vw_error *err)
{
    const cpu_device *dev = self;
    char name[64];
    int threads = dev->host->n_threads(dev->host->core);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (info->size < sizeof *info)
        return vw_fail(err, VW_E_INVALID, "device info of %zu bytes is too small", info->size);
    info->flags = VW_DEVICE_HOST_VISIBLE;
    info->memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    info->memory_free_bytes = memory_free();
    cpu_name(name, sizeof name);
    snprintf(info->description, sizeof info->description, "%s, %d thread%s, %s", name, threads,
             threads == 1 ? "" : "s", vw_cpu_isa_name(dev->isa));
    return VW_OK;
}

static int32_t cpu_probe(const vw_probe *about, char *why, size_t why_bytes)
{
    vw_cpu_isa isa;
    (void)about;
    if (!vw_cpu_choose(&isa, why, why_bytes))
        return 0;
    snprintf(why, why_bytes, "%s", vw_cpu_isa_name(isa));
    return 100;
}

static vw_status cpu_open(const vw_host *host, const void *config, void **self, vw_error *err)
{
    vw_cpu_isa isa;
    char why[160];
    (void)config;
    if (!vw_cpu_choose(&isa, why, sizeof why))
        return vw_fail(err, VW_E_UNSUPPORTED, "%s", why);
    cpu_device *dev = host->alloc(host->core, sizeof *dev);
    if (!dev)
        return vw_fail(err, VW_E_NOMEM, "no memory for the cpu device");
    *dev = (cpu_device){host, isa, vw_pointwise_for(isa), vw_gradients_for(isa)};
    *self = dev;
    return VW_OK;
}

static void cpu_close(void *self)
{
    const cpu_device *dev = self;
    dev->host->free(dev->host->core, self);
}

static const vw_device_ops ops = {
    .size = sizeof ops,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .map = cpu_map,
    .upload = cpu_copy,
    .download = cpu_copy,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .stream_new = cpu_stream_new,
    .stream_free = cpu_stream_free,
    .synchronize = cpu_synchronize,
    .event_new = cpu_event_new,
    .event_free = cpu_event_free,
    .event_record = cpu_event_record,
    .event_wait = cpu_event_wait,
    .event_seconds = cpu_event_seconds,
    .rms_norm = cpu_rms_norm,
    .rope = cpu_rope,
    .activate = cpu_activate,
    .gate = cpu_gate,
    .axpby = cpu_axpby,
    .softcap = cpu_softcap,
    .softmax = cpu_softmax,
    .gather = cpu_gather,
    .scatter_add = cpu_scatter_add,
    .top_k = cpu_top_k,
    .convert = cpu_convert,
    .sample_bytes = cpu_sample_bytes,
    .sample = cpu_sample,
    .reduce_bytes = cpu_reduce_bytes,
    .rms_norm_backward = cpu_rms_norm_backward,
    .rope_backward = cpu_rope_backward,
    .activate_backward = cpu_activate_backward,
    .gate_backward = cpu_gate_backward,
    .softcap_backward = cpu_softcap_backward,
    .softmax_backward = cpu_softmax_backward,
    .cross_entropy = cpu_cross_entropy,
    .dropout = cpu_dropout,
    .sum_squares = cpu_sum_squares,
    .sum_rows = cpu_sum_rows,
    .moe_route = cpu_moe_route,
    .moe_route_backward = cpu_moe_route_backward,
    .moe_sort = cpu_moe_sort,
    .moe_combine = cpu_moe_combine,
    .moe_combine_backward = cpu_moe_combine_backward,
    .round_e4m3 = cpu_round_e4m3,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_DEVICE,
    .ops_major = VW_DEVICE_OPS_MAJOR,
    .ops_minor = VW_DEVICE_OPS_MINOR,
    .name = "cpu",
    .summary = "the processor and its memory",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_NORMAL,
    .caps = VW_CAP_THREAD_SAFE,
    .devices = devices,
    .probe = cpu_probe,
    .open = cpu_open,
    .close = cpu_close,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(device, cpu)
{
    return &description;
}
