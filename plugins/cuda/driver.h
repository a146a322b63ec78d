/* driver.h - the one way to an NVIDIA device: libcuda, opened at run time, and kernels in a plugin.
 *
 * A component for such a device is plain C.  It links neither libcuda nor the CUDA runtime, so it
 * loads anywhere, and its probe says in a sentence why it cannot run here.  Its kernels are
 * compiled by nvcc into a fat binary (machine code and PTX), which the build turns into a C array.
 * driver.c is compiled into every such plugin; what they share at run time is the device's primary
 * context, so memory, streams and events of one plugin are good in all of them.
 *
 * A vw_stream of device/cuda IS a CUstream and a vw_event IS a CUevent; a vw_buffer's `data` is a
 * CUdeviceptr.  A host function that is called from any thread begins with vw_cuda_enter().
 *
 * How to add a file of kernels (kernels/cuda/NAME.cu):
 *
 *   1. A kernel takes ONE struct, by value, and has C linkage:
 *
 *          extern "C" __global__ void vw_NAME_what(const vw_NAME_what_args a) { ... }
 *
 *      The struct stands in a header kernels/cuda/NAME.h that C and CUDA both read, and the launch
 *      passes it with its size, so that the two sides cannot differ.  Include kernels/cuda/cuda.h
 *      first: it holds what is allowed, since the same text is also compiled for t/cuda-sim.
 *   2. In kernels/local.mk: CUDA_KERNELS += %D%/cuda/NAME.cu and the header to CUDA_INCLUDES.
 *   3. In the plugin's local.mk, inside `if WITH_CUDA':
 *
 *          plugins_LTLIBRARIES += gemm_mine.la
 *          gemm_mine_la_SOURCES = %D%/mine.c $(CUDA_DRIVER)
 *          nodist_gemm_mine_la_SOURCES = kernels/cuda/NAME_fatbin.c
 *          gemm_mine_la_CFLAGS = $(PLUGIN_CFLAGS) $(CUDA_CFLAGS)
 *          gemm_mine_la_LIBADD = $(PLUGIN_LIBS)
 *          gemm_mine_la_LDFLAGS = -module $(PLUGIN_LDFLAGS)
 *
 *   4. In the plugin: `extern const unsigned long long vw_fatbin_NAME[];' (a `-' in NAME becomes
 *      `_'), vw_cuda_load() in open, vw_cuda_launch() in the operations.
 *   5. For the tests without a device: t/cuda-sim/NAME.cc, a few lines as in pointwise.cc beside
 *      it, and its name in t/cuda-sim/local.mk.
 *
 * VW_CUDA_DRIVER=FILE in the environment names another library than libcuda.so.1: for tests, which
 * put a simulated driver there.
 */
#ifndef PLUGINS_CUDA_DRIVER_H
#define PLUGINS_CUDA_DRIVER_H

#include <vishwamai/device.h>

#include <cuda.h>

/* Every driver function that is used.  cuda.h gives the type and, by its macros, the version of the
 * symbol; a driver without one of them is too old. */
#define VW_CUDA_FUNCTIONS(X)                                                                       \
    X(cuInit)                                                                                      \
    X(cuDriverGetVersion)                                                                          \
    X(cuGetErrorName)                                                                              \
    X(cuGetErrorString)                                                                            \
    X(cuDeviceGet)                                                                                 \
    X(cuDeviceGetCount)                                                                            \
    X(cuDeviceGetName)                                                                             \
    X(cuDeviceGetAttribute)                                                                        \
    X(cuDeviceTotalMem)                                                                            \
    X(cuDevicePrimaryCtxRetain)                                                                    \
    X(cuDevicePrimaryCtxRelease)                                                                   \
    X(cuCtxSetCurrent)                                                                             \
    X(cuCtxGetDevice)                                                                              \
    X(cuMemGetInfo)                                                                                \
    X(cuMemAlloc)                                                                                  \
    X(cuMemFree)                                                                                   \
    X(cuMemHostAlloc)                                                                              \
    X(cuMemFreeHost)                                                                               \
    X(cuMemcpyHtoDAsync)                                                                           \
    X(cuMemcpyDtoHAsync)                                                                           \
    X(cuMemcpyDtoDAsync)                                                                           \
    X(cuMemsetD8Async)                                                                             \
    X(cuPointerGetAttribute)                                                                       \
    X(cuStreamCreate)                                                                              \
    X(cuStreamDestroy)                                                                             \
    X(cuStreamSynchronize)                                                                         \
    X(cuStreamWaitEvent)                                                                           \
    X(cuStreamIsCapturing)                                                                         \
    X(cuStreamGetCtx)                                                                              \
    X(cuStreamBeginCapture)                                                                        \
    X(cuStreamEndCapture)                                                                          \
    X(cuEventCreate)                                                                               \
    X(cuEventDestroy)                                                                              \
    X(cuEventRecord)                                                                               \
    X(cuEventQuery)                                                                                \
    X(cuEventSynchronize)                                                                          \
    X(cuEventElapsedTime)                                                                          \
    X(cuGraphDestroy)                                                                              \
    X(cuGraphInstantiate)                                                                          \
    X(cuGraphLaunch)                                                                               \
    X(cuGraphExecDestroy)                                                                          \
    X(cuModuleLoadData)                                                                            \
    X(cuModuleUnload)                                                                              \
    X(cuModuleGetFunction)                                                                         \
    X(cuFuncSetAttribute)                                                                          \
    X(cuLaunchKernel)

typedef struct vw_cuda_api {
#define VW_CUDA_MEMBER(function) __typeof__(&function) function;
    VW_CUDA_FUNCTIONS(VW_CUDA_MEMBER)
#undef VW_CUDA_MEMBER
} vw_cuda_api;

/* An opened device.  Read only after vw_cuda_open, and then good in every thread. */
typedef struct vw_cuda {
    vw_cuda_api api;
    void *library;
    CUdevice device;
    CUcontext context; /* the primary one, retained */
    int ordinal;
    int major, minor;  /* compute capability: 9, 0 is Hopper */
    int n_processors;  /* streaming multiprocessors */
    int shared_bytes;  /* of one block, at most, when asked for */
} vw_cuda;

/* For a plugin's probe: a score, or 0 with the reason.  Opens no context. */
int32_t vw_cuda_probe(char *why, size_t why_bytes);

/* Open device `ordinal` and make its context current here.  On an error nothing is left open. */
vw_status vw_cuda_open(vw_cuda *cuda, int ordinal, vw_error *err);
/* The same for the device of the component `device` that the host wires to this plugin, which must
 * list "device" among its `needs`.  *device is written when it is not NULL. */
vw_status vw_cuda_open_beside(vw_cuda *cuda, const vw_host *host, const vw_component **device,
                              vw_error *err);
/* Accepts a vw_cuda of zeros. */
void vw_cuda_close(vw_cuda *cuda);

/* Make the context current in this thread; cheap. */
vw_status vw_cuda_enter(const vw_cuda *cuda, vw_error *err);

/* VW_OK for CUDA_SUCCESS; else an error that says what was tried and what the driver calls it. */
vw_status vw_cuda_check(const vw_cuda *cuda, CUresult result, const char *what, vw_error *err);

/* Load an embedded fat binary and find its kernels: functions[i] for names[i]. */
vw_status vw_cuda_load(const vw_cuda *cuda, const unsigned long long *fatbin,
                       const char *const *names, int n, CUmodule *module, CUfunction *functions,
                       vw_error *err);
/* Accepts NULL. */
void vw_cuda_unload(const vw_cuda *cuda, CUmodule module);

/* Let a kernel be launched with that much dynamic shared memory, above the usual 48 KiB. */
vw_status vw_cuda_allow_shared(const vw_cuda *cuda, CUfunction function, size_t bytes,
                               vw_error *err);

/* Blocks, threads of a block, and bytes of dynamic shared memory.  A zero in y or z means 1. */
typedef struct vw_cuda_shape {
    int64_t grid_x, grid_y, grid_z;
    int block_x, block_y, block_z;
    size_t shared_bytes;
} vw_cuda_shape;

/* Queue one kernel.  `args` is its one parameter and is copied.  grid_x = 0 is no work and
 * succeeds. `what` begins the sentence of an error ("rms_norm").  Enters the context. */
vw_status vw_cuda_launch(const vw_cuda *cuda, vw_stream *stream, CUfunction function,
                         const vw_cuda_shape *shape, const void *args, size_t args_bytes,
                         const char *what, vw_error *err);

#endif
