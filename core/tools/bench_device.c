/* bench_device.c - `vishwamai bench device`: copies and the pointwise set. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_DIM = 256, N_BUFFERS = 3 };
static const size_t COPY_BYTES = (size_t)128 << 20;

/* One operation on [T, D] of one device. */
typedef struct device_entry {
    const vw_device_ops *ops;
    void *self;
    vw_stream *stream;
    vw_buffer x[N_BUFFERS], small, space;
    int64_t t, d;
} device_entry;

typedef struct device_bench {
    bench_choices b;
    int64_t width;
    word_list tokens;
    race r;
    device_entry entries[BENCH_MAX_PLUGINS];
} device_bench;

static vw_tensor matrix(const device_entry *e, int i)
{
    return vw_tensor_2d(e->x[i].data, VW_F32, e->t, e->d);
}

static vw_status wait(void *entry, vw_error *err)
{
    const device_entry *e = entry;
    return e->ops->synchronize(e->self, e->stream, err);
}

static vw_status run_copy(void *entry, int64_t i, vw_error *err)
{
    device_entry *e = entry;
    return e->ops->copy(e->self, e->stream, e->x[i % 2].data, e->x[2].data, e->x[2].bytes, err);
}

static vw_status run_rms_norm(void *entry, int64_t i, vw_error *err)
{
    device_entry *e = entry;
    vw_tensor none = {0};
    (void)i;
    return e->ops->rms_norm(e->self, e->stream, matrix(e, 0), none,
                            vw_tensor_1d(e->small.data, VW_F32, e->d), 1, 1e-6f, matrix(e, 1),
                            err);
}

static vw_status run_rope(void *entry, int64_t i, vw_error *err)
{
    device_entry *e = entry;
    vw_rope_desc rope = {VW_ROPE_HALF, (int32_t)(e->d / HEAD_DIM), HEAD_DIM, 0, HEAD_DIM,
                         e->small.data, 1};
    (void)i;
    return e->ops->rope(e->self, e->stream, matrix(e, 0), e->space.data, &rope, err);
}

static vw_status run_gate(void *entry, int64_t i, vw_error *err)
{
    device_entry *e = entry;
    (void)i;
    return e->ops->gate(e->self, e->stream, VW_ACT_GELU_TANH, matrix(e, 0), matrix(e, 1),
                        matrix(e, 2), err);
}

static vw_status run_axpby(void *entry, int64_t i, vw_error *err)
{
    device_entry *e = entry;
    (void)i;
    return e->ops->axpby(e->self, e->stream, 0.5f, matrix(e, 0), 0.5f, matrix(e, 1), err);
}

static vw_status run_softmax(void *entry, int64_t i, vw_error *err)
{
    device_entry *e = entry;
    (void)i;
    return e->ops->softmax(e->self, e->stream, matrix(e, 0), err);
}

/* Bytes read and written for each value of [T, D]. */
static const struct {
    const char *name;
    vw_status (*run)(void *entry, int64_t i, vw_error *err);
    double bytes;
} operations[] = {
    {"copy", run_copy, 8},   {"rms_norm", run_rms_norm, 8}, {"rope", run_rope, 8},
    {"gate", run_gate, 12},  {"axpby", run_axpby, 12},      {"softmax", run_softmax, 8},
};

enum { N_OPERATIONS = sizeof operations / sizeof *operations };

/* ---- one race -------------------------------------------------------------------------------- */

static vw_status prepare(device_entry *e, vw_error *err)
{
    bench_device d = {.ops = e->ops, .self = e->self, .stream = e->stream};
    size_t bytes = (size_t)(e->t * e->d) * sizeof(float);
    float *host = malloc(bytes);
    bench_random random = {11};
    vw_status status = host ? VW_OK : vw_fail(err, VW_E_NOMEM, "no memory for the values");
    for (size_t i = 0; host && i < bytes / sizeof *host; i++)
        host[i] = bench_random_real(&random);
    for (int i = 0; i < N_BUFFERS && status == VW_OK; i++)
        status = bench_alloc(&d, bytes, host, &e->x[i], err);
    if (status == VW_OK)
        status = bench_alloc(&d, (size_t)e->d * sizeof(float), host, &e->small, err);
    if (status == VW_OK) /* positions: zeros will do */
        status = bench_alloc(&d, (size_t)e->t * sizeof(int32_t), NULL, &e->space, err);
    free(host);
    return status;
}

static void release(device_entry *e)
{
    bench_device d = {.ops = e->ops, .self = e->self, .stream = e->stream};
    for (int i = 0; i < N_BUFFERS; i++)
        bench_free(&d, &e->x[i]);
    bench_free(&d, &e->small);
    bench_free(&d, &e->space);
}

static void tell(device_bench *g, int operation, int64_t t, int64_t d)
{
    race_work work = {0, operations[operation].bytes * (double)(t * d), 0};
    vw_json_writer *j = &g->b.json;
    char name[64];
    snprintf(name, sizeof name, "%-9s %6lld x %lld", operations[operation].name, (long long)t,
             (long long)d);
    for (int i = 0; i < g->r.n; i++) {
        double seconds = g->r.entries[i].seconds;
        if (g->b.c.is_json) {
            vw_json_begin_object(j, NULL);
            vw_json_add_string(j, "operation", operations[operation].name);
            vw_json_add_int(j, "tokens", t);
            vw_json_add_int(j, "width", d);
            race_add_entry(j, &g->r, i);
            if (seconds > 0) {
                vw_json_add_double(j, "gb_s", work.bytes / seconds * 1e-9);
                race_add_share(j, &g->r, i, &work);
            }
            vw_json_end_object(j);
            continue;
        }
        race_print_entry(&g->r, i, name);
        if (seconds > 0) {
            printf(" %8.2f GB/s", work.bytes / seconds * 1e-9);
            race_print_share(&g->r, i, &work);
        }
        race_print_rest(&g->r, i);
    }
    fflush(stdout);
}

static vw_status race_one(device_bench *g, int operation, int64_t t, int64_t d, vw_error *err)
{
    vw_status status = VW_OK;
    for (int i = 0; i < g->r.n && status == VW_OK; i++) {
        contestant *c = &g->r.entries[i];
        device_entry *e = &g->entries[i];
        c->run = operations[operation].run;
        c->wait = wait;
        c->state = e;
        c->note[0] = '\0';
        e->t = t;
        e->d = d;
        status = prepare(e, err);
        if (status == VW_OK && c->run(e, 0, err) == VW_E_UNSUPPORTED)
            snprintf(c->note, sizeof c->note, "left out: %.180s", err->text);
    }
    if (status == VW_OK)
        status = race_run(&g->b, &g->r, NULL, err);
    for (int i = 0; i < g->r.n; i++)
        release(&g->entries[i]);
    if (status == VW_OK)
        tell(g, operation, t, d);
    return status;
}

static vw_status race_all(device_bench *g, vw_error *err)
{
    int64_t copied = (int64_t)(COPY_BYTES / sizeof(float)) / g->width;
    vw_status status = race_one(g, 0, copied, g->width, err);
    size_t n = g->tokens.n ? g->tokens.n : 2;
    for (size_t i = 0; i < n && status == VW_OK; i++) {
        int64_t t = i ? 512 : 1;
        if (g->tokens.n)
            parse_int(g->tokens.words[i], &t);
        for (int k = 1; k < N_OPERATIONS && status == VW_OK; k++)
            status = race_one(g, k, t, g->width, err);
    }
    return status;
}

static vw_status work(device_bench *g, vw_error *err)
{
    vw_status status = bench_begin(&g->b, VW_KIND_DEVICE, &g->r, err);
    for (int i = 0; i < g->r.n && status == VW_OK; i++) {
        device_entry *e = &g->entries[i];
        e->ops = g->r.entries[i].component->ops;
        e->self = g->r.entries[i].component->self;
        status = e->ops->stream_new(e->self, &e->stream, err);
        bench_device d = {.ops = e->ops, .self = e->self, .stream = e->stream};
        if (status == VW_OK && strcmp(g->r.entries[i].component->plugin->name, "cpu") != 0)
            status = bench_copy_rate(&d, &g->r.entries[i].read, err);
    }
    if (status == VW_OK)
        status = race_all(g, err);
    for (int i = 0; i < g->r.n; i++)
        if (g->entries[i].stream)
            g->entries[i].ops->stream_free(g->entries[i].self, g->entries[i].stream);
    return bench_end(&g->b, &g->r, status, err);
}

static const command bench_devices;

static int check_words(const device_bench *g)
{
    int64_t t;
    if (g->width % HEAD_DIM)
        return wrong_use(&bench_devices, "--width %lld: a multiple of %d is expected",
                         (long long)g->width, HEAD_DIM);
    for (size_t i = 0; i < g->tokens.n; i++)
        if (!parse_int(g->tokens.words[i], &t) || t < 1 || t > 1 << 20)
            return wrong_use(&bench_devices, "--tokens %s: a whole number from 1 is expected",
                             g->tokens.words[i]);
    return STATUS_OK;
}

int bench_device_main(int argc, char **argv)
{
    device_bench *g = calloc(1, sizeof *g);
    int status = STATUS_FAILED;
    vw_error err = {VW_OK, ""};
    if (!g)
        return status;
    g->b.repeats = 7;
    g->b.max_seconds = 2;
    g->width = 2048;
    const opt work_options[] = {
        {0, "width", OPT_INT, &g->width, "D", "values of a row (default 2048)", NULL, 256, 1 << 20},
        {0, "tokens", OPT_LIST, &g->tokens, "T", "rows; repeatable (default 1 and 512)", NULL, 0,
         0},
        BENCH_OPTIONS(&g->b), END_OPTIONS};
    const opt general[] = {CHOICE_OPTIONS(&g->b.c), END_OPTIONS};
    const opt_group groups[] = {{"work", work_options}, {"general", general}, {NULL, NULL}};
    const char *slash = strchr(argv[0], '/');
    g->b.name = slash ? slash + 1 : NULL;
    if (options_parse(&bench_devices, groups, argc, argv, NULL, &status)) {
        status = check_words(g);
        if (status == STATUS_OK && work(g, &err) != VW_OK)
            status = report(&err);
    }
    assignments_free(&g->b.c.set);
    word_list_free(&g->tokens);
    free(g);
    return status;
}

static const command bench_devices = {
    "bench device", "[options]  (or device/NAME)", "race the devices",
    "GB/s counts what is read and what is written.  Small rows lie in the caches and may exceed\n"
    "the read bandwidth of the memory; the copy is too large for them.  A device other than the\n"
    "processor is held to a large copy within its own memory.\n",
    "  vishwamai bench device/cpu --width 4096\n", bench_device_main};
