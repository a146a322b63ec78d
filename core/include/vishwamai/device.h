/* device.h - the device kind: memory, streams, events, and the pointwise set.
 *
 * Everything that is not a matrix product or attention and touches tensors happens here, so that a
 * model runs on a device as soon as its pointwise set exists.  All pointwise operations and copies
 * only queue work on a stream; the CPU device does the work before it returns.  Work on one stream
 * runs in order.  Tensors must stay valid until the stream is synchronised.
 *
 * Letters: T tokens (rows), D width of a row, H heads, V vocabulary, E experts, K experts a token.
 * Activations are VW_F32 and rows may be strided; other dtypes are VW_E_UNSUPPORTED unless said.
 * No operation allocates, except alloc, map and open.  NaN in a row stays in that row.
 *
 * Thread rule: a stream is used by one thread at a time; different streams by different threads.
 * alloc, free and map may be called from any thread.
 *
 * What is not said to be required is optional: a device that leaves it out answers
 * VW_E_UNSUPPORTED, and only what needs it fails.  What is not said to be newer is since device
 * 0.1.  Operations of a stream may report an error of work that was queued on it before; the stream
 * is then of no more use.
 */
#ifndef VISHWAMAI_DEVICE_H
#define VISHWAMAI_DEVICE_H

#include <vishwamai/host.h>
#include <vishwamai/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_DEVICE_OPS_MAJOR 0 /* provisional until a second device has the gradients */
#define VW_DEVICE_OPS_MINOR 3

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
 * their running share exceeds `uniform`: so a draw is the same on every device, but for
 * rounding. */
typedef struct vw_sample_desc {
    float temperature; /* 0: the largest logit; ties go to the lower id */
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    double uniform;    /* in [0, 1): the draw */
} vw_sample_desc;

/* What the loss of a chunk of positions is.  Labels below 0 are masked: loss 0, gradient 0.
 *
 *     z    = cap * tanh(logits / cap) when cap > 0, else the logits
 *     CE   = (1 - smoothing) * -log softmax(z)[label] + smoothing * mean over V of -log softmax(z)
 *     KL   = sum p (log p - log q)
 *            with p = softmax(teacher / temperature), q = softmax(z / temperature)
 *     L    = alpha * temperature^2 * KL + (1 - alpha) * CE        without a teacher: L = CE
 *
 * Hinton et al. 2015.  A teacher is a row of logits for each position, or its k largest ones: then
 * what is left of p, exp(teacher_lse) being the whole, and of q are one class more (and KL a lower
 * bound of the true one). */
typedef struct vw_loss_desc {
    size_t size;
    float smoothing;         /* 0: none */
    float cap;               /* 0: none */
    int32_t is_backward;     /* write the gradient over the logits */
    float scale;             /* of the gradient: scale * dL/dlogits; 1 / positions, say */
    float alpha, temperature;
    vw_tensor teacher;       /* f32 [T, V], or [T, k] with teacher_ids; no data: no teacher */
    vw_tensor teacher_ids;   /* i32 [T, k], different ones in a row; no data: all V are there */
    const float *teacher_lse; /* with ids, device f32 [T]: log sum exp(teacher / temperature) over V;
                                 NULL: the k are all there is */
} vw_loss_desc;

/* How a token's experts are chosen from the router's logits l [E].
 *
 *     s    = softmax(l), or the sigmoid of each
 *     best = the top_k largest of s + bias, ties to the lower index; with n_groups > 1 only within
 *            the top_groups groups of E / n_groups experts whose sums of their group_best largest
 *            s + bias are the largest
 *     w    = scale * s[best], divided by their sum before when is_normalised
 *
 * base: softmax, normalised.  Grok-1: softmax, not normalised.  DeepSeek-V3: sigmoid with bias,
 * normalised, 8 groups of which 4, group_best 2, scale 2.5 (arXiv 2412.19437, 2.1.2). */
typedef struct vw_route_desc {
    size_t size;
    int32_t top_k;
    int32_t is_sigmoid, is_normalised;
    int32_t n_groups, top_groups, group_best; /* n_groups 0 or 1: no groups */
    float scale;
    const float *bias; /* device f32 [E], steers the choice alone; NULL: zeros */
} vw_route_desc;

/* What is added to the router's gradient: of the auxiliary loss a * E * sum f_e P_e (f_e the share
 * of the slots that went to expert e, a constant; P_e the mean over tokens of s_e / sum s), and of
 * the z-loss c * mean (log sum exp l)^2.  The means' divisors are the caller's, so that
 * micro-batches add up to one batch. */
typedef struct vw_route_losses {
    float balance;       /* a * E / tokens; 0: none */
    const int64_t *load; /* device [E]: slots of each expert; f is its share of their sum */
    float z;             /* c / tokens; 0: none */
} vw_route_losses;

typedef struct vw_device_ops {
    size_t size;

    /* ---- the device -------------------------------------------------------------------- */

    /* What the device is; info->size is the caller's, the rest is written.  VW_E_INVALID for a size
     * that is too small.  From any thread.  Required. */
    vw_status (*info)(void *self, vw_device_info *info, vw_error *err);

    /* Device memory, aligned to 256 bytes, zeroed.  VW_E_NOMEM names what was asked and what is
     * free.  free accepts a buffer of zeros and leaves zeros; it comes after the work that uses the
     * buffer is done, and before the component closes.  alloc is required, free is not. */
    vw_status (*alloc)(void *self, size_t bytes, vw_buffer *buffer, vw_error *err);
    void (*free)(void *self, vw_buffer *buffer);

    /* Make host bytes usable on the device without a copy if it can, as for a mapped file on a CPU.
     * The bytes must live until free(), which releases the mapping and leaves them alone; nothing
     * is written through it.  VW_E_UNSUPPORTED: alloc and copy instead. */
    vw_status (*map)(void *self, const void *host, size_t bytes, vw_buffer *buffer, vw_error *err);

    /* Copies, and a fill with one byte; sizes in bytes, 0 does nothing.  Host memory must stay
     * valid until the stream is synchronised, and is read or written by then.  copy is between
     * places of this device that do not overlap.  A model runs only where all four are. */
    vw_status (*upload)(void *self, vw_stream *s, void *to_device, const void *from_host,
                        size_t bytes, vw_error *err);
    vw_status (*download)(void *self, vw_stream *s, void *to_host, const void *from_device,
                          size_t bytes, vw_error *err);
    vw_status (*copy)(void *self, vw_stream *s, void *to, const void *from, size_t bytes,
                      vw_error *err);
    vw_status (*fill)(void *self, vw_stream *s, void *to, uint8_t value, size_t bytes,
                      vw_error *err);

    /* A queue of work.  NULL wherever a stream is asked for is the device's own one.  stream_free
     * accepts NULL; what was queued is synchronised before.  Required by whatever runs a model. */
    vw_status (*stream_new)(void *self, vw_stream **stream, vw_error *err);
    void (*stream_free)(void *self, vw_stream *stream);
    /* Wait until everything queued on the stream is done. */
    vw_status (*synchronize)(void *self, vw_stream *stream, vw_error *err);
    /* A mark in streams.  event_record sets it behind what is queued (again: at the new place);
     * event_wait holds back what is queued on `stream` from now on until the mark is reached, and
     * does not hold the caller; an event never recorded holds nothing.  Any thread may use an
     * event, one at a time.  event_free accepts NULL, also before the mark is reached. */
    vw_status (*event_new)(void *self, vw_event **event, vw_error *err);
    void (*event_free)(void *self, vw_event *event);
    vw_status (*event_record)(void *self, vw_event *event, vw_stream *stream, vw_error *err);
    vw_status (*event_wait)(void *self, vw_event *event, vw_stream *stream, vw_error *err);
    /* Seconds from one recorded event to a later one; waits for the later one. */
    vw_status (*event_seconds)(void *self, vw_event *from, vw_event *to, double *seconds,
                               vw_error *err);

    /* Record the work queued on the stream between begin and end instead of doing it, to be
     * replayed as one by graph_launch, any number of times, while all memory that it uses lives.
     * Nothing may be synchronised or allocated in between, and the thread that begins ends.  *graph
     * is freed with graph_free, which accepts NULL.  VW_DEVICE_CAPTURE says that all four are
     * there. */
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

    /* ---- training ----------------------------------------------------------------------- */

    /* All optional, since 0.2.  d_a is the gradient of the loss by a.  Where `is_added` is not 0,
     * the gradient is added to what the output holds, else the output is written and never read.
     * An output may be an input of the same shape where nothing else is said.  Sums are in a fixed
     * order, whatever the number of threads: equal inputs give equal bits.  f32 [T, D]
     * throughout. */

    /* Device memory, aligned to 256, for any one operation below that takes a workspace, over at
     * most rows x cols values. */
    size_t (*reduce_bytes)(void *self, int64_t rows, int64_t cols);

    /* Of rms_norm: x as it was normalised (the sum, where there was a residual).  d_x [T, D]; d_w
     * f32 [D] is always added to, no data: not wanted.  With r = 1 / sqrt(mean(x^2) + eps) and
     * g = d_y * (w_offset + w):  d_x = r g - x r^3 mean(g x),  d_w = sum over T of d_y x r. */
    vw_status (*rms_norm_backward)(void *self, vw_stream *s, vw_tensor x, vw_tensor w,
                                   float w_offset, float eps, vw_tensor d_y, vw_tensor d_x,
                                   int32_t is_added, vw_tensor d_w, void *workspace,
                                   vw_error *err);

    /* Of rope, in place: the rotation back, times rope->scale. */
    vw_status (*rope_backward)(void *self, vw_stream *s, vw_tensor d_x, const int32_t *positions,
                               const vw_rope_desc *rope, vw_error *err);

    /* Of y = act(x): d_x = act'(x) d_y.  Of y = act(gate) * up: both gradients in one pass.
     * ReLU has the slope 0 at 0. */
    vw_status (*activate_backward)(void *self, vw_stream *s, vw_activation act, vw_tensor x,
                                   vw_tensor d_y, vw_tensor d_x, int32_t is_added, vw_error *err);
    vw_status (*gate_backward)(void *self, vw_stream *s, vw_activation act, vw_tensor gate,
                               vw_tensor up, vw_tensor d_y, vw_tensor d_gate, vw_tensor d_up,
                               vw_error *err);

    /* Of softcap and of softmax, from their results y: d_y becomes d_x, in place. */
    vw_status (*softcap_backward)(void *self, vw_stream *s, float cap, vw_tensor y, vw_tensor d_y,
                                  vw_error *err);
    vw_status (*softmax_backward)(void *self, vw_stream *s, vw_tensor y, vw_tensor d_y,
                                  vw_error *err);

    /* Loss, and with loss->is_backward its gradient, of one chunk of rows: logits [T, V], labels
     * i32 [T] on the device, below V.  ce and kl: device f32 [T] or NULL, unscaled terms of each
     * row, 0 where masked.  Without is_backward the logits are of no use afterwards either.  A
     * label of V or more, or a teacher's id outside, gives NaN in its row, gradient included.  Rows
     * stand alone: any cut into chunks gives the same bits.  At most 1024 teacher_ids a row. */
    vw_status (*cross_entropy)(void *self, vw_stream *s, const vw_loss_desc *loss, vw_tensor logits,
                               const int32_t *labels, float *ce, float *kl, vw_error *err);

    /* y = x / (1 - p) where the value is kept, else 0; the same call on d_y is its backward.  Value
     * i = t D + column is kept where word i mod 4 of Philox4x32-10 (Salmon et al. 2011) with the
     * key `seed` and the counter (i / 4, stream), each 64 bits, low word first, is at least p
     * 2^32. */
    vw_status (*dropout)(void *self, vw_stream *s, float p, uint64_t seed, uint64_t stream,
                         vw_tensor x, vw_tensor y, vw_error *err);

    /* *result = sum of all x^2, in f64: device memory.  Not finite just where a value is not. */
    vw_status (*sum_squares)(void *self, vw_stream *s, vw_tensor x, double *result, void *workspace,
                             vw_error *err);

    /* y[D] += sum over the rows of x. */
    vw_status (*sum_rows)(void *self, vw_stream *s, vw_tensor x, vw_tensor y, void *workspace,
                          vw_error *err);

    /* ---- mixture of experts -------------------------------------------------------------- */

    /* All optional, since 0.2.  A slot is one of a token's K choices: slot t K + j.  Integer arrays
     * are i32 on the device. */

    /* logits [T, E] -> ids i32 [T, K] by falling s + bias, weights f32 [T, K].  Where they have
     * data: shares [T, E] = s / sum s, lse f32 [T] = log sum exp of the logits. */
    vw_status (*moe_route)(void *self, vw_stream *s, const vw_route_desc *route, vw_tensor logits,
                           vw_tensor ids, vw_tensor weights, vw_tensor shares, float *lse,
                           vw_error *err);

    /* Of weights by logits, the choice being constant, and of the losses (NULL: none). */
    vw_status (*moe_route_backward)(void *self, vw_stream *s, const vw_route_desc *route,
                                    const vw_route_losses *losses, vw_tensor logits, vw_tensor ids,
                                    vw_tensor d_weights, vw_tensor d_logits, int32_t is_added,
                                    vw_error *err);

    /* Line the slots up by expert, tokens ascending within one: a stable counting sort.
     *
     * Expert e has the places [offsets[e], offsets[e + 1]), offsets [E + 1]; place[T K] is where a
     * slot went, token[T K] the token at a place, for gather.  Beyond `capacity` slots of an expert
     * (0: no limit) the later ones are dropped, as are ids outside [0, E): their place is -1.
     * Places from offsets[E] on have the token -1.  load: device i64 [E] or NULL, the slots that
     * chose each expert, dropped or not, are added to it. */
    vw_status (*moe_sort)(void *self, vw_stream *s, vw_tensor ids, int32_t experts,
                          int32_t capacity, int32_t *offsets, int32_t *token, int32_t *place,
                          int64_t *load, void *workspace, vw_error *err);

    /* y[t] = sum over j of weights[t, j] rows[place[t K + j]] in the order of j; rows [T K, D], y
     * [T, D], weights [T, K], place as above, -1 gives nothing.  No data in weights: ones, which is
     * the backward of gathering tokens to their places; `top_k` says K.  y is none of the rows. */
    vw_status (*moe_combine)(void *self, vw_stream *s, vw_tensor rows, const int32_t *place,
                             int32_t top_k, vw_tensor weights, vw_tensor y, int32_t is_added,
                             vw_error *err);

    /* d_rows[place] = weight * d_y[t], d_weights[t, j] = d_y[t] . rows[place], 0 where dropped.
     * d_rows may be rows; places that no slot has are not touched. */
    vw_status (*moe_combine_backward)(void *self, vw_stream *s, vw_tensor rows,
                                      const int32_t *place, vw_tensor weights, vw_tensor d_y,
                                      vw_tensor d_rows, vw_tensor d_weights, vw_error *err);

    /* y = x rounded to e4m3 and back, all of it with one scale: gemm.md section 4, form A, with the
     * scale record[0] of the two floats of device memory, or where that is 0 the one of x's own
     * largest magnitude.  With is_recorded, record[1] is raised to the largest finite magnitude.  y
     * may be x.  Optional, since 0.3. */
    vw_status (*round_e4m3)(void *self, vw_stream *s, vw_tensor x, float *record,
                            int32_t is_recorded, vw_tensor y, vw_error *err);
} vw_device_ops;

#ifdef __cplusplus
}
#endif
#endif
