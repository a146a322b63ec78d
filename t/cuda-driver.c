/* cuda-driver.c - plugins/cuda/driver.c, and the simulated driver that the other cuda tests stand
 * on.
 *
 * The simulation is trusted only as far as it is shown to refuse: every kind of mistake that it
 * promises to find is made here once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugins/cuda/driver.h"
#include "t/cuda-sim/faulty.h"
#include "t/tap/tap.h"

enum { N = 64 };

/* As much of a fat binary as the simulation looks at: its head, and the names of kernels. */
static const struct image {
    unsigned magic;
    unsigned short version, head_bytes;
    unsigned long long bytes;
    char names[32];
} good_image = {0xBA55ED50u, 1, 16, 32, "vw_faulty"}, empty_image = {0xBA55ED50u, 1, 16, 32, ""},
  no_image = {0x12345678u, 1, 16, 32, "vw_faulty"};

static vw_error err;

/* ---- finding a driver ----------------------------------------------------------------------- */

static void test_probe(void)
{
    char why[256], *real = strdup(getenv("VW_CUDA_DRIVER"));
    vw_cuda cuda;
    ok(vw_cuda_probe(why, sizeof why) > 0, "the simulated driver is a driver");
    is_str(why, "1 device: simulated device 0", "and says what it has");
    setenv("VW_CUDA_DRIVER", "/nowhere/libcuda.so", 1);
    is_int(vw_cuda_probe(why, sizeof why), 0, "no such file");
    like(why, "VW_CUDA_DRIVER cannot be loaded: /nowhere/libcuda.so", "%s", why);
    is_int(vw_cuda_open(&cuda, 0, &err), VW_E_DEVICE, "nor does it open");
    setenv("VW_CUDA_DRIVER", real, 1);
    setenv("VW_CUDA_SIM_DEVICES", "0", 1);
    is_int(vw_cuda_probe(why, sizeof why), 0, "no device");
    is_str(why, "the NVIDIA driver is there but finds no device", "and the reason");
    setenv("VW_CUDA_SIM_DEVICES", "2", 1);
    is_int(vw_cuda_open(&cuda, 2, &err), VW_E_NOTFOUND, "a device too many");
    is_str(err.text, "there is no CUDA device 2; the driver has 2", "and the sentence");
    is_int(vw_cuda_open(&cuda, 1, &err), VW_OK, "the second of two");
    is_int(cuda.ordinal * 100 + cuda.major * 10 + cuda.minor, 190, "and what it is");
    vw_cuda_close(&cuda);
    vw_cuda_close(&cuda);
    unsetenv("VW_CUDA_SIM_DEVICES");
    free(real);
}

/* ---- a device with one buffer --------------------------------------------------------------- */

typedef struct rig {
    vw_cuda cuda;
    CUstream stream;
    CUmodule module;
    CUfunction function;
    CUdeviceptr memory;
} rig;

static const unsigned long long *words(const struct image *image)
{
    return (const unsigned long long *)(const void *)image;
}

static void open_rig(rig *r)
{
    static const char *const names[] = {"vw_faulty"};
    if (vw_cuda_open(&r->cuda, 0, &err) ||
        vw_cuda_load(&r->cuda, words(&good_image), names, 1, &r->module, &r->function, &err) ||
        r->cuda.api.cuStreamCreate(&r->stream, 0) ||
        r->cuda.api.cuMemAlloc(&r->memory, N * sizeof(float)))
        bail_out("%s", err.text);
}

/* Whatever happened; a failed context takes nothing more, so some of it stays behind. */
static void close_rig(rig *r)
{
    r->cuda.api.cuStreamDestroy(r->stream);
    r->cuda.api.cuMemFree(r->memory);
    vw_cuda_unload(&r->cuda, r->module);
    vw_cuda_close(&r->cuda);
}

static vw_status launch(rig *r, fault f, int threads)
{
    vw_faulty_args args = {(float *)(uintptr_t)r->memory, N, f};
    vw_cuda_shape shape = {.grid_x = 1, .block_x = threads};
    return vw_cuda_launch(&r->cuda, (vw_stream *)r->stream, r->function, &shape, &args, sizeof args,
                          "faulty", &err);
}

static CUresult finish(rig *r)
{
    return r->cuda.api.cuStreamSynchronize(r->stream);
}

static void fetch(rig *r, float *values)
{
    r->cuda.api.cuMemcpyDtoHAsync(values, r->memory, N * sizeof(float), r->stream);
    is_int(finish(r), 0, "the stream ends well");
}

/* ---- launches ------------------------------------------------------------------------------- */

static void test_launch(void)
{
    rig r;
    float out[N] = {-1};
    open_rig(&r);
    is_int(launch(&r, FAULT_NONE, N), VW_OK, "a good kernel");
    is_int(r.cuda.api.cuMemcpyDtoHAsync(out, r.memory, sizeof out, r.stream), 0, "a copy");
    ok(out[0] < 0, "nothing has happened yet");
    is_int(finish(&r), 0, "until the stream is synchronised");
    is_int((int)out[0], N * (N - 1) / 2, "threads share memory and meet at a barrier");
    is_int((int)out[N - 1], N - 1, "and every thread has its number");

    vw_faulty_args args = {0};
    vw_cuda_shape none = {.grid_x = 0, .block_x = 32}, huge = {.grid_x = 1, .block_x = 2048};
    vw_cuda_shape wide = {.grid_x = (int64_t)1 << 40, .block_x = 32};
    vw_stream *s = (vw_stream *)r.stream;
    is_int(vw_cuda_launch(&r.cuda, s, r.function, &none, &args, sizeof args, "x", &err), VW_OK,
           "no blocks, no work");
    is_int(vw_cuda_launch(&r.cuda, s, r.function, &huge, &args, sizeof args, "x", &err),
           VW_E_DEVICE, "2048 threads");
    like(err.text, "x: the CUDA driver answers CUDA_ERROR_INVALID_VALUE (1: ", "%s", err.text);
    is_int(vw_cuda_launch(&r.cuda, s, r.function, &wide, &args, sizeof args, "x", &err),
           VW_E_INVALID, "a grid that no device has");
    like(err.text, "x: a grid of 1099511627776 x 1 x 1 blocks is too large", "%s", err.text);
    none.grid_x = 1;
    is_int(vw_cuda_launch(&r.cuda, s, r.function, &none, &args, sizeof args - 8, "x", &err),
           VW_E_DEVICE, "arguments of another size");
    is_int(vw_cuda_allow_shared(&r.cuda, r.function, 1 << 20, &err), VW_E_UNSUPPORTED,
           "more shared memory than there is");
    like(err.text, "a kernel wants 1048576 bytes of shared memory; this device has ", "%s",
         err.text);
    close_rig(&r);
}

static void test_modules(void)
{
    static const char *const names[] = {"vw_faulty"};
    vw_cuda cuda;
    CUmodule module;
    CUfunction function;
    if (vw_cuda_open(&cuda, 0, &err))
        bail_out("%s", err.text);
    is_int(vw_cuda_load(&cuda, words(&no_image), names, 1, &module, &function, &err), VW_E_DEVICE,
           "what is no fat binary");
    like(err.text,
         "loading the kernels for this device: the CUDA driver answers "
         "CUDA_ERROR_INVALID_IMAGE",
         "%s", err.text);
    is_int(vw_cuda_load(&cuda, words(&empty_image), names, 1, &module, &function, &err),
           VW_E_DEVICE, "a fat binary without the kernel");
    like(err.text, "vw_faulty: the CUDA driver answers CUDA_ERROR_NOT_FOUND", "%s", err.text);
    ok(!module, "and nothing stays loaded");
    vw_cuda_close(&cuda);
}

/* ---- mistakes ------------------------------------------------------------------------------- */

static void test_faults(void)
{
    static const struct {
        fault fault;
        const char *what;
    } faults[] = {
        {FAULT_OUTSIDE, "a write behind the end"},
        {FAULT_BARRIER, "a barrier that half of the block never reaches"},
        {FAULT_LANE, "a shuffle from a lane that takes no part"},
        {FAULT_MASK, "a mask without the lane itself"},
        {FAULT_ABSENT, "a warp exchange that waits for ever"},
        {FAULT_NULL, "a null pointer"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        rig r;
        open_rig(&r);
        is_int(launch(&r, faults[i].fault, N), VW_OK, "%s is queued", faults[i].what);
        is_int(finish(&r), CUDA_ERROR_LAUNCH_FAILED, "and ends the stream's work");
        is_int(launch(&r, FAULT_NONE, N), VW_E_DEVICE, "nothing more is done in this context");
        close_rig(&r);
    }
}

static void test_order(void)
{
    float forwards[N], backwards[N], unwritten[N];
    rig r;
    open_rig(&r);
    launch(&r, FAULT_RACE, N);
    fetch(&r, forwards);
    setenv("VW_CUDA_SIM_ORDER", "backwards", 1);
    launch(&r, FAULT_RACE, N);
    fetch(&r, backwards);
    ok(memcmp(forwards, backwards, sizeof forwards) != 0, "a missing barrier shows in the order");
    launch(&r, FAULT_NONE, N);
    fetch(&r, backwards);
    unsetenv("VW_CUDA_SIM_ORDER");
    launch(&r, FAULT_NONE, N);
    fetch(&r, forwards);
    is_mem(forwards, backwards, sizeof forwards, "a good kernel does not care");
    launch(&r, FAULT_UNWRITTEN, N);
    fetch(&r, unwritten);
    ok(unwritten[5] != unwritten[5], "shared memory that nobody wrote is NaN");
    close_rig(&r);
}

/* In a child: the host follows a device pointer, while the device is open to nobody. */
static void test_closed_memory(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        rig r;
        open_rig(&r);
        _exit(*(volatile float *)(uintptr_t)r.memory > 0);
    }
    waitpid(child, &status, 0);
    ok(WIFSIGNALED(status) || WEXITSTATUS(status) > 1, "the host cannot touch device memory");
}

static void test_thread_without_context(void)
{
    rig r;
    CUstream stream;
    open_rig(&r);
    r.cuda.api.cuCtxSetCurrent(NULL);
    is_int(r.cuda.api.cuStreamCreate(&stream, 0), CUDA_ERROR_INVALID_CONTEXT,
           "a thread must enter the context first");
    is_int(vw_cuda_enter(&r.cuda, &err), VW_OK, "and does so");
    close_rig(&r);
}

int main(void)
{
    const char *driver = getenv("VW_CUDA_DRIVER"), *built = getenv("top_builddir");
    char path[4096];
    if (!driver) {
        snprintf(path, sizeof path, "%s/t/cuda-sim/.libs/libcuda.so", built ? built : ".");
        setenv("VW_CUDA_DRIVER", path, 1);
    }
    test_probe();
    test_launch();
    test_modules();
    test_faults();
    test_order();
    test_closed_memory();
    test_thread_without_context();
    return done_testing();
}
