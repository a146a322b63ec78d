/* kind-weights.c - what every component that reads and writes named tensors must do.
 *
 * Files are written and read by the component itself; that it also agrees with the world outside is
 * shown by the test of each format.
 */
#include "core/json.h"
#include "t/folder.h"
#include "t/mock_host.h"
#include "t/tap/tap.h"

#include <vishwamai/weights.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { N_ALL = 19 };

/* One tensor of each dtype, with every number of dimensions and sizes that leave odd offsets. */
static const vw_weights_tensor all[N_ALL] = {
    {.name = "bool", .dtype = VW_BOOL, .n_dims = 1, .shape = {3}},
    {.name = "f64", .dtype = VW_F64, .n_dims = 0},
    {.name = "f32", .dtype = VW_F32, .n_dims = 2, .shape = {5, 7}},
    {.name = "empty", .dtype = VW_F32, .n_dims = 2, .shape = {0, 4}},
    {.name = "bf16", .dtype = VW_BF16, .n_dims = 3, .shape = {2, 3, 5}},
    {.name = "f16", .dtype = VW_F16, .n_dims = 1, .shape = {9}},
    {.name = "e4m3", .dtype = VW_E4M3, .n_dims = 2, .shape = {1, 11}},
    {.name = "e5m2", .dtype = VW_E5M2, .n_dims = 1, .shape = {1}},
    {.name = "e8m0", .dtype = VW_E8M0, .n_dims = 4, .shape = {1, 2, 1, 3}},
    {.name = "e2m1", .dtype = VW_E2M1, .n_dims = 2, .shape = {3, 6}},
    {.name = "i8", .dtype = VW_I8, .n_dims = 1, .shape = {13}},
    {.name = "u8", .dtype = VW_U8, .n_dims = 1, .shape = {4096}},
    {.name = "i16", .dtype = VW_I16, .n_dims = 1, .shape = {2}},
    {.name = "u16", .dtype = VW_U16, .n_dims = 8, .shape = {1, 1, 2, 1, 1, 2, 1, 1}},
    {.name = "i32", .dtype = VW_I32, .n_dims = 1, .shape = {1}},
    {.name = "u32", .dtype = VW_U32, .n_dims = 1, .shape = {1}},
    {.name = "i64", .dtype = VW_I64, .n_dims = 1, .shape = {1}},
    {.name = "u64", .dtype = VW_U64, .n_dims = 1, .shape = {2}},
    {.name = "model.layers.0.\"quoted\\\" \t\xC3\xA9", .dtype = VW_U8, .n_dims = 1, .shape = {5}},
};

/* Those of them that the writer under test takes. */
static vw_weights_tensor declared[N_ALL];
static size_t n_tensors;

/* What is under test. */
typedef struct subject {
    mock_host mock;
    mock_instance it;
    const vw_weights_ops *ops;
    void *self;
    const char *name;
} subject;

static const void *service(void *arg, const char *name, uint32_t major)
{
    (void)arg;
    return !strcmp(name, "json") && major == VW_JSON_MAJOR ? vw_json_service() : NULL;
}

static size_t bytes_of(const vw_weights_tensor *t)
{
    size_t bits = vw_dtype_bits(t->dtype);
    for (int i = 0; i < t->n_dims; i++)
        bits *= (size_t)t->shape[i];
    return bits / 8;
}

/* The bytes of tensor i, a pattern of its own. */
static void fill(size_t i, unsigned char *data, size_t bytes)
{
    uint64_t state = i + 1;
    for (size_t j = 0; j < bytes; j++)
        data[j] = (unsigned char)folder_random(&state);
}

/* Write all tensors in pieces of `piece` bytes; the first error is returned. */
static vw_status write_file(subject *s, const char *path, size_t piece, vw_error *err)
{
    static const char *const pairs[] = {"format", "\"pt\"", "note", "[\"two\",\n\"lines\"]", NULL};
    unsigned char data[4096];
    vw_weights_writer *w;
    vw_status status = s->ops->create(s->self, path, declared, n_tensors, pairs, &w, err);
    if (status)
        return status;
    for (size_t i = 0; i < n_tensors && !status; i++) {
        size_t bytes = bytes_of(declared + i);
        fill(i, data, bytes);
        for (size_t at = 0; at < bytes && !status; at += piece)
            status = s->ops->write(s->self, w, data + at, bytes - at < piece ? bytes - at : piece,
                                   err);
    }
    if (!status)
        return s->ops->finish(s->self, w, err);
    s->ops->abort(s->self, w);
    return status;
}

static int is_same(const vw_weights_tensor *got, size_t i)
{
    unsigned char data[4096];
    size_t bytes = bytes_of(declared + i);
    fill(i, data, bytes);
    return got->dtype == declared[i].dtype && got->n_dims == declared[i].n_dims &&
           !memcmp(got->shape, declared[i].shape, (size_t)got->n_dims * sizeof *got->shape) &&
           got->bytes == bytes && !memcmp(got->data, data, bytes);
}

static void check_reader(subject *s, vw_weights_reader *r)
{
    const vw_weights_ops *ops = s->ops;
    vw_error err = {VW_OK, ""};
    vw_weights_tensor t;
    char last[64] = "";
    int n_ordered = 0;
    is_int((long long)ops->count(s->self, r), (long long)n_tensors, "%s: all tensors are there", s->name);
    for (size_t i = 0; i < n_tensors; i++) {
        if (ops->tensor(s->self, r, i, &t, &err))
            break;
        n_ordered += strcmp(last, t.name) < 0;
        snprintf(last, sizeof last, "%s", t.name);
    }
    is_int(n_ordered, (long long)n_tensors, "%s: in the order of their names", s->name);
    is_int(ops->tensor(s->self, r, n_tensors, &t, &err), VW_E_INVALID, "%s: and no more", s->name);
    for (size_t i = 0; i < n_tensors; i++)
        ok(!ops->find(s->self, r, declared[i].name, &t, &err) && is_same(&t, i),
           "%s: tensor %s comes back to the bit", s->name, vw_dtype_name(declared[i].dtype));
    if (!ops->metadata) {
        skip(2, "%s has no metadata", s->name);
        return;
    }
    is_str(ops->metadata(s->self, r, "note"), "[\"two\",\n\"lines\"]", "%s: metadata", s->name);
    ok(!ops->metadata(s->self, r, "none"), "%s: no other metadata", s->name);
}

static void test_round_trip(subject *s)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r, *old;
    const char *path = folder_path("round.weights");
    if (!ok(!write_file(s, path, 4096, &err), "%s writes: %s", s->name, err.text))
        return;
    if (!ok(!s->ops->open(s->self, path, &old, &err), "%s opens it: %s", s->name, err.text))
        return;
    check_reader(s, old);
    ok(!write_file(s, path, 1, &err), "%s writes it again, byte by byte", s->name);
    is_int(folder_count("round.weights"), 1, "%s leaves no other file", s->name);
    ok(!s->ops->open(s->self, path, &r, &err), "%s opens the new one", s->name);
    check_reader(s, r);
    s->ops->close(s->self, r);
    check_reader(s, old);
    s->ops->close(s->self, old);
}

static void test_hints(subject *s)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    vw_weights_tensor t;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *foreign = aligned_alloc(page, 4 * page);
    int n_kept = 0;
    if (s->ops->open(s->self, folder_path("round.weights"), &r, &err))
        return;
    for (size_t i = 0; i < n_tensors; i++) {
        s->ops->find(s->self, r, declared[i].name, &t, &err);
        s->ops->prefetch(s->self, r, t.data, t.bytes);
        s->ops->release(s->self, r, t.data, t.bytes);
        n_kept += is_same(&t, i);
    }
    is_int(n_kept, (long long)n_tensors, "%s: what was released can be read again", s->name);
    memset(foreign, 7, 4 * page);
    s->ops->release(s->self, r, foreign, 4 * page);
    s->ops->prefetch(s->self, r, foreign, 4 * page);
    is_int(foreign[page], 7, "%s: memory that is not the reader's is left alone", s->name);
    free(foreign);
    s->ops->close(s->self, r);
}

/* Bytes are found again in their file at the offset that is told. */
static void test_locate(subject *s)
{
    vw_weights_reader *r;
    vw_error err;
    size_t n_found = 0, bytes;
    if (s->ops->open(s->self, folder_path("round.weights"), &r, &err))
        bail_out("%s", err.text);
    for (size_t i = 0; i < n_tensors; i++) {
        vw_weights_tensor t;
        const char *file = NULL;
        uint64_t offset = 0;
        s->ops->find(s->self, r, declared[i].name, &t, &err);
        if (s->ops->locate(s->self, r, t.data, t.bytes, &file, &offset, &err))
            continue;
        char *content = folder_slurp(file, &bytes);
        n_found += !strcmp(file, t.file) && offset + t.bytes <= bytes &&
                   !memcmp(content + offset, t.data, t.bytes);
        free(content);
    }
    is_int((long long)n_found, (long long)n_tensors, "%s: says where in its file a tensor lies", s->name);
    const char *file;
    uint64_t offset;
    is_int(s->ops->locate(s->self, r, s, 1, &file, &offset, &err), VW_E_INVALID,
           "%s: of no other memory", s->name);
    like(err.text, "these bytes are", "the sentence");
    s->ops->close(s->self, r);
}

static void test_names(subject *s)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    vw_weights_tensor t = {.name = "untouched"};
    if (s->ops->open(s->self, folder_path("round.weights"), &r, &err))
        return;
    is_int(s->ops->find(s->self, r, "fx16", &t, &err), VW_E_NOTFOUND, "%s: a missing name",
           s->name);
    like(err.text, "\"fx16\"", "%s: the sentence names it", s->name);
    like(err.text, "\"f16\"", "%s: and the nearest", s->name);
    like(err.text, folder_path("round.weights"), "%s: and the file", s->name);
    is_str(t.name, "untouched", "%s: nothing is written", s->name);
    is_int(s->ops->find(s->self, r, "fx16", &t, NULL), VW_E_NOTFOUND, "%s: without a text",
           s->name);
    s->ops->close(s->self, r);
}

/* What a writer refuses, and that it leaves nothing behind. */
static void test_bad_writes(subject *s)
{
    const vw_weights_ops *ops = s->ops;
    const char *path = folder_path("bad.weights");
    vw_weights_tensor t[2] = {{.name = "a", .dtype = VW_F32, .n_dims = 1, .shape = {2}},
                              {.name = "b", .dtype = VW_F32, .n_dims = 1, .shape = {2}}};
    vw_error err = {VW_OK, ""};
    vw_weights_writer *w;
    char data[16] = {0};
    ok(!ops->create(s->self, path, t, 2, NULL, &w, &err), "%s: a file is begun", s->name);
    ok(access(path, F_OK), "%s: nothing under its name before finish", s->name);
    ok(!ops->write(s->self, w, data, 8, &err), "%s: half of it", s->name);
    is_int(ops->write(s->self, w, data, 9, &err), VW_E_INVALID, "%s: more than declared", s->name);
    ops->abort(s->self, w);
    is_int(folder_count("bad.weights"), 0, "%s: abort leaves nothing", s->name);
    ops->create(s->self, path, t, 2, NULL, &w, &err);
    ops->write(s->self, w, data, 15, &err);
    is_int(ops->finish(s->self, w, &err), VW_E_INVALID, "%s: less than declared", s->name);
    is_int(folder_count("bad.weights"), 0, "%s: a failed finish leaves nothing", s->name);
    t[1].name = "a";
    is_int(ops->create(s->self, path, t, 2, NULL, &w, &err), VW_E_INVALID, "%s: a name twice",
           s->name);
    t[1] = (vw_weights_tensor){.name = "b", .dtype = VW_F32, .n_dims = 3,
                               .shape = {INT64_MAX, INT64_MAX, 0}};
    is_int(ops->create(s->self, path, t, 2, NULL, &w, &err), VW_E_INVALID, "%s: a shape that wraps",
           s->name);
    t[1] = (vw_weights_tensor){.name = "b", .dtype = VW_F32, .n_dims = 1, .shape = {-1}};
    is_int(ops->create(s->self, path, t, 2, NULL, &w, &err), VW_E_INVALID, "%s: a negative size",
           s->name);
    t[1] = (vw_weights_tensor){.name = "b", .dtype = VW_DTYPE_NONE};
    is_int(ops->create(s->self, path, t, 2, NULL, &w, &err), VW_E_UNSUPPORTED, "%s: no dtype",
           s->name);
    is_int(ops->create(s->self, folder_path("none/x"), t, 1, NULL, &w, &err), VW_E_IO,
           "%s: a folder that is not there", s->name);
    is_int(folder_count("bad.weights"), 0, "%s: and nothing is left of any", s->name);
}

static void test_missing(subject *s)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r = (vw_weights_reader *)&r;
    const char *path = folder_path("not-there");
    is_int(s->ops->open(s->self, path, &r, &err), VW_E_NOTFOUND, "%s: a missing path", s->name);
    like(err.text, path, "%s: is named", s->name);
    ok(r == (vw_weights_reader *)&r, "%s: and nothing is written", s->name);
}

/* Memory may run out at any allocation. */
static void test_no_memory(subject *s)
{
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    long long live = s->mock.n_live, n = 0;
    int n_right = 0;
    for (; n < 1000; n++) {
        s->mock.fail_after = n;
        vw_status status = s->ops->open(s->self, folder_path("round.weights"), &r, &err);
        if (!status)
            break;
        n_right += status == VW_E_NOMEM && s->mock.n_live == live;
    }
    s->mock.fail_after = -1;
    is_int(n_right, n, "%s: open without memory at each of %lld places", s->name, n);
    s->ops->close(s->self, r);
    for (n = n_right = 0; n < 1000; n++) {
        s->mock.fail_after = n;
        vw_status status = write_file(s, folder_path("again.weights"), 4096, &err);
        if (!status)
            break;
        n_right += status == VW_E_NOMEM && s->mock.n_live == live;
    }
    s->mock.fail_after = -1;
    is_int(n_right, n, "%s: a write without memory at each of %lld places", s->name, n);
    is_int(folder_count("again.weights"), 1, "%s: leaves the whole file alone", s->name);
}

typedef struct finder {
    subject *s;
    vw_weights_reader *r;
    int n_found;
} finder;

static void *find_all(void *arg)
{
    finder *f = arg;
    vw_weights_tensor t;
    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < n_tensors; i++) {
            f->n_found += !f->s->ops->find(f->s->self, f->r, declared[i].name, &t, NULL);
            f->s->ops->release(f->s->self, f->r, t.data, t.bytes);
        }
    return NULL;
}

static void test_threads(subject *s)
{
    finder f[4];
    pthread_t thread[4];
    vw_error err = {VW_OK, ""};
    vw_weights_reader *r;
    if (s->ops->open(s->self, folder_path("round.weights"), &r, &err))
        return;
    for (int i = 0; i < 4; i++) {
        f[i] = (finder){s, r, 0};
        pthread_create(thread + i, NULL, find_all, f + i);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        is_int(f[i].n_found, 50 * (long long)n_tensors, "%s: thread %d finds all", s->name, i);
    }
    s->ops->close(s->self, r);
}

/* A format may lack dtypes and kinds of shapes; what it has must come back. */
static void choose_tensors(subject *s)
{
    vw_error err;
    vw_weights_writer *w;
    n_tensors = 0;
    for (size_t i = 0; i < N_ALL; i++)
        if (!s->ops->create(s->self, folder_path("one.weights"), all + i, 1, NULL, &w, &err)) {
            s->ops->abort(s->self, w);
            declared[n_tensors++] = all[i];
        }
    ok(n_tensors >= 6 && (strcmp(s->name, "safetensors") || n_tensors == N_ALL),
       "%s: takes %zu of %d forms", s->name, n_tensors, N_ALL);
}

static void test_plugin(const vw_plugin *plugin, void *arg)
{
    subject s = {.name = plugin->name};
    (void)arg;
    mock_host_init(&s.mock);
    s.mock.service = service;
    if (!mock_open(&s.mock, plugin, NULL, &s.it))
        return;
    s.ops = s.it.component.ops;
    s.self = s.it.component.self;
    test_missing(&s);
    if (s.ops->create) {
        choose_tensors(&s);
        test_round_trip(&s);
        test_names(&s);
        test_bad_writes(&s);
        test_no_memory(&s);
        test_threads(&s);
        if (s.ops->prefetch && s.ops->release)
            test_hints(&s);
        if (s.ops->locate)
            test_locate(&s);
    }
    mock_close(&s.mock, &s.it);
}

int main(void)
{
    folder_make();
    ok(mock_plugins(VW_KIND_WEIGHTS, test_plugin, NULL) > 0, "there are plugins");
    return done_testing();
}
