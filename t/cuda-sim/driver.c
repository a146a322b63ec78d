/* driver.c - libcuda.so.1 for tests: devices, contexts, memory, modules and launches on the host.
 *
 * It answers the functions of plugins/cuda/driver.h and nothing else, with the driver's own codes
 * where the caller is wrong: no current context, an unknown kernel, arguments of another size, a
 * launch or an address out of bounds, a call that a capture forbids.  What it refuses it explains
 * in a line on standard error.  streams.c has streams, events and graphs; queue.c runs the work.
 *
 *     VW_CUDA_SIM_DEVICES   how many devices there are (1)
 *     VW_CUDA_SIM_MEMORY    MiB of each (8192)
 *     VW_CUDA_SIM_ORDER     "backwards": see run.c
 *     VW_CUDA_SIM_STRICT    set: end the program when something outlives its context
 */
#include "t/cuda-sim/driver.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/cuda-sim/memory.h"

enum { MAX_DEVICES = 8, MOST_ARGS_BYTES = 4096, SHARED_BYTES = 48 << 10, SHARED_MOST = 227 << 10 };

struct CUctx_st { /* one a device: the primary context */
    int n_users;
    CUresult error; /* of work that failed: every later call fails with it */
    long n_live[SIM_LIVE_COUNT];
};

struct CUmod_st {
    int device;
    const unsigned char *image;
    size_t bytes;
    struct CUfunc_st *functions;
};

struct CUfunc_st {
    const sim_kernel *kernel;
    int device, shared_bytes;
    struct CUfunc_st *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int is_started;
static struct CUctx_st contexts[MAX_DEVICES];
static _Thread_local CUcontext current;
static _Thread_local int n_captures; /* that this thread has begun and not ended */

/* ---- every call ----------------------------------------------------------------------------- */

void sim_explain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("# cuda-sim: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

CUresult sim_begin(int needs)
{
    pthread_mutex_lock(&lock);
    if (!is_started)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!(needs & SIM_CONTEXT))
        return CUDA_SUCCESS;
    if (!current || !current->n_users)
        return CUDA_ERROR_INVALID_CONTEXT;
    if ((needs & SIM_NO_CAPTURE) && n_captures)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return current->error;
}

CUresult sim_end(CUresult result)
{
    pthread_mutex_unlock(&lock);
    return result;
}

int sim_device(void)
{
    return (int)(current - contexts);
}

CUcontext sim_context(int device)
{
    return &contexts[device];
}

CUresult sim_worked(CUresult result)
{
    if (result != CUDA_SUCCESS)
        current->error = result;
    return result;
}

void sim_count(sim_live what, int n)
{
    current->n_live[what] += n;
}

void sim_captures(int n)
{
    n_captures += n;
}

/* ---- devices and contexts ------------------------------------------------------------------- */

static int n_devices(void)
{
    const char *text = getenv("VW_CUDA_SIM_DEVICES");
    int n = text ? atoi(text) : 1;
    return n < MAX_DEVICES ? n : MAX_DEVICES;
}

CUresult cuInit(unsigned flags)
{
    pthread_mutex_lock(&lock);
    is_started = n_devices() > 0;
    return sim_end(flags        ? CUDA_ERROR_INVALID_VALUE
                   : is_started ? CUDA_SUCCESS
                                : CUDA_ERROR_NO_DEVICE);
}

CUresult cuDriverGetVersion(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    CUresult result = sim_begin(0);
    *count = n_devices();
    return sim_end(result);
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CUresult result = sim_begin(0);
    if (!result && (ordinal < 0 || ordinal >= n_devices()))
        result = CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return sim_end(result);
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    snprintf(name, (size_t)bytes, "simulated device %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    (void)device;
    *bytes = sim_memory_total();
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device)
{
    (void)device;
    switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = 9;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = 0;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = 4;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = SHARED_MOST;
        return CUDA_SUCCESS;
    default:
        sim_explain("device attribute %d is not simulated", (int)which);
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    CUresult result = sim_begin(0);
    if (!result && (device < 0 || device >= n_devices()))
        result = CUDA_ERROR_INVALID_DEVICE;
    if (!result) {
        *context = &contexts[device];
        contexts[device].n_users++;
    }
    return sim_end(result);
}

/* The last user leaves: a device would take everything down with it, and hide what was forgotten.
 * After an error nothing could be given back. */
static void close_context(CUcontext context)
{
    static const char *const names[SIM_LIVE_COUNT] = {
        "allocations", "pinned allocations", "streams", "events", "modules", "graphs"};
    int is_clean = 1, device = (int)(context - contexts);
    if (!context->error)
        sim_run_all();
    for (int i = 0; i < SIM_LIVE_COUNT; i++)
        if (context->n_live[i] && !context->error) {
            sim_explain("%ld %s outlive their context", context->n_live[i], names[i]);
            is_clean = 0;
        }
    if (!is_clean && getenv("VW_CUDA_SIM_STRICT"))
        abort();
    sim_streams_forget(device);
    sim_memory_forget(device);
    memset(context, 0, sizeof *context);
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    CUresult result = sim_begin(0);
    if (!result && !contexts[device].n_users)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result && --contexts[device].n_users == 0)
        close_context(&contexts[device]);
    return sim_end(result);
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    CUresult result = sim_begin(0);
    if (!result && context && !context->n_users)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (!result)
        current = context;
    return sim_end(result);
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    if (!result)
        *device = sim_device();
    return sim_end(result);
}

/* ---- memory --------------------------------------------------------------------------------- */

CUresult cuMemGetInfo(size_t *free_bytes, size_t *total)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    *total = sim_memory_total();
    *free_bytes = *total - sim_memory_used(0);
    return sim_end(result);
}

CUresult cuMemAlloc(CUdeviceptr *at, size_t bytes)
{
    CUresult result = sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE);
    void *memory = NULL;
    if (!result && !bytes)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && !(memory = sim_memory_new(sim_device(), bytes)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        *at = (CUdeviceptr)memory;
        sim_count(SIM_LIVE_MEMORY, 1);
    }
    return sim_end(result);
}

CUresult cuMemFree(CUdeviceptr at)
{
    CUresult result = sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE);
    if (!result)
        result = sim_worked(sim_run_all());
    if (!result && at) {
        sim_count(SIM_LIVE_MEMORY, -1);
        if (sim_memory_free((void *)at))
            result = sim_worked(CUDA_ERROR_ILLEGAL_ADDRESS);
    }
    return sim_end(result);
}

CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags)
{
    CUresult result = sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE);
    (void)flags;
    if (!result && !(*at = sim_pinned_new(bytes)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result)
        sim_count(SIM_LIVE_PINNED, 1);
    return sim_end(result);
}

CUresult cuMemFreeHost(void *at)
{
    CUresult result = sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE);
    if (!result)
        result = sim_worked(sim_run_all());
    if (!result && sim_pinned_free(at))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        sim_count(SIM_LIVE_PINNED, -1);
    return sim_end(result);
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute which, CUdeviceptr at)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    unsigned type = 0;
    if (!result && which != CU_POINTER_ATTRIBUTE_MEMORY_TYPE)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result && sim_pinned_has((const void *)at))
        type = CU_MEMORYTYPE_HOST;
    else if (!result && sim_memory_has(sim_device(), (const void *)at, 1))
        type = CU_MEMORYTYPE_DEVICE;
    else if (!result) /* memory that the driver has never heard of */
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        memcpy(data, &type, sizeof type);
    return sim_end(result);
}

/* ---- modules -------------------------------------------------------------------------------- */

/* A fat binary begins with its magic number, a version, the header's size and the size of the rest.
 * */
static size_t fatbin_bytes(const void *image)
{
    struct {
        unsigned magic;
        unsigned short version, header_bytes;
        unsigned long long bytes;
    } head;
    memcpy(&head, image, sizeof head);
    return head.magic == 0xBA55ED50u ? head.header_bytes + head.bytes : 0;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    CUresult result = sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE);
    CUmodule m = NULL;
    size_t bytes = result ? 0 : fatbin_bytes(image);
    if (!result && !bytes) {
        sim_explain("a module is no fat binary");
        result = CUDA_ERROR_INVALID_IMAGE;
    }
    if (!result && !(m = calloc(1, sizeof *m)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        *m = (struct CUmod_st){sim_device(), image, bytes, NULL};
        *module = m;
        sim_count(SIM_LIVE_MODULE, 1);
    }
    return sim_end(result);
}

CUresult cuModuleUnload(CUmodule module)
{
    CUresult result = sim_begin(SIM_CONTEXT | SIM_NO_CAPTURE);
    if (!result)
        result = sim_worked(sim_run_all());
    if (!result) {
        while (module->functions) {
            CUfunction next = module->functions->next;
            free(module->functions);
            module->functions = next;
        }
        free(module);
        sim_count(SIM_LIVE_MODULE, -1);
    }
    return sim_end(result);
}

/* The kernel must be in the binary that was loaded, by name, and among those compiled for here. */
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    const sim_kernel *kernel = sim_find_kernel(name);
    CUfunction f = NULL;
    if (!result && !memmem(module->image, module->bytes, name, strlen(name) + 1)) {
        sim_explain("no kernel %s in the fat binary", name);
        result = CUDA_ERROR_NOT_FOUND;
    }
    if (!result && !kernel) {
        sim_explain("kernel %s is not compiled into the simulation", name);
        result = CUDA_ERROR_NOT_FOUND;
    }
    if (!result && !(f = calloc(1, sizeof *f)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        *f = (struct CUfunc_st){kernel, module->device, SHARED_BYTES, module->functions};
        module->functions = f;
        *function = f;
    }
    return sim_end(result);
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value)
{
    CUresult result = sim_begin(SIM_CONTEXT);
    if (!result && (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
                    value > SHARED_MOST))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        function->shared_bytes = value > SHARED_BYTES ? value : SHARED_BYTES;
    return sim_end(result);
}

/* The one argument, from either way of passing it. */
static CUresult find_args(const sim_kernel *kernel, void **params, void **extra, void **args)
{
    *args = params ? params[0] : NULL;
    if (kernel->args_bytes > MOST_ARGS_BYTES) {
        sim_explain("%s: takes %zu bytes of arguments; %d are possible", kernel->name,
                    kernel->args_bytes, MOST_ARGS_BYTES);
        return CUDA_ERROR_INVALID_VALUE;
    }
    for (; extra && extra[0] != CU_LAUNCH_PARAM_END; extra += 2) {
        if (extra[0] == CU_LAUNCH_PARAM_BUFFER_POINTER) {
            *args = extra[1];
        } else if (*(const size_t *)extra[1] != kernel->args_bytes) {
            sim_explain("%s: takes %zu bytes of arguments, not %zu", kernel->name,
                        kernel->args_bytes, *(const size_t *)extra[1]);
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return *args ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static int is_too_large(sim_dim grid, sim_dim block)
{
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    return !grid.x || !grid.y || !grid.z || grid.x > 0x7FFFFFFF || grid.y > 65535 ||
           grid.z > 65535 || threads == 0 || threads > 1024 || block.z > 64;
}

CUresult cuLaunchKernel(CUfunction f, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream stream, void **params, void **extra)
{
    sim_op op = {.kind = SIM_KERNEL_RUN,
                 .grid = {grid_x, grid_y, grid_z},
                 .block = {block_x, block_y, block_z},
                 .bytes = shared_bytes};
    CUresult result = sim_begin(SIM_CONTEXT);
    if (!result &&
        (!f || !sim_is_stream(stream) || f->device != stream->device || f->device != sim_device()))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (!result && (is_too_large(op.grid, op.block) || shared_bytes > (unsigned)f->shared_bytes)) {
        sim_explain("%s: a grid of %u x %u x %u blocks of %u x %u x %u threads with %u bytes of "
                    "shared memory",
                    f->kernel->name, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                    shared_bytes);
        result = CUDA_ERROR_INVALID_VALUE;
    }
    if (!result) {
        op.kernel = f->kernel;
        result = find_args(f->kernel, params, extra, &op.args);
    }
    if (!result)
        result = sim_enqueue(stream, &op);
    return sim_end(result);
}
