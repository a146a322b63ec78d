/* file.c - the header of a GGUF file, every claim in it checked.
 *
 * The cursor is the one place that reads: it never passes the end of the file, and a count is held
 * against the bytes that are left before anything is allocated by it.
 */
#include "plugins/gguf/file.h"
#include "kernels/ref/blocks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_NAME = 1024, MAX_KEY = 65535, MAX_DIMS = 4, MIN_KEY_BYTES = 8 + 1 + 4 + 1,
       MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

typedef struct cursor {
    const gguf_file *file;
    size_t at;
    vw_error *err;
    vw_status status;
} cursor;

/* ---- reading --------------------------------------------------------------------------------- */

VW_PRINTF(2, 3)
static vw_status bad(cursor *c, const char *format, ...)
{
    char text[600];
    va_list args;
    if (c->status)
        return c->status;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = '?';
    return c->status = vw_fail(c->err, VW_E_FORMAT, "%s: %s", c->file->path, text);
}

static const unsigned char *take(cursor *c, uint64_t n, const char *what)
{
    if (c->status)
        return NULL;
    if (n > c->file->bytes - c->at) {
        bad(c, "%s at byte %zu has %llu bytes, but the file ends after %zu", what, c->at,
            (unsigned long long)n, c->file->bytes);
        return NULL;
    }
    const unsigned char *p = c->file->map + c->at;
    c->at += (size_t)n;
    return p;
}

static uint32_t take_u32(cursor *c, const char *what)
{
    uint32_t v = 0;
    const unsigned char *p = take(c, 4, what);
    if (p)
        memcpy(&v, p, 4);
    return v;
}

static uint64_t take_u64(cursor *c, const char *what)
{
    uint64_t v = 0;
    const unsigned char *p = take(c, 8, what);
    if (p)
        memcpy(&v, p, 8);
    return v;
}

static gguf_text take_text(cursor *c, const char *what)
{
    gguf_text t = {.bytes = take_u64(c, what)};
    t.at = (const char *)take(c, t.bytes, what);
    return t;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static unsigned type_bytes(gguf_type t)
{
    switch (t) {
    case GGUF_U8: case GGUF_I8: case GGUF_BOOL: return 1;
    case GGUF_U16: case GGUF_I16: return 2;
    case GGUF_U32: case GGUF_I32: case GGUF_F32: return 4;
    case GGUF_U64: case GGUF_I64: case GGUF_F64: return 8;
    default: return 0;
    }
}

static gguf_type take_type(cursor *c, const char *key)
{
    uint32_t t = take_u32(c, "the type of a value");
    if (t >= GGUF_TYPES)
        bad(c, "key \"%s\" has a value of type %u, expected 0 to %d", key, t, GGUF_TYPES - 1);
    return c->status ? GGUF_U8 : (gguf_type)t;
}

static void take_elements(cursor *c, gguf_key *k, const char *key)
{
    gguf_type t = k->type == GGUF_ARRAY ? k->element : k->type;
    unsigned each = type_bytes(t);
    if (t == GGUF_ARRAY) {
        bad(c, "key \"%s\" is an array of arrays, which no reader of models needs", key);
        return;
    }
    if (k->count > (c->file->bytes - c->at) / (each ? each : 8)) {
        bad(c, "key \"%s\" has %llu elements, but the file ends after %zu bytes", key,
            (unsigned long long)k->count, c->file->bytes);
        return;
    }
    k->value = c->file->map + c->at;
    if (each)
        take(c, k->count * each, "a value");
    for (uint64_t i = 0; !each && i < k->count && !c->status; i++)
        take_text(c, "a string");
    for (uint64_t i = 0; t == GGUF_BOOL && i < k->count && !c->status; i++)
        if (k->value[i] > 1)
            bad(c, "key \"%s\" is %u, expected a bool, 0 or 1", key, k->value[i]);
}

static void take_key(cursor *c, gguf_key *k)
{
    char key[128];
    k->name = take_text(c, "the name of a key");
    if (c->status)
        return;
    if (k->name.bytes == 0 || k->name.bytes > MAX_KEY) {
        bad(c, "a key's name has %llu bytes, expected 1 to %d", (unsigned long long)k->name.bytes,
            MAX_KEY);
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)(k->name.bytes < 100 ? k->name.bytes : 100), k->name.at);
    k->type = take_type(c, key);
    k->count = 1;
    if (k->type == GGUF_ARRAY) {
        k->element = take_type(c, key);
        k->count = take_u64(c, "the length of an array");
    }
    if (!c->status)
        take_elements(c, k, key);
}

static int by_key(const void *a, const void *b)
{
    const gguf_text *x = &((const gguf_key *)a)->name, *y = &((const gguf_key *)b)->name;
    int d = memcmp(x->at, y->at, x->bytes < y->bytes ? x->bytes : y->bytes);
    return d ? d : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static vw_status read_keys(gguf_file *f, cursor *c, uint64_t n)
{
    if (n > (f->bytes - c->at) / MIN_KEY_BYTES)
        return bad(c, "%llu keys do not fit into %zu bytes", (unsigned long long)n, f->bytes);
    f->keys = f->host->alloc(f->host->core, ((size_t)n + 1) * sizeof *f->keys);
    if (!f->keys)
        return c->status = vw_fail(c->err, VW_E_NOMEM, "%s: no memory for %llu keys", f->path,
                                   (unsigned long long)n);
    memset(f->keys, 0, ((size_t)n + 1) * sizeof *f->keys);
    for (; f->n_keys < n && !c->status; f->n_keys++)
        take_key(c, f->keys + f->n_keys);
    if (c->status)
        return c->status;
    qsort(f->keys, f->n_keys, sizeof *f->keys, by_key);
    for (size_t i = 1; i < f->n_keys; i++)
        if (!by_key(f->keys + i - 1, f->keys + i))
            return bad(c, "key \"%.*s\" occurs twice",
                       (int)(f->keys[i].name.bytes < 100 ? f->keys[i].name.bytes : 100),
                       f->keys[i].name.at);
    return VW_OK;
}

const gguf_key *gguf_find(const gguf_file *f, const char *name)
{
    gguf_key key = {.name = {name, strlen(name)}};
    return f->n_keys ? bsearch(&key, f->keys, f->n_keys, sizeof key, by_key) : NULL;
}

double gguf_real(const gguf_key *k, uint64_t i)
{
    gguf_type t = !k ? GGUF_STRING : k->type == GGUF_ARRAY ? k->element : k->type;
    static const vw_dtype as[GGUF_TYPES] = {VW_U8, VW_I8, VW_U16, VW_I16, VW_U32, VW_I32, VW_F32,
                                            VW_BOOL, 0, 0, VW_U64, VW_I64, VW_F64};
    return k && i < k->count && as[t] ? vw_dtype_get(as[t], k->value, (size_t)i) : 0;
}

int64_t gguf_int(const gguf_key *k, uint64_t i)
{
    double x = gguf_real(k, i);
    return x >= -9e15 && x <= 9e15 ? (int64_t)x : 0;
}

int gguf_next_string(const gguf_key *k, const unsigned char **at, uint64_t *i, gguf_text *out)
{
    if (!k || (k->type == GGUF_ARRAY ? k->element : k->type) != GGUF_STRING)
        return 0;
    if (!*at) {
        *at = k->value;
        *i = 0;
    }
    if (*i >= k->count)
        return 0;
    memcpy(&out->bytes, *at, 8);
    out->at = (const char *)*at + 8;
    *at += 8 + out->bytes;
    ++*i;
    return 1;
}

gguf_text gguf_string(const gguf_key *k)
{
    const unsigned char *at = NULL;
    uint64_t i;
    gguf_text t = {"", 0};
    if (k && k->type == GGUF_STRING)
        gguf_next_string(k, &at, &i, &t);
    return t;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static const vw_block_format formats[] = {
    {sizeof *formats, "q4_0", 32, 18, vw_ref_q4_0},   {sizeof *formats, "q4_1", 32, 20, vw_ref_q4_1},
    {sizeof *formats, "q5_0", 32, 22, vw_ref_q5_0},   {sizeof *formats, "q5_1", 32, 24, vw_ref_q5_1},
    {sizeof *formats, "q8_0", 32, 34, vw_ref_q8_0},   {sizeof *formats, "q4_k", 256, 144, vw_ref_q4_k},
    {sizeof *formats, "q5_k", 256, 176, vw_ref_q5_k}, {sizeof *formats, "q6_k", 256, 210, vw_ref_q6_k},
};

/* ggml's number of a type, and what it is here. */
static const struct {
    uint32_t id;
    vw_dtype dtype;
    const vw_block_format *format;
} types[] = {{0, VW_F32, NULL}, {1, VW_F16, NULL}, {30, VW_BF16, NULL}, {28, VW_F64, NULL},
             {24, VW_I8, NULL}, {25, VW_I16, NULL}, {26, VW_I32, NULL}, {27, VW_I64, NULL},
             {2, VW_BLOCK, formats}, {3, VW_BLOCK, formats + 1}, {6, VW_BLOCK, formats + 2},
             {7, VW_BLOCK, formats + 3}, {8, VW_BLOCK, formats + 4}, {12, VW_BLOCK, formats + 5},
             {13, VW_BLOCK, formats + 6}, {14, VW_BLOCK, formats + 7}};

int gguf_type_id(vw_dtype dtype, const vw_block_format *format, uint32_t *id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype &&
            (dtype != VW_BLOCK || (format && !strcmp(format->name, types[i].format->name)))) {
            *id = types[i].id;
            return 1;
        }
    return 0;
}

static void set_type(cursor *c, vw_weights_tensor *t, uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].id == id) {
            t->dtype = types[i].dtype;
            t->format = types[i].format;
            return;
        }
    bad(c, "tensor \"%s\" is of ggml's type %u, which is not read here%s", t->name, id,
        id >= 97 ? " (a private one of ik_llama.cpp)" : "");
}

/* Shape and bytes; the file gives the fastest dimension first. */
static void take_shape(cursor *c, vw_weights_tensor *t)
{
    uint32_t n = take_u32(c, "a tensor's dimensions");
    uint64_t dims[MAX_DIMS], count = 1;
    if (!c->status && (n < 1 || n > MAX_DIMS)) {
        bad(c, "tensor \"%s\" has %u dimensions, expected 1 to %d", t->name, n, MAX_DIMS);
        return;
    }
    for (uint32_t i = 0; i < n && !c->status; i++) {
        dims[i] = take_u64(c, "a tensor's dimension");
        if (!c->status && (dims[i] == 0 || dims[i] > INT64_MAX / 64 / count))
            bad(c, "tensor \"%s\": dimension %u is %llu", t->name, i, (unsigned long long)dims[i]);
        else
            count *= c->status ? 1 : dims[i];
    }
    set_type(c, t, take_u32(c, "a tensor's type"));
    if (c->status)
        return;
    t->n_dims = (int32_t)n;
    for (uint32_t i = 0; i < n; i++)
        t->shape[i] = (int64_t)dims[n - 1 - i];
    if (!t->format)
        t->bytes = (size_t)count * vw_dtype_bits(t->dtype) / 8;
    else if (dims[0] % (uint64_t)t->format->elements)
        bad(c, "tensor \"%s\": rows of %llu values are no whole blocks of %s", t->name,
            (unsigned long long)dims[0], t->format->name);
    else
        t->bytes = (size_t)count / (size_t)t->format->elements * (size_t)t->format->bytes;
}

/* The offset waits in `data` until the beginning of the data is known. */
static void take_tensor(cursor *c, vw_weights_tensor *t, char **names)
{
    gguf_text name = take_text(c, "the name of a tensor");
    if (c->status)
        return;
    if (name.bytes == 0 || name.bytes > MAX_NAME || memchr(name.at, 0, (size_t)name.bytes)) {
        bad(c, "a tensor's name has %llu bytes, expected 1 to %d and none of them 0",
            (unsigned long long)name.bytes, MAX_NAME);
        return;
    }
    t->name = memcpy(*names, name.at, (size_t)name.bytes);
    (*names)[name.bytes] = '\0';
    *names += name.bytes + 1;
    t->file = c->file->path;
    take_shape(c, t);
    t->data = (const void *)(uintptr_t)take_u64(c, "a tensor's offset");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const vw_weights_tensor *)a)->name, ((const vw_weights_tensor *)b)->name);
}

static vw_status place_tensors(gguf_file *f, cursor *c)
{
    const gguf_key *key = gguf_find(f, "general.alignment");
    uint64_t align = key ? (uint64_t)gguf_int(key, 0) : 32;
    if (align < 8 || align > 1 << 20 || align & (align - 1))
        return bad(c, "general.alignment is %llu, expected a power of two from 8",
                   (unsigned long long)align);
    size_t data = (c->at + (size_t)align - 1) / (size_t)align * (size_t)align;
    for (size_t i = 0; i < f->n_tensors && !c->status; i++) {
        vw_weights_tensor *t = f->tensors + i;
        uint64_t offset = (uint64_t)(uintptr_t)t->data;
        if (offset % align)
            bad(c, "tensor \"%s\": its offset %llu is no multiple of the alignment %llu", t->name,
                (unsigned long long)offset, (unsigned long long)align);
        else if (data > f->bytes || offset > f->bytes - data || t->bytes > f->bytes - data - offset)
            bad(c, "tensor \"%s\": %zu bytes at offset %llu of the data, but the file ends after "
                "%zu", t->name, t->bytes, (unsigned long long)offset, f->bytes);
        else
            t->data = f->map + data + offset;
    }
    if (f->n_tensors)
        qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < f->n_tensors && !c->status; i++)
        if (!strcmp(f->tensors[i].name, f->tensors[i - 1].name))
            bad(c, "tensor \"%s\" occurs twice", f->tensors[i].name);
    return c->status;
}

static vw_status read_tensors(gguf_file *f, cursor *c, uint64_t n)
{
    size_t start = c->at;
    if (n > (f->bytes - c->at) / MIN_TENSOR_BYTES)
        return bad(c, "%llu tensors do not fit into %zu bytes", (unsigned long long)n, f->bytes);
    f->tensors = f->host->alloc(f->host->core, ((size_t)n + 1) * sizeof *f->tensors);
    /* Names and their ends take less than the header that holds them. */
    f->names = f->host->alloc(f->host->core, (size_t)n * (MAX_NAME + 1) < f->bytes - start
                                                 ? (size_t)n * (MAX_NAME + 1) + 1
                                                 : f->bytes - start + 1);
    if (!f->tensors || !f->names)
        return c->status = vw_fail(c->err, VW_E_NOMEM, "%s: no memory for %llu tensors", f->path,
                                   (unsigned long long)n);
    memset(f->tensors, 0, ((size_t)n + 1) * sizeof *f->tensors);
    char *names = f->names;
    for (; f->n_tensors < n && !c->status; f->n_tensors++)
        take_tensor(c, f->tensors + f->n_tensors, &names);
    return c->status ? c->status : place_tensors(f, c);
}

/* ---- the file -------------------------------------------------------------------------------- */

static vw_status map(gguf_file *f, vw_error *err)
{
    struct stat s;
    vw_status status = VW_OK;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vw_fail(err, errno == ENOENT ? VW_E_NOTFOUND : VW_E_IO, "cannot open %s: %s", f->path,
                       strerror(errno));
    if (fstat(fd, &s) || !S_ISREG(s.st_mode))
        status = vw_fail(err, VW_E_IO, "%s: not a regular file", f->path);
    else if (s.st_size < 24)
        status = vw_fail(err, VW_E_FORMAT, "%s: not a GGUF file: %lld bytes", f->path,
                         (long long)s.st_size);
    if (!status) {
        void *at = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            status = vw_fail(err, VW_E_IO, "cannot map %s: %s", f->path, strerror(errno));
        else
            f->map = at;
        f->bytes = (size_t)s.st_size;
    }
    close(fd);
    return status;
}

static vw_status read_header(gguf_file *f, vw_error *err)
{
    cursor c = {f, 4, err, VW_OK};
    if (memcmp(f->map, "GGUF", 4))
        return bad(&c, "not a GGUF file: it does not begin with \"GGUF\"");
    uint32_t version = take_u32(&c, "the version");
    if (version != 2 && version != 3)
        return bad(&c, "GGUF version %u, expected 2 or 3%s", version,
                   version == 0x03000000 || version == 0x02000000 ? " (a big-endian file)" : "");
    uint64_t n_tensors = take_u64(&c, "a count"), n_keys = take_u64(&c, "a count");
    vw_status st = read_keys(f, &c, n_keys);
    return st ? st : read_tensors(f, &c, n_tensors);
}

vw_status gguf_open(gguf_file *f, const vw_host *host, const char *path, vw_error *err)
{
    size_t n = strlen(path) + 1;
    *f = (gguf_file){.host = host, .path = host->alloc(host->core, n)};
    if (!f->path)
        return vw_fail(err, VW_E_NOMEM, "no memory for a path");
    memcpy(f->path, path, n);
    vw_status st = map(f, err);
    if (!st)
        st = read_header(f, err);
    if (st)
        gguf_close(f);
    return st;
}

void gguf_close(gguf_file *f)
{
    if (!f->host)
        return;
    if (f->map)
        munmap((void *)(uintptr_t)f->map, f->bytes);
    f->host->free(f->host->core, f->keys);
    f->host->free(f->host->core, f->tensors);
    f->host->free(f->host->core, f->names);
    f->host->free(f->host->core, f->path);
    *f = (gguf_file){0};
}
