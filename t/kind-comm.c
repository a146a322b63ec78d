/* kind-comm.c - what holds for every transport: the identities of the collectives, the order of
 * messages, and that no wait is for ever.
 *
 * Each check is written for n ranks, of which this process is one, and takes the table it tests, so
 * that the same check can be shown to find a planted error.  Letters: n ranks, r this one.
 */
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/comm.h>

#include <stdlib.h>
#include <time.h>

enum { COUNT = 37, MAX_RANKS = 16 };

/* What a check works on. */
typedef struct bench {
    const vw_comm_ops *ops;
    void *self;
    vw_comm *world;
    int32_t r, n;
} bench;

typedef vw_status (*check_fn)(const bench *b, vw_error *err);

static void put(vw_dtype dtype, void *to, int i, int value)
{
    if (dtype == VW_F32)
        ((float *)to)[i] = (float)value;
    else if (dtype == VW_BF16)
        ((uint16_t *)to)[i] = vw_f32_to_bf16((float)value);
    else
        ((int32_t *)to)[i] = value;
}

/* ---- collectives ----------------------------------------------------------------------------- */

/* Rank r contributes (r + 1)(i % 3 + 1): sums are n(n + 1)/2 of that, exact in every dtype. */
static int contribution(int rank, int i)
{
    return (rank + 1) * (i % 3 + 1);
}

static int reduced(const bench *b, vw_reduce op, int i)
{
    int all = b->n * (b->n + 1) / 2;
    return (op == VW_REDUCE_SUM ? all : op == VW_REDUCE_MAX ? b->n : 1) * (i % 3 + 1);
}

static vw_status reduce_once(const bench *b, vw_dtype dtype, vw_reduce op, bool in_place,
                             vw_error *err)
{
    int32_t send[COUNT + 1] = {0}, receive[COUNT + 1] = {0};
    void *to = in_place ? send : receive;
    vw_status status;

    for (int i = 0; i < COUNT; i++)
        put(dtype, send, i, contribution(b->r, i));
    put(dtype, to, COUNT, 77);
    status = b->ops->all_reduce(b->self, b->world, NULL, send, to, COUNT, dtype, op, err);
    if (status)
        return status;
    for (int i = 0; i <= COUNT; i++) {
        double want = i == COUNT ? 77 : reduced(b, op, i);
        if (vw_dtype_get(dtype, to, (size_t)i) != want)
            return vw_fail(err, VW_E_INVALID, "%s, operation %d: value %d is %g, not %g",
                           vw_dtype_name(dtype), op, i, vw_dtype_get(dtype, to, (size_t)i), want);
    }
    return VW_OK;
}

static vw_status check_all_reduce(const bench *b, vw_error *err)
{
    static const vw_dtype dtypes[] = {VW_F32, VW_BF16, VW_I32};

    for (int d = 0; d < 3; d++)
        for (int op = VW_REDUCE_SUM; op <= VW_REDUCE_MIN; op++)
            for (int in_place = 0; in_place < 2; in_place++) {
                vw_status status = reduce_once(b, dtypes[d], (vw_reduce)op, in_place, err);
                if (status && !(status == VW_E_UNSUPPORTED && dtypes[d] != VW_F32))
                    return status;
            }
    return VW_OK;
}

static vw_status check_all_gather(const bench *b, vw_error *err)
{
    float send[COUNT], receive[MAX_RANKS * COUNT];
    vw_status status;

    for (int i = 0; i < COUNT; i++)
        send[i] = (float)(1000 * b->r + i);
    status = b->ops->all_gather(b->self, b->world, NULL, send, receive, COUNT, VW_F32, err);
    if (status)
        return status;
    for (int i = 0; i < b->n * COUNT; i++)
        if (receive[i] != (float)(1000 * (i / COUNT) + i % COUNT))
            return vw_fail(err, VW_E_INVALID, "value %d of rank %d is %g", i % COUNT, i / COUNT,
                           (double)receive[i]);
    return VW_OK;
}

static vw_status check_reduce_scatter(const bench *b, vw_error *err)
{
    float send[MAX_RANKS * COUNT], receive[COUNT] = {0};
    vw_status status;

    for (int i = 0; i < b->n * COUNT; i++)
        send[i] = (float)contribution(b->r, i);
    status = b->ops->reduce_scatter(b->self, b->world, NULL, send, receive, COUNT, VW_F32,
                                    VW_REDUCE_SUM, err);
    if (status)
        return status;
    for (int i = 0; i < COUNT; i++)
        if (receive[i] != (float)reduced(b, VW_REDUCE_SUM, b->r * COUNT + i))
            return vw_fail(err, VW_E_INVALID, "value %d is %g", i, (double)receive[i]);
    return VW_OK;
}

static vw_status check_broadcast(const bench *b, vw_error *err)
{
    for (int32_t root = 0; root < b->n; root++) {
        int32_t data[COUNT];
        vw_status status;

        for (int i = 0; i < COUNT; i++)
            data[i] = 1000 * b->r + i;
        status = b->ops->broadcast(b->self, b->world, NULL, data, sizeof data, root, err);
        if (status)
            return status;
        for (int i = 0; i < COUNT; i++)
            if (data[i] != 1000 * root + i)
                return vw_fail(err, VW_E_INVALID, "value %d of root %d is %d", i, root, data[i]);
    }
    if (b->ops->broadcast(b->self, b->world, NULL, NULL, 0, b->n, NULL) == VW_OK)
        return vw_fail(err, VW_E_INVALID, "there is no root %d", b->n);
    return VW_OK;
}

/* Bytes from rank `from` to rank `to`, which are all from * 16 + to; some pairs send nothing. */
static size_t pair_bytes(int from, int to)
{
    return (size_t)((3 * from + 5 * to + 7) % 11);
}

/* Rank r's piece for rank q lies at 20 q + 3, so that all pieces have gaps around them. */
static vw_status check_all_to_all(const bench *b, vw_error *err)
{
    unsigned char send[MAX_RANKS * 20], receive[MAX_RANKS * 20];
    size_t out[MAX_RANKS], in[MAX_RANKS], at[MAX_RANKS];
    vw_status status;

    memset(send, 0xEE, sizeof send);
    memset(receive, 0xDD, sizeof receive);
    for (int q = 0; q < b->n; q++) {
        at[q] = 20 * (size_t)q + 3;
        out[q] = pair_bytes(b->r, q);
        in[q] = pair_bytes(q, b->r);
        memset(send + at[q], b->r * 16 + q, out[q]);
    }
    status = b->ops->all_to_all_v(b->self, b->world, NULL, send, out, at, receive, in, at, err);
    if (status)
        return status;
    for (size_t i = 0; i < 20 * (size_t)b->n; i++) {
        size_t q = i / 20;
        bool is_piece = i >= at[q] && i < at[q] + in[q];
        if (receive[i] != (is_piece ? (int)q * 16 + b->r : 0xDD))
            return vw_fail(err, VW_E_INVALID, "byte %zu from rank %zu is %#x", i % 20, q,
                           receive[i]);
    }
    return VW_OK;
}

/* ---- point to point -------------------------------------------------------------------------- */

static vw_status send_int(const bench *b, int32_t value, int32_t tag, int32_t *keep,
                          vw_request **request, vw_error *err)
{
    *keep = value;
    return b->ops->send(b->self, b->world, NULL, keep, sizeof *keep, (b->r + 1) % b->n, tag,
                        request, err);
}

static vw_status receive_int(const bench *b, int32_t *value, int32_t tag, vw_request **request,
                             vw_error *err)
{
    return b->ops->receive(b->self, b->world, NULL, value, sizeof *value, (b->r + b->n - 1) % b->n,
                           tag, request, err);
}

static vw_status ring_send(const bench *b, int32_t *keep, vw_request **requests, vw_error *err)
{
    static const int32_t tags[3] = {5, 5, 9};
    vw_status status = VW_OK;

    for (int i = 0; i < 3 && status == VW_OK; i++)
        status = send_int(b, 10 * b->r + 1 + i, tags[i], &keep[i], &requests[i], err);
    return status;
}

static vw_status ring_receive(const bench *b, int32_t *got, vw_request **requests, vw_error *err)
{
    vw_status status = receive_int(b, &got[2], 9, &requests[0], err);

    for (int i = 0; i < 2 && status == VW_OK; i++)
        status = receive_int(b, &got[i], 5, &requests[1 + i], err);
    return status;
}

/* Round a ring: three messages, two of them with one tag; the receives are posted in another order,
 * before or after the sends. */
static vw_status ring(const bench *b, bool receive_first, vw_error *err)
{
    int32_t from = (b->r + b->n - 1) % b->n, keep[3], got[3] = {-1, -1, -1};
    vw_request *requests[6];
    vw_status status = VW_OK;

    for (int pass = 0; pass < 2 && status == VW_OK; pass++)
        status = pass == receive_first ? ring_send(b, keep, requests, err)
                                       : ring_receive(b, got, requests + 3, err);
    for (int i = 5; i >= 0 && status == VW_OK; i--)
        status = b->ops->wait(b->self, requests[i], err);
    if (status)
        return status;
    for (int i = 0; i < 3; i++)
        if (got[i] != 10 * from + 1 + i)
            return vw_fail(err, VW_E_INVALID, "message %d is %d, not %d", i, got[i],
                           10 * from + 1 + i);
    return VW_OK;
}

/* A message without bytes is a message too. */
static vw_status ring_of_nothing(const bench *b, vw_error *err)
{
    vw_request *sent, *received;
    vw_status status;

    status = b->ops->send(b->self, b->world, NULL, NULL, 0, (b->r + 1) % b->n, 1, &sent, err);
    if (status == VW_OK)
        status = b->ops->receive(b->self, b->world, NULL, NULL, 0, (b->r + b->n - 1) % b->n, 1,
                                 &received, err);
    if (status == VW_OK)
        status = b->ops->wait(b->self, sent, err);
    return status ? status : b->ops->wait(b->self, received, err);
}

static vw_status check_messages(const bench *b, vw_error *err)
{
    vw_request *request;
    vw_status status = ring(b, false, err);

    if (status == VW_OK)
        status = ring(b, true, err);
    if (status == VW_OK)
        status = ring_of_nothing(b, err);
    if (status == VW_OK &&
        b->ops->send(b->self, b->world, NULL, NULL, 0, b->n, 1, &request, NULL) == VW_OK)
        return vw_fail(err, VW_E_INVALID, "there is no rank %d", b->n);
    return status;
}

/* A receive that nobody answers ends at the deadline and names the rank; a late message of that tag
 * does not find its buffer any more. */
static vw_status check_deadline(const bench *b, vw_error *err)
{
    int32_t from = (b->r + b->n - 1) % b->n, value = 42;
    vw_error late = {VW_OK, ""};
    vw_request *request;
    bench brief = *b;
    char rank[32];
    vw_status status;
    time_t start = time(NULL);

    status = b->ops->world(b->self, 0.2, &brief.world, err);
    if (status)
        return status;
    status = receive_int(&brief, &value, 4, &request, err);
    if (status == VW_OK)
        status = b->ops->wait(b->self, request, &late);
    b->ops->free(b->self, brief.world);
    snprintf(rank, sizeof rank, "rank %d", from);
    if (status != VW_E_TIMEOUT || value != 42)
        return vw_fail(err, VW_E_INVALID, "a wait for nothing gave %d", status);
    if (!strstr(late.text, rank))
        return vw_fail(err, VW_E_INVALID, "the error does not name %s: %s", rank, late.text);
    if (time(NULL) - start > 10)
        return vw_fail(err, VW_E_INVALID, "a deadline of 0.2 s took %ld s",
                       (long)(time(NULL) - start));
    return VW_OK;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* Everybody together in reverse order, and nobody at all. */
static vw_status check_split(const bench *b, vw_error *err)
{
    vw_comm *part = NULL, *none = b->world;
    int32_t rank, n;
    vw_status status;

    status = b->ops->split(b->self, b->world, 3, -b->r, &part, err);
    if (status)
        return status;
    rank = b->ops->rank(b->self, part);
    n = b->ops->n_ranks(b->self, part);
    if (n != b->n || rank != b->n - 1 - b->r)
        return vw_fail(err, VW_E_INVALID, "rank %d of %d in the reversed group", rank, n);
    status = b->ops->barrier(b->self, part, err);
    if (status)
        return status;
    b->ops->free(b->self, part);
    status = b->ops->split(b->self, b->world, -1, 0, &none, err);
    if (status)
        return status;
    if (none)
        return vw_fail(err, VW_E_INVALID, "a negative colour gave a group");
    return b->ops->barrier(b->self, b->world, err);
}

static const struct {
    const char *name;
    check_fn check;
} checks[] = {
    {"all-reduce", check_all_reduce},
    {"all-gather", check_all_gather},
    {"reduce-scatter", check_reduce_scatter},
    {"broadcast", check_broadcast},
    {"all-to-all-v", check_all_to_all},
    {"messages arrive, in order for a tag", check_messages},
    {"a wait ends at the deadline", check_deadline},
    {"split and barrier", check_split},
};
enum { N_CHECKS = sizeof checks / sizeof *checks };

/* ---- planted errors -------------------------------------------------------------------------- */

static const vw_comm_ops *honest;

static vw_status short_reduce(void *self, vw_comm *comm, vw_stream *s, const void *send,
                              void *receive, int64_t count, vw_dtype dtype, vw_reduce op,
                              vw_error *err)
{
    return honest->all_reduce(self, comm, s, send, receive, count - 1, dtype, op, err);
}

static vw_status short_gather(void *self, vw_comm *comm, vw_stream *s, const void *send,
                              void *receive, int64_t count, vw_dtype dtype, vw_error *err)
{
    memset(receive, 0, (size_t)count * sizeof(float));
    return honest->all_gather(self, comm, s, send, receive, count - 1, dtype, err);
}

static vw_status wild_broadcast(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                                int32_t root, vw_error *err)
{
    (void)self, (void)comm, (void)s, (void)data, (void)bytes, (void)root, (void)err;
    return VW_OK;
}

static vw_status packed_all_to_all(void *self, vw_comm *comm, vw_stream *s, const void *send,
                                   const size_t *send_bytes, const size_t *send_offsets,
                                   void *receive, const size_t *receive_bytes,
                                   const size_t *receive_offsets, vw_error *err)
{
    size_t none[MAX_RANKS] = {0};

    (void)receive_offsets;
    return honest->all_to_all_v(self, comm, s, send, send_bytes, send_offsets, receive,
                                receive_bytes, none, err);
}

static vw_status send_tagless(void *self, vw_comm *comm, vw_stream *s, const void *data,
                              size_t bytes, int32_t to, int32_t tag, vw_request **request,
                              vw_error *err)
{
    (void)tag;
    return honest->send(self, comm, s, data, bytes, to, 0, request, err);
}

static vw_status receive_tagless(void *self, vw_comm *comm, vw_stream *s, void *data, size_t bytes,
                                 int32_t from, int32_t tag, vw_request **request, vw_error *err)
{
    (void)tag;
    return honest->receive(self, comm, s, data, bytes, from, 0, request, err);
}

static vw_status patient_wait(void *self, vw_request *request, vw_error *err)
{
    honest->wait(self, request, err);
    return VW_OK;
}

static vw_status colourless_split(void *self, vw_comm *comm, int32_t colour, int32_t key,
                                  vw_comm **out, vw_error *err)
{
    if (colour < 0) {
        *out = comm;
        return VW_OK;
    }
    return honest->split(self, comm, colour, key, out, err);
}

/* Each check in turn is given a table with one wrong member, and must object. */
static void plant(const bench *b)
{
    vw_comm_ops bad[N_CHECKS];
    bench wrong = *b;

    honest = b->ops;
    for (int i = 0; i < N_CHECKS; i++)
        bad[i] = *honest;
    bad[0].all_reduce = short_reduce;
    bad[1].all_gather = short_gather;
    bad[2].reduce_scatter = short_reduce;
    bad[3].broadcast = wild_broadcast;
    bad[4].all_to_all_v = packed_all_to_all;
    bad[5].send = send_tagless;
    bad[5].receive = receive_tagless;
    bad[6].wait = patient_wait;
    bad[7].split = colourless_split;
    for (int i = 0; i < N_CHECKS; i++) {
        vw_error err = {VW_OK, ""};
        wrong.ops = &bad[i];
        ok(checks[i].check(&wrong, &err) != VW_OK, "planted: %s: %s", checks[i].name, err.text);
    }
}

static void test_one(const vw_plugin *plugin, void *arg)
{
    mock_host mock;
    mock_instance it;
    vw_error err = {VW_OK, ""};
    bench b;

    (void)arg;
    mock_host_init(&mock);
    if (!mock_open(&mock, plugin, NULL, &it))
        return;
    b = (bench){.ops = it.component.ops, .self = it.component.self};
    if (b.ops->world(b.self, 30, &b.world, &err) != VW_OK) {
        ok(false, "%s: the world: %s", plugin->name, err.text);
        mock_close(&mock, &it);
        return;
    }
    b.r = b.ops->rank(b.self, b.world);
    b.n = b.ops->n_ranks(b.self, b.world);
    ok(b.n >= 1 && b.n <= MAX_RANKS && b.r >= 0 && b.r < b.n, "%s: rank %d of %d", plugin->name,
       b.r, b.n);
    for (int i = 0; i < N_CHECKS; i++) {
        err.text[0] = '\0';
        ok(checks[i].check(&b, &err) == VW_OK, "%s: %s %s", plugin->name, checks[i].name, err.text);
    }
    if (b.n == 1)
        plant(&b);
    b.ops->free(b.self, b.world);
    mock_close(&mock, &it);
}

int main(void)
{
    ok(mock_plugins(VW_KIND_COMM, test_one, NULL) > 0, "there are plugins");
    return done_testing();
}
