/* device.h - the device kind: memory, streams, events, and the pointwise set.
 *
 * Everything that is not a matrix product or attention and touches tensors happens here, so that a
 * model runs on a device as soon as its pointwise set exists.  All pointwise operations and copies
 * only queue work on a stream; the CPU device does the work before it returns.  Work on one stream
 * runs in order.  Tensors must stay valid until the stream is synchronised.
 *
 * Letters: T tokens (rows), D width of a row, H heads, V vocabulary.
 * Activations are VW_F32 and rows may be strided; other dtypes are VW_E_UNSUPPORTED unless said.
 * No operation allocates, except alloc, map and open.  NaN in a row stays in that row.
 *
 * Thread rule: a stream is used by one thread at a time; different streams by different threads.
 */
#ifndef VISHWAMAI_DEVICE_H
#define VISHWAMAI_DEVICE_H

#include <vishwamai/host.h>
#include <vishwamai/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_DEVICE_OPS_MAJOR 0 /* provisional until a second device has crossed it */
#define VW_DEVICE_OPS_MINOR 1

typedef struct vw_stream vw_stream;
typedef struct vw_event vw_event;

enum {
    VW_DEVICE_HOST_VISIBLE = 1, /* `data` may be read and written by the host after a synchronise */
    VW_DEVICE_CAPTURE = 2       /* capture_begin and friends work */
};

typedef struct vw_device_info {
    size_t size;
    uint32_t flags;
    uint64_t memory_bytes;      /* of the device, 0 when unknown */
    uint64_t memory_free_bytes;
    char description[128];      /* "AMD EPYC, 2 threads, AVX2" */
} vw_device_info;

typedef enum vw_activation {
    VW_ACT_NONE = 0,
    VW_ACT_GELU_TANH, /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    VW_ACT_GELU_ERF,
    VW_ACT_SILU,      /* x / (1 + exp(-x)) */
    VW_ACT_RELU
} vw_activation;

typedef enum vw_rope_pairing {
    VW_ROPE_HALF = 0, /* (i, i + D/2), GPT-NeoX */
    VW_ROPE_PAIRS     /* (2i, 2i + 1), interleaved */
} vw_rope_pairing;

/* Rotation of the first `dims` of each head's `head_dim` values. */
typedef struct vw_rope_desc {
    vw_rope_pairing pairing;
    int32_t heads, head_dim, first, dims; /* rotate values [first, first + dims) of each head */
    const float *inv_freq;                /* device [dims / 2]: radians per position */
    float scale;                          /* multiplies cos and sin; 1 when there is none */
} vw_rope_desc;

/* How one row of logits becomes a token.  Applied in this order: penalties and bias (done by the
 * caller on the row), temperature, top_k, top_p, min_p, draw.
 *
 * Ties go to the lower id.  top_p keeps the likeliest tokens whose shares of what top_k left reach
 * it; min_p those with at least that fraction of the likeliest one's probability; at least one
 * token stays.  The survivors are lined up by rising id, and the one drawn is the first at which
 * their running share exceeds `uniform`: so a draw is the same on every device, but for rounding. */
typedef struct vw_sample_desc {
    float temperature; /* 0: the largest logit; ties go to the lower id */
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    double uniform;    /* in [0, 1): the draw */
} vw_sample_desc;

typedef struct vw_device_ops {
    size_t size;

    /* ---- the device -------------------------------------------------------------------- */

    /* Required. */
    vw_status (*info)(void *self, vw_device_info *info, vw_error *err);

    /* Device memory, aligned to 256 bytes, zeroed.  VW_E_NOMEM names what was asked and what is
     * free.  free accepts a buffer of zeros.  Required. */
    vw_status (*alloc)(void *self, size_t bytes, vw_buffer *buffer, vw_error *err);
    void (*free)(void *self, vw_buffer *buffer);

    /* Make host bytes usable on the device without a copy if it can, as for a mapped file on a CPU.
     * The bytes must live until unmap (free).  VW_E_UNSUPPORTED: alloc and copy instead. */
    vw_status (*map)(void *self, const void *host, size_t bytes, vw_buffer *buffer, vw_error *err);

    /* Copies; sizes in bytes.  Host memory must stay valid until the stream is synchronised. */
    vw_status (*upload)(void *self, vw_stream *s, void *to_device, const void *from_host,
                        size_t bytes, vw_error *err);
    vw_status (*download)(void *self, vw_stream *s, void *to_host, const void *from_device,
                          size_t bytes, vw_error *err);
    vw_status (*copy)(void *self, vw_stream *s, void *to, const void *from, size_t bytes,
                      vw_error *err);
    vw_status (*fill)(void *self, vw_stream *s, void *to, uint8_t value, size_t bytes,
                      vw_error *err);

    vw_status (*stream_new)(void *self, vw_stream **stream, vw_error *err);
    void (*stream_free)(void *self, vw_stream *stream);
    vw_status (*synchronize)(void *self, vw_stream *stream, vw_error *err);
    vw_status (*event_new)(void *self, vw_event **event, vw_error *err);
    void (*event_free)(void *self, vw_event *event);
    vw_status (*event_record)(void *self, vw_event *event, vw_stream *stream, vw_error *err);
    vw_status (*event_wait)(void *self, vw_event *event, vw_stream *stream, vw_error *err);
    /* Seconds between two recorded events; waits for the second. */
    vw_status (*event_seconds)(void *self, vw_event *from, vw_event *to, double *seconds,
                               vw_error *err);

    /* Record the work queued between begin and end, to be replayed as one.  Optional
     * (VW_DEVICE_CAPTURE).  *graph is freed with graph_free. */
    vw_status (*capture_begin)(void *self, vw_stream *stream, vw_error *err);
    vw_status (*capture_end)(void *self, vw_stream *stream, void **graph, vw_error *err);
    vw_status (*graph_launch)(void *self, void *graph, vw_stream *stream, vw_error *err);
    void (*graph_free)(void *self, void *graph);

    /* ---- the pointwise set ------------------------------------------------------------- */

    /* y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * (w_offset + w), statistics in f32 or better.
     *
     * x [T, D], w [D] f32 (NULL data: all ones, w_offset ignored), y [T, D]; y may be x.
     * Where residual.data is not NULL: x[t] += residual[t] first, and x keeps the sum.
     * Zhang and Sennrich 2019, equation 4; Gemma uses w_offset 1. */
    vw_status (*rms_norm)(void *self, vw_stream *s, vw_tensor x, vw_tensor residual, vw_tensor w,
                          float w_offset, float eps, vw_tensor y, vw_error *err);

    /* Rotate heads in place.  x [T, heads * head_dim], positions i32 [T] on the device.
     * Angles are computed as position * inv_freq in f32 or better.  Su et al. 2021, equation 34. */
    vw_status (*rope)(void *self, vw_stream *s, vw_tensor x, const int32_t *positions,
                      const vw_rope_desc *rope, vw_error *err);

    /* y = act(x); y = act(gate) * up.  [T, D]; y may be an input. */
    vw_status (*activate)(void *self, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor y,
                          vw_error *err);
    vw_status (*gate)(void *self, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up,
                      vw_tensor y, vw_error *err);

    /* y = a x + b y, elementwise over [T, D]. */
    vw_status (*axpby)(void *self, vw_stream *s, float a, vw_tensor x, float b, vw_tensor y,
                       vw_error *err);

    /* x = cap * tanh(x / cap), in place. */
    vw_status (*softcap)(void *self, vw_stream *s, float cap, vw_tensor x, vw_error *err);

    /* Softmax of each row in place. */
    vw_status (*softmax)(void *self, vw_stream *s, vw_tensor x, vw_error *err);

    /* y[i] = x[rows[i]] and y[rows[i]] += weight[i] * x[i].  rows i32 [n] on the device; a
     * negative row gives zeros, or is skipped.  Sums are done in ascending i. */
    vw_status (*gather)(void *self, vw_stream *s, vw_tensor x, const int32_t *rows, vw_tensor y,
                        vw_error *err);
    vw_status (*scatter_add)(void *self, vw_stream *s, vw_tensor x, const int32_t *rows,
                             const float *weight, vw_tensor y, vw_error *err);

    /* The k largest of each row, descending, ties to the lower index: values f32 [T, k],
     * indices i32 [T, k]. */
    vw_status (*top_k)(void *self, vw_stream *s, vw_tensor x, int32_t k, vw_tensor values,
                       vw_tensor indices, vw_error *err);

    /* Convert between dtypes, [T, D] to [T, D]: f32, bf16, f16, and int8/e4m3 with `scales` of one
     * row or of 1 x 128 (quantiser of gemm.md section 4, form A), written or read. */
    vw_status (*convert)(void *self, vw_stream *s, vw_tensor x, vw_tensor y, vw_tensor scales,
                         vw_error *err);

    /* Draw one token from each row.  logits [T, V] f32, desc: host [T], token: device i32 [T],
     * logprob: device f32 [T] or NULL, natural log of the softmax of the unfiltered row at
     * temperature 1.  Workspace: sample_bytes(T, V) of device memory. */
    size_t (*sample_bytes)(void *self, int64_t tokens, int64_t vocabulary);
    vw_status (*sample)(void *self, vw_stream *s, vw_tensor logits, const vw_sample_desc *desc,
                        int32_t *token, float *logprob, void *workspace, vw_error *err);
} vw_device_ops;

#ifdef __cplusplus
}
#endif
#endif
