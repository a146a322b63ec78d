/* cuda.h - what the parts of device/cuda share: the instance, its kernels, its staging memory. */
#ifndef PLUGINS_DEVICE_CUDA_H
#define PLUGINS_DEVICE_CUDA_H

#include <pthread.h>

#include "kernels/cuda/pointwise.h"
#include "plugins/cuda/driver.h"
#include "plugins/device/checks.h"

typedef enum cuda_kernel {
    CUDA_RMS_NORM,
    CUDA_SOFTMAX,
    CUDA_ROPE,
    CUDA_GATE,
    CUDA_AXPBY,
    CUDA_SOFTCAP,
    CUDA_GATHER,
    CUDA_SCATTER_ADD,
    CUDA_TOP_K,
    CUDA_CONVERT,
    CUDA_QUANTISE,
    CUDA_DEQUANTISE,
    CUDA_SAMPLE,
    CUDA_KERNELS
} cuda_kernel;

enum { CUDA_MODULES = 3, STAGING_SLOTS = 8 };

/* A piece of pinned memory on its way to the device or back. */
typedef struct staging_slot {
    char *memory;
    CUevent event; /* reached when the device is done with it */
    int is_busy;
    CUstream stream; /* the one that uses it */
    void *to_host;   /* a download: where its bytes belong; NULL for an upload */
    size_t host_bytes;
} staging_slot;

/* Slots are taken in turn, so the next one is always the oldest. */
typedef struct staging {
    pthread_mutex_t lock;
    char *memory;
    size_t slot_bytes;
    staging_slot slots[STAGING_SLOTS];
    int next;
} staging;

typedef struct cuda_device {
    const vw_host *host;
    vw_cuda cuda;
    CUmodule modules[CUDA_MODULES];
    CUfunction kernels[CUDA_KERNELS];
    CUstream zeroing; /* of alloc */
    staging staging;
} cuda_device;

vw_status cuda_launch(const cuda_device *dev, vw_stream *s, cuda_kernel kernel, int64_t blocks,
                      int threads, const void *args, size_t args_bytes, const char *what,
                      vw_error *err);

/* Threads of a block that treats n values together: a power of two from 32 to 1024. */
static inline int cuda_threads(int64_t n)
{
    int threads = VW_CHUNK_THREADS / 8;
    while (threads < 1024 && threads < n / 4)
        threads *= 2;
    return threads;
}

static inline uint32_t cuda_chunks(int64_t cols)
{
    return (uint32_t)((cols + VW_CHUNK - 1) / VW_CHUNK);
}

/* cuda_staging.c */
vw_status cuda_staging_open(cuda_device *dev, size_t bytes, vw_error *err);
void cuda_staging_close(cuda_device *dev);
vw_status cuda_upload(void *self, vw_stream *s, void *to_device, const void *from_host,
                      size_t bytes, vw_error *err);
vw_status cuda_download(void *self, vw_stream *s, void *to_host, const void *from_device,
                        size_t bytes, vw_error *err);
vw_status cuda_synchronize(void *self, vw_stream *s, vw_error *err);
void cuda_stream_free(void *self, vw_stream *s);

/* cuda_pointwise.c */
vw_status cuda_rms_norm(void *self, vw_stream *s, vw_tensor x, vw_tensor residual, vw_tensor w,
                        float w_offset, float eps, vw_tensor y, vw_error *err);
vw_status cuda_rope(void *self, vw_stream *s, vw_tensor x, const int32_t *positions,
                    const vw_rope_desc *rope, vw_error *err);
vw_status cuda_activate(void *self, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor y,
                        vw_error *err);
vw_status cuda_gate(void *self, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up,
                    vw_tensor y, vw_error *err);
vw_status cuda_axpby(void *self, vw_stream *s, float a, vw_tensor x, float b, vw_tensor y,
                     vw_error *err);
vw_status cuda_softcap(void *self, vw_stream *s, float cap, vw_tensor x, vw_error *err);
vw_status cuda_softmax(void *self, vw_stream *s, vw_tensor x, vw_error *err);

/* cuda_rows.c */
vw_status cuda_gather(void *self, vw_stream *s, vw_tensor x, const int32_t *rows, vw_tensor y,
                      vw_error *err);
vw_status cuda_scatter_add(void *self, vw_stream *s, vw_tensor x, const int32_t *rows,
                           const float *weight, vw_tensor y, vw_error *err);
vw_status cuda_top_k(void *self, vw_stream *s, vw_tensor x, int32_t k, vw_tensor values,
                     vw_tensor indices, vw_error *err);
vw_status cuda_convert(void *self, vw_stream *s, vw_tensor x, vw_tensor y, vw_tensor scales,
                       vw_error *err);
size_t cuda_sample_bytes(void *self, int64_t tokens, int64_t vocabulary);
vw_status cuda_sample(void *self, vw_stream *s, vw_tensor logits, const vw_sample_desc *desc,
                      int32_t *token, float *logprob, void *workspace, vw_error *err);

#endif
