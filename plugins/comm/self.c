/* self.c - comm/self: a group of one rank, which is its own and only peer.
 *
 * Every collective of one rank is a copy, so code written for many ranks runs on one machine without
 * a launcher.  What is worth care is point to point: a rank may send to itself before or after it
 * posts the receive, with several tags under way.  Sends are buffered (a schedule may send to itself
 * first), and what is matched is the oldest of its tag, as the interface promises.
 *
 * One thread works on a communicator, so a wait for a message that this thread has not sent yet can
 * only end at the deadline: it is reported at once, without sleeping until then.
 */
#include <vishwamai/comm.h>

/* Something sent and not received, or a receive that waits for its message. */
struct vw_request {
    vw_request *next;   /* in the communicator's list, oldest first, while `comm` is not NULL */
    vw_comm *comm;      /* NULL once matched */
    void *buffer;       /* where a receive wants its bytes */
    size_t bytes, came; /* wanted and got */
    int32_t tag;
};

typedef struct message {
    struct message *next;
    size_t bytes;
    int32_t tag;
    _Alignas(16) unsigned char data[];
} message;

struct vw_comm {
    double deadline;
    message *messages;    /* sent, not received; oldest first */
    vw_request *receives; /* posted, not matched; oldest first */
};

static const vw_host *host_of(void *self)
{
    return self;
}

static vw_status world(void *self, double deadline_seconds, vw_comm **comm, vw_error *err)
{
    const vw_host *host = host_of(self);
    vw_comm *made;

    if (!(deadline_seconds > 0))
        return vw_fail(err, VW_E_INVALID, "a deadline of %g seconds; it must be positive",
                       deadline_seconds);
    made = host->alloc(host->core, sizeof *made);
    if (!made)
        return vw_fail(err, VW_E_NOMEM, "no memory for a communicator");
    *made = (vw_comm){.deadline = deadline_seconds};
    *comm = made;
    return VW_OK;
}

static vw_status split(void *self, vw_comm *comm, int32_t colour, int32_t key, vw_comm **out,
                       vw_error *err)
{
    (void)key;
    if (colour < 0) {
        *out = NULL;
        return VW_OK;
    }
    return world(self, comm->deadline, out, err);
}

/* Receives still waiting are cut loose, so that their requests can be waited for and freed. */
static void free_comm(void *self, vw_comm *comm)
{
    const vw_host *host = host_of(self);

    if (!comm)
        return;
    for (vw_request *r = comm->receives; r; r = r->next) {
        r->comm = NULL;
        r->came = SIZE_MAX;
    }
    while (comm->messages) {
        message *m = comm->messages;
        comm->messages = m->next;
        host->free(host->core, m);
    }
    host->free(host->core, comm);
}

static int32_t rank_of(void *self, const vw_comm *comm)
{
    (void)self, (void)comm;
    return 0;
}

static int32_t n_ranks(void *self, const vw_comm *comm)
{
    (void)self, (void)comm;
    return 1;
}

static vw_status barrier(void *self, vw_comm *comm, vw_error *err)
{
    (void)self, (void)comm, (void)err;
    return VW_OK;
}

/* ---- collectives ----------------------------------------------------------------------------- */

static vw_status copy_bytes(const void *send, void *receive, size_t bytes, vw_error *err)
{
    if (bytes == 0)
        return VW_OK;
    if (!send || !receive)
        return vw_fail(err, VW_E_INVALID, "%zu bytes from or to no buffer", bytes);
    memmove(receive, send, bytes);
    return VW_OK;
}

static vw_status copy_elements(const void *send, void *receive, int64_t count, vw_dtype dtype,
                               vw_error *err)
{
    unsigned bits = vw_dtype_bits(dtype);

    if (bits < 8)
        return vw_fail(err, VW_E_UNSUPPORTED, "elements of %s have no whole bytes",
                       vw_dtype_name(dtype));
    if (count < 0 || (uint64_t)count > SIZE_MAX / (bits / 8))
        return vw_fail(err, VW_E_INVALID, "a count of %lld elements", (long long)count);
    return copy_bytes(send, receive, (size_t)count * (bits / 8), err);
}

/* The sum, the largest and the smallest of one contribution are that contribution; but an operation
 * that would fail on two ranks fails here too. */
static vw_status all_reduce(void *self, vw_comm *comm, vw_stream *s, const void *send,
                            void *receive, int64_t count, vw_dtype dtype, vw_reduce op,
                            vw_error *err)
{
    (void)self, (void)comm, (void)s;
    if ((int)op < VW_REDUCE_SUM || (int)op > VW_REDUCE_MIN)
        return vw_fail(err, VW_E_INVALID, "unknown reduction %d", (int)op);
    return copy_elements(send, receive, count, dtype, err);
}

static vw_status all_gather(void *self, vw_comm *comm, vw_stream *s, const void *send,
                            void *receive, int64_t count, vw_dtype dtype, vw_error *err)
{
    (void)self, (void)comm, (void)s;
    return copy_elements(send, receive, count, dtype, err);
}

static vw_status broadcast(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                           int32_t root, vw_error *err)
{
    (void)self, (void)comm, (void)s;
    if (root != 0)
        return vw_fail(err, VW_E_INVALID, "root %d in a group of one rank", (int)root);
    return copy_bytes(data, data, bytes, err);
}

static vw_status all_to_all_v(void *self, vw_comm *comm, vw_stream *s, const void *send,
                              const size_t *send_bytes, const size_t *send_offsets, void *receive,
                              const size_t *receive_bytes, const size_t *receive_offsets,
                              vw_error *err)
{
    (void)self, (void)comm, (void)s;
    if (send_bytes[0] != receive_bytes[0])
        return vw_fail(err, VW_E_INVALID, "rank 0 sends itself %zu bytes but expects %zu",
                       send_bytes[0], receive_bytes[0]);
    if (send_bytes[0] == 0)
        return VW_OK;
    if (!send || !receive)
        return vw_fail(err, VW_E_INVALID, "%zu bytes from or to no buffer", send_bytes[0]);
    memmove((char *)receive + receive_offsets[0], (const char *)send + send_offsets[0],
            send_bytes[0]);
    return VW_OK;
}

/* ---- point to point -------------------------------------------------------------------------- */

static vw_request *new_request(void *self, void *buffer, size_t bytes, int32_t tag, vw_error *err)
{
    const vw_host *host = host_of(self);
    vw_request *r = host->alloc(host->core, sizeof *r);

    if (r)
        *r = (vw_request){.buffer = buffer, .bytes = bytes, .came = bytes, .tag = tag};
    else
        vw_fail(err, VW_E_NOMEM, "no memory for a request");
    return r;
}

static vw_status check_message(const void *data, size_t bytes, int32_t peer, vw_error *err)
{
    if (peer != 0)
        return vw_fail(err, VW_E_INVALID, "rank %d in a group of one rank", (int)peer);
    if (!data && bytes > 0)
        return vw_fail(err, VW_E_INVALID, "%zu bytes from or to no buffer", bytes);
    return VW_OK;
}

/* A message of another size than the receive's is reported by its wait, and then nothing is
 * written: half a tensor helps nobody. */
static void deliver(vw_request *r, const void *data, size_t bytes)
{
    r->came = bytes;
    r->comm = NULL;
    if (bytes == r->bytes && bytes > 0 && r->buffer)
        memcpy(r->buffer, data, bytes);
}

static vw_status enqueue(void *self, vw_comm *comm, const void *data, size_t bytes, int32_t tag,
                         vw_error *err)
{
    const vw_host *host = host_of(self);
    message *m = NULL, **end = &comm->messages;

    if (bytes <= SIZE_MAX - sizeof *m)
        m = host->alloc(host->core, sizeof *m + bytes);
    if (!m)
        return vw_fail(err, VW_E_NOMEM, "no memory for a message of %zu bytes", bytes);
    m->next = NULL;
    m->bytes = bytes;
    m->tag = tag;
    if (bytes > 0)
        memcpy(m->data, data, bytes);
    while (*end)
        end = &(*end)->next;
    *end = m;
    return VW_OK;
}

static vw_status send(void *self, vw_comm *comm, vw_stream *s, const void *data, size_t bytes,
                      int32_t to, int32_t tag, vw_request **request, vw_error *err)
{
    const vw_host *host = host_of(self);
    vw_request **at = &comm->receives, *made;
    vw_status status = check_message(data, bytes, to, err);

    (void)s;
    if (status)
        return status;
    made = new_request(self, NULL, bytes, tag, err);
    if (!made)
        return VW_E_NOMEM;
    while (*at && (*at)->tag != tag)
        at = &(*at)->next;
    if (*at) {
        vw_request *matched = *at;
        *at = matched->next;
        deliver(matched, data, bytes);
    } else if ((status = enqueue(self, comm, data, bytes, tag, err)) != VW_OK) {
        host->free(host->core, made);
        return status;
    }
    *request = made;
    return VW_OK;
}

static vw_status receive(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                         int32_t from, int32_t tag, vw_request **request, vw_error *err)
{
    const vw_host *host = host_of(self);
    message **at = &comm->messages;
    vw_status status = check_message(data, bytes, from, err);
    vw_request *made;

    (void)s;
    if (status)
        return status;
    made = new_request(self, data, bytes, tag, err);
    if (!made)
        return VW_E_NOMEM;
    while (*at && (*at)->tag != tag)
        at = &(*at)->next;
    if (*at) {
        message *matched = *at;
        *at = matched->next;
        deliver(made, matched->data, matched->bytes);
        host->free(host->core, matched);
    } else {
        vw_request **end = &comm->receives;
        while (*end)
            end = &(*end)->next;
        made->comm = comm;
        *end = made;
    }
    *request = made;
    return VW_OK;
}

/* Is the request done?  If not, it is taken out of the list: nobody looks for it any more. */
static vw_status outcome(vw_request *r, vw_error *err)
{
    if (r->comm) {
        vw_request **at = &r->comm->receives;
        while (*at != r)
            at = &(*at)->next;
        *at = r->next;
        return vw_fail(err, VW_E_TIMEOUT,
                       "rank 0 has sent no message with tag %d, and being the only rank it will "
                       "send none while it waits for itself (deadline %g s)",
                       (int)r->tag, r->comm->deadline);
    }
    if (r->came == SIZE_MAX)
        return vw_fail(err, VW_E_INVALID, "the communicator was freed before a message with tag %d",
                       (int)r->tag);
    if (r->came != r->bytes)
        return vw_fail(err, VW_E_INVALID,
                       "the message with tag %d has %zu bytes, its receive expected %zu",
                       (int)r->tag, r->came, r->bytes);
    return VW_OK;
}

static vw_status wait_request(void *self, vw_request *request, vw_error *err)
{
    const vw_host *host = host_of(self);
    vw_status status;

    if (!request)
        return vw_fail(err, VW_E_INVALID, "no request to wait for");
    status = outcome(request, err);
    host->free(host->core, request);
    return status;
}

/* ---- the plugin ------------------------------------------------------------------------------ */

/* Copies need no registration; the address itself is the receipt. */
static vw_status register_memory(void *self, vw_comm *comm, void *data, size_t bytes,
                                 void **registration, vw_error *err)
{
    (void)self, (void)comm;
    if (!data || bytes == 0)
        return vw_fail(err, VW_E_INVALID, "nothing to register");
    *registration = data;
    return VW_OK;
}

static void deregister_memory(void *self, vw_comm *comm, void *registration)
{
    (void)self, (void)comm, (void)registration;
}

static int32_t probe(const vw_probe *about, char *why, size_t why_bytes)
{
    (void)about;
    snprintf(why, why_bytes, "one rank needs no transport");
    return 1;
}

static vw_status open_self(const vw_host *host, const void *config, void **self, vw_error *err)
{
    (void)config, (void)err;
    *self = (void *)host;
    return VW_OK;
}

static void close_self(void *self)
{
    (void)self;
}

static const vw_comm_ops ops = {
    .size = sizeof ops,
    .world = world,
    .split = split,
    .free = free_comm,
    .rank = rank_of,
    .n_ranks = n_ranks,
    .barrier = barrier,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .reduce_scatter = all_reduce,
    .broadcast = broadcast,
    .all_to_all_v = all_to_all_v,
    .send = send,
    .receive = receive,
    .wait = wait_request,
    .register_memory = register_memory,
    .deregister_memory = deregister_memory,
};

static const char *const devices[] = {"cpu", NULL};

static const vw_plugin description = {
    VW_PLUGIN_HEADER,
    .kind = VW_KIND_COMM,
    .ops_major = VW_COMM_OPS_MAJOR,
    .ops_minor = VW_COMM_OPS_MINOR,
    .name = "self",
    .summary = "one rank alone: collectives are copies, sends to itself are queued",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .author = "the VishwamAI developers",
    .url = "https://github.com/VishwamAI",
    .rank = VW_RANK_FALLBACK,
    .devices = devices,
    .probe = probe,
    .open = open_self,
    .close = close_self,
    .ops = &ops,
};

VW_PLUGIN_DEFINE(comm, self)
{
    return &description;
}
