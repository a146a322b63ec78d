/* nn.h - the building blocks in which a model is written.
 *
 * A block is a layer's part: it picks the plugin entry, keeps shapes honest and keeps memory.  A
 * model's forward calls blocks with a context and reads as the maths does; the same text serves
 * measuring (shapes only, so that plans and memory are made beforehand), running, and training,
 * where each block also leaves what its backward needs, on any device.
 *
 * Errors stick to the context: after the first one every block does nothing and returns an empty
 * tensor, so a model checks once, at its end, with vw_nn_status().
 *
 * Blocks never let a model see tensors' values: ids, positions and lengths live on the device.
 * Activations are f32 [T, width], T the tokens of this batch.  One thread per context; different
 * contexts may run in different threads.
 */
#ifndef VISHWAMAI_NN_H
#define VISHWAMAI_NN_H

#include <vishwamai/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_NN_MAJOR 0 /* provisional until a model has run on several ranks */
#define VW_NN_MINOR 3

typedef struct vw_nn vw_nn;
typedef struct vw_cx {            /* a forward in progress; the core's own fields follow */
    const vw_nn *nn;
} vw_cx;
typedef struct vw_param vw_param; /* a parameter: file bytes or pack, format, scales, shard ... */

/* Attention of one layer; heads, sizes and window are in the model's cache description. */
typedef struct vw_nn_attention {
    int32_t layer;
    int32_t q_heads;
    float scale; /* multiplies q . k */
    float cap;   /* soft-cap on the scores; 0: none */
} vw_nn_attention;

/* A rotation.  inv_freq is host memory of the model, constant while the model lives. */
typedef struct vw_nn_rope {
    vw_rope_pairing pairing;
    int32_t head_dim, first, dims;
    const float *inv_freq; /* [dims / 2] */
    float scale;
} vw_nn_rope;

/* A mixture of experts: which of them a token takes, with what weights, and what training adds.
 *
 * Routing is moe_route of device.h, whose fields these are.  Experts are
 * W_down(act(W_gate x) * (W_up x)); they are one handle, number `experts` of the model's list,
 * since they may be resident, streamed or on other ranks.  A shared expert is an ordinary gated MLP
 * beside this block. */
typedef struct vw_nn_moe {
    int32_t experts;    /* index in vw_model_info.experts */
    int32_t top_k;
    int32_t is_sigmoid; /* scores: sigmoid of each logit, else softmax over all */
    int32_t is_normalised;
    int32_t n_groups, top_groups, group_best; /* n_groups 0: no groups */
    float scale;        /* of the weights; 1 when there is none */
    float capacity;     /* slots of an expert: at most ceil(capacity * tokens * top_k / experts), in
                         * training; 0: no limit */
    float balance;      /* weight of the auxiliary loss, in training; 0: none */
    float dropout;      /* rate, in training, of what is added */
    vw_activation activation;
    float z_loss;       /* weight of the mean of (log sum exp of a token's logits)^2, in training; 0: none */
} vw_nn_moe;

/* Columns [first, first + n) of each of the `heads` heads of x; a single head is shared by all. */
typedef struct vw_nn_part {
    vw_tensor x;
    int32_t heads, first, n;
} vw_nn_part;

/* Attention of a layer without its cache: keys and values for every k_head as they are given. */
typedef struct vw_nn_dense {
    vw_nn_attention att;
    int32_t k_heads, dk, dv;
} vw_nn_dense;

/* Is this batch prompts from their beginning, which see nothing but themselves? */
typedef enum vw_prompt {
    VW_PROMPT_NO = 0,
    VW_PROMPT_YES,
    VW_PROMPT_EITHER /* measuring: a model does what it would for both */
} vw_prompt;

/* Which half of a head's weights; see vw_param_spec.head_split. */
typedef enum vw_head_side { VW_HEAD_BEFORE = 0, VW_HEAD_BEHIND } vw_head_side;

/* The table behind the functions at the end of this file, which is how models call it. */
struct vw_nn {
    size_t size;

    /* The first error of this context, or VW_OK. */
    vw_status (*status)(vw_cx *cx);

    /* Report an error of the model's own. */
    void (*fail)(vw_cx *cx, vw_status code, const char *format, ...) VW_PRINTF(3, 4);

    /* Scratch made after `begin` is given back by `end`.  Nested; not needed around blocks. */
    size_t (*begin)(vw_cx *cx);
    void (*end)(vw_cx *cx, size_t mark);

    /* The hidden state that enters a range of layers which does not begin with the embedding, and
     * the one that leaves a range which does not end with the head. */
    vw_tensor (*hidden_in)(vw_cx *cx);
    void (*hidden_out)(vw_cx *cx, vw_tensor x);

    /* x[t] = scale * table[id of t].  table [V, D]. */
    vw_tensor (*embed)(vw_cx *cx, vw_param *table, float scale);

    /* y = x / rms(x) * (offset + w).  w [D], or [head_dim] to norm each head of a row. */
    vw_tensor (*rms_norm)(vw_cx *cx, vw_tensor x, vw_param *w, float offset, float eps);

    /* y[i] = x W_i^T for n weights that share x (q, k, v).  W_i [N_i, K]. */
    void (*linear)(vw_cx *cx, vw_tensor x, int32_t n, vw_param *const *w, vw_tensor *y);

    /* y += x W^T, a projection into the residual stream. */
    void (*linear_add)(vw_cx *cx, vw_tensor x, vw_param *w, vw_tensor y);

    /* y += x. */
    void (*add)(vw_cx *cx, vw_tensor x, vw_tensor y);

    /* Rotate each head of x in place, by the token's position. */
    void (*rope)(vw_cx *cx, vw_tensor x, const vw_nn_rope *rope);

    /* Append k and v to the layer's cache and attend: [T, Hq * Dv]. */
    vw_tensor (*attention)(vw_cx *cx, const vw_nn_attention *desc, vw_tensor q, vw_tensor k,
                           vw_tensor v);

    /* act(x Wg^T) * (x Wu^T), [T, F]: the first half of a gated MLP. */
    vw_tensor (*gated)(vw_cx *cx, vw_tensor x, vw_param *gate, vw_param *up, vw_activation act);

    /* Logits of the rows that the batch asks for: cap * tanh(multiplier * x E^T / cap), [R, V].
     * Ends a forward; rows that nobody asked for are not computed. */
    void (*head)(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap);

    /* The rows of x that `head` will need: lets a model skip the last norm of the others. */
    vw_tensor (*wanted_rows)(vw_cx *cx, vw_tensor x);

    /* In training drop values of x, in place, and scale the others by 1 / (1 - rate).  Of an
     * embedding, say; not of what another block has yet to look at again: attention's result. */
    void (*dropout)(vw_cx *cx, vw_tensor x, float rate);

    /* y += dropout(x W^T); the same as linear_add but in training. */
    void (*linear_drop_add)(vw_cx *cx, vw_tensor x, vw_param *w, float rate, vw_tensor y);

    /* y += the mixture of experts of x.  router [E, D]; bias: a vector [E] that steers the choice,
     * or NULL. */
    void (*moe)(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router, vw_param *bias,
                vw_tensor y);

    /* The parts side by side within each head: [T, heads * (n of all parts)].  Inference alone.
     * Since 0.3. */
    vw_tensor (*join)(vw_cx *cx, int32_t heads, int32_t n_parts, const vw_nn_part *parts);

    /* Each head of x times its own part of w, a parameter with n_heads heads of a + b rows of K:
     * BEFORE  y = x A, A the first a rows: the first a columns of a head of x become K
     * BEHIND  y = x B^T, B the other b: K columns become b
     * which is how latent attention meets its projection from the latent outside attention instead
     * of inside (DeepSeek-V2, arXiv 2405.04434, section 2.1.2).  Inference alone.  Since 0.3. */
    vw_tensor (*per_head)(vw_cx *cx, vw_tensor x, vw_param *w, vw_head_side side);
    /* The mixture of experts of x by itself, [T, D]: for a model that norms it before it is added.
     * Since nn 0.3. */
    vw_tensor (*mixture)(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router,
                         vw_param *bias);

    /* Each head of x times a matrix of its own: head h becomes its first K columns times w[h]^T.
     * w[h] [N, K], one for each head, alike in shape, dtype and format.  What per_head does with
     * halves of one matrix, for files that have the halves apart, which then stay quantised.
     * Inference alone.  Since 0.3. */
    vw_tensor (*each_head)(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w);

    /* Every head from the same x: head h is x w[h]^T, or x w[h] when is_turned, for which w[h] is
     * dequantised on the way.  w as in each_head.  Inference alone.  Since 0.3. */
    vw_tensor (*heads_of)(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w,
                          int32_t is_turned);

    /* Latent attention of a prompt is less work over keys and values of every head than over the
     * latents that are cached: attention_prompt attends to k and v alone and caches the other two.
     * Only after prompt() said that this may be done, for the same desc.  NO where the batch has
     * few tokens, an attention plugin no such form, or results may not depend on how a text is fed.
     * Since 0.3. */
    vw_prompt (*prompt)(vw_cx *cx, const vw_nn_dense *desc);
    vw_tensor (*attention_prompt)(vw_cx *cx, const vw_nn_dense *desc, vw_tensor q, vw_tensor k,
                                  vw_tensor v, vw_tensor cached_k, vw_tensor cached_v);
};

/* The blocks as a model writes them.  The comments stand above, at the table's members. */
static inline vw_status vw_nn_status(vw_cx *cx) { return cx->nn->status(cx); }
static inline size_t vw_begin(vw_cx *cx) { return cx->nn->begin(cx); }
static inline void vw_end(vw_cx *cx, size_t mark) { cx->nn->end(cx, mark); }
static inline vw_tensor vw_hidden_in(vw_cx *cx) { return cx->nn->hidden_in(cx); }
static inline void vw_hidden_out(vw_cx *cx, vw_tensor x) { cx->nn->hidden_out(cx, x); }
static inline vw_tensor vw_embed(vw_cx *cx, vw_param *table, float scale)
{
    return cx->nn->embed(cx, table, scale);
}
static inline vw_tensor vw_rms_norm(vw_cx *cx, vw_tensor x, vw_param *w, float offset, float eps)
{
    return cx->nn->rms_norm(cx, x, w, offset, eps);
}
static inline void vw_linears(vw_cx *cx, vw_tensor x, int32_t n, vw_param *const *w, vw_tensor *y)
{
    cx->nn->linear(cx, x, n, w, y);
}
static inline vw_tensor vw_linear(vw_cx *cx, vw_tensor x, vw_param *w)
{
    vw_tensor y;
    memset(&y, 0, sizeof y);
    cx->nn->linear(cx, x, 1, &w, &y);
    return y;
}
static inline void vw_linear_add(vw_cx *cx, vw_tensor x, vw_param *w, vw_tensor y)
{
    cx->nn->linear_add(cx, x, w, y);
}
static inline void vw_add(vw_cx *cx, vw_tensor x, vw_tensor y) { cx->nn->add(cx, x, y); }
static inline void vw_rope(vw_cx *cx, vw_tensor x, const vw_nn_rope *rope)
{
    cx->nn->rope(cx, x, rope);
}
static inline vw_tensor vw_attention(vw_cx *cx, const vw_nn_attention *desc, vw_tensor q,
                                     vw_tensor k, vw_tensor v)
{
    return cx->nn->attention(cx, desc, q, k, v);
}
static inline vw_tensor vw_gated(vw_cx *cx, vw_tensor x, vw_param *gate, vw_param *up,
                                 vw_activation act)
{
    return cx->nn->gated(cx, x, gate, up, act);
}
static inline void vw_head(vw_cx *cx, vw_tensor x, vw_param *table, float multiplier, float cap)
{
    cx->nn->head(cx, x, table, multiplier, cap);
}
static inline vw_tensor vw_wanted_rows(vw_cx *cx, vw_tensor x)
{
    return cx->nn->wanted_rows(cx, x);
}
static inline void vw_dropout(vw_cx *cx, vw_tensor x, float rate) { cx->nn->dropout(cx, x, rate); }
static inline void vw_linear_drop_add(vw_cx *cx, vw_tensor x, vw_param *w, float rate, vw_tensor y)
{
    cx->nn->linear_drop_add(cx, x, w, rate, y);
}
static inline void vw_moe(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router,
                          vw_param *bias, vw_tensor y)
{
    cx->nn->moe(cx, desc, x, router, bias, y);
}
static inline vw_tensor vw_join(vw_cx *cx, int32_t heads, int32_t n_parts, const vw_nn_part *parts)
{
    return cx->nn->join(cx, heads, n_parts, parts);
}
static inline vw_tensor vw_per_head(vw_cx *cx, vw_tensor x, vw_param *w, vw_head_side side)
{
    return cx->nn->per_head(cx, x, w, side);
}
static inline vw_tensor vw_mixture(vw_cx *cx, const vw_nn_moe *desc, vw_tensor x, vw_param *router,
                                   vw_param *bias)
{
    return cx->nn->mixture(cx, desc, x, router, bias);
}
static inline vw_tensor vw_each_head(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w)
{
    return cx->nn->each_head(cx, x, heads, w);
}
static inline vw_tensor vw_heads_of(vw_cx *cx, vw_tensor x, int32_t heads, vw_param *const *w,
                                    int32_t is_turned)
{
    return cx->nn->heads_of(cx, x, heads, w, is_turned);
}
static inline vw_prompt vw_is_prompt(vw_cx *cx, const vw_nn_dense *desc)
{
    return cx->nn->prompt(cx, desc);
}
static inline vw_tensor vw_attention_prompt(vw_cx *cx, const vw_nn_dense *desc, vw_tensor q, vw_tensor k,
                                            vw_tensor v, vw_tensor cached_k, vw_tensor cached_v)
{
    return cx->nn->attention_prompt(cx, desc, q, k, v, cached_k, cached_v);
}

#ifdef __cplusplus
}
#endif
#endif
