/* comm.h - the comm kind: moving data between ranks.
 *
 * Provisional until its first transports come.  Buffers are device memory of the component's device
 * (host memory for the CPU).  Collectives are called by every rank in the same order; they queue on
 * `stream` (NULL: the device's own) and are done when it is synchronised; until then send and
 * receive buffers must stay valid, and the arrays of sizes until the call returns.  Every wait
 * obeys the communicator's deadline: VW_E_TIMEOUT names the rank that was waited for.  After a
 * collective that failed so, ranks may disagree about what has happened, and only free() is sure to
 * work.  One thread per communicator; different communicators by different threads.
 *
 * Every operation is since comm 0.1.  What is optional for a transport answers VW_E_UNSUPPORTED
 * where it is left out.
 */
#ifndef VISHWAMAI_COMM_H
#define VISHWAMAI_COMM_H

#include <vishwamai/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VW_COMM_OPS_MAJOR 0
#define VW_COMM_OPS_MINOR 1

typedef struct vw_comm vw_comm;       /* a group of ranks */
typedef struct vw_request vw_request; /* a pending send or receive */
typedef enum vw_reduce { VW_REDUCE_SUM = 0, VW_REDUCE_MAX, VW_REDUCE_MIN } vw_reduce;

typedef struct vw_comm_ops {
    size_t size;

    /* The group of all ranks that the launcher started; several groups may live at once.  Each wait
     * in it ends after deadline_seconds, which is above 0 (else VW_E_INVALID).  Required. */
    vw_status (*world)(void *self, double deadline_seconds, vw_comm **comm, vw_error *err);
    /* A group of the ranks that gave the same colour, in the order of key, then of rank; *out is
     * NULL for a negative colour.  A collective of `comm`, whose deadline the part inherits.
     * Optional. */
    vw_status (*split)(void *self, vw_comm *comm, int32_t colour, int32_t key, vw_comm **out,
                       vw_error *err);
    /* Give a group back; NULL is welcome.  Not a collective.  Requests that are still pending stay
     * valid for wait(), which then fails.  Optional: nothing to release. */
    void (*free)(void *self, vw_comm *comm);
    /* Of this process in the group, from 0, and how many there are.  Cannot fail.  Required. */
    int32_t (*rank)(void *self, const vw_comm *comm);
    int32_t (*n_ranks)(void *self, const vw_comm *comm);

    /* Return when every rank has called it.  Of the host: streams are not waited for.  Optional. */
    vw_status (*barrier)(void *self, vw_comm *comm, vw_error *err);
    /* count elements of dtype; in place when send == receive.  Sums in f32 for bf16 and f16, in
     * rank order, so that every rank has the same bits.  VW_E_UNSUPPORTED for a dtype without whole
     * bytes, VW_E_INVALID for a negative count.  Optional. */
    vw_status (*all_reduce)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                            void *receive, int64_t count, vw_dtype dtype, vw_reduce op,
                            vw_error *err);
    /* send: count elements; receive: count * n_ranks.  And the reverse.  Errors as all_reduce.
     * Optional. */
    vw_status (*all_gather)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                            void *receive, int64_t count, vw_dtype dtype, vw_error *err);
    vw_status (*reduce_scatter)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                                void *receive, int64_t count, vw_dtype dtype, vw_reduce op,
                                vw_error *err);
    /* `bytes` of rank root's data into everybody else's.  VW_E_INVALID for a root that is no rank
     * of the group.  Optional. */
    vw_status (*broadcast)(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                           int32_t root, vw_error *err);
    /* Bytes for and from each rank, at byte offsets; host arrays of n_ranks.  VW_E_INVALID where a
     * rank sends itself other than it expects.  Optional. */
    vw_status (*all_to_all_v)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                              const size_t *send_bytes, const size_t *send_offsets, void *receive,
                              const size_t *receive_bytes, const size_t *receive_offsets,
                              vw_error *err);
    /* Point to point; messages between two ranks with one tag arrive in order.  A rank may send to
     * itself.  Both return before the message has travelled; `data` must stay valid until wait()
     * has returned.  VW_E_INVALID for a peer that is no rank of the group; *request is then
     * unchanged.  Optional, all three or none. */
    vw_status (*send)(void *self, vw_comm *comm, vw_stream *s, const void *data, size_t bytes,
                      int32_t to, int32_t tag, vw_request **request, vw_error *err);
    vw_status (*receive)(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                         int32_t from, int32_t tag, vw_request **request, vw_error *err);
    /* Until the message has left, or has come whole.  Frees the request in any case.  VW_E_INVALID
     * when the message's size was not the receive's; nothing is received then. */
    vw_status (*wait)(void *self, vw_request *request, vw_error *err);

    /* Make memory known to the transport, for zero-copy; it must live until it is deregistered, and
     * that comes before free().  VW_E_INVALID for no memory.  Optional, both or none. */
    vw_status (*register_memory)(void *self, vw_comm *comm, void *data, size_t bytes,
                                 void **registration, vw_error *err);
    void (*deregister_memory)(void *self, vw_comm *comm, void *registration);
} vw_comm_ops;

#ifdef __cplusplus
}
#endif
#endif
