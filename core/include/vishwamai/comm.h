/* comm.h - the comm kind: moving data between ranks.
 *
 * Provisional until its first transports come.  Buffers are device memory of the component's device
 * (host memory for the CPU).  Collectives are called by every rank in the same order; they queue on
 * `stream` and are done when it is synchronised.  Every wait obeys the communicator's deadline:
 * VW_E_TIMEOUT names the rank that was waited for.  One thread per communicator.
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

    /* The group of all ranks that the launcher started; a part of it by colour (NULL for a negative
     * colour).  Required. */
    vw_status (*world)(void *self, double deadline_seconds, vw_comm **comm, vw_error *err);
    vw_status (*split)(void *self, vw_comm *comm, int32_t colour, int32_t key, vw_comm **out,
                       vw_error *err);
    void (*free)(void *self, vw_comm *comm);
    int32_t (*rank)(void *self, const vw_comm *comm);
    int32_t (*n_ranks)(void *self, const vw_comm *comm);

    vw_status (*barrier)(void *self, vw_comm *comm, vw_error *err);
    /* count elements of dtype; in place when send == receive.  Sums in f32 for bf16 and f16, in
     * rank order, so that every rank has the same bits. */
    vw_status (*all_reduce)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                            void *receive, int64_t count, vw_dtype dtype, vw_reduce op,
                            vw_error *err);
    /* send: count elements; receive: count * n_ranks.  And the reverse. */
    vw_status (*all_gather)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                            void *receive, int64_t count, vw_dtype dtype, vw_error *err);
    vw_status (*reduce_scatter)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                                void *receive, int64_t count, vw_dtype dtype, vw_reduce op,
                                vw_error *err);
    vw_status (*broadcast)(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                           int32_t root, vw_error *err);
    /* Bytes for and from each rank, at byte offsets; host arrays of n_ranks. */
    vw_status (*all_to_all_v)(void *self, vw_comm *comm, vw_stream *s, const void *send,
                              const size_t *send_bytes, const size_t *send_offsets, void *receive,
                              const size_t *receive_bytes, const size_t *receive_offsets,
                              vw_error *err);
    /* Point to point; messages between two ranks with one tag arrive in order. */
    vw_status (*send)(void *self, vw_comm *comm, vw_stream *s, const void *data, size_t bytes,
                      int32_t to, int32_t tag, vw_request **request, vw_error *err);
    vw_status (*receive)(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                         int32_t from, int32_t tag, vw_request **request, vw_error *err);
    vw_status (*wait)(void *self, vw_request *request, vw_error *err); /* frees the request */

    /* Make memory known to the transport, for zero-copy.  Optional. */
    vw_status (*register_memory)(void *self, vw_comm *comm, void *data, size_t bytes,
                                 void **registration, vw_error *err);
    void (*deregister_memory)(void *self, vw_comm *comm, void *registration);
} vw_comm_ops;

#ifdef __cplusplus
}
#endif
#endif
