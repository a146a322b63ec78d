/* stubs.c - one stub of the right signature for every optional operation of every kind.
 *
 * The tables are lists of function pointers of different types behind a size.  Filling copies each
 * pointer as bytes, and a stub is only ever called through the type that it was written with.
 */
#include "core/stubs.h"
#include "core/kind.h"

#include <pthread.h>

#pragma GCC diagnostic ignored "-Wunused-parameter"

/* ---- who is asked ---------------------------------------------------------------------------- */

enum { MAX_INSTANCES = 128 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct instance {
    vw_kind kind;
    const void *self;
    const char *plugin;
} instances[MAX_INSTANCES];

void vw_stubs_opened(vw_kind kind, const void *self, const char *plugin)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAX_INSTANCES; i++)
        if (!instances[i].plugin) {
            instances[i] = (struct instance){kind, self, plugin};
            break;
        }
    pthread_mutex_unlock(&lock);
}

void vw_stubs_closed(vw_kind kind, const void *self, const char *plugin)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAX_INSTANCES; i++)
        if (instances[i].plugin == plugin && instances[i].kind == kind &&
            instances[i].self == self) {
            instances[i].plugin = NULL;
            break;
        }
    pthread_mutex_unlock(&lock);
}

/* The plugin behind `self`; "?" when several could be it, as components without state are. */
static const char *plugin_of(vw_kind kind, const void *self)
{
    const char *found = NULL;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAX_INSTANCES; i++) {
        const struct instance *k = &instances[i];
        if (k->plugin && k->kind == kind && k->self == self)
            found = !found || strcmp(found, k->plugin) == 0 ? k->plugin : "?";
    }
    pthread_mutex_unlock(&lock);
    return found ? found : "?";
}

static vw_status lacks(vw_kind kind, const void *self, const char *operation, vw_error *err)
{
    return vw_fail(err, VW_E_UNSUPPORTED, "%s/%s does not have the optional operation %s()",
                   vw_kind_name(kind), plugin_of(kind, self), operation);
}

#define STUB(KIND, kind, operation, ...)                                                         \
    static vw_status kind##_##operation(void *self, __VA_ARGS__, vw_error *err)                  \
    {                                                                                            \
        return lacks(VW_KIND_##KIND, self, #operation, err);                                     \
    }
/* An operation that returns nothing and can be left out. */
#define IDLE(kind, operation, ...)                                                               \
    static void kind##_##operation(void *self, __VA_ARGS__)                                      \
    {                                                                                            \
    }
/* The names of a table, which must be all of them. */
#define OPERATIONS(kind, ...)                                                                    \
    const char *const vw_##kind##_operations[] = {__VA_ARGS__};                                  \
    _Static_assert(sizeof vw_##kind##_operations / sizeof(char *) ==                             \
                       (sizeof(vw_##kind##_ops) - sizeof(size_t)) / sizeof(void (*)(void)),      \
                   "every operation of " #kind " has its name")
#define HAVE(kind, operation) .operation = kind##_##operation

/* ---- device ---------------------------------------------------------------------------------- */

#define D(operation, ...) STUB(DEVICE, device, operation, __VA_ARGS__)
IDLE(device, free, vw_buffer *buffer)
IDLE(device, stream_free, vw_stream *stream)
IDLE(device, event_free, vw_event *event)
IDLE(device, graph_free, void *graph)
D(map, const void *host, size_t bytes, vw_buffer *buffer)
D(upload, vw_stream *s, void *to_device, const void *from_host, size_t bytes)
D(download, vw_stream *s, void *to_host, const void *from_device, size_t bytes)
D(copy, vw_stream *s, void *to, const void *from, size_t bytes)
D(fill, vw_stream *s, void *to, uint8_t value, size_t bytes)
D(stream_new, vw_stream **stream)
D(synchronize, vw_stream *stream)
D(event_new, vw_event **event)
D(event_record, vw_event *event, vw_stream *stream)
D(event_wait, vw_event *event, vw_stream *stream)
D(event_seconds, vw_event *from, vw_event *to, double *seconds)
D(capture_begin, vw_stream *stream)
D(capture_end, vw_stream *stream, void **graph)
D(graph_launch, void *graph, vw_stream *stream)
D(rms_norm, vw_stream *s, vw_tensor x, vw_tensor residual, vw_tensor w, float w_offset, float eps,
  vw_tensor y)
D(rope, vw_stream *s, vw_tensor x, const int32_t *positions, const vw_rope_desc *rope)
D(activate, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor y)
D(gate, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up, vw_tensor y)
D(axpby, vw_stream *s, float a, vw_tensor x, float b, vw_tensor y)
D(softcap, vw_stream *s, float cap, vw_tensor x)
D(softmax, vw_stream *s, vw_tensor x)
D(gather, vw_stream *s, vw_tensor x, const int32_t *rows, vw_tensor y)
D(scatter_add, vw_stream *s, vw_tensor x, const int32_t *rows, const float *weight, vw_tensor y)
D(top_k, vw_stream *s, vw_tensor x, int32_t k, vw_tensor values, vw_tensor indices)
D(convert, vw_stream *s, vw_tensor x, vw_tensor y, vw_tensor scales)
D(sample, vw_stream *s, vw_tensor logits, const vw_sample_desc *desc, int32_t *token,
  float *logprob, void *workspace)

D(rms_norm_backward, vw_stream *s, vw_tensor x, vw_tensor w, float w_offset, float eps,
  vw_tensor d_y, vw_tensor d_x, int32_t is_added, vw_tensor d_w, void *workspace)
D(rope_backward, vw_stream *s, vw_tensor d_x, const int32_t *positions, const vw_rope_desc *rope)
D(activate_backward, vw_stream *s, vw_activation act, vw_tensor x, vw_tensor d_y, vw_tensor d_x,
  int32_t is_added)
D(gate_backward, vw_stream *s, vw_activation act, vw_tensor gate, vw_tensor up, vw_tensor d_y,
  vw_tensor d_gate, vw_tensor d_up)
D(softcap_backward, vw_stream *s, float cap, vw_tensor y, vw_tensor d_y)
D(softmax_backward, vw_stream *s, vw_tensor y, vw_tensor d_y)
D(cross_entropy, vw_stream *s, const vw_loss_desc *loss, vw_tensor logits, const int32_t *labels,
  float *ce, float *kl)
D(dropout, vw_stream *s, float p, uint64_t seed, uint64_t stream, vw_tensor x, vw_tensor y)
D(sum_squares, vw_stream *s, vw_tensor x, double *result, void *workspace)
D(sum_rows, vw_stream *s, vw_tensor x, vw_tensor y, void *workspace)
D(moe_route, vw_stream *s, const vw_route_desc *route, vw_tensor logits, vw_tensor ids,
  vw_tensor weights, vw_tensor shares, float *lse)
D(moe_route_backward, vw_stream *s, const vw_route_desc *route, const vw_route_losses *losses,
  vw_tensor logits, vw_tensor ids, vw_tensor d_weights, vw_tensor d_logits, int32_t is_added)
D(moe_sort, vw_stream *s, vw_tensor ids, int32_t experts, int32_t capacity, int32_t *offsets,
  int32_t *token, int32_t *place, int64_t *load, void *workspace)
D(moe_combine, vw_stream *s, vw_tensor rows, const int32_t *place, int32_t top_k,
  vw_tensor weights, vw_tensor y, int32_t is_added)
D(moe_combine_backward, vw_stream *s, vw_tensor rows, const int32_t *place, vw_tensor weights,
  vw_tensor d_y, vw_tensor d_rows, vw_tensor d_weights)
D(round_e4m3, vw_stream *s, vw_tensor x, float *record, int32_t is_recorded, vw_tensor y)

static size_t device_sample_bytes(void *self, int64_t tokens, int64_t vocabulary)
{
    return 0;
}

static size_t device_reduce_bytes(void *self, int64_t rows, int64_t cols)
{
    return 0;
}

#define H(operation) HAVE(device, operation)
const vw_device_ops vw_device_stubs = {
    sizeof vw_device_stubs, H(free), H(map), H(upload), H(download), H(copy), H(fill),
    H(stream_new), H(stream_free), H(synchronize), H(event_new), H(event_free), H(event_record),
    H(event_wait), H(event_seconds), H(capture_begin), H(capture_end), H(graph_launch),
    H(graph_free), H(rms_norm), H(rope), H(activate), H(gate), H(axpby), H(softcap), H(softmax),
    H(gather), H(scatter_add), H(top_k), H(convert), H(sample_bytes), H(sample),
    H(reduce_bytes), H(rms_norm_backward), H(rope_backward), H(activate_backward),
    H(gate_backward), H(softcap_backward), H(softmax_backward), H(cross_entropy), H(dropout),
    H(sum_squares), H(sum_rows), H(moe_route), H(moe_route_backward), H(moe_sort), H(moe_combine),
    H(moe_combine_backward), H(round_e4m3),
};
#undef H
OPERATIONS(device, "info", "alloc", "free", "map", "upload", "download", "copy", "fill",
           "stream_new", "stream_free", "synchronize", "event_new", "event_free", "event_record",
           "event_wait", "event_seconds", "capture_begin", "capture_end", "graph_launch",
           "graph_free", "rms_norm", "rope", "activate", "gate", "axpby", "softcap", "softmax",
           "gather", "scatter_add", "top_k", "convert", "sample_bytes", "sample", "reduce_bytes",
           "rms_norm_backward", "rope_backward", "activate_backward", "gate_backward",
           "softcap_backward", "softmax_backward", "cross_entropy", "dropout", "sum_squares",
           "sum_rows", "moe_route", "moe_route_backward", "moe_sort", "moe_combine",
           "moe_combine_backward", "round_e4m3");

/* ---- gemm ------------------------------------------------------------------------------------ */

#define G(operation, ...) STUB(GEMM, gemm, operation, __VA_ARGS__)
G(pack, const vw_matrix *stored, vw_gemm_format format, int64_t first, int64_t n, void *pack)
IDLE(gemm, plan_free, vw_gemm_plan *plan)
G(run_grouped, const vw_gemm_plan *plan, vw_stream *stream, vw_tensor x,
  const vw_gemm_weight *const *weights, const vw_groups *groups, const vw_tensor *y,
  void *workspace)
G(run_wgrad, const vw_gemm_plan *plan, vw_stream *stream, vw_tensor dy, vw_tensor x, vw_tensor dw,
  void *workspace)
G(run_grouped_wgrad, const vw_gemm_plan *plan, vw_stream *stream, vw_tensor dy, vw_tensor x,
  const vw_groups *groups, const vw_tensor *dw, void *workspace)

const vw_gemm_ops vw_gemm_stubs = {
    sizeof vw_gemm_stubs,
    HAVE(gemm, pack),
    HAVE(gemm, plan_free),
    HAVE(gemm, run_grouped),
    HAVE(gemm, run_wgrad),
    HAVE(gemm, run_grouped_wgrad),
};
OPERATIONS(gemm, "supports", "pack_size", "pack", "plan", "plan_free", "run", "run_grouped",
           "run_wgrad", "gather", "run_grouped_wgrad");

/* ---- attention ------------------------------------------------------------------------------- */

IDLE(attention, plan_free, vw_attention_plan *plan)
STUB(ATTENTION, attention, backward, const vw_attention_plan *plan, vw_stream *s,
     const vw_attention_batch *batch, vw_tensor q, vw_tensor k, vw_tensor v, vw_tensor out,
     const float *lse, vw_tensor d_out, vw_tensor d_q, vw_tensor d_k, vw_tensor d_v,
     void *workspace)
STUB(ATTENTION, attention, run_dense, const vw_attention_plan *plan, vw_stream *s,
     const vw_attention_batch *batch, vw_tensor q, vw_tensor k, vw_tensor v, vw_tensor out,
     float *lse, void *workspace)

const vw_attention_ops vw_attention_stubs = {
    sizeof vw_attention_stubs,
    HAVE(attention, plan_free),
    HAVE(attention, backward),
    HAVE(attention, run_dense),
};
OPERATIONS(attention, "supports", "plan", "plan_free", "append", "run", "backward", "run_dense");

/* ---- comm ------------------------------------------------------------------------------------ */

#define C(operation, ...) STUB(COMM, comm, operation, __VA_ARGS__)
C(split, vw_comm *comm, int32_t colour, int32_t key, vw_comm **out)
IDLE(comm, free, vw_comm *comm)
C(barrier, vw_comm *comm)
C(all_reduce, vw_comm *comm, vw_stream *s, const void *send, void *receive, int64_t count,
  vw_dtype dtype, vw_reduce op)
C(all_gather, vw_comm *comm, vw_stream *s, const void *send, void *receive, int64_t count,
  vw_dtype dtype)
C(reduce_scatter, vw_comm *comm, vw_stream *s, const void *send, void *receive, int64_t count,
  vw_dtype dtype, vw_reduce op)
C(broadcast, vw_comm *comm, vw_stream *s, void *data, size_t bytes, int32_t root)
C(all_to_all_v, vw_comm *comm, vw_stream *s, const void *send, const size_t *send_bytes,
  const size_t *send_offsets, void *receive, const size_t *receive_bytes,
  const size_t *receive_offsets)
C(send, vw_comm *comm, vw_stream *s, const void *data, size_t bytes, int32_t to, int32_t tag,
  vw_request **request)
C(receive, vw_comm *comm, vw_stream *s, void *data, size_t bytes, int32_t from, int32_t tag,
  vw_request **request)
C(wait, vw_request *request)
C(register_memory, vw_comm *comm, void *data, size_t bytes, void **registration)
IDLE(comm, deregister_memory, vw_comm *comm, void *registration)

#define H(operation) HAVE(comm, operation)
const vw_comm_ops vw_comm_stubs = {
    sizeof vw_comm_stubs, H(split), H(free), H(barrier), H(all_reduce), H(all_gather),
    H(reduce_scatter), H(broadcast), H(all_to_all_v), H(send), H(receive), H(wait),
    H(register_memory), H(deregister_memory),
};
#undef H
OPERATIONS(comm, "world", "split", "free", "rank", "n_ranks", "barrier", "all_reduce",
           "all_gather", "reduce_scatter", "broadcast", "all_to_all_v", "send", "receive", "wait",
           "register_memory", "deregister_memory");

/* ---- tokenizer, weights ---------------------------------------------------------------------- */

STUB(TOKENIZER, tokenizer, chat, const vw_chat_message *messages, size_t n_messages, int32_t *ids,
     size_t room, size_t *n)
STUB(TOKENIZER, tokenizer, train, const vw_tokenizer_training *training)
STUB(TOKENIZER, tokenizer, gguf_keys, const char **json)
static const char *const *tokenizer_files(void *self)
{
    (void)self;
    return NULL;
}
const vw_tokenizer_ops vw_tokenizer_stubs = {
    sizeof vw_tokenizer_stubs,
    HAVE(tokenizer, chat), HAVE(tokenizer, train), HAVE(tokenizer, files),
    HAVE(tokenizer, gguf_keys),
};
OPERATIONS(tokenizer, "load", "info", "encode", "piece", "chat", "train", "files",
           "gguf_keys");

static const char *weights_metadata(void *self, vw_weights_reader *reader, const char *key)
{
    return NULL;
}

static const char *weights_config(void *self, vw_weights_reader *reader)
{
    return NULL;
}

IDLE(weights, close, vw_weights_reader *reader)
IDLE(weights, prefetch, vw_weights_reader *reader, const void *data, size_t bytes)
IDLE(weights, release, vw_weights_reader *reader, const void *data, size_t bytes)
STUB(WEIGHTS, weights, create, const char *path, const vw_weights_tensor *tensors, size_t n,
     const char *const *metadata_pairs, vw_weights_writer **writer)
STUB(WEIGHTS, weights, write, vw_weights_writer *writer, const void *data, size_t bytes)
STUB(WEIGHTS, weights, finish, vw_weights_writer *writer)
IDLE(weights, abort, vw_weights_writer *writer)
STUB(WEIGHTS, weights, locate, vw_weights_reader *reader, const void *data, size_t bytes,
     const char **file, uint64_t *offset)
const vw_weights_ops vw_weights_stubs = {
    sizeof vw_weights_stubs,
    HAVE(weights, close),
    HAVE(weights, metadata),
    HAVE(weights, prefetch),
    HAVE(weights, release),
    HAVE(weights, create),
    HAVE(weights, write),
    HAVE(weights, finish),
    HAVE(weights, abort),
    HAVE(weights, config),
    HAVE(weights, locate),
};
OPERATIONS(weights, "open", "close", "count", "tensor", "find", "metadata", "prefetch", "release",
           "create", "write", "finish", "abort", "config", "locate");

/* ---- balance --------------------------------------------------------------------------------- */

STUB(BALANCE, balance, split, const vw_balance_problem *problem, const int32_t *expert,
     const int64_t *tokens, int64_t *quota)

const vw_balance_ops vw_balance_stubs = {sizeof vw_balance_stubs, .split = balance_split};
OPERATIONS(balance, "place", "split");

/* ---- model ----------------------------------------------------------------------------------- */

STUB(MODEL, model, new_config, const vw_new_model *about, char *text, size_t room)
STUB(MODEL, model, respell, vw_spelling *out)
static vw_status model_draft(void *self, vw_cx *cx, vw_param *const *params)
{
    return lacks(VW_KIND_MODEL, self, "draft", NULL);
}
const vw_model_ops vw_model_stubs = {
    .size = sizeof vw_model_stubs,
    HAVE(model, new_config),
    HAVE(model, draft),
    HAVE(model, respell),
};
OPERATIONS(model, "load", "info", "forward", "new_config", "draft",
           "respell");

/* ---- kinds whose operations are all required ------------------------------------------------- */

const vw_pipeline_ops vw_pipeline_stubs = {sizeof vw_pipeline_stubs, NULL, NULL, NULL};
OPERATIONS(pipeline, "layout", "stage", "schedule");
const vw_optimizer_ops vw_optimizer_stubs = {sizeof vw_optimizer_stubs, NULL, NULL};
OPERATIONS(optimizer, "states", "update");
const vw_reasoning_ops vw_reasoning_stubs = {sizeof vw_reasoning_stubs, NULL};
OPERATIONS(reasoning, "solve");
const vw_verifier_ops vw_verifier_stubs = {sizeof vw_verifier_stubs, NULL};
OPERATIONS(verifier, "check");

/* ---- filling --------------------------------------------------------------------------------- */

typedef void (*function)(void);

static int is_hole(const char *slot)
{
    static const function none;

    return memcmp(slot, &none, sizeof none) == 0;
}

vw_status vw_stubs_fill(vw_kind kind, const void *ops, void *table, vw_error *err)
{
    const vw_kind_info *info = vw_kind_get(kind);
    char *to = table;
    size_t has;

    memcpy(&has, ops, sizeof has);
    if (has < sizeof has || has > 1 << 16 || (has - sizeof has) % sizeof(function) != 0)
        return vw_fail(err, VW_E_ABI, "its table of operations says it has %zu bytes; it begins "
                       "with sizeof(vw_%s_ops), which is %zu here", has, info->name,
                       info->ops_bytes);
    memcpy(to, info->stubs, info->ops_bytes);
    for (size_t at = sizeof has, i = 0; at < info->ops_bytes; at += sizeof(function), i++) {
        if (at < has && !is_hole((const char *)ops + at))
            memcpy(to + at, (const char *)ops + at, sizeof(function));
        if (is_hole(to + at))
            return vw_fail(err, VW_E_ABI,
                           "it does not have the operation %s(), which every %s needs",
                           info->operations[i], info->name);
    }
    return VW_OK;
}
