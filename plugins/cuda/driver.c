/* driver.c - finding libcuda, and the few steps that every CUDA plugin takes.
 *
 * Nothing is kept in file scope: a vw_cuda holds the library, the functions and a reference to the
 * device's primary context, which is the same for all who ask for it in this process.
 */
#include "plugins/cuda/driver.h"

#include <dlfcn.h>
#include <stdlib.h>

static const char library_name[] = "libcuda.so.1";

/* ---- words for errors ----------------------------------------------------------------------- */

/* A broken driver may have no name even for its own code. */
static void describe(const vw_cuda_api *api, CUresult result, char *text, size_t bytes)
{
    const char *name = NULL, *sentence = NULL;
    if (!api->cuGetErrorName || api->cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
        name = "an error it has no name for";
    if (!api->cuGetErrorString || api->cuGetErrorString(result, &sentence) != CUDA_SUCCESS)
        sentence = NULL;
    if (result == CUDA_ERROR_STUB_LIBRARY) {
        name = "CUDA_ERROR_STUB_LIBRARY";
        sentence = "it is the toolkit's stub, not a driver";
    }
    snprintf(text, bytes, "%s (%d%s%s)", name, (int)result, sentence ? ": " : "",
             sentence ? sentence : "");
}

vw_status vw_cuda_check(const vw_cuda *cuda, CUresult result, const char *what, vw_error *err)
{
    char text[256];
    if (result == CUDA_SUCCESS)
        return VW_OK;
    describe(&cuda->api, result, text, sizeof text);
    return vw_fail(err, result == CUDA_ERROR_OUT_OF_MEMORY ? VW_E_NOMEM : VW_E_DEVICE,
                   "%s: the CUDA driver answers %s", what, text);
}

/* ---- the library ---------------------------------------------------------------------------- */

static const char *driver_path(void)
{
    const char *path = getenv("VW_CUDA_DRIVER");
    return path && *path ? path : library_name;
}

static vw_status find_functions(vw_cuda *cuda, vw_error *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } functions[] = {
#define VW_CUDA_TEXT(text)      #text
#define VW_CUDA_ENTRY(function) {VW_CUDA_TEXT(function), offsetof(vw_cuda_api, function)},
        VW_CUDA_FUNCTIONS(VW_CUDA_ENTRY)
#undef VW_CUDA_ENTRY
#undef VW_CUDA_TEXT
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *address = dlsym(cuda->library, functions[i].name);
        if (!address)
            return vw_fail(err, VW_E_DEVICE,
                           "%s has no %s: the NVIDIA driver is older than this program needs",
                           driver_path(), functions[i].name);
        memcpy((char *)&cuda->api + functions[i].offset, &address, sizeof address);
    }
    return VW_OK;
}

/* The library stays in memory when its last user is gone: a driver has threads of its own. */
static vw_status open_library(vw_cuda *cuda, vw_error *err)
{
    const char *path = driver_path();
    memset(cuda, 0, sizeof *cuda);
    cuda->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (cuda->library)
        return find_functions(cuda, err);
    if (path == library_name)
        return vw_fail(err, VW_E_DEVICE, "%s is not there: no NVIDIA driver", path);
    return vw_fail(err, VW_E_DEVICE, "VW_CUDA_DRIVER cannot be loaded: %s", dlerror());
}

/* Count the devices, or say why there is none. */
static vw_status start(vw_cuda *cuda, int *n_devices, vw_error *err)
{
    vw_status st = open_library(cuda, err);
    if (st)
        return st;
    CUresult result = cuda->api.cuInit(0);
    if (result == CUDA_SUCCESS)
        result = cuda->api.cuDeviceGetCount(n_devices);
    if (result == CUDA_ERROR_NO_DEVICE || (result == CUDA_SUCCESS && *n_devices < 1))
        return vw_fail(err, VW_E_DEVICE, "the NVIDIA driver is there but finds no device");
    return vw_cuda_check(cuda, result, "starting the NVIDIA driver", err);
}

int32_t vw_cuda_probe(char *why, size_t why_bytes)
{
    vw_cuda cuda;
    vw_error err;
    char name[64] = "";
    int n_devices = 0;
    CUdevice first;
    vw_status st = start(&cuda, &n_devices, &err);
    if (st) {
        snprintf(why, why_bytes, "%s", err.text);
        vw_text_trim(why);
    } else {
        if (cuda.api.cuDeviceGet(&first, 0) == CUDA_SUCCESS)
            cuda.api.cuDeviceGetName(name, sizeof name, first);
        snprintf(why, why_bytes, "%d device%s: %s", n_devices, n_devices == 1 ? "" : "s", name);
    }
    vw_cuda_close(&cuda);
    return st ? 0 : 200;
}

/* ---- a device ------------------------------------------------------------------------------- */

static vw_status read_attributes(vw_cuda *cuda, vw_error *err)
{
    const struct {
        CUdevice_attribute which;
        int *value;
    } wanted[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &cuda->major},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &cuda->minor},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &cuda->n_processors},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &cuda->shared_bytes},
    };
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && result == CUDA_SUCCESS; i++)
        result = cuda->api.cuDeviceGetAttribute(wanted[i].value, wanted[i].which, cuda->device);
    if (result == CUDA_SUCCESS && cuda->major < 8)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "CUDA device %d has compute capability %d.%d; 8.0 or later is needed",
                       cuda->ordinal, cuda->major, cuda->minor);
    return vw_cuda_check(cuda, result, "asking what the device is", err);
}

static vw_status open_device(vw_cuda *cuda, int ordinal, vw_error *err)
{
    int n_devices = 0;
    vw_status st = start(cuda, &n_devices, err);
    if (st)
        return st;
    if (ordinal < 0 || ordinal >= n_devices)
        return vw_fail(err, VW_E_NOTFOUND, "there is no CUDA device %d; the driver has %d", ordinal,
                       n_devices);
    cuda->ordinal = ordinal;
    st = vw_cuda_check(cuda, cuda->api.cuDeviceGet(&cuda->device, ordinal), "finding the device",
                       err);
    if (!st)
        st = read_attributes(cuda, err);
    if (st)
        return st;
    CUresult result = cuda->api.cuDevicePrimaryCtxRetain(&cuda->context, cuda->device);
    if (result != CUDA_SUCCESS) {
        cuda->context = NULL;
        return vw_cuda_check(cuda, result, "opening the device", err);
    }
    return vw_cuda_enter(cuda, err);
}

vw_status vw_cuda_open(vw_cuda *cuda, int ordinal, vw_error *err)
{
    vw_status st = open_device(cuda, ordinal, err);
    if (st)
        vw_cuda_close(cuda);
    return st;
}

/* Which device does a stream belong to?  The public table has no word for it, the driver has. */
static vw_status ordinal_of(CUstream stream, int *ordinal, vw_error *err)
{
    vw_cuda cuda;
    CUcontext context;
    CUdevice device = 0;
    int n_devices = 0;
    vw_status st = start(&cuda, &n_devices, err);
    if (!st) {
        CUresult result = cuda.api.cuStreamGetCtx(stream, &context);
        if (result == CUDA_SUCCESS)
            result = cuda.api.cuCtxSetCurrent(context);
        if (result == CUDA_SUCCESS)
            result = cuda.api.cuCtxGetDevice(&device);
        st = vw_cuda_check(&cuda, result, "asking for the stream's device", err);
    }
    *ordinal = device; /* a CUdevice is its ordinal */
    vw_cuda_close(&cuda);
    return st;
}

vw_status vw_cuda_open_beside(vw_cuda *cuda, const vw_host *host, const vw_component **device,
                              vw_error *err)
{
    memset(cuda, 0, sizeof *cuda);
    const vw_component *c = host->component(host->core, VW_KIND_DEVICE, err);
    if (!c)
        return VW_E_NOTFOUND;
    if (strcmp(c->plugin->name, "cuda") != 0)
        return vw_fail(err, VW_E_CONFIG,
                       "this component runs on device/cuda, but the device is %s; set [device] "
                       "plugin = cuda",
                       c->plugin->name);
    const vw_device_ops *ops = c->ops;
    vw_stream *stream;
    int ordinal = 0;
    vw_status st = ops->stream_new(c->self, &stream, err);
    if (st)
        return st;
    st = ordinal_of((CUstream)stream, &ordinal, err);
    ops->stream_free(c->self, stream);
    if (st)
        return st;
    if (device)
        *device = c;
    return vw_cuda_open(cuda, ordinal, err);
}

void vw_cuda_close(vw_cuda *cuda)
{
    if (cuda->context)
        cuda->api.cuDevicePrimaryCtxRelease(cuda->device);
    if (cuda->library)
        dlclose(cuda->library);
    memset(cuda, 0, sizeof *cuda);
}

vw_status vw_cuda_enter(const vw_cuda *cuda, vw_error *err)
{
    return vw_cuda_check(cuda, cuda->api.cuCtxSetCurrent(cuda->context), "entering the context",
                         err);
}

/* ---- kernels -------------------------------------------------------------------------------- */

vw_status vw_cuda_load(const vw_cuda *cuda, const unsigned long long *fatbin,
                       const char *const *names, int n, CUmodule *module, CUfunction *functions,
                       vw_error *err)
{
    *module = NULL;
    vw_status st = vw_cuda_enter(cuda, err);
    if (!st)
        st = vw_cuda_check(cuda, cuda->api.cuModuleLoadData(module, fatbin),
                           "loading the kernels for this device", err);
    for (int i = 0; i < n && !st; i++)
        st = vw_cuda_check(cuda, cuda->api.cuModuleGetFunction(&functions[i], *module, names[i]),
                           names[i], err);
    if (st && *module) {
        cuda->api.cuModuleUnload(*module);
        *module = NULL;
    }
    return st;
}

void vw_cuda_unload(const vw_cuda *cuda, CUmodule module)
{
    if (module && vw_cuda_enter(cuda, NULL) == VW_OK)
        cuda->api.cuModuleUnload(module);
}

vw_status vw_cuda_allow_shared(const vw_cuda *cuda, CUfunction function, size_t bytes,
                               vw_error *err)
{
    if (bytes > (size_t)cuda->shared_bytes)
        return vw_fail(err, VW_E_UNSUPPORTED,
                       "a kernel wants %zu bytes of shared memory; this device has %d", bytes,
                       cuda->shared_bytes);
    return vw_cuda_check(cuda,
                         cuda->api.cuFuncSetAttribute(
                             function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)bytes),
                         "asking for shared memory", err);
}

static int is_too_many(int64_t grid, int64_t most)
{
    return grid < 0 || grid > most;
}

vw_status vw_cuda_launch(const vw_cuda *cuda, vw_stream *stream, CUfunction function,
                         const vw_cuda_shape *shape, const void *args, size_t args_bytes,
                         const char *what, vw_error *err)
{
    int64_t y = shape->grid_y ? shape->grid_y : 1, z = shape->grid_z ? shape->grid_z : 1;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)(uintptr_t)args,
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &args_bytes, CU_LAUNCH_PARAM_END};
    if (is_too_many(shape->grid_x, INT32_MAX) || is_too_many(y, 65535) || is_too_many(z, 65535))
        return vw_fail(err, VW_E_INVALID, "%s: a grid of %lld x %lld x %lld blocks is too large",
                       what, (long long)shape->grid_x, (long long)y, (long long)z);
    if (shape->grid_x == 0)
        return VW_OK;
    vw_status st = vw_cuda_enter(cuda, err);
    if (st)
        return st;
    CUresult result = cuda->api.cuLaunchKernel(
        function, (unsigned)shape->grid_x, (unsigned)y, (unsigned)z, (unsigned)shape->block_x,
        shape->block_y ? (unsigned)shape->block_y : 1,
        shape->block_z ? (unsigned)shape->block_z : 1, (unsigned)shape->shared_bytes,
        (CUstream)stream, NULL, extra);
    return vw_cuda_check(cuda, result, what, err);
}
